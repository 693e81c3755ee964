//! Snapshots of one repository to another one, whose key and store are others.
//!
//! Takes snapshots, gives what became of them. Always holds: every blob was opened and compared with its id before it is sealed for
//! the other repository; a snapshot is written there only once everything it names is stored and indexed there; what is there
//! already is not copied again, and which snapshots are the same is judged as restic's `copy` judges it, but that one
//! dump that went into both need not be copied.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use aquifer_engine::failure::Failure;
use bytes::BytesMut;
use futures::TryStreamExt;
use rustic_core::Id;
use rustic_core::jiff::Timestamp;
use rustic_core::repofile::{BlobType, SnapshotFile};
use serde_json::{Map, Value as Json};

use super::blobs::{self, Opener, Span};
use super::fetch::locate;
use super::index::Index;
use super::index_file::IndexedBlob;
use super::lock::Lock;
use super::open::Repo;
use super::pack::Packer;
use super::seal::{Sealed, Worker};
use super::select::{self, Filter};
use super::used::Used;
use super::verify::{VERIFIED_DATA, Verify, verify_copy};

/// A copying from one repository to another.
#[derive(Debug)]
pub(crate) struct Copying {
    from: Repo,
    to: Repo,
    from_index: Index,
    to_index: Index,
    /// What this run has copied.
    done: Used,
    /// The snapshots that are there, by what they were copied from and by their own ids.
    there: HashMap<Id, Vec<SnapshotFile>>,
    /// And by their times.
    moments: HashMap<Timestamp, Vec<SnapshotFile>>,
    verify: Verify,
    /// The lock of the repository that is written.
    lock: Option<Arc<Lock>>,
}

/// What became of a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It is there already.
    There,
    /// It was copied: its new id, and how many bytes that added.
    Copied(Id, u64),
}

impl Copying {
    /// Looks what is there. For blocking threads.
    ///
    /// # Errors
    /// An index or a snapshot cannot be read.
    pub(crate) fn begin(from: Repo, to: Repo, verify: Verify, lock: Option<Arc<Lock>>) -> Result<Self, Failure> {
        let mut there: HashMap<Id, Vec<SnapshotFile>> = HashMap::new();
        let mut moments: HashMap<Timestamp, Vec<SnapshotFile>> = HashMap::new();
        for snapshot in select::all(&to, &Filter::default())? {
            moments.entry(snapshot.time.timestamp()).or_default().push(snapshot.clone());
            if let Some(original) = snapshot.original {
                there.entry(*original).or_default().push(snapshot.clone());
            }
            there.entry(*snapshot.id).or_default().push(snapshot);
        }
        let from_index = Index::load(&from)?;
        // What the other one has lost is copied once more.
        let (to_index, _) = Index::load_of_what_is_there(&to)?;
        Ok(Self { from, to, from_index, to_index, done: Used::default(), there, moments, verify, lock })
    }

    /// Copies a snapshot with all that it needs. For blocking threads.
    ///
    /// # Errors
    /// Something it needs is missing or damaged, or a store cannot be reached. Then there is no such snapshot.
    pub(crate) fn copy(&mut self, snapshot: &SnapshotFile) -> Result<Outcome, Failure> {
        let original = *snapshot.original.unwrap_or(snapshot.id);
        let same_origin = self.there.get(&original).into_iter().flatten();
        // One dump that went into both: they know nothing of each other.
        let same_moment = self.moments.get(&snapshot.time.timestamp()).into_iter().flatten();
        if same_origin.chain(same_moment).any(|one| is_same(one, snapshot)) {
            return Ok(Outcome::There);
        }
        let below = Used::below(&self.from, &self.from_index, [*snapshot.tree], &self.done.trees);
        let needed = self.from.backend().wait(below)?;
        let data: Vec<Id> = needed.data.iter().filter(|id| !self.has(BlobType::Data, id)).copied().collect();
        let trees: Vec<Id> = needed.trees.iter().filter(|id| !self.has(BlobType::Tree, id)).copied().collect();
        // Data first: a tree that is there has everything below it.
        let added = self.send(BlobType::Data, &data)? + self.send(BlobType::Tree, &trees)?;
        self.done.data.extend(data.iter().copied());
        self.done.trees.extend(needed.trees);
        verify_copy(&self.to, *snapshot.tree, &data, self.verify)?;
        let id = self.write(snapshot, &original)?;
        Ok(Outcome::Copied(id, added))
    }

    fn has(&self, kind: BlobType, id: &Id) -> bool {
        let done = if kind == BlobType::Tree { &self.done.trees } else { &self.done.data };
        self.to_index.find(kind, id).is_some() || done.contains(id)
    }

    /// Stores blobs in the other repository; gives how many bytes they have there.
    fn send(&self, kind: BlobType, ids: &[Id]) -> Result<u64, Failure> {
        let mut packer = Packer::new(&self.to, kind);
        let filled = self.located(kind, ids).and_then(|wanted| self.fill(&mut packer, wanted));
        match filled {
            Ok(()) => packer.finish().map(|added| added.stored),
            Err(failure) => {
                self.to.trouble().tell(failure.clone());
                packer.give_up();
                Err(failure)
            }
        }
    }

    /// Where blobs lie, in the order of the packs.
    fn located(&self, kind: BlobType, ids: &[Id]) -> Result<Vec<(Id, IndexedBlob)>, Failure> {
        let mut placed =
            ids.iter().map(|id| locate(&self.from_index, kind, id)).collect::<Result<Vec<_>, Failure>>()?;
        placed.sort_by_key(|(pack, blob)| (*pack, blob.offset));
        Ok(placed)
    }

    fn fill(&self, packer: &mut Packer, wanted: Vec<(Id, IndexedBlob)>) -> Result<(), Failure> {
        let resealing = || Ok(Resealing { from: self.from.clone(), worker: self.to.sealer().worker()? });
        let mut sealed = blobs::read_by(&self.from, blobs::spans(&self.from, wanted), resealing)?;
        while let Some(blobs) = self.from.backend().wait(sealed.try_next())? {
            self.to.trouble().check()?;
            for blob in blobs {
                packer.add(&blob)?;
            }
        }
        Ok(())
    }

    /// Writes the snapshot file: as it was, with what it was copied from.
    fn write(&self, snapshot: &SnapshotFile, original: &Id) -> Result<Id, Failure> {
        let name = format!("snapshots/{}", snapshot.id.to_hex().as_str());
        let backend = self.from.backend();
        let read = backend.wait(backend.read_all(&name))?;
        let no_snapshot = |error| Failure::corrupt(format!("the snapshot `{name}` is no JSON: {error}"));
        // As JSON and not as the library's type, which would lose what it does not know.
        let mut file: Map<String, Json> =
            serde_json::from_slice(&self.from.sealer().open_file(&read)?).map_err(no_snapshot)?;
        file.remove("parent");
        file.insert("original".into(), original.to_hex().as_str().into());
        let tags = file.remove("tags").and_then(|tags| tags.as_array().cloned()).unwrap_or_default();
        // Whether it was read back is a matter of where it lies.
        let mut tags: Vec<Json> = tags.into_iter().filter(|tag| tag != VERIFIED_DATA).collect();
        if self.verify == Verify::Data {
            tags.push(VERIFIED_DATA.into());
        }
        if !tags.is_empty() {
            file.insert("tags".into(), tags.into());
        }
        let json = serde_json::to_vec(&file)
            .map_err(|error| Failure::internal(format!("the snapshot is no JSON: {error}")))?;
        let to = self.to.backend();
        // The last look before the one write that makes it a backup.
        if let Some(lock) = &self.lock {
            to.wait(lock.look())?;
        }
        self.to.trouble().check()?;
        to.check_ended()?;
        to.runtime().block_on(to.save("snapshots", self.to.sealer().seal_file(&json)?))
    }
}

/// Seals for the other repository what was opened.
struct Resealing {
    from: Repo,
    worker: Worker,
}

impl Opener for Resealing {
    type Made = Vec<Sealed>;

    fn open(&mut self, span: &Span, stored: BytesMut) -> Result<Vec<Sealed>, Failure> {
        span.each(stored, |blob, stored| self.worker.reseal(&blob.id, stored, blob.unpacked, self.from.sealer()))
    }
}

/// Whether two snapshots are the same but for what they were made from, and for who read them back.
fn is_same(one: &SnapshotFile, other: &SnapshotFile) -> bool {
    let tags = |snapshot: &SnapshotFile| -> HashSet<String> {
        snapshot.tags.iter().filter(|tag| *tag != VERIFIED_DATA).cloned().collect()
    };
    let paths = |snapshot: &SnapshotFile| -> HashSet<String> { snapshot.paths.iter().cloned().collect() };
    one.time.timestamp() == other.time.timestamp()
        && one.tree == other.tree
        && one.hostname == other.hostname
        && (&one.username, one.uid, one.gid) == (&other.username, other.uid, other.gid)
        && paths(one) == paths(other)
        && tags(one) == tags(other)
}
