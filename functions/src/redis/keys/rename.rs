//! New names for keys, and two keys that would get the same one.
//!
//! Takes [`RenameRule`]s, the params as users write them. Gives each key's new name by the first rule that fits, and finds
//! out where two different keys of a stream end up under one name. Always holds: a rule gives different keys different
//! names, so two of them can only meet by different routes (another rule or none, another database), and only names that
//! another route leads to are remembered; these are at most [`MOST_REMEMBERED`].

use std::collections::HashSet;
use std::hash::{Hash, Hasher};

use aquifer_engine::function::ParamError;
use bytes::Bytes;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::redis::keys::name_hash::name_hash;
use crate::redis::keys::remembered::MOST_REMEMBERED;

/// The most rules.
const MOST_RULES: usize = 1000;

/// A new name for some keys: either for those that begin with a text, or for those that fit a pattern.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RenameRule {
    /// What the name begins with, as it is (`user:`); an empty text fits every key.
    #[serde(default)]
    pub from: Option<String>,
    /// A pattern with one `*` (`user:*:cart`).
    #[serde(default, rename = "match")]
    pub matching: Option<String>,
    /// What takes the place of `from`; or a pattern with one `*`, which stands for what that of `match` stood for.
    pub to: String,
}

/// A rule: what stands before and behind the part that stays.
#[derive(Debug, Clone)]
struct Rule {
    from: [Vec<u8>; 2],
    to: [Vec<u8>; 2],
}

fn swap(name: &[u8], from: &[Vec<u8>; 2], to: &[Vec<u8>; 2]) -> Option<Vec<u8>> {
    let kept = name.strip_prefix(&from[0][..])?.strip_suffix(&from[1][..])?;
    Some([&to[0], kept, &to[1]].concat())
}

/// Rules in their order.
#[derive(Debug, Clone, Default)]
pub(crate) struct Renames {
    rules: Vec<Rule>,
}

/// By which rule a key got its name; `None` where it kept it.
pub(crate) type ByRule = Option<u16>;

impl Renames {
    /// Checks the params, which stand at `at`.
    ///
    /// # Errors
    /// The rule that is wrong.
    pub(crate) fn new(rules: &[RenameRule], at: &str) -> Result<Self, ParamError> {
        if rules.len() > MOST_RULES {
            return Err(ParamError::new(at, format!("more than {MOST_RULES} rules")));
        }
        let mut all = Vec::with_capacity(rules.len());
        for (place, rule) in rules.iter().enumerate() {
            let wrong = |field: &str, what: &str| Err(ParamError::new(format!("{at}.{place}.{field}"), what));
            let halves = |text: &str| {
                let (before, behind) = text.split_once('*').filter(|(_, behind)| !behind.contains('*'))?;
                Some([before.as_bytes().to_vec(), behind.as_bytes().to_vec()])
            };
            all.push(match (&rule.from, &rule.matching) {
                (Some(from), None) => {
                    Rule { from: [from.as_bytes().to_vec(), Vec::new()], to: [rule.to.as_bytes().to_vec(), Vec::new()] }
                }
                (None, Some(pattern)) if pattern.contains(['?', '[', '\\']) => {
                    return wrong("match", "only `*` is a pattern here, and it stands there once");
                }
                (None, Some(pattern)) => match (halves(pattern), halves(&rule.to)) {
                    (Some(from), Some(to)) => Rule { from, to },
                    (None, _) => return wrong("match", "it must hold `*` once"),
                    (_, None) => return wrong("to", "beside `match` it must hold `*` once"),
                },
                (Some(_), Some(_)) => return wrong("match", "`from` and `match` exclude each other"),
                (None, None) => return wrong("from", "a rule says `from` or `match`"),
            });
        }
        Ok(Self { rules: all })
    }

    /// True where no key is renamed.
    pub(crate) fn none(&self) -> bool {
        self.rules.is_empty()
    }

    /// A key's new name, and the rule that gives it.
    pub(crate) fn apply(&self, key: &[u8]) -> Option<(u16, Bytes)> {
        let mut rules = self.rules.iter().enumerate();
        // There are far fewer rules than a `u16` counts.
        rules.find_map(|(place, rule)| Some((place as u16, swap(key, &rule.from, &rule.to)?.into())))
    }

    /// True where a key that is named otherwise, or by another rule, could get this name, if `wanted` takes that key.
    fn other_leads_to(&self, name: &[u8], by: ByRule, wanted: impl Fn(&[u8]) -> bool) -> bool {
        let kept = by.is_some() && self.apply(name).is_none() && wanted(name);
        kept || self.rules.iter().enumerate().any(|(place, rule)| {
            let place = place as u16;
            Some(place) != by
                && swap(name, &rule.to, &rule.from).is_some_and(|source| {
                    wanted(&source) && self.apply(&source).is_some_and(|(first, _)| first == place)
                })
        })
    }
}

/// A name in 56 bits, and by which route it was reached.
#[derive(Debug, Clone, Copy)]
struct Seen(u64);

impl PartialEq for Seen {
    fn eq(&self, other: &Self) -> bool {
        self.0 >> 8 == other.0 >> 8
    }
}

impl Eq for Seen {}

impl Hash for Seen {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.0 >> 8).hash(state);
    }
}

/// What came of a name that is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Used {
    /// No other key had it, as far as is remembered.
    Free,
    /// Another key of the stream had it.
    Twice,
    /// There are too many to remember.
    TooMany,
}

/// The names that were used.
#[derive(Debug, Default)]
pub(crate) struct Names {
    seen: HashSet<Seen>,
    /// By which rule, and from which database.
    routes: Vec<(ByRule, u32)>,
}

impl Names {
    /// Uses a name. `merged`: keys of another database may get the same one, whatever it is.
    pub(crate) fn take(
        &mut self,
        renames: &Renames,
        (name, target): (&[u8], u32),
        route: (ByRule, u32),
        merged: bool,
        wanted: impl Fn(&[u8]) -> bool,
    ) -> Used {
        if !merged && !renames.other_leads_to(name, route.0, wanted) {
            return Used::Free;
        }
        let number = match self.routes.iter().position(|known| *known == route) {
            Some(number) => number,
            None => {
                self.routes.push(route);
                self.routes.len() - 1
            }
        };
        let Ok(number) = u8::try_from(number) else { return Used::TooMany };
        let seen = Seen(name_hash(name, target, 0) as u64 & !0xff | u64::from(number));
        match self.seen.get(&seen) {
            // By the same route it is the same key, which `SCAN` may have shown twice.
            Some(before) if before.0 == seen.0 => Used::Free,
            Some(_) => Used::Twice,
            None if self.seen.len() >= MOST_REMEMBERED => Used::TooMany,
            None => {
                self.seen.insert(seen);
                Used::Free
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, from_value, json};

    use super::*;

    fn renames(rules: Value) -> Result<Renames, ParamError> {
        Renames::new(&from_value::<Vec<RenameRule>>(rules).expect("sound"), "rename")
    }

    #[test]
    fn the_first_rule_that_fits_names_a_key() {
        let renames = renames(json!([
            {"match": "user:*:cart", "to": "cart:*"},
            {"from": "user:", "to": "u:"},
            {"from": "gone:", "to": ""},
        ]))
        .expect("sound");
        for (key, name) in [
            ("user:7:cart", Some("cart:7")),
            ("user:7", Some("u:7")),
            ("user:cart", Some("u:cart")),
            ("gone:x", Some("x")),
            ("users", None),
        ] {
            let found = renames.apply(key.as_bytes()).map(|(_, name)| name);
            assert_eq!(found.as_deref(), name.map(str::as_bytes), "{key}");
        }
    }

    #[test]
    fn a_rule_that_says_too_little_or_too_much_is_refused_at_its_place() {
        for (rule, place) in [
            (json!({"to": "x"}), "rename.0.from"),
            (json!({"from": "a", "match": "a*", "to": "x*"}), "rename.0.match"),
            (json!({"match": "a", "to": "x*"}), "rename.0.match"),
            (json!({"match": "a**", "to": "x*"}), "rename.0.match"),
            (json!({"match": "a?*", "to": "x*"}), "rename.0.match"),
            (json!({"match": "a*", "to": "x"}), "rename.0.to"),
        ] {
            assert_eq!(renames(json!([rule])).expect_err("wrong").path, place, "{rule}");
        }
    }

    #[test]
    fn names_that_meet_are_found_out_and_others_are_not_even_remembered() {
        let renames =
            renames(json!([{"from": "a:", "to": "b:"}, {"from": "b:", "to": "a:"}, {"from": "c:", "to": "d:"}]))
                .expect("sound");
        let mut names = Names::default();
        let mut take = |key: &[u8], database: u32, merged: bool| {
            let (rule, name) = renames.apply(key).map_or((None, Bytes::copy_from_slice(key)), |(r, n)| (Some(r), n));
            let used = names.take(&renames, (&name, 0), (rule, database), merged, |_| true);
            (used, names.seen.len())
        };
        // Exchanged, so none of these can meet.
        assert_eq!((take(b"a:1", 0, false), take(b"b:1", 0, false)), ((Used::Free, 0), (Used::Free, 0)));
        assert_eq!((take(b"c:1", 0, false), take(b"c:1", 0, false)), ((Used::Free, 1), (Used::Free, 1)));
        assert_eq!(take(b"d:1", 0, false), (Used::Twice, 1));
        assert_eq!((take(b"x", 0, true), take(b"x", 0, true)), ((Used::Free, 2), (Used::Free, 2)));
        assert_eq!(take(b"x", 1, true), (Used::Twice, 2));
        // Whoever leads there is not wanted.
        assert_eq!(names.take(&renames, (b"d:9", 0), (None, 0), false, |key| !key.starts_with(b"c:")), Used::Free);
        assert_eq!(names.seen.len(), 2);
    }
}
