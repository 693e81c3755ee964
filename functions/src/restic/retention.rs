//! Which snapshots stay, and the removal of data that none of them needs.
//!
//! Takes rules and snapshots. Always holds: each group is judged by itself, as restic judges it (`keep.rs`), and no group
//! loses its last snapshot; the removal of data is the library's, called only under an exclusive lock, with a listing that was complete.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use aquifer_engine::failure::Failure;
use rustic_core::jiff::Zoned;
use rustic_core::repofile::{BlobType, SnapshotFile};
use rustic_core::{PruneOptions, RusticError};
use schemars::JsonSchema;
use serde::Deserialize;

use super::index::Index;
use super::keep::Keep;
use super::open::Repo;
use super::select::{self, Filter};

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

/// Removes data that no snapshot needs; gives by how many bytes the repository became smaller. Under an exclusive lock only.
///
/// # Errors
/// The store failed; then nothing that is needed has been removed.
pub(crate) fn prune(repo: &Repo) -> Result<u64, Failure> {
    let failed = |error: Box<RusticError>| repo.trouble().failure(&error, "pruning the repository");
    // The library panics where a snapshot's tree is not in the index; and what is damaged is not to be cleared up.
    let index = Index::load(repo)?;
    for snapshot in select::all(repo, &Filter::default())? {
        if index.find(BlobType::Tree, &snapshot.tree).is_none() {
            let id = snapshot.id.to_hex();
            return Err(Failure::corrupt(format!(
                "the index does not know the tree of the snapshot `{}`; nothing was pruned",
                &id.as_str()[..8]
            ))
            .with_help(
                "`restic-check` tells what else is missing; `restic repair index` finds again what is still there",
            ));
        }
    }
    drop(index);
    let mut options = PruneOptions::default();
    // Others have been locked out, so nothing need be kept for them.
    options.instant_delete = true;
    // The library wants larger packs the larger the repository is, and would write all of ours and restic's anew for that alone.
    options.no_resize = true;
    let plan = repo.rustic().prune_plan(&options).map_err(failed)?;
    let size = plan.stats.size_sum();
    let freed = size.remove + size.repackrm + plan.stats.size_unref + plan.stats.size_to_delete.remove;
    repo.rustic().prune(&options, plan).map_err(failed)?;
    repo.trouble().check()?;
    Ok(freed)
}
