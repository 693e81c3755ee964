//! Copies what is needed out of packs with rubbish into new ones.
//!
//! Takes packs and their needed blobs; gives how far it came. Always holds: each blob is opened and compared with its id before it
//! is copied, as it is stored; nothing is removed here, so being cut off at any moment costs nothing but the copies, and those that
//! the index names by then count for the next run.

use std::collections::HashSet;

use aquifer_engine::failure::Failure;
use bytes::BytesMut;
use futures::TryStreamExt;
use rustic_core::Id;
use rustic_core::repofile::BlobType;
use tokio::time::Instant;

use super::plan::{Fate, Plan};
use crate::restic::blobs::{self, Opener, Span};
use crate::restic::index_file::Catalog;
use crate::restic::open::Repo;
use crate::restic::pack::Packer;
use crate::restic::seal::{Sealed, Unpacker};

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

/// Gives blobs as they are stored, once they were opened.
struct Copying(Repo, Unpacker);

impl Opener for Copying {
    type Made = (Id, Vec<(BlobType, Sealed)>);

    fn open(&mut self, span: &Span, stored: BytesMut) -> Result<Self::Made, Failure> {
        let copies = span.each(stored, |blob, mut stored| {
            let copy = Sealed { id: blob.id, bytes: stored.to_vec(), unpacked: blob.unpacked };
            self.0.sealer().examine(&blob.id, &mut stored, blob.unpacked, &mut self.1)?;
            Ok((blob.kind, copy))
        });
        Ok((span.pack, copies?))
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
    let copying = || Ok(Copying(repo.clone(), Unpacker::new()?));
    let mut reads = blobs::read_by(repo, blobs::spans(repo, wanted), copying)?;
    while let Some((pack, copies)) = repo.backend().wait(reads.try_next())? {
        repo.trouble().check()?;
        if last != Some(pack) {
            // Between two packs: what was copied of half a pack would not let it go.
            if until.is_some_and(|until| Instant::now() >= until) {
                return Ok(bytes);
            }
            last = Some(pack);
        }
        for (kind, copy) in copies {
            let packer = if kind == BlobType::Tree { &mut *trees } else { &mut *data };
            bytes += copy.bytes.len() as u64;
            packer.add(&copy)?;
        }
    }
    Ok(bytes)
}
