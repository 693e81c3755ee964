//! Removes packs, once no index file names them any more.
//!
//! Takes the index and which of its packs go. Always holds: at every moment the index files in the store name every pack that
//! stays; a pack is removed only after the last index file that named it; where a run is cut off, the next one finds what is left.

use std::collections::HashSet;

use aquifer_engine::failure::Failure;
use futures::{StreamExt, TryStreamExt};
use rustic_core::{FileType, Id};

use crate::restic::backend;
use crate::restic::index_file::{self, Catalog, INDEX_BLOBS, Stored};
use crate::restic::open::Repo;
use crate::restic::seal::id_of;

/// How many files are removed at once.
const AT_ONCE: usize = 16;

/// How many small index files there may be before they become one.
const SMALL_FILES: usize = 16;

/// Removes packs of the catalog by their numbers, and others by their ids. For blocking threads, under an exclusive lock.
///
/// # Errors
/// The store refused something or cannot be reached.
pub(super) fn sweep(repo: &Repo, catalog: &Catalog, gone: &HashSet<usize>, unindexed: &[Id]) -> Result<(), Failure> {
    let backend = repo.backend();
    let changed = changed(catalog, gone);
    if changed.is_empty() && gone.is_empty() && unindexed.is_empty() {
        return Ok(());
    }
    // A server that removes nothing says so now, and not once new index files have been written each time.
    remove(repo, FileType::Index, std::iter::once(id_of(b"an index file that is not there")))?;
    let mut written = HashSet::new();
    let stays = |number: &&usize| !gone.contains(number) && written.insert(**number);
    let stay: Vec<usize> = changed.iter().flat_map(|file| &file.packs).filter(stays).copied().collect();
    if !changed.is_empty() {
        let packs = stay.iter().map(|number| &catalog.packs[*number].pack);
        index_file::write(backend, repo.sealer(), packs)?;
    }
    // The last look before anything goes.
    repo.trouble().check()?;
    backend.check_ended()?;
    remove(repo, FileType::Index, changed.iter().map(|file| file.id))?;
    let packs = gone.iter().map(|number| catalog.packs[*number].pack.id);
    remove(repo, FileType::Pack, packs.chain(unindexed.iter().copied()))
}

/// The index files that are to be written anew: those that name what goes, that mark packs, that name what others name too,
/// and small ones where there are many.
fn changed<'c>(catalog: &'c Catalog, gone: &HashSet<usize>) -> Vec<&'c Stored> {
    let blobs = |file: &Stored| file.packs.iter().map(|pack| catalog.packs[*pack].pack.blobs.len()).sum::<usize>();
    let is_small = |file: &Stored| blobs(file) < INDEX_BLOBS / 4;
    let many = catalog.files.iter().filter(|file| is_small(file)).count() > SMALL_FILES;
    let is_changed = |file: &&Stored| {
        let touched = |pack: &usize| gone.contains(pack) || catalog.packs[*pack].named > 1;
        file.marks || file.packs.iter().any(touched) || (many && is_small(file))
    };
    catalog.files.iter().filter(is_changed).collect()
}

fn remove(repo: &Repo, kind: FileType, ids: impl Iterator<Item = Id>) -> Result<(), Failure> {
    let delete = |id| async move { repo.backend().delete(&backend::name(kind, &id)).await };
    let deleted = futures::stream::iter(ids).map(delete).buffer_unordered(AT_ONCE);
    repo.backend().wait(deleted.try_collect::<()>())
}
