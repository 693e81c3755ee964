//! Which snapshots stay.
//!
//! Takes rules and snapshots. Always holds: each group is judged by itself, as restic judges it (`keep.rs`), and no group
//! loses its last snapshot.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use rustic_core::jiff::Zoned;
use rustic_core::repofile::SnapshotFile;
use schemars::JsonSchema;
use serde::Deserialize;

use super::keep::Keep;

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

/// Snapshots sorted into those that stay, each with why it does, and those that go; oldest first.
#[derive(Debug, Default)]
pub(crate) struct Sorted {
    pub(crate) kept: Vec<(SnapshotFile, Vec<String>)>,
    pub(crate) removed: Vec<SnapshotFile>,
}

/// Sorts snapshots out, each group by itself.
pub(crate) fn sort_out(snapshots: Vec<SnapshotFile>, keep: &Keep, group_by: &[GroupBy]) -> Sorted {
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
    let mut sorted = Sorted::default();
    for mut group in groups.into_values() {
        // Two of the same moment: always in the same order.
        group.sort_by_key(|snapshot| Reverse((snapshot.time.timestamp(), snapshot.id)));
        let reasons = keep.judge(&group, &now);
        for (snapshot, reasons) in group.into_iter().zip(reasons) {
            if reasons.is_empty() { sorted.removed.push(snapshot) } else { sorted.kept.push((snapshot, reasons)) }
        }
    }
    sorted.kept.sort_by_key(|(snapshot, _)| (snapshot.time.timestamp(), snapshot.id));
    sorted.removed.sort_by_key(|snapshot| (snapshot.time.timestamp(), snapshot.id));
    sorted
}
