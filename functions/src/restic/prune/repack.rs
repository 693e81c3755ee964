//! Copies what is needed out of packs with rubbish into new ones.
//!
//! Takes packs and their needed blobs; gives how far it came. Always holds: each blob is opened and compared with its id before it
//! is copied, as it is stored; nothing is removed here, so being cut off at any moment costs nothing but the copies, and those that
//! the index names by then count for the next run.

use std::collections::HashSet;
use std::pin::pin;

use aquifer_engine::failure::Failure;
use futures::TryStreamExt;
use rustic_core::Id;
use rustic_core::repofile::BlobType;
use tokio::time::Instant;

use super::plan::{Fate, Plan};
use crate::restic::blobs;
use crate::restic::index_file::Catalog;
use crate::restic::open::Repo;
use crate::restic::pack::Packer;
use crate::restic::seal::Sealed;

/// What became of it.
#[derive(Debug, Clone, Default)]
pub(super) struct Repacked {
    /// How many bytes of blobs were copied.
    pub(super) bytes: u64,
    /// The packs that were written.
    pub(super) packs: HashSet<Id>,
}

/// Copies pack by pack until all is done or the time is over. For blocking threads.
///
/// # Errors
/// A blob is damaged, or the store cannot be reached.
pub(super) fn repack(repo: &Repo, catalog: &Catalog, plan: &Plan, until: Option<Instant>) -> Result<Repacked, Failure> {
    let mut packers = (Packer::new(repo, BlobType::Tree), Packer::new(repo, BlobType::Data));
    let copied = copy(repo, catalog, plan, until, &mut packers);
    let (trees, data) = packers;
    match copied {
        Ok(copied) => {
            let (_, mut packs) = trees.finish_with_packs()?;
            packs.extend(data.finish_with_packs()?.1);
            Ok(Repacked { bytes: copied, packs: packs.into_iter().collect() })
        }
        Err(failure) => {
            repo.trouble().tell(failure.clone());
            trees.give_up();
            data.give_up();
            Err(failure)
        }
    }
}

fn copy(
    repo: &Repo,
    catalog: &Catalog,
    plan: &Plan,
    until: Option<Instant>,
    (trees, data): &mut (Packer, Packer),
) -> Result<u64, Failure> {
    let wanted = plan.repack.iter().flat_map(|number| match &plan.fates[*number] {
        Fate::Repack(live) => {
            let mut live = live.clone();
            live.sort_by_key(|blob| blob.offset);
            live.into_iter().map(|blob| (catalog.packs[*number].pack.id, blob)).collect()
        }
        Fate::Keep | Fate::Remove => Vec::new(),
    });
    let mut bytes = 0;
    let mut last = None;
    let mut reads = pin!(blobs::read_stored(repo, blobs::spans(wanted)));
    while let Some((pack, opened)) = repo.backend().wait(reads.try_next())? {
        repo.trouble().check()?;
        if last != Some(pack) {
            // Between two packs: what was copied of half a pack would not let it go.
            if until.is_some_and(|until| Instant::now() >= until) {
                return Ok(bytes);
            }
            last = Some(pack);
        }
        for one in opened {
            let packer = if one.blob.kind == BlobType::Tree { &mut *trees } else { &mut *data };
            bytes += one.stored.len() as u64;
            packer.add(Sealed { id: one.blob.id, bytes: one.stored.into(), unpacked: one.blob.unpacked })?;
        }
    }
    Ok(bytes)
}
