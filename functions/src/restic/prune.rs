//! The removal of data that no snapshot needs.
//!
//! In three parts: a sweep of what needs no copying, the copying of what is needed out of packs with rubbish, a sweep of those.
//! Only the sweeps need the repository for themselves; while data is copied, backups go on. Where there is little to copy, all is done
//! under one lock. Always holds: what was decided is not trusted once others could change the repository; nothing is removed unless
//! everything that the snapshots need was found; whatever cuts it off, no snapshot is harmed and the next run goes on where this one
//! ended.

mod plan;
mod repack;
mod sweep;

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;

use aquifer_engine::failure::{Failure, FailureKind};
use aquifer_engine::function::Call;
use bytesize::ByteSize;
use futures::{StreamExt, TryStreamExt};
use rustic_core::repofile::BlobType;
use rustic_core::{FileType, Id};
use tokio::time::Instant;

use self::plan::{Fate, Plan, decide};
use self::repack::{Repacked, repack};
use super::blobs;
use super::index::Index;
use super::index_file::Catalog;
use super::lock::{Kind, Lock, locked};
use super::open::Repo;
use super::select::{self, Filter};
use super::used::Used;
use crate::codec::blocking;
use crate::units::Leftover;

/// How far a prune goes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// How many bytes it copies at the most.
    pub(crate) max_repack: Option<u64>,
    /// What may stay.
    pub(crate) max_unused: Leftover,
    /// Whether small packs become large ones.
    pub(crate) repack_small: bool,
    /// Whether all data may go where there is no snapshot at all.
    pub(crate) allow_empty: bool,
}

impl Default for Bounds {
    /// restic's own.
    fn default() -> Self {
        Self { max_repack: None, max_unused: Leftover::Percent(5.0), repack_small: false, allow_empty: false }
    }
}

/// What a look at the repository says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Outlook {
    /// How many packs there are in which nothing is needed.
    pub(crate) removable_packs: u64,
    /// How many bytes they have.
    pub(crate) removable: u64,
    /// How many bytes that nobody needs are in packs with others.
    pub(crate) rubbish: u64,
    /// How many packs would be copied from, within the bounds.
    pub(crate) repack_packs: u64,
    /// How many bytes would be copied.
    pub(crate) repack: u64,
    /// How many bytes of the rubbish would stay, within the bounds.
    pub(crate) left: u64,
}

/// What a prune did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Pruned {
    /// How many packs were removed.
    pub(crate) removed_packs: u64,
    /// By how many bytes the repository became smaller.
    pub(crate) freed: u64,
    /// How many bytes were copied into new packs.
    pub(crate) repacked: u64,
    /// How many bytes that no snapshot needs are still there.
    pub(crate) unused: u64,
    /// Whether nothing was left to do.
    pub(crate) finished: bool,
}

/// How many bytes are copied while others are kept out: they wait for seconds then, and each lock that is taken costs a fraction of one.
const LITTLE: u64 = 64 << 20;

/// What a prune found and did so far.
#[derive(Debug, Clone, Copy)]
struct Progress {
    first: Outlook,
    /// How many bytes were copied, and what was found after that.
    second: Option<(u64, Outlook)>,
}

impl From<Progress> for Pruned {
    fn from(Progress { first, second }: Progress) -> Self {
        let (copied, last) = second.unwrap_or((0, Outlook { removable_packs: 0, removable: 0, ..first }));
        Self {
            removed_packs: first.removable_packs + last.removable_packs,
            freed: (first.removable + last.removable).saturating_sub(copied),
            repacked: copied,
            unused: last.rubbish,
            finished: last.repack_packs == 0,
        }
    }
}

/// Prunes a repository: `max_time` bounds the copying, `patience` each wait for a lock. `before` says, under the same lock, which
/// snapshots go first: once it is sure that all that the others need is there.
///
/// # Errors
/// The repository is damaged, others keep it locked, or the store cannot be reached.
pub(crate) async fn prune<T: Send + 'static>(
    repo: &Repo,
    bounds: Bounds,
    max_time: Option<Duration>,
    patience: Duration,
    call: &Call,
    before: impl FnOnce(&Repo) -> Result<(T, Vec<Id>), Failure> + Send + 'static,
) -> Result<(T, Pruned), Failure> {
    let until = max_time.map(|time| Instant::now() + time);
    let is_over = || until.is_some_and(|until| Instant::now() >= until);
    let (inner, patience) = (repo.clone(), Some(patience));
    let work = |lock: Option<Arc<Lock>>| {
        blocking(move || {
            // Held until this thread is done, however its step ends.
            let lock = lock;
            let (done, goes) = before(&inner)?;
            Ok((done, begin(&inner, &bounds, until, &goes.into_iter().collect(), lock.as_deref())?))
        })
    };
    let (done, mut progress) = locked(repo, Kind::Exclusive, patience, call, work).await?;
    tell(&progress.first, call);
    if progress.second.is_none() && progress.first.repack_packs > 0 && !is_over() {
        call.info(format!("copying {} out of packs with unneeded data", ByteSize(progress.first.repack)));
        let inner = repo.clone();
        let work = |lock| {
            blocking(move || {
                let _lock = lock;
                let (catalog, plan) = look(&inner, &bounds, &BTreeSet::new())?;
                repack(&inner, &catalog, &plan, until)
            })
        };
        let Repacked { bytes: copied, packs: written } = locked(repo, Kind::Shared, patience, call, work).await?;
        let inner = repo.clone();
        let work = |lock: Option<Arc<Lock>>| {
            blocking(move || {
                let lock = lock;
                let (catalog, plan) = look(&inner, &bounds, &BTreeSet::new())?;
                read_again(&inner, &plan, &written)?;
                sweep(&inner, &bounds, &catalog, &plan, lock.as_deref())
            })
        };
        let second = locked(repo, Kind::Exclusive, patience, call, work).await.map_err(|failure| {
            let help =
                "what was copied until then counts for the next prune; until it, the repository is larger by that";
            if failure.kind == FailureKind::Unavailable { failure.with_help(help) } else { failure }
        })?;
        progress.second = Some((copied, second));
    }
    if let Some((_, second)) = &progress.second {
        tell(second, call);
    }
    Ok((done, progress.into()))
}

/// The first sweep, and where there is little to copy all the rest. Under an exclusive lock.
fn begin(
    repo: &Repo,
    bounds: &Bounds,
    until: Option<Instant>,
    goes: &BTreeSet<Id>,
    lock: Option<&Lock>,
) -> Result<Progress, Failure> {
    let (catalog, plan) = look(repo, bounds, goes)?;
    read_again(repo, &plan, &HashSet::new())?;
    remove_snapshots(repo, goes)?;
    let first = sweep(repo, bounds, &catalog, &plan, lock)?;
    let is_over = until.is_some_and(|until| Instant::now() >= until);
    if first.repack_packs == 0 || first.repack > LITTLE || is_over {
        return Ok(Progress { first, second: None });
    }
    // What was removed is not copied from, so the plan still holds.
    let Repacked { bytes: copied, packs: written } = repack(repo, &catalog, &plan, until)?;
    let (catalog, plan) = look(repo, bounds, &BTreeSet::new())?;
    read_again(repo, &plan, &written)?;
    Ok(Progress { first, second: Some((copied, sweep(repo, bounds, &catalog, &plan, lock)?)) })
}

fn tell(swept: &Outlook, call: &Call) {
    if swept.removable_packs > 0 {
        call.info(format!("removed {} packs of {}", swept.removable_packs, ByteSize(swept.removable)));
    }
}

/// Removes snapshots by their ids. For blocking threads.
///
/// # Errors
/// The store refused it or cannot be reached.
pub(crate) fn remove_snapshots(repo: &Repo, ids: &BTreeSet<Id>) -> Result<(), Failure> {
    let delete = |id: &Id| {
        let name = super::backend::name(FileType::Snapshot, id);
        async move { repo.backend().delete(&name).await }
    };
    let deleted = futures::stream::iter(ids).map(delete).buffer_unordered(AT_ONCE);
    repo.backend().wait(deleted.try_collect::<()>())
}

/// How many snapshots are removed at once.
const AT_ONCE: usize = 8;

/// What the repository is like without the snapshots that go, and what is to be done.
fn look(repo: &Repo, bounds: &Bounds, goes: &BTreeSet<Id>) -> Result<(Catalog, Plan), Failure> {
    // In this order, whatever a snapshot needs is in the index, and whatever the index names is in the listing.
    let mut snapshots = select::all(repo, &Filter::default())?;
    snapshots.retain(|snapshot| !goes.contains(&snapshot.id));
    let catalog = Catalog::load(repo)?;
    let stored = repo.backend().wait(repo.backend().packs())?;
    let index = Index::of_trees(catalog.packs.iter().map(|known| &known.pack), &stored)?;
    for snapshot in &snapshots {
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
    let roots = snapshots.iter().map(|snapshot| *snapshot.tree);
    let used = repo.backend().wait(Used::below(repo, &index, roots, &HashSet::new()))?;
    let mut plan = decide(&catalog, used, &stored, bounds)?;
    plan.snapshots = snapshots.iter().map(|snapshot| *snapshot.id).collect();
    Ok((catalog, plan))
}

fn outlook(plan: &Plan) -> Outlook {
    let repack_bytes = plan.fates.iter().map(|fate| match fate {
        Fate::Repack(live) => live.iter().map(|blob| u64::from(blob.length)).sum(),
        Fate::Keep | Fate::Remove => 0,
    });
    let removable = plan.fates.iter().filter(|fate| **fate == Fate::Remove).count() + plan.unindexed.len();
    Outlook {
        removable_packs: removable as u64,
        removable: plan.removable,
        rubbish: plan.rubbish,
        repack_packs: plan.repack.len() as u64,
        repack: repack_bytes.sum(),
        left: plan.left,
    }
}

/// Looks what a prune would do. For blocking threads.
///
/// # Errors
/// The repository is damaged, or the store cannot be reached.
pub(crate) fn survey(repo: &Repo, bounds: &Bounds) -> Result<Outlook, Failure> {
    look(repo, bounds, &BTreeSet::new()).map(|(_, plan)| outlook(&plan))
}

/// Removes the packs in which nothing is needed; gives what there was to do. Under an exclusive lock.
fn sweep(
    repo: &Repo,
    bounds: &Bounds,
    catalog: &Catalog,
    plan: &Plan,
    lock: Option<&Lock>,
) -> Result<Outlook, Failure> {
    let gone: HashSet<usize> =
        plan.fates.iter().enumerate().filter(|(_, fate)| **fate == Fate::Remove).map(|(number, _)| number).collect();
    let unindexed: Vec<Id> = plan.unindexed.iter().map(|(id, _)| *id).collect();
    // A store that shows no snapshots for a moment, and everything else, is not to lose everything.
    if repo.backend().wait(select::ids(repo))? != plan.snapshots {
        return Err(Failure::unavailable(format!(
            "the snapshots at `{}` are not the same as a moment ago, though it is locked; nothing was removed",
            repo.shown()
        ))
        .with_help("look at the store: does it list files late, or does somebody remove them without a lock? Then run it again"));
    }
    if plan.snapshots.is_empty() && !bounds.allow_empty && !gone.is_empty() {
        return Err(Failure::rejected(format!(
            "there are no snapshots at `{}`: all data would be removed",
            repo.shown()
        ))
        .with_help("where that is what you want, use `restic-prune` with `allowEmpty: true`"));
    }
    // Others may have begun to write under locks of their own, had ours been taken away.
    if let Some(lock) = lock {
        repo.backend().wait(lock.look())?;
    }
    sweep::sweep(repo, catalog, &gone, &unindexed)?;
    Ok(outlook(plan))
}

/// Reads the copies that stay of what goes: of two copies, the sound one might go, and the index alone may say anything. What is in
/// the `written` packs was read when they were.
fn read_again(repo: &Repo, plan: &Plan, written: &HashSet<Id>) -> Result<(), Failure> {
    let mut wanted: Vec<_> = plan.relied_on.iter().filter(|(pack, _)| !written.contains(pack)).copied().collect();
    wanted.sort_by_key(|(pack, blob)| (*pack, blob.offset));
    let mut reads = blobs::verify(repo, blobs::spans(repo, wanted))?;
    while repo
        .backend()
        .wait(reads.try_next())
        .map_err(|failure| {
            failure.during("reading the copy that would stay of what is stored twice; nothing was removed".to_owned())
        })?
        .is_some()
    {}
    Ok(())
}
