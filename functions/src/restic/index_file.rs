//! Index files as they are stored ("Index Files" in restic's design document).
//!
//! Takes packs with what is in them, gives files of a bounded number of blobs; and the other way round all files of a repository, for
//! those who change them. Always holds: a pack that several files name is known once, with all blobs that any of them names in
//! it; memory is some 50 bytes a blob.

use std::collections::{HashMap, HashSet};

use aquifer_engine::failure::Failure;
use futures::{Stream, StreamExt, TryStreamExt};
use rustic_core::repofile::{BlobType, IndexFile, IndexPack};
use rustic_core::{FileType, Id};
use serde::Serialize;

use super::backend::Backend;
use super::cipher::OVERHEAD;
use super::open::Repo;
use super::seal::{Sealer, id_of};

/// How many blobs an index file names at the most; restic's own bound is 50,000.
pub(super) const INDEX_BLOBS: usize = 40_000;

/// A blob in a pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct IndexedBlob {
    /// The SHA-256 of its plain bytes.
    pub(crate) id: Id,
    /// What it holds.
    #[serde(rename = "type")]
    pub(crate) kind: BlobType,
    /// Its first byte in the pack.
    pub(crate) offset: u32,
    /// Its length in the pack, in bytes.
    pub(crate) length: u32,
    /// Its length once unpacked, in bytes; 0 where it is not compressed.
    #[serde(rename = "uncompressed_length", skip_serializing_if = "is_zero")]
    pub(crate) unpacked: u32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the form that serde asks for")]
fn is_zero(length: &u32) -> bool {
    *length == 0
}

impl IndexedBlob {
    /// How many bytes it has once unpacked, or as it is where it is not compressed.
    pub(crate) fn plain(&self) -> u64 {
        if self.unpacked > 0 { self.unpacked.into() } else { self.length.into() }
    }
}

/// A pack, and what is in it.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct IndexedPack {
    /// Its id, which is its name.
    pub(crate) id: Id,
    /// What is in it.
    pub(crate) blobs: Vec<IndexedBlob>,
}

/// What a blob takes in its pack's header, in bytes: kind, length, length once unpacked where it is compressed, id.
pub(crate) fn entry(is_compressed: bool) -> u64 {
    if is_compressed { 41 } else { 37 }
}

impl IndexedPack {
    /// How many bytes the pack has that holds this, with its header ("Pack Format" in restic's design document).
    pub(crate) fn length(&self) -> u64 {
        let blobs: u64 = self.blobs.iter().map(|blob| u64::from(blob.length)).sum();
        let entries: u64 = self.blobs.iter().map(|blob| entry(blob.unpacked > 0)).sum();
        blobs + entries + OVERHEAD as u64 + 4
    }
}

impl From<IndexPack> for IndexedPack {
    fn from(pack: IndexPack) -> Self {
        let blob = |blob: rustic_core::repofile::IndexBlob| IndexedBlob {
            id: *blob.id,
            kind: blob.tpe,
            offset: blob.location.offset,
            length: blob.location.length,
            unpacked: blob.location.uncompressed_length.map_or(0, std::num::NonZeroU32::get),
        };
        Self { id: *pack.id, blobs: pack.blobs.into_iter().map(blob).collect() }
    }
}

/// How many index files are read at once.
const AT_ONCE: usize = 4;

/// The names of the index files that there are.
///
/// # Errors
/// The store cannot be reached.
pub(crate) async fn ids(repo: &Repo) -> Result<Vec<Id>, Failure> {
    let listed = repo.backend().list("index").await?;
    Ok(listed.into_iter().filter_map(|(name, _)| name.parse().ok()).collect())
}

/// These index files, in any order. Each is opened on a thread of its own.
pub(crate) fn read(repo: &Repo, files: Vec<Id>) -> impl Stream<Item = Result<(Id, IndexFile), Failure>> {
    futures::stream::iter(files).map(|id| read_one(repo.clone(), id)).buffer_unordered(AT_ONCE)
}

async fn read_one(repo: Repo, id: Id) -> Result<(Id, IndexFile), Failure> {
    let name = super::backend::name(FileType::Index, &id);
    let sealed = repo.backend().read_all(&name).await?;
    crate::codec::blocking(move || {
        // restic refuses one that is called otherwise, and so does everything here.
        let is_own = if id_of(&sealed) == id {
            Ok(())
        } else {
            Err(Failure::corrupt("its content has another hash than its name"))
        };
        let json = is_own.and_then(|()| repo.sealer().open_file(&sealed));
        let file = json.and_then(|json| {
            serde_json::from_slice(&json).map_err(|error| Failure::corrupt(format!("it is no index: {error}")))
        });
        let file = file.map_err(|failure| {
            let shown = repo.backend().store().shown(&name);
            failure.during(format!("reading the index file `{shown}`")).with_help(
                "keep a copy of the repository as it is; `restic repair index` makes the index anew from the packs",
            )
        })?;
        Ok((id, file))
    })
    .await
}

/// Reads all index files and hands each to `take`, which must not wait. For blocking threads.
///
/// # Errors
/// One cannot be read or is damaged; those of `take`.
pub(crate) fn each(repo: &Repo, mut take: impl FnMut(Id, IndexFile) -> Result<(), Failure>) -> Result<(), Failure> {
    repo.backend().wait(async {
        let mut files = std::pin::pin!(read(repo, ids(repo).await?));
        while let Some((id, file)) = files.try_next().await? {
            take(id, file)?;
        }
        Ok(())
    })
}

/// Writes packs down, in as many files as it takes. For blocking threads.
///
/// # Errors
/// The store refused one or cannot be reached.
pub(super) fn write<'p>(
    backend: &Backend,
    sealer: &Sealer,
    packs: impl IntoIterator<Item = &'p IndexedPack>,
) -> Result<(), Failure> {
    let (mut file, mut blobs) = (Vec::new(), 0);
    for pack in packs {
        blobs += pack.blobs.len();
        file.push(pack);
        if blobs >= INDEX_BLOBS {
            write_one(backend, sealer, &file)?;
            file.clear();
            blobs = 0;
        }
    }
    if file.is_empty() { Ok(()) } else { write_one(backend, sealer, &file) }
}

fn write_one(backend: &Backend, sealer: &Sealer, packs: &[&IndexedPack]) -> Result<(), Failure> {
    #[derive(Serialize)]
    struct File<'p> {
        packs: &'p [&'p IndexedPack],
    }
    let json = serde_json::to_vec(&File { packs })
        .map_err(|error| Failure::internal(format!("the index is no JSON: {error}")))?;
    let sealed = sealer.seal_file(&json)?;
    backend.runtime().block_on(backend.save("index", sealed)).map(|_| ())
}

/// An index file that is in the store.
#[derive(Debug)]
pub(crate) struct Stored {
    /// Its id, which is its name.
    pub(crate) id: Id,
    /// The packs that it names, as numbers of [`Catalog::packs`].
    pub(crate) packs: Vec<usize>,
    /// Whether it marks packs as ones to be removed, as rustic does.
    pub(crate) marks: bool,
}

/// A pack that index files name.
#[derive(Debug)]
pub(crate) struct Known {
    /// What they say.
    pub(crate) pack: IndexedPack,
    /// Whether all that name it mark it as one to be removed.
    pub(crate) marked: bool,
    /// How many index files name it.
    pub(crate) named: u32,
}

/// All index files of a repository.
#[derive(Debug, Default)]
pub(crate) struct Catalog {
    /// The files.
    pub(crate) files: Vec<Stored>,
    /// The packs that they name.
    pub(crate) packs: Vec<Known>,
    numbers: HashMap<Id, usize>,
}

impl Catalog {
    /// Reads all index files.
    ///
    /// # Errors
    /// One cannot be read or is damaged.
    pub(crate) fn load(repo: &Repo) -> Result<Self, Failure> {
        let mut catalog = Self::default();
        each(repo, |id, file| {
            let marks = !file.packs_to_delete.is_empty();
            let packs = file.packs.into_iter().map(|pack| (pack, false));
            let packs = packs.chain(file.packs_to_delete.into_iter().map(|pack| (pack, true)));
            let packs = packs.map(|(pack, marked)| catalog.add(pack.into(), marked)).collect();
            catalog.files.push(Stored { id, packs, marks });
            Ok(())
        })?;
        Ok(catalog)
    }

    pub(super) fn add(&mut self, pack: IndexedPack, marked: bool) -> usize {
        let next = self.packs.len();
        let number = *self.numbers.entry(pack.id).or_insert(next);
        if number == next {
            self.packs.push(Known { pack, marked, named: 1 });
            return number;
        }
        let known = &mut self.packs[number];
        known.named += 1;
        known.marked &= marked;
        if known.pack.blobs != pack.blobs {
            let mut seen: HashSet<(Id, u32)> = known.pack.blobs.iter().map(|blob| (blob.id, blob.offset)).collect();
            known.pack.blobs.extend(pack.blobs.into_iter().filter(|blob| seen.insert((blob.id, blob.offset))));
        }
        number
    }

    /// Whether any index file names a pack.
    pub(crate) fn knows(&self, pack: &Id) -> bool {
        self.numbers.contains_key(pack)
    }
}
