//! The rules by which snapshots stay, and why each of them does: restic's own.
//!
//! Takes the rules and the snapshots of one group, newest first; gives for each why it stays, in restic's words. Always holds: the
//! newest one stays, and so does the newest one of which all data was read back; the same rules give the same choice as the
//! newest restic (`tests/tests/restic/rules.rs`), but for what this keeps beyond it.

use std::borrow::Cow;
use std::fmt;

use rustic_core::jiff::tz::TimeZone;
use rustic_core::jiff::{Timestamp, Zoned};
use rustic_core::repofile::SnapshotFile;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error, Unexpected, Visitor};
use serde::{Deserialize, Deserializer};

use super::span::CalendarSpan;
use super::verify::VERIFIED_DATA;

/// How many of a kind to keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Count {
    /// So many, at least one.
    Of(u32),
    /// All.
    Unlimited,
}

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NumberOrWord;
        impl Visitor<'_> for NumberOrWord {
            type Value = Count;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number from 1 on, or `unlimited` (leave it out where nothing is to be kept by it)")
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<Count, E> {
                let count = u32::try_from(number).ok().filter(|count| *count > 0);
                count.map(Count::Of).ok_or_else(|| E::invalid_value(Unexpected::Unsigned(number), &self))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Count, E> {
                match text.parse() {
                    _ if text == "unlimited" => Ok(Count::Unlimited),
                    Ok(count) if count > 0 => Ok(Count::Of(count)),
                    _ => Err(E::invalid_value(Unexpected::Str(text), &self)),
                }
            }
        }
        deserializer.deserialize_any(NumberOrWord)
    }
}

impl JsonSchema for Count {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Count".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": ["integer", "string"], "minimum": 1, "pattern": "^(unlimited|[1-9][0-9]*)$"})
    }
}

/// The kinds of the calendar, each with what tells one of its spans from another.
///
/// The clock is the one of the snapshot's own offset, which is what restic goes by: the same wherever the rules are applied.
const KINDS: [(&str, SlotOf); 5] = [
    ("hourly", |time| [time.year(), time.month().into(), time.day().into(), time.hour().into()]),
    ("daily", |time| [time.year(), time.month().into(), time.day().into(), 0]),
    // The days around New Year belong to a week of one year only, which need not be the calendar's.
    ("weekly", |time| {
        let date = time.date().iso_week_date();
        [date.year(), date.week().into(), 0, 0]
    }),
    ("monthly", |time| [time.year(), time.month().into(), 0, 0]),
    ("yearly", |time| [time.year(), 0, 0, 0]),
];

/// What tells a span of the calendar from others of its kind.
type Slot = [i16; 4];

type SlotOf = fn(&Zoned) -> Slot;

/// The rules. Arrays are in the order of hours, days, weeks, months and years.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Keep {
    /// So many of the newest.
    pub(crate) last: Option<Count>,
    /// The last one of so many of each kind.
    pub(crate) of_each: [Option<Count>; 5],
    /// All that are less than so long before the newest one.
    pub(crate) within: Option<CalendarSpan>,
    /// The last one of each kind among those that are less than so long before the newest one.
    pub(crate) each_within: [Option<CalendarSpan>; 5],
    /// Those that have all tags of one of these: `a,b` is both, and nothing is no tag at all.
    pub(crate) tags: Vec<String>,
}

/// A rule that keeps the last one of each span of the calendar.
struct Rule {
    name: String,
    slot: SlotOf,
    /// How many it may still keep; none where there is no end to it.
    left: Option<u32>,
    /// What it is about: what is newer than this.
    after: Option<Timestamp>,
    last: Option<Slot>,
}

impl Rule {
    /// Why the next older snapshot stays by this rule, if it does.
    fn takes(&mut self, time: &Zoned, is_oldest: bool) -> Option<String> {
        if self.left == Some(0) || self.after.is_some_and(|after| time.timestamp() <= after) {
            return None;
        }
        let slot = (self.slot)(time);
        let is_new = self.last != Some(slot);
        // While the rule could keep more, it keeps the oldest one too, so that the history reaches as far back as it can.
        if !is_new && !is_oldest {
            return None;
        }
        self.last = Some(slot);
        self.left = self.left.map(|left| left - 1);
        Some(if is_new { self.name.clone() } else { format!("oldest {}", self.name) })
    }
}

impl Keep {
    /// True where there is no rule.
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    fn rules(&self, newest: Option<&Zoned>, local: &TimeZone) -> Vec<Rule> {
        let counted = KINDS.iter().zip(self.of_each).filter_map(|((kind, slot), count)| {
            let left = match count? {
                Count::Of(count) => Some(count),
                Count::Unlimited => None,
            };
            Some(Rule { name: format!("{kind} snapshot"), slot: *slot, left, after: None, last: None })
        });
        let within = KINDS.iter().zip(self.each_within).filter_map(|((kind, slot), span)| {
            let span = span?;
            let after = newest.and_then(|newest| span.before(newest, local));
            Some(Rule { name: format!("{kind} within {span}"), slot: *slot, left: None, after, last: None })
        });
        counted.chain(within).collect()
    }

    /// Why each snapshot of a group stays; takes and gives them newest first. What has no reason goes. `now` has this machine's
    /// time zone.
    pub(crate) fn judge(&self, group: &[SnapshotFile], now: &Zoned) -> Vec<Vec<String>> {
        // A clock that once was wrong must not make everything else look old, so the future doesn't count, as in restic.
        let newest = group.iter().map(|snapshot| &snapshot.time).find(|time| time.timestamp() < now.timestamp());
        let mut rules = self.rules(newest, now.time_zone());
        // The newest of all, and the newest that is not of the future: whoever makes one of the future is not to displace the real ones.
        let is_verified = |snapshot: &&SnapshotFile| snapshot.tags.contains(VERIFIED_DATA);
        let is_past = |snapshot: &&SnapshotFile| snapshot.time.timestamp() < now.timestamp();
        let place = |found: Option<&SnapshotFile>| found.map(|found| found.id);
        let verified = [place(group.iter().find(is_verified)), place(group.iter().filter(is_past).find(is_verified))];
        let newest_past = group.iter().position(|snapshot| is_past(&snapshot));
        let judge = |(index, snapshot): (usize, &SnapshotFile)| {
            let mut reasons: Vec<String> =
                self.tags.iter().filter(|tags| has_tags(snapshot, tags)).map(|tags| tag_reason(tags)).collect();
            if let Some(span) = self.within {
                let after = newest.and_then(|newest| span.before(newest, now.time_zone()));
                if after.is_none_or(|after| snapshot.time.timestamp() > after) {
                    reasons.push(format!("within {span}"));
                }
            }
            match self.last {
                Some(Count::Of(last)) if index >= last as usize => {}
                None => {}
                Some(_) => reasons.push("last snapshot".to_owned()),
            }
            // Each rule has to see each snapshot, whether or not another one keeps it already.
            for rule in &mut rules {
                reasons.extend(rule.takes(&snapshot.time, index + 1 == group.len()));
            }
            // Somebody marked it with rustic as one that nobody is to remove.
            if snapshot.must_keep(now) {
                reasons.push("marked as one to keep".to_owned());
            }
            // Those behind it may be damaged, for all that anybody has seen.
            if verified.contains(&Some(snapshot.id)) {
                reasons.push(format!("newest with {VERIFIED_DATA}"));
            }
            if index == 0 && reasons.is_empty() {
                reasons.push("newest of its group".to_owned());
            }
            if newest_past == Some(index) && reasons.is_empty() {
                reasons.push("newest that is not of the future".to_owned());
            }
            reasons
        };
        group.iter().enumerate().map(judge).collect()
    }
}

/// Whether a snapshot has all of these tags (`a,b`); nothing stands for no tags at all.
pub(crate) fn has_tags(snapshot: &SnapshotFile, tags: &str) -> bool {
    if tags.is_empty() {
        return snapshot.tags.iter().next().is_none();
    }
    tags.split(',').all(|tag| snapshot.tags.contains(tag))
}

fn tag_reason(tags: &str) -> String {
    format!("has tags [{}]", tags.split(',').collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_is_a_number_or_a_word() {
        let read = |value: serde_json::Value| serde_json::from_value::<Count>(value);
        for (value, count) in
            [(7.into(), Count::Of(7)), ("7".into(), Count::Of(7)), ("unlimited".into(), Count::Unlimited)]
        {
            assert_eq!(read(value).expect("sound"), count);
        }
        for wrong in [0.into(), (-1).into(), "0".into(), "all".into(), "".into(), 5_000_000_000_u64.into()] {
            let told = read(wrong).expect_err("refused").to_string();
            assert!(told.contains("`unlimited`"), "{told}");
        }
    }
}
