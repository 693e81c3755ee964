//! Reads back what a push or a copy has stored, before its snapshot is written.
//!
//! Takes the chunks of the stream and the tree that names them. Always holds: what the store says now counts, and nothing that is
//! remembered from the writing; after success each chunk of the snapshot, those included that earlier ones had stored, is named by
//! the index as it lies in the store, in a pack that is long enough, and with [`Verify::Data`] was read, opened and found to be what
//! its id says.

use std::collections::HashSet;

use aquifer_engine::failure::{Failure, FailureKind};
use rustic_core::Id;
use rustic_core::repofile::{BlobType, Tree};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::archive::Archived;
use super::fetch::{read_all, read_tree};
use super::index::Index;
use super::open::Repo;
use super::used::Used;

/// What is read back of what was stored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Verify {
    /// Nothing.
    #[default]
    None,
    /// The index, the tree, and how long the packs are.
    Index,
    /// All data of the snapshot too.
    Data,
}

/// The tag of a snapshot of which all data was read back.
pub(crate) const VERIFIED_DATA: &str = "verified:data";

/// Reads back what a push stored. For blocking threads.
///
/// # Errors
/// Something is missing or not what was stored, or the store cannot be reached.
pub(crate) fn verify(repo: &Repo, tree: &Id, archived: &Archived, how: Verify) -> Result<(), Failure> {
    if how == Verify::None {
        return Ok(());
    }
    let whole = |found: &Tree| {
        matches!(&found.nodes[..], [node] if node.meta.size == archived.bytes
            && node.content.iter().flatten().map(|id| **id).eq(archived.content.iter().copied()))
    };
    let checked = Index::load(repo).and_then(|index| {
        let found = repo.backend().wait(read_tree(repo, &index, tree))?;
        if !whole(&found) {
            return Err(Failure::corrupt("the tree is not the one that was stored"));
        }
        let bytes = data(repo, &index, &archived.content, how)?;
        match bytes {
            Some(bytes) if bytes != archived.bytes => {
                Err(Failure::corrupt(format!("{bytes} bytes were read instead of {}", archived.bytes)))
            }
            _ => Ok(()),
        }
    });
    checked.map_err(told)
}

/// Reads back what a snapshot needs that was copied. For blocking threads.
///
/// # Errors
/// Something is missing or not what was stored, or the store cannot be reached.
pub(crate) fn verify_copy(repo: &Repo, tree: Id, needed: &[Id], how: Verify) -> Result<(), Failure> {
    if how == Verify::None {
        return Ok(());
    }
    let checked = Index::load(repo).and_then(|index| {
        // All trees are read, which lie in the new place now.
        let found = repo.backend().wait(Used::below(repo, &index, [tree], &HashSet::new()))?;
        if needed.iter().any(|id| !found.data.contains(id)) {
            return Err(Failure::corrupt("the trees do not name all that was copied"));
        }
        let mut all: Vec<Id> = found.data.into_iter().collect();
        all.sort_by_key(|id| index.find(BlobType::Data, id).map(|place| (place.pack(), place.offset)));
        data(repo, &index, &all, how).map(|_| ())
    });
    checked.map_err(told)
}

fn told(failure: Failure) -> Failure {
    let help = "no snapshot was made; `restic-check` with `readData` tells what else is damaged: look at the disk or the store";
    let damaged = matches!(failure.kind, FailureKind::Corrupt | FailureKind::NotFound);
    let failure = failure.during("reading back what was stored".to_owned());
    if damaged { Failure { kind: FailureKind::Corrupt, ..failure }.with_help(help) } else { failure }
}

/// Looks where the data lies, and reads it where that is wanted; gives how many bytes were read then.
fn data(repo: &Repo, index: &Index, content: &[Id], how: Verify) -> Result<Option<u64>, Failure> {
    let backend = repo.backend();
    let lengths = backend.wait(backend.packs())?;
    for id in content {
        let hex = id.to_hex();
        let place = index.find(BlobType::Data, id);
        let Some((place, pack)) = place.and_then(|place| Some((place, index.pack(place)?))) else {
            return Err(Failure::corrupt(format!("the index does not know the chunk `{}`", hex.as_str())));
        };
        let name = pack.to_hex();
        let wanted = index.length_of_pack(place);
        match lengths.get(&pack) {
            Some(length) if *length >= wanted => {}
            Some(length) => {
                let what = format!("the pack `{}` has {length} bytes, and by the index it has {wanted}", name.as_str());
                return Err(Failure::corrupt(what));
            }
            None => return Err(Failure::corrupt(format!("the pack `{}` is not there", name.as_str()))),
        }
    }
    if how == Verify::Data { backend.wait(read_all(repo, index, content)).map(Some) } else { Ok(None) }
}
