//! Which snapshots stay.
//!
//! Takes rules and snapshots. Always holds: each group is judged by itself, as restic judges it, and its newest snapshot stays, and
//! so does the newest one of which all data was read back;
//! the removal of data is the library's, called only under an exclusive lock, with a listing that was complete.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Duration;

use rustic_core::jiff::{SignedDuration, Timestamp, Zoned};
use rustic_core::repofile::SnapshotFile;
use schemars::JsonSchema;
use serde::Deserialize;

use super::verify::VERIFIED_DATA;

/// What the snapshots of a group agree in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum GroupBy {
    /// The host.
    Host,
    /// The paths.
    Paths,
    /// The tags.
    Tags,
}

/// The rules.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Keep {
    pub(crate) last: Option<u32>,
    pub(crate) hourly: Option<u32>,
    pub(crate) daily: Option<u32>,
    pub(crate) weekly: Option<u32>,
    pub(crate) monthly: Option<u32>,
    pub(crate) yearly: Option<u32>,
    pub(crate) within: Option<Duration>,
    pub(crate) tags: Vec<String>,
}

impl Keep {
    /// True where there is no rule.
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Snapshots sorted into those that stay and those that go.
pub(crate) fn sort_out(
    snapshots: Vec<SnapshotFile>,
    keep: &Keep,
    group_by: &[GroupBy],
) -> (Vec<SnapshotFile>, Vec<SnapshotFile>) {
    let mut groups: BTreeMap<[Vec<String>; 3], Vec<SnapshotFile>> = BTreeMap::new();
    for snapshot in snapshots {
        let part = |by: GroupBy, values: Vec<String>| if group_by.contains(&by) { values } else { Vec::new() };
        let key = [
            part(GroupBy::Host, vec![snapshot.hostname.clone()]),
            part(GroupBy::Paths, snapshot.paths.iter().cloned().collect()),
            part(GroupBy::Tags, snapshot.tags.iter().cloned().collect()),
        ];
        groups.entry(key).or_default().push(snapshot);
    }
    let now = Zoned::now();
    let (mut kept, mut removed) = (Vec::new(), Vec::new());
    for mut group in groups.into_values() {
        // Two of the same moment: always in the same order.
        group.sort_by_key(|snapshot| Reverse((snapshot.time.timestamp(), snapshot.id)));
        let stays = keep.judge(&group, &now);
        for (snapshot, stays) in group.into_iter().zip(stays) {
            if stays { &mut kept } else { &mut removed }.push(snapshot);
        }
    }
    removed.sort_by_key(|snapshot| (snapshot.time.timestamp(), snapshot.id));
    (kept, removed)
}

/// One of the rules that keep the newest snapshot of each of so many hours, days and so on.
struct Calendar {
    left: u32,
    slot: fn(&Zoned) -> [i16; 4],
    last: Option<[i16; 4]>,
}

impl Calendar {
    fn new(count: Option<u32>, slot: fn(&Zoned) -> [i16; 4]) -> Self {
        Self { left: count.unwrap_or(0), slot, last: None }
    }

    /// Whether the next older snapshot stays by this rule.
    fn takes(&mut self, time: &Zoned) -> bool {
        let slot = (self.slot)(time);
        // Later restics than 0.14 also keep the oldest one while the count isn't used up; here it goes like any other.
        let takes = self.left > 0 && self.last != Some(slot);
        if takes {
            self.left -= 1;
            self.last = Some(slot);
        }
        takes
    }
}

// The clock is the one of the snapshot's own offset, which is what restic goes by: the same wherever the rules are applied.

fn hour(time: &Zoned) -> [i16; 4] {
    [time.year(), time.month().into(), time.day().into(), time.hour().into()]
}

fn day(time: &Zoned) -> [i16; 4] {
    [time.year(), time.month().into(), time.day().into(), 0]
}

/// The days around New Year belong to a week of one year only, which need not be the calendar's.
fn week(time: &Zoned) -> [i16; 4] {
    let date = time.date().iso_week_date();
    [date.year(), date.week().into(), 0, 0]
}

fn month(time: &Zoned) -> [i16; 4] {
    [time.year(), time.month().into(), 0, 0]
}

fn year(time: &Zoned) -> [i16; 4] {
    [time.year(), 0, 0, 0]
}

impl Keep {
    /// Which snapshots of a group stay; takes and gives them newest first.
    fn judge(&self, group: &[SnapshotFile], now: &Zoned) -> Vec<bool> {
        let mut rules = [
            Calendar::new(self.hourly, hour),
            Calendar::new(self.daily, day),
            Calendar::new(self.weekly, week),
            Calendar::new(self.monthly, month),
            Calendar::new(self.yearly, year),
        ];
        // A clock that once was wrong must not make everything else look old, so the future doesn't count, as in restic.
        let newest = group.iter().map(|snapshot| snapshot.time.timestamp()).find(|time| *time < now.timestamp());
        let verified = group.iter().position(|snapshot| snapshot.tags.contains(VERIFIED_DATA));
        let judge = |(index, snapshot): (usize, &SnapshotFile)| {
            let mut stays = index == 0 || self.last.is_some_and(|last| index < last as usize);
            // Each rule has to see each snapshot, whether or not another one keeps it already.
            for rule in &mut rules {
                stays |= rule.takes(&snapshot.time);
            }
            stays |= self.within.is_some_and(|within| is_within(snapshot.time.timestamp(), newest, within));
            stays |= self.tags.iter().any(|tag| snapshot.tags.contains(tag));
            // Those behind it may be damaged, for all that anybody has seen.
            stays |= verified == Some(index);
            // Somebody marked it with rustic as one that nobody is to remove.
            stays || snapshot.must_keep(now)
        };
        group.iter().enumerate().map(judge).collect()
    }
}

/// Whether a moment is less than so long before the newest one; all are where nothing can be said.
fn is_within(time: Timestamp, newest: Option<Timestamp>, within: Duration) -> bool {
    let within = SignedDuration::try_from(within).ok();
    let start = newest.zip(within).and_then(|(newest, within)| newest.checked_sub(within).ok());
    start.is_none_or(|start| time > start)
}
