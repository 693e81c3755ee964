//! Which part of a repository's packs a check reads, so that several runs read all of it.
//!
//! Takes what the params say, the moment and the packs' size. Always holds: every pack is in exactly one of the parts, whoever asks
//! and whenever; nothing is remembered between the runs. Up to 256 parts are the ones that restic's `--read-data-subset=n/t` reads.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use aquifer_engine::function::ParamError;
use rustic_core::Id;
use rustic_core::jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::index::bytes;
use crate::units::Size;

/// restic's bound: it goes by the first byte of a pack's id.
const MOST: u32 = 256;

const DAY: i64 = 24 * 3600;

/// A part of all data.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Part {
    /// Which of the parts, from 1 on: the same as restic's `--read-data-subset=NUMBER/OF`.
    #[serde(default)]
    #[schemars(range(min = 1, max = 256))]
    pub number: Option<u32>,
    /// In how many parts the data is cut, up to 256.
    #[serde(default)]
    #[schemars(range(min = 1, max = 256))]
    pub of: Option<u32>,
    /// The next part each day, or each week, by the date in UTC: for a schedule that counts nothing.
    #[serde(default)]
    pub by: Option<By>,
    /// In the place of `of`: as many parts as it takes for each to have about so many bytes. Each has at least one pack, also where that
    /// is larger.
    #[serde(default)]
    pub size: Option<Size>,
}

/// What the number of a part follows from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum By {
    /// The number of the day.
    Day,
    /// The number of the week; weeks begin on Monday.
    Week,
}

/// The part that a run reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Chosen {
    /// Which one, from 1 on.
    pub number: u32,
    /// Of how many.
    pub of: u32,
}

impl fmt::Display for Chosen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "part {} of {}", self.number, self.of)
    }
}

impl Part {
    /// Checks what types cannot say, when the plan is made.
    ///
    /// # Errors
    /// The param that is wrong.
    pub(crate) fn check(&self) -> Result<(), ParamError> {
        let wrong = |path: &str, what: String, help: &str| Err(ParamError::new(path, what).with_help(help));
        let forms = "write `{number: 3, of: 7}`, `{of: 7, by: day}` or `{size: 10GiB, by: day}`";
        match (self.of, self.size) {
            (Some(_), Some(_)) => return wrong("part", "there are an `of` and a `size`".to_owned(), forms),
            (None, None) => return wrong("part", "it does not say how many parts there are".to_owned(), forms),
            (Some(of), None) if of == 0 || of > MOST => {
                return wrong("part.of", format!("{of} parts"), "write a number from 1 to 256");
            }
            (None, Some(Size(0))) => return wrong("part.size", "0 bytes read nothing".to_owned(), forms),
            _ => {}
        }
        match (self.number, self.by, self.of) {
            (Some(_), Some(_), _) => wrong("part", "there are a `number` and a `by`".to_owned(), forms),
            (None, None, _) => wrong("part", "it does not say which part".to_owned(), forms),
            (Some(_), None, None) => {
                let what = "how many parts a `size` makes depends on the repository, so no number names one";
                wrong("part.number", what.to_owned(), "write `by: day` or `by: week` instead")
            }
            (Some(number), None, Some(of)) if number == 0 || number > of => {
                wrong("part.number", format!("there is no part {number} of {of}"), "they are numbered from 1 on")
            }
            _ => Ok(()),
        }
    }

    /// The part that is meant now, of packs that have so many bytes each. By size, it is one that has a pack: where there is none in
    /// the part whose turn it is, the next one's turn comes.
    pub(crate) fn choose(&self, now: Timestamp, packs: &BTreeMap<Id, u64>) -> Chosen {
        let of = match (self.of, self.size) {
            (Some(of), _) => of,
            (None, Some(size)) => {
                let wanted = packs.values().sum::<u64>().div_ceil(size.0.max(1));
                u32::try_from(wanted.min(packs.len() as u64)).unwrap_or(u32::MAX)
            }
            (None, None) => 1,
        }
        .max(1);
        let days = now.as_second().div_euclid(DAY);
        let turn = match self.by {
            // The first of January 1970 was a Thursday.
            Some(By::Week) => (days + 3).div_euclid(7),
            _ => days,
        };
        let by_date = u32::try_from(turn.rem_euclid(of.into())).unwrap_or(0) + 1;
        let number = self.number.unwrap_or(by_date);
        if self.size.is_none() {
            return Chosen { number, of };
        }
        let filled: BTreeSet<u32> = packs.keys().map(|pack| number_of(pack, of)).collect();
        let next = filled.range(number..).next().or(filled.first()).copied();
        Chosen { number: next.unwrap_or(number), of }
    }
}

impl Chosen {
    /// Whether a pack is in it.
    pub(crate) fn takes(self, pack: &Id) -> bool {
        number_of(pack, self.of) == self.number
    }
}

/// The number of the part that a pack is in.
fn number_of(pack: &Id, of: u32) -> u32 {
    let id = bytes(pack);
    let place = if of <= MOST {
        u64::from(id[0])
    } else {
        id.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
    };
    u32::try_from(place % u64::from(of)).unwrap_or(0) + 1
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn part(value: serde_json::Value) -> Part {
        serde_json::from_value(value).expect("of the form")
    }

    #[test]
    fn what_makes_no_sense_is_told() {
        for sound in
            [json!({"number": 7, "of": 7}), json!({"of": 256, "by": "day"}), json!({"size": "1GiB", "by": "week"})]
        {
            assert!(part(sound.clone()).check().is_ok(), "{sound}");
        }
        for wrong in [
            json!({}),
            json!({"of": 7}),
            json!({"number": 1}),
            json!({"number": 8, "of": 7}),
            json!({"number": 0, "of": 7}),
            json!({"number": 1, "of": 257}),
            json!({"by": "day", "of": 0}),
            json!({"by": "day", "number": 1, "of": 2}),
            json!({"by": "day", "of": 2, "size": 5}),
            json!({"number": 1, "size": 5}),
            json!({"by": "day", "size": 0}),
            json!({"by": "day"}),
        ] {
            let told = part(wrong.clone()).check().expect_err("refused");
            assert!(told.path.starts_with("part") && told.help.is_some(), "{wrong}: {told:?}");
        }
    }

    #[test]
    fn days_and_weeks_take_all_parts_in_turn() {
        let at = |text: &str| text.parse::<Timestamp>().expect("a moment");
        let number = |value, text: &str| part(value).choose(at(text), &BTreeMap::new()).number;
        let daily = |text: &str| number(json!({"of": 7, "by": "day"}), text);
        let week = ["2026-11-23", "2026-11-24", "2026-11-25", "2026-11-26", "2026-11-27", "2026-11-28", "2026-11-29"];
        let mut days: Vec<u32> = week.iter().map(|day| daily(&format!("{day}T00:00:00Z"))).collect();
        for (day, number) in week.iter().zip(&days) {
            assert_eq!(daily(&format!("{day}T23:59:59Z")), *number);
        }
        days.sort_unstable();
        assert_eq!(days, [1, 2, 3, 4, 5, 6, 7]);
        let weekly = |text: &str| number(json!({"of": 5, "by": "week"}), text);
        let monday = weekly("2026-11-23T00:00:00Z");
        assert_eq!(weekly("2026-11-29T23:59:59Z"), monday);
        assert_eq!(weekly("2026-11-30T00:00:00Z"), monday % 5 + 1);
        assert!((1..=5).contains(&weekly("1960-01-01T00:00:00Z")));
    }

    #[test]
    fn every_pack_is_in_one_part() {
        let ids: Vec<Id> = (0..2000_u32).map(|number| super::super::seal::id_of(&number.to_be_bytes())).collect();
        for of in [1, 2, 7, 100, 256, 257, 5000] {
            let of_each = |id: &Id| (1..=of).filter(|number| Chosen { number: *number, of }.takes(id)).count();
            assert!(ids.iter().all(|id| of_each(id) == 1), "{of}");
        }
        let packs: BTreeMap<Id, u64> = ids.iter().map(|id| (*id, 10)).collect();
        let size = |bytes| part(json!({"size": bytes, "by": "day"})).choose(Timestamp::UNIX_EPOCH, &packs).of;
        assert_eq!([size(1), size(10), size(6000), size(20_000), size(50_000)], [2000, 2000, 4, 1, 1]);
    }

    #[test]
    fn a_part_by_size_has_a_pack_however_small_it_is() {
        for count in [1_u32, 3, 40, 300] {
            let packs: BTreeMap<Id, u64> =
                (0..count).map(|number| (super::super::seal::id_of(&number.to_be_bytes()), 1 << 24)).collect();
            let mut read: BTreeSet<Id> = BTreeSet::new();
            for day in 0..i64::from(count) {
                let now = Timestamp::from_second(day * DAY).expect("a moment");
                let chosen = part(json!({"size": 1, "by": "day"})).choose(now, &packs);
                let before = read.len();
                let mine: Vec<&Id> = packs.keys().filter(|pack| chosen.takes(pack)).collect();
                assert!(!mine.is_empty(), "{count}: {chosen}");
                read.extend(mine.into_iter().copied());
                assert!(before < packs.len() || read.len() == before);
            }
            assert_eq!(read.len(), packs.len(), "in so many days, all are read");
        }
    }
}
