//! Two keyspaces compared key by key: what differs, counted and with a few examples.
//!
//! Takes, for each key, what stands under it on the left and on the right. Gives [`Differences`]. Always holds: what is kept
//! is the counts, a bounded number of examples, and a hash for each key that differs, up to [`MOST_REMEMBERED`](crate::redis::keys::remembered::MOST_REMEMBERED), so that a
//! key that a scan shows twice counts once.

use bytes::Bytes;
use schemars::JsonSchema;
use serde::Serialize;

use crate::redis::hash::hashes::Hashed;
use crate::redis::hash::streams::Counters;
use crate::redis::keys::digest::ExpiryIn;
use crate::redis::keys::filter::KeyFilter;
use crate::redis::keys::remembered::Remembered;
use crate::redis::keys::tally::{Kind, PerType};
use crate::redis::wire::expiry::Expiry;

pub(crate) mod servers;
pub(crate) mod side;
pub(crate) mod stream;

/// How much of a key's name an example shows.
const SHOWN: usize = 200;

/// What is compared, and how.
#[derive(Debug, Clone)]
pub(crate) struct Rules {
    pub(crate) filter: KeyFilter,
    pub(crate) expiry: ExpiryIn,
    /// How far apart expiries may be, in milliseconds.
    pub(crate) tolerance: u64,
    pub(crate) counters: Counters,
    /// How many examples are kept.
    pub(crate) examples: usize,
}

/// How a key differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum How {
    OnlyLeft,
    OnlyRight,
    Type,
    Differs { value: bool, groups: bool, expiry: bool },
}

impl Rules {
    /// True where either side's value is of a type that is wanted.
    pub(crate) fn wants(&self, left: Option<Kind>, right: Option<Kind>) -> bool {
        left.into_iter().chain(right).any(|kind| self.filter.kind(kind))
    }

    /// How two keys differ, if they do.
    pub(crate) fn compare(&self, left: Option<&Hashed>, right: Option<&Hashed>) -> Option<How> {
        if !self.wants(left.map(|left| left.kind), right.map(|right| right.kind)) {
            return None;
        }
        let (left, right) = match (left, right) {
            (Some(left), Some(right)) => (left, right),
            (Some(_), None) => return Some(How::OnlyLeft),
            (None, Some(_)) => return Some(How::OnlyRight),
            (None, None) => return None,
        };
        if left.kind != right.kind {
            return Some(How::Type);
        }
        let expiry = match (self.expiry, left.expiry, right.expiry) {
            (ExpiryIn::Exact, Expiry::At(a), Expiry::At(b)) => a.abs_diff(b) > self.tolerance,
            (ExpiryIn::Presence, Expiry::At(_), Expiry::At(_)) | (ExpiryIn::Ignore, _, _) => false,
            (_, a, b) => a != b,
        };
        let value = left.value != right.value;
        let groups = value && left.entries.is_some() && left.entries == right.entries;
        let how = How::Differs { value: value && !groups, groups, expiry };
        (value || expiry).then_some(how)
    }
}

/// What differs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Differences {
    /// Keys that only the left side has.
    pub only_left: u64,
    /// Keys that only the right side has.
    pub only_right: u64,
    /// Keys of another type.
    pub different_type: u64,
    /// Keys of the same type with another value.
    pub different_value: u64,
    /// Streams of which only groups, consumers or pending entries differ.
    pub different_groups: u64,
    /// Keys with another expiry.
    pub different_expiry: u64,
    /// Libraries of functions that are not the same on both sides.
    pub different_functions: u64,
}

impl Differences {
    /// How many differences there are.
    pub(crate) fn total(&self) -> u64 {
        self.named().iter().map(|(count, _)| count).sum()
    }

    fn named(&self) -> [(u64, &'static str); 7] {
        [
            (self.only_left, "only on the left"),
            (self.only_right, "only on the right"),
            (self.different_type, "of another type"),
            (self.different_value, "with another value"),
            (self.different_groups, "with other groups"),
            (self.different_expiry, "with another expiry"),
            (self.different_functions, "libraries of functions"),
        ]
    }

    /// For people.
    pub(crate) fn text(&self) -> String {
        let some: Vec<String> = self
            .named()
            .iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, what)| format!("{count} {what}"))
            .collect();
        some.join(", ")
    }
}

/// One key that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Example {
    /// The database on the left.
    pub database: u32,
    /// The key's name, what cannot be printed as `\x00`; a long one is cut.
    pub key: String,
    /// How it differs: `onlyLeft`, `onlyRight`, `type`, or what of `value`, `groups` and `expiry` differs.
    pub difference: String,
    /// What stands there on the left, in a few words.
    pub left: Option<String>,
    /// What stands there on the right.
    pub right: Option<String>,
}

impl Example {
    /// For people.
    pub(crate) fn text(&self) -> String {
        let side = |side: &Option<String>| side.clone().unwrap_or_else(|| "nothing".to_owned());
        format!(
            "database {}, `{}`: {} (left: {}; right: {})",
            self.database,
            self.key,
            self.difference,
            side(&self.left),
            side(&self.right)
        )
    }
}

/// Differences being found.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) differences: Differences,
    pub(crate) examples: Vec<Example>,
    /// Keys that were compared and are on both sides, by the left side's type.
    pub(crate) both: PerType,
    /// Keys of a stream whose expiry has passed.
    pub(crate) expired: u64,
    seen: Remembered,
}

impl Found {
    /// Counts a key that differs; true where it is to be an example.
    pub(crate) fn add(&mut self, database: u32, key: &[u8], how: How, rules: &Rules) -> bool {
        if self.seen.again(key, database) {
            return false;
        }
        let all = &mut self.differences;
        match how {
            How::OnlyLeft => all.only_left += 1,
            How::OnlyRight => all.only_right += 1,
            How::Type => all.different_type += 1,
            How::Differs { value, groups, expiry } => {
                all.different_value += u64::from(value);
                all.different_groups += u64::from(groups);
                all.different_expiry += u64::from(expiry);
            }
        }
        self.examples.len() < rules.examples
    }

    /// Keeps an example.
    pub(crate) fn example(&mut self, database: u32, key: &Bytes, how: How, sides: [Option<String>; 2]) {
        let difference = match how {
            How::OnlyLeft => "onlyLeft".to_owned(),
            How::OnlyRight => "onlyRight".to_owned(),
            How::Type => "type".to_owned(),
            How::Differs { value, groups, expiry } => {
                let words = [(value, "value"), (groups, "groups"), (expiry, "expiry")];
                words.iter().filter(|(is, _)| *is).map(|(_, word)| *word).collect::<Vec<_>>().join(", ")
            }
        };
        let cut = &key[..key.len().min(SHOWN)];
        let more = if key.len() > SHOWN { "…" } else { "" };
        let [left, right] = sides;
        self.examples.push(Example { database, key: format!("{}{more}", cut.escape_ascii()), difference, left, right });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hashed(kind: Kind, value: u128, expiry: Expiry) -> Hashed {
        Hashed { kind, value, expiry, entries: (kind == Kind::Stream).then_some(value >> 8) }
    }

    #[test]
    fn each_difference_is_told_from_the_others() {
        let rules = |expiry, tolerance| Rules {
            filter: KeyFilter::default(),
            expiry,
            tolerance,
            counters: Counters::All,
            examples: 1,
        };
        let exact = rules(ExpiryIn::Exact, 0);
        let here = hashed(Kind::String, 1, Expiry::At(1000));
        let differs = |value, groups, expiry| Some(How::Differs { value, groups, expiry });
        assert_eq!(exact.compare(Some(&here), Some(&here)), None);
        assert_eq!(exact.compare(Some(&here), None), Some(How::OnlyLeft));
        assert_eq!(exact.compare(None, Some(&here)), Some(How::OnlyRight));
        let other = hashed(Kind::Hash, 1, Expiry::At(1000));
        assert_eq!(exact.compare(Some(&here), Some(&other)), Some(How::Type));
        let later = hashed(Kind::String, 1, Expiry::At(1005));
        assert_eq!(exact.compare(Some(&here), Some(&later)), differs(false, false, true));
        assert_eq!(rules(ExpiryIn::Exact, 5).compare(Some(&here), Some(&later)), None);
        assert_eq!(rules(ExpiryIn::Presence, 0).compare(Some(&here), Some(&later)), None);
        let never = hashed(Kind::String, 1, Expiry::Never);
        assert_eq!(rules(ExpiryIn::Presence, 0).compare(Some(&here), Some(&never)), differs(false, false, true));
        assert_eq!(rules(ExpiryIn::Exact, u64::MAX).compare(Some(&here), Some(&never)), differs(false, false, true));
        assert_eq!(rules(ExpiryIn::Ignore, 0).compare(Some(&here), Some(&never)), None);
        let changed = hashed(Kind::String, 2, Expiry::Never);
        assert_eq!(exact.compare(Some(&here), Some(&changed)), differs(true, false, true));
        let [events, groups, entries] = [0x101, 0x102, 0x201].map(|value| hashed(Kind::Stream, value, Expiry::Never));
        assert_eq!(exact.compare(Some(&events), Some(&groups)), differs(false, true, false));
        assert_eq!(exact.compare(Some(&events), Some(&entries)), differs(true, false, false));
    }

    #[test]
    fn a_key_counts_once_and_examples_are_bounded() {
        let rules = Rules {
            filter: KeyFilter::default(),
            expiry: ExpiryIn::Exact,
            tolerance: 0,
            counters: Counters::All,
            examples: 1,
        };
        let mut found = Found::default();
        assert!(found.add(0, b"a", How::OnlyLeft, &rules) && !found.add(0, b"a", How::OnlyLeft, &rules));
        found.example(0, &Bytes::from_static(b"a\0"), How::OnlyLeft, [Some("a string".into()), None]);
        assert!(!found.add(1, b"a", How::Differs { value: true, groups: false, expiry: true }, &rules));
        assert_eq!(found.differences.text(), "1 only on the left, 1 with another value, 1 with another expiry");
        assert_eq!(found.examples[0].text(), r"database 0, `a\x00`: onlyLeft (left: a string; right: nothing)");
    }
}
