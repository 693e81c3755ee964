//! Puts sealed blobs into packs, packs into the store, and what is in them into the index.
//!
//! Takes sealed blobs in order. Gives what was added. Always holds: an index names a pack only once the pack is durable; no more
//! than [`IN_FLIGHT`] packs that are held in memory wait for the store, or [`IN_FOLDER`] files for a disk, and one is being filled; the first upload that fails stops the rest. What was
//! stored before a failure is indexed all the same, so that another attempt need not store it again.

use std::collections::VecDeque;

use aquifer_engine::failure::Failure;
use rustic_core::Id;
use rustic_core::repofile::BlobType;
use tokio::task::JoinHandle;

use super::backend::Backend;
use super::filling::{Filling, Rooms};
use super::index_file::{self, INDEX_BLOBS, IndexedBlob, IndexedPack};
use super::open::Repo;
use super::seal::{Sealed, Sealer};

/// How large a pack becomes, in bytes, before it goes to the store: restic's default.
pub(super) const PACK: usize = 16 << 20;

/// How many blobs a pack has at the most. Other programs of this format count a pack's blobs with 16 bits when they prune.
pub(super) const PACK_BLOBS: usize = 20_000;

/// How many packs may be on their way to a store. With one, the packing waits while a server answers.
const IN_FLIGHT: usize = 2;

/// How many packs a disk may be making durable at once: none of them is held in memory.
const IN_FOLDER: usize = 4;

/// What a run added to a repository.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Added {
    /// How many blobs.
    pub(crate) blobs: u64,
    /// How many bytes they have in the repository.
    pub(crate) stored: u64,
}

/// Fills packs of one kind of blob.
#[derive(Debug)]
pub(crate) struct Packer {
    backend: Backend,
    sealer: Sealer,
    kind: BlobType,
    pack: Option<Filling>,
    blobs: Vec<IndexedBlob>,
    uploads: VecDeque<JoinHandle<Result<IndexedPack, Failure>>>,
    rooms: Rooms,
    stored: Vec<IndexedPack>,
    stored_blobs: usize,
    added: Added,
    packs: Vec<Id>,
}

impl Packer {
    /// For a repository.
    pub(crate) fn new(repo: &Repo, kind: BlobType) -> Self {
        Self {
            backend: repo.backend().clone(),
            sealer: repo.sealer().clone(),
            kind,
            pack: None,
            blobs: Vec::new(),
            uploads: VecDeque::new(),
            rooms: Rooms::default(),
            stored: Vec::new(),
            stored_blobs: 0,
            added: Added::default(),
            packs: Vec::new(),
        }
    }

    /// Adds a blob; sends the pack off once it is full. For blocking threads.
    ///
    /// # Errors
    /// The blob, a pack that was sent off earlier, or an index could not be stored.
    pub(crate) fn add(&mut self, blob: &Sealed) -> Result<(), Failure> {
        let pack = match &mut self.pack {
            Some(pack) => pack,
            none => none.insert(Filling::begin(&self.backend, &self.rooms)?),
        };
        let too_long = |_| Failure::internal("a pack of more than 4 GiB");
        self.blobs.push(IndexedBlob {
            id: blob.id,
            kind: self.kind,
            offset: u32::try_from(pack.length()).map_err(too_long)?,
            length: u32::try_from(blob.bytes.len()).map_err(too_long)?,
            unpacked: blob.unpacked,
        });
        pack.add(&self.backend, &blob.bytes)?;
        self.added.blobs += 1;
        self.added.stored += blob.bytes.len() as u64;
        if pack.length() >= PACK || self.blobs.len() >= PACK_BLOBS { self.send() } else { Ok(()) }
    }

    /// Closes the pack and sends it off, waiting while too many are on their way.
    fn send(&mut self) -> Result<(), Failure> {
        let Some(mut pack) = self.pack.take() else { return Ok(()) };
        let blobs = std::mem::take(&mut self.blobs);
        let header = self.sealer.cipher().encrypt(&header(&blobs))?;
        let length = u32::try_from(header.len()).map_err(|_| Failure::internal("a pack header of more than 4 GiB"))?;
        pack.add(&self.backend, &header)?;
        pack.add(&self.backend, &length.to_le_bytes())?;
        let most = if self.backend.store().folder().is_some() { IN_FOLDER } else { IN_FLIGHT };
        while self.uploads.len() >= most {
            self.wait_for_one()?;
        }
        let backend = self.backend.clone();
        self.uploads.push_back(
            self.backend.runtime().spawn(async move { Ok(IndexedPack { id: pack.store(&backend).await?, blobs }) }),
        );
        Ok(())
    }

    /// Waits for the upload that was started first.
    fn wait_for_one(&mut self) -> Result<(), Failure> {
        let Some(upload) = self.uploads.pop_front() else { return Ok(()) };
        let stored = self.backend.runtime().block_on(upload);
        let stored = stored.map_err(|_| Failure::cancelled("the program is ending"))??;
        self.stored_blobs += stored.blobs.len();
        self.packs.push(stored.id);
        self.stored.push(stored);
        if self.stored_blobs >= INDEX_BLOBS { self.write_index() } else { Ok(()) }
    }

    /// Writes down what is stored.
    fn write_index(&mut self) -> Result<(), Failure> {
        index_file::write(&self.backend, &self.sealer, &self.stored)?;
        self.stored.clear();
        self.stored_blobs = 0;
        Ok(())
    }

    /// Stores and indexes what is left.
    ///
    /// # Errors
    /// A pack or the index could not be stored. What was stored is indexed where that is possible.
    pub(crate) fn finish(self) -> Result<Added, Failure> {
        self.finish_with_packs().map(|(added, _)| added)
    }

    /// As [`Self::finish`]; gives also which packs were stored.
    ///
    /// # Errors
    /// As there.
    pub(crate) fn finish_with_packs(mut self) -> Result<(Added, Vec<Id>), Failure> {
        let done = self.send().and_then(|()| {
            while !self.uploads.is_empty() {
                self.wait_for_one()?;
            }
            self.write_index()
        });
        match done {
            Ok(()) => Ok((self.added, self.packs)),
            Err(failure) => {
                self.give_up();
                Err(failure)
            }
        }
    }

    /// Ends after a failure elsewhere: nothing new is stored, what is on its way is waited for, what is stored is indexed.
    pub(crate) fn give_up(mut self) {
        self.pack = None;
        while !self.uploads.is_empty() {
            // The failure that led here is the one that is told.
            _ = self.wait_for_one();
        }
        _ = self.write_index();
    }
}

/// A pack's header before it is encrypted ("Pack Format" in restic's design document).
fn header(blobs: &[IndexedBlob]) -> Vec<u8> {
    let mut header = Vec::with_capacity(blobs.len() * 41);
    for blob in blobs {
        let tree = u8::from(blob.kind == BlobType::Tree);
        let packed = blob.unpacked > 0;
        header.push(if packed { 2 + tree } else { tree });
        header.extend_from_slice(&blob.length.to_le_bytes());
        if packed {
            header.extend_from_slice(&blob.unpacked.to_le_bytes());
        }
        header.extend_from_slice(&super::index::bytes(&blob.id));
    }
    header
}
