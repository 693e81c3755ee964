//! What becomes of each pack.
//!
//! Takes the index, what snapshots need, and what really lies in the store. Always holds: each blob that is needed is counted in
//! exactly one pack that is there and stays or is copied from, and where it is in none, there is no plan; of several such
//! packs with the same blob the one with the least rubbish keeps it, what others keep counted as rubbish: so a copy that an earlier run
//! made counts, and what was done once is not done again.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, HashMap, HashSet};

use aquifer_engine::failure::Failure;
use rustic_core::Id;
use rustic_core::repofile::BlobType;

use super::Bounds;
use crate::restic::index_file::{Catalog, IndexedBlob};
use crate::restic::pack::{PACK, PACK_BLOBS};
use crate::restic::used::Used;
use crate::units::Leftover;

/// What becomes of a pack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fate {
    /// It stays.
    Keep,
    /// Nothing in it is needed.
    Remove,
    /// What is needed in it is to be copied, and then it goes.
    Repack(Vec<IndexedBlob>),
}

/// What is to be done.
#[derive(Debug)]
pub(super) struct Plan {
    /// The snapshots that it is about.
    pub(super) snapshots: BTreeSet<Id>,
    /// In the catalog's order.
    pub(super) fates: Vec<Fate>,
    /// The packs to copy from, in the order in which it is worth most.
    pub(super) repack: Vec<usize>,
    /// Needed blobs of which a pack that goes has a copy too, and the packs in which they stay.
    pub(super) relied_on: Vec<(Id, IndexedBlob)>,
    /// Packs in the store that no index file names, and their sizes in bytes.
    pub(super) unindexed: Vec<(Id, u64)>,
    /// How many bytes the packs have in which nothing is needed.
    pub(super) removable: u64,
    /// How many bytes that no snapshot needs are in packs with others.
    pub(super) rubbish: u64,
    /// How many of those stay even if all is done.
    pub(super) left: u64,
}

/// A pack with needed and unneeded bytes.
struct Candidate {
    number: usize,
    live: Vec<IndexedBlob>,
    live_bytes: u64,
    dead_bytes: u64,
}

/// Decides. `stored`: the sizes of all packs in the store, in bytes.
///
/// # Errors
/// Something that is needed is not there.
pub(super) fn decide(
    catalog: &Catalog,
    mut used: Used,
    stored: &HashMap<Id, u64>,
    bounds: &Bounds,
) -> Result<Plan, Failure> {
    let mut fates = vec![Fate::Remove; catalog.packs.len()];
    let (mut kept_bytes, mut candidates, mut removable) = (0, Vec::new(), 0);
    let mut waiting: BinaryHeap<_> =
        (0..catalog.packs.len()).map(|number| Reverse(rank(catalog, number, &used))).collect();
    while let Some(Reverse(ranked)) = waiting.pop() {
        let number = ranked.number;
        let now = rank(catalog, number, &used);
        if now != ranked {
            // Others have taken some of its blobs since, which are rubbish in it now.
            waiting.push(Reverse(now));
            continue;
        }
        let known = &catalog.packs[number];
        let size = stored.get(&known.pack.id).copied();
        let is_whole = size.is_some_and(|size| size >= known.pack.length());
        let mut needed = |blob: &&IndexedBlob| match blob.kind {
            BlobType::Tree => used.trees.remove(&blob.id),
            BlobType::Data => used.data.remove(&blob.id),
        };
        // What is lost holds nothing: another pack may have the same blobs, stored again since.
        let blobs = known.pack.blobs.iter().filter(|_| is_whole);
        let live: Vec<IndexedBlob> = blobs.filter(|blob| needed(blob)).copied().collect();
        if live.is_empty() {
            removable += size.unwrap_or(0);
            continue;
        }
        let live_bytes: u64 = live.iter().map(|blob| u64::from(blob.length)).sum();
        let total: u64 = known.pack.blobs.iter().map(|blob| u64::from(blob.length)).sum();
        let dead_bytes = total.saturating_sub(live_bytes);
        kept_bytes += live_bytes;
        fates[number] = Fate::Keep;
        if dead_bytes > 0
            || (bounds.repack_small
                && size.is_some_and(|size| size < PACK as u64 / 5 * 4)
                && known.pack.blobs.len() < PACK_BLOBS / 5 * 4)
        {
            candidates.push(Candidate { number, live, live_bytes, dead_bytes });
        }
    }
    let is_missing = |blob: &IndexedBlob| used.trees.contains(&blob.id) || used.data.contains(&blob.id);
    if let Some(lost) = catalog.packs.iter().find(|known| known.pack.blobs.iter().any(is_missing)) {
        return Err(missing(format!(
            "the pack `{}`, which snapshots need, is not there or too short",
            lost.pack.id.to_hex().as_str()
        )));
    }
    if let Some(id) = used.trees.iter().chain(&used.data).next() {
        return Err(missing(format!(
            "the index does not know the blob `{}`, which snapshots need",
            id.to_hex().as_str()
        )));
    }
    let unindexed: Vec<_> = stored.iter().filter(|(id, _)| !catalog.knows(id)).map(|(id, size)| (*id, *size)).collect();
    removable += unindexed.iter().map(|(_, size)| size).sum::<u64>();
    let rubbish = candidates.iter().map(|candidate: &Candidate| candidate.dead_bytes).sum();
    let mut plan = Plan {
        snapshots: BTreeSet::new(),
        relied_on: Vec::new(),
        fates,
        repack: Vec::new(),
        unindexed,
        removable,
        rubbish,
        left: rubbish,
    };
    plan.relied_on = relied_on(catalog, &plan.fates, &candidates);
    choose(&mut plan, candidates, kept_bytes, bounds);
    Ok(plan)
}

/// The copies that stay of blobs that go with other packs.
fn relied_on(catalog: &Catalog, fates: &[Fate], candidates: &[Candidate]) -> Vec<(Id, IndexedBlob)> {
    let packs = || catalog.packs.iter().zip(fates).enumerate();
    let gone = packs().filter(|(_, (_, fate))| **fate == Fate::Remove).flat_map(|(_, (known, _))| &known.pack.blobs);
    let gone: HashSet<(u8, Id)> = gone.map(|blob| (blob.kind as u8, blob.id)).collect();
    if gone.is_empty() {
        return Vec::new();
    }
    let partly: HashMap<usize, &Vec<IndexedBlob>> = candidates.iter().map(|one| (one.number, &one.live)).collect();
    let stays = packs().filter(|(_, (_, fate))| **fate != Fate::Remove).flat_map(|(number, (known, _))| {
        let blobs = partly.get(&number).copied().unwrap_or(&known.pack.blobs);
        blobs.iter().map(|blob| (known.pack.id, *blob))
    });
    stays.filter(|(_, blob)| gone.contains(&(blob.kind as u8, blob.id))).collect()
}

fn missing(what: String) -> Failure {
    Failure::corrupt(format!("{what}; nothing was pruned"))
        .with_help("`restic-check` tells what else is missing; `restic repair index` finds again what is still there")
}

/// In which order packs are asked for what is still needed: those with the smallest share of rubbish first, of two equally good
/// ones the larger, and those that are marked for removal last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    marked: bool,
    /// In parts of a million: enough to tell packs apart.
    rubbish: u64,
    size: Reverse<u64>,
    id: Id,
    number: usize,
}

fn rank(catalog: &Catalog, number: usize, needed: &Used) -> Rank {
    let known = &catalog.packs[number];
    let (mut live, mut total) = (0_u64, 0_u64);
    for blob in &known.pack.blobs {
        let is_needed = if blob.kind == BlobType::Tree { &needed.trees } else { &needed.data }.contains(&blob.id);
        live += if is_needed { u64::from(blob.length) } else { 0 };
        total += u64::from(blob.length);
    }
    let rubbish = (total - live).saturating_mul(1_000_000) / total.max(1);
    Rank { marked: known.marked, rubbish, size: Reverse(total), id: known.pack.id, number }
}

/// Chooses what to copy: the packs with the largest share of rubbish first, until little enough is left.
fn choose(plan: &mut Plan, mut candidates: Vec<Candidate>, kept: u64, bounds: &Bounds) {
    let allowed = match bounds.max_unused {
        Leftover::Unlimited => u64::MAX,
        Leftover::Bytes(bytes) => bytes,
        // A share of what is there afterwards: unused / (unused + kept).
        Leftover::Percent(percent) => {
            let share = f64::from(percent) / 100.0;
            if share >= 1.0 { u64::MAX } else { (kept as f64 * share / (1.0 - share)) as u64 }
        }
    };
    candidates.sort_by_key(|candidate| {
        let share =
            candidate.dead_bytes.saturating_mul(1_000_000) / (candidate.dead_bytes + candidate.live_bytes).max(1);
        (Reverse(share), candidate.live_bytes, candidate.number)
    });
    let mut budget = bounds.max_repack.unwrap_or(u64::MAX);
    let mut chosen: Vec<Candidate> = Vec::new();
    for candidate in candidates {
        let wanted = candidate.dead_bytes == 0 || plan.left > allowed;
        if wanted && candidate.live_bytes <= budget {
            budget -= candidate.live_bytes;
            plan.left -= candidate.dead_bytes;
            chosen.push(candidate);
        }
    }
    for kind in [BlobType::Tree, BlobType::Data] {
        let is_of = |candidate: &Candidate| candidate.live.iter().any(|blob| blob.kind == kind);
        if chosen.iter().filter(|candidate| is_of(candidate)).count() == 1 {
            // One small pack alone would only be written once more as it is.
            chosen.retain(|candidate| candidate.dead_bytes > 0 || !is_of(candidate));
        }
    }
    for candidate in chosen {
        plan.repack.push(candidate.number);
        plan.fates[candidate.number] = Fate::Repack(candidate.live);
    }
}

#[cfg(test)]
mod tests;
