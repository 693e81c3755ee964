//! What becomes of each pack.
//!
//! Takes the index, what snapshots need, and what really lies in the store. Always holds: each blob that is needed is counted in
//! exactly one pack that stays or is copied from, and where it is in none, or that pack is not there, there is no plan; of several
//! packs with the same blob the one with the least rubbish keeps it, so a copy that an earlier run made counts.

use std::cmp::Reverse;
use std::collections::HashMap;

use aquifer_engine::failure::Failure;
use rustic_core::Id;
use rustic_core::repofile::BlobType;

use super::Bounds;
use crate::restic::index_file::{Catalog, IndexedBlob, Known};
use crate::restic::pack::PACK;
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
    /// In the catalog's order.
    pub(super) fates: Vec<Fate>,
    /// The packs to copy from, in the order in which it is worth most.
    pub(super) repack: Vec<usize>,
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
    for number in by_rubbish(catalog, &used) {
        let known = &catalog.packs[number];
        let mut needed = |blob: &&IndexedBlob| match blob.kind {
            BlobType::Tree => used.trees.remove(&blob.id),
            BlobType::Data => used.data.remove(&blob.id),
        };
        let live: Vec<IndexedBlob> = known.pack.blobs.iter().filter(|blob| needed(blob)).copied().collect();
        let size = stored.get(&known.pack.id).copied();
        let Some(last) = live.iter().map(|blob| u64::from(blob.offset) + u64::from(blob.length)).max() else {
            removable += size.unwrap_or(0);
            continue;
        };
        let Some(size) = size.filter(|size| *size >= last) else {
            return Err(missing(format!(
                "the pack `{}`, which snapshots need, is not there or too short",
                known.pack.id.to_hex().as_str()
            )));
        };
        let live_bytes: u64 = live.iter().map(|blob| u64::from(blob.length)).sum();
        let total: u64 = known.pack.blobs.iter().map(|blob| u64::from(blob.length)).sum();
        let dead_bytes = total.saturating_sub(live_bytes);
        kept_bytes += live_bytes;
        fates[number] = Fate::Keep;
        if dead_bytes > 0 || (bounds.repack_small && size < PACK as u64 / 5 * 4) {
            candidates.push(Candidate { number, live, live_bytes, dead_bytes });
        }
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
    let mut plan = Plan { fates, repack: Vec::new(), unindexed, removable, rubbish, left: rubbish };
    choose(&mut plan, candidates, kept_bytes, bounds);
    Ok(plan)
}

fn missing(what: String) -> Failure {
    Failure::corrupt(format!("{what}; nothing was pruned"))
        .with_help("`restic-check` tells what else is missing; `restic repair index` finds again what is still there")
}

/// The packs, those with the smallest share of unneeded bytes first, and those that are marked for removal last.
fn by_rubbish(catalog: &Catalog, used: &Used) -> Vec<usize> {
    let share = |known: &Known| {
        let (mut live, mut total) = (0_u64, 1_u64);
        for blob in &known.pack.blobs {
            let needed = if blob.kind == BlobType::Tree { &used.trees } else { &used.data }.contains(&blob.id);
            live += if needed { u64::from(blob.length) } else { 0 };
            total += u64::from(blob.length);
        }
        // In parts of a million: enough to tell packs apart, and the larger of two equally good ones comes first.
        (known.marked, total.saturating_sub(live).saturating_mul(1_000_000) / total, Reverse(total), known.pack.id)
    };
    let mut packs: Vec<usize> = (0..catalog.packs.len()).collect();
    packs.sort_by_cached_key(|number| share(&catalog.packs[*number]));
    packs
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
    let small = |candidate: &Candidate, kind| candidate.dead_bytes == 0 && candidate.live[0].kind == kind;
    candidates.sort_by_key(|candidate| {
        let share =
            candidate.dead_bytes.saturating_mul(1_000_000) / (candidate.dead_bytes + candidate.live_bytes).max(1);
        (Reverse(share), candidate.live_bytes, candidate.number)
    });
    // One small pack alone would only be written once more as it is.
    let several = |kind| candidates.iter().filter(|candidate| small(candidate, kind)).count() > 1;
    let (trees, data) = (several(BlobType::Tree), several(BlobType::Data));
    let mut budget = bounds.max_repack.unwrap_or(u64::MAX);
    for candidate in candidates {
        let wanted = match candidate.live[0].kind {
            _ if candidate.dead_bytes > 0 => plan.left > allowed,
            BlobType::Tree => trees,
            BlobType::Data => data,
        };
        if !wanted || candidate.live_bytes > budget {
            continue;
        }
        budget -= candidate.live_bytes;
        plan.left -= candidate.dead_bytes;
        plan.repack.push(candidate.number);
        plan.fates[candidate.number] = Fate::Repack(candidate.live);
    }
}

#[cfg(test)]
mod tests;
