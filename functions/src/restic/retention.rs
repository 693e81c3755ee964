//! Which snapshots stay, and the removal of data that none of them needs.
//!
//! Takes rules and snapshots. Always holds: each group is judged by itself and its newest snapshot stays; the removal of data is
//! the library's, called only under an exclusive lock, with a listing that was complete.

use std::collections::BTreeMap;
use std::time::Duration;

use aquifer_engine::failure::Failure;
use rustic_core::jiff::{Span, Zoned};
use rustic_core::repofile::{SnapshotFile, StringList};
use rustic_core::{KeepOptions, PruneOptions, RusticError};
use schemars::JsonSchema;
use serde::Deserialize;

use super::open::Repo;

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

    fn options(&self) -> Result<KeepOptions, Failure> {
        // Beyond what the library counts with there are no snapshots either.
        let count = |number: Option<u32>| number.map(|number| i32::try_from(number).unwrap_or(i32::MAX));
        let mut options = KeepOptions::default();
        options.keep_last = count(self.last);
        options.keep_hourly = count(self.hourly);
        options.keep_daily = count(self.daily);
        options.keep_weekly = count(self.weekly);
        options.keep_monthly = count(self.monthly);
        options.keep_yearly = count(self.yearly);
        options.keep_within = match self.within {
            Some(within) => {
                Some(Span::try_from(within).map_err(|_| Failure::config("`keepWithin` is longer than time itself"))?)
            }
            None => None,
        };
        let mut tags = Vec::new();
        for tag in &self.tags {
            let mut list = StringList::default();
            list.add(tag.clone());
            tags.push(list);
        }
        options.keep_tags = tags;
        Ok(options)
    }
}

/// Snapshots sorted into those that stay and those that go.
///
/// # Errors
/// A rule is beyond what can be counted.
pub(crate) fn sort_out(
    repo: &Repo,
    snapshots: Vec<SnapshotFile>,
    keep: &Keep,
    group_by: &[GroupBy],
) -> Result<(Vec<SnapshotFile>, Vec<SnapshotFile>), Failure> {
    let options = keep.options()?;
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
    let (mut kept, mut removed) = (Vec::new(), Vec::new());
    for group in groups.into_values() {
        let judged = options.apply(group, &Zoned::now());
        let judged = judged.map_err(|error| repo.trouble().failure(&error, "applying the rules"))?;
        let newest = judged.iter().map(|one| one.snapshot.time.timestamp()).max();
        for one in judged {
            let is_newest = Some(one.snapshot.time.timestamp()) == newest;
            if one.keep || is_newest { &mut kept } else { &mut removed }.push(one.snapshot);
        }
    }
    removed.sort_by_key(|snapshot| (snapshot.time.timestamp(), snapshot.id));
    Ok((kept, removed))
}

/// Removes data that no snapshot needs; gives by how many bytes the repository became smaller. Under an exclusive lock only.
///
/// # Errors
/// The store failed; then nothing that is needed has been removed.
pub(crate) fn prune(repo: &Repo) -> Result<u64, Failure> {
    let failed = |error: Box<RusticError>| repo.trouble().failure(&error, "pruning the repository");
    let mut options = PruneOptions::default();
    // Others have been locked out, so nothing need be kept for them.
    options.instant_delete = true;
    let plan = repo.rustic().prune_plan(&options).map_err(failed)?;
    let size = plan.stats.size_sum();
    let freed = size.remove + size.repackrm + plan.stats.size_unref + plan.stats.size_to_delete.remove;
    repo.rustic().prune(&options, plan).map_err(failed)?;
    repo.trouble().check()?;
    Ok(freed)
}
