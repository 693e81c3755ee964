//! Reads packs and holds them against the index and their own names.
//!
//! Takes the packs that the index names, or a part of them. Gives what is wrong with them. Always holds: every byte of a pack that
//! counts as read was read, every blob in it was opened and compared with its id, the pack's header says what the index says, and the
//! whole file has the hash that it is named by; what is held in memory is a few reads of at most [`SPAN`] bytes, unless one blob is larger.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use aquifer_engine::failure::{Failure, FailureKind};
use rustic_core::Id;
use rustic_core::repofile::BlobType;
use sha2::{Digest, Sha256};

use super::cipher::{Cipher, OVERHEAD};
use super::index_file::{self, IndexedBlob, IndexedPack};
use super::open::Repo;
use super::part::Chosen;
use super::seal::{ROOM, Unpacker};
use super::sequence::Sequence;

/// How many bytes are read at once.
const SPAN: u64 = 1 << 20;

/// How many packs are read at once.
const AT_ONCE: usize = 4;

/// How many findings are kept; the rest is counted.
const KEPT: usize = 20;

/// The bytes of the length at a pack's end.
const LENGTH: usize = 4;

/// The bytes of a header's longest entry: kind, two lengths, id.
const LONGEST_ENTRY: usize = 1 + 4 + 4 + 32;

/// Packs and the blobs that the index says are in them, in the order in which they lie there.
pub(crate) type Packs = BTreeMap<Id, Vec<IndexedBlob>>;

/// Blobs that were found damaged, each with its pack.
pub(crate) type Damaged = HashSet<(Id, Id)>;

/// What reading packs has shown.
#[derive(Debug, Default)]
pub(crate) struct Examined {
    /// How many packs were read.
    pub(crate) packs: u64,
    /// How many bytes they have.
    pub(crate) bytes: u64,
    /// What is wrong, in one line each; not all where there are many.
    pub(crate) findings: Vec<String>,
    /// How many findings there are.
    pub(crate) count: usize,
    /// The blobs that cannot be had.
    pub(crate) damaged: Damaged,
}

impl Examined {
    fn find(&mut self, what: Vec<String>) {
        self.count += what.len();
        let room = KEPT - self.findings.len();
        self.findings.extend(what.into_iter().take(room));
    }
}

/// The packs that the index names, of a part where one is given.
///
/// # Errors
/// The index cannot be read.
pub(crate) fn indexed(repo: &Repo, part: Option<Chosen>) -> Result<Packs, Failure> {
    let mut packs = Packs::new();
    index_file::each(repo, |_, file| {
        for pack in file.packs.into_iter().filter(|pack| part.is_none_or(|part| part.takes(&pack.id))) {
            let id = *pack.id;
            let known = packs.entry(id).or_default();
            // Several index files may name a pack: with the same blobs, or each with some of them.
            known.extend(IndexedPack::from(pack).blobs);
            known.sort_by_key(|blob| blob.offset);
            known.dedup();
        }
        Ok(())
    })?;
    Ok(packs)
}

/// Reads packs, of which `sizes` are those that are there. For blocking threads.
///
/// # Errors
/// The store cannot be reached, or the step was stopped. What is wrong with the packs is no error.
pub(crate) fn examine(repo: &Repo, packs: Packs, sizes: &BTreeMap<Id, u64>) -> Result<Examined, Failure> {
    let queue = Mutex::new(packs.into_iter());
    let (found, stop) = (Mutex::new(Examined::default()), AtomicBool::new(false));
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).next();
    let work = || -> Result<(), Failure> {
        let (mut unpacker, mut room) = (Unpacker::new()?, Vec::new());
        while let Some((id, blobs)) = next() {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            // That it is missing is found by comparing the index with what is listed.
            let Some(size) = sizes.get(&id).copied() else { continue };
            let read = Reading::new(repo, id, &blobs, size).all(size, &mut room, &mut unpacker);
            room.clear();
            room.shrink_to(ROOM);
            let (what, damaged) = read.inspect_err(|_| stop.store(true, Ordering::Relaxed))?;
            let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
            found.packs += 1;
            found.bytes += size;
            found.find(what);
            found.damaged.extend(damaged.into_iter().map(|blob| (id, blob)));
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        // One that waits for its turn behind answers of whole packs could wait too long.
        let most = repo.backend().store().connections().map_or(AT_ONCE, |most| most.clamp(1, AT_ONCE));
        let workers: Vec<_> = (0..most).map(|_| scope.spawn(work)).collect();
        let ends =
            workers.into_iter().map(|worker| worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        ends.collect::<Vec<_>>().into_iter().collect::<Result<(), Failure>>()
    })?;
    Ok(found.into_inner().unwrap_or_else(PoisonError::into_inner))
}

/// One pack while it is read.
struct Reading<'a> {
    repo: &'a Repo,
    id: Id,
    blobs: &'a [IndexedBlob],
    pack: Sequence<'a>,
    hash: Sha256,
    findings: Vec<String>,
    damaged: Vec<Id>,
}

impl<'a> Reading<'a> {
    fn new(repo: &'a Repo, id: Id, blobs: &'a [IndexedBlob], size: u64) -> Self {
        let name = super::backend::name(rustic_core::FileType::Pack, &id);
        Self {
            repo,
            id,
            blobs,
            pack: Sequence::new(repo.backend(), name, size),
            hash: Sha256::new(),
            findings: Vec::new(),
            damaged: Vec::new(),
        }
    }

    fn find(&mut self, what: impl std::fmt::Display) {
        let id = self.id.to_hex();
        self.findings.push(format!("the pack `{}`: {what}", id.as_str()));
    }

    /// Reads all of it, and gives what is wrong, and the blobs that cannot be had.
    fn all(
        mut self,
        size: u64,
        room: &mut Vec<u8>,
        unpacker: &mut Unpacker,
    ) -> Result<(Vec<String>, Vec<Id>), Failure> {
        // A header that has room for what the index says is held until its end is there; anything longer is none.
        let end = self.blobs.iter().map(|blob| u64::from(blob.offset) + u64::from(blob.length)).max().unwrap_or(0);
        let longest = (LENGTH + OVERHEAD + LONGEST_ENTRY * self.blobs.len()) as u64;
        if size <= end || size - end > longest {
            self.find(format!("it has {size} bytes, and by the index its blobs end at {end}"));
        }
        let (mut at, mut rest) = (0, self.blobs);
        while let Some(first) = rest.first() {
            let (count, length) = together(rest, at, size);
            if count == 0 {
                if u64::from(first.offset) != at {
                    let what =
                        format!("by the index a blob begins at {}, and the one before it ends at {at}", first.offset);
                    self.find(what);
                }
                break;
            }
            if !self.read(length, room)? {
                break;
            }
            for blob in &rest[..count] {
                let bytes = &mut room[(u64::from(blob.offset) - at) as usize..][..blob.length as usize];
                if let Err(failure) = self.repo.sealer().examine(&blob.id, bytes, blob.unpacked, unpacker) {
                    let id = blob.id.to_hex();
                    self.find(format!("the blob `{}` at {}: {}", id.as_str(), blob.offset, failure.message));
                    self.damaged.push(blob.id);
                }
            }
            at += length;
            rest = &rest[count..];
        }
        // Those that were not opened cannot be had either.
        self.damaged.extend(rest.iter().map(|blob| blob.id));
        if self.findings.is_empty() && self.read(size - at, room)? {
            let header = Header { sealed: room, blobs: self.blobs };
            if let Err(what) = header.compare(self.repo.sealer().cipher()) {
                self.find(what);
            }
        }
        if self.findings.is_empty() && self.hash.clone().finalize()[..] != super::index::bytes(&self.id) {
            self.find("its content has another hash than its name");
        }
        Ok((self.findings, self.damaged))
    }

    /// Reads the next bytes; no, and a finding, where they are not there.
    fn read(&mut self, length: u64, room: &mut Vec<u8>) -> Result<bool, Failure> {
        match self.pack.next(length, room) {
            Ok(()) => {
                self.hash.update(&room);
                Ok(true)
            }
            Err(failure) if matches!(failure.kind, FailureKind::Corrupt | FailureKind::NotFound) => {
                self.find(failure.message);
                Ok(false)
            }
            Err(failure) => Err(failure),
        }
    }
}

/// How many of these blobs lie side by side from a place on, within the pack, and are read at once; and how many bytes they have.
fn together(blobs: &[IndexedBlob], at: u64, size: u64) -> (usize, u64) {
    let (mut count, mut length) = (0, 0);
    for blob in blobs {
        let more = u64::from(blob.length);
        let is_next = u64::from(blob.offset) == at + length && at + length + more <= size;
        if !is_next || (count > 0 && length + more > SPAN) {
            break;
        }
        length += more;
        count += 1;
    }
    (count, length)
}

/// What stands behind a pack's blobs, and what should be in it.
struct Header<'a> {
    sealed: &'a [u8],
    blobs: &'a [IndexedBlob],
}

impl Header<'_> {
    /// Compares it with the index.
    fn compare(&self, cipher: &Cipher) -> Result<(), &'static str> {
        let (sealed, length) = self.sealed.split_last_chunk::<LENGTH>().ok_or("it has no header")?;
        if u32::from_le_bytes(*length) as usize != sealed.len() {
            return Err("its header has another length than the index leaves for it");
        }
        let plain = cipher.decrypt(sealed).map_err(|_| "its header is damaged")?;
        let mut rest = &plain[..];
        for blob in self.blobs {
            let fits = entry(&mut rest).is_some_and(|(is_tree, length, unpacked, id)| {
                is_tree == (blob.kind == BlobType::Tree)
                    && length == blob.length
                    && unpacked == blob.unpacked
                    && id == super::index::bytes(&blob.id)
            });
            if !fits {
                return Err("its header names other blobs than the index");
            }
        }
        if rest.is_empty() { Ok(()) } else { Err("its header names more blobs than the index") }
    }
}

/// Takes the next entry of a header ("Pack Format" in restic's design document): whether it is a tree, its length, its length once
/// unpacked or 0, and its id.
fn entry(rest: &mut &[u8]) -> Option<(bool, u32, u32, [u8; 32])> {
    let (&kind, mut bytes) = rest.split_first()?;
    let mut number = || {
        let (number, behind) = bytes.split_first_chunk::<4>()?;
        bytes = behind;
        Some(u32::from_le_bytes(*number))
    };
    let length = number()?;
    let unpacked = match kind {
        0 | 1 => 0,
        2 | 3 => number()?,
        _ => return None,
    };
    let (id, behind) = bytes.split_first_chunk::<32>()?;
    *rest = behind;
    Some((kind % 2 == 1, length, unpacked, *id))
}

#[cfg(test)]
mod tests {
    use rustic_core::repofile::MasterKey;

    use super::super::seal::id_of;
    use super::*;

    #[test]
    fn a_header_names_what_the_index_names() {
        let cipher = Cipher::new(&MasterKey::new()).expect("sound");
        let blob = |number: u8| IndexedBlob {
            id: id_of(&[number]),
            kind: if number % 2 == 1 { BlobType::Tree } else { BlobType::Data },
            offset: 0,
            length: u32::from(number) + 40,
            unpacked: if number > 1 { 70_000 } else { 0 },
        };
        let sealed = |blobs: &[IndexedBlob], more: &[u8]| {
            let mut plain = Vec::new();
            for blob in blobs {
                plain.push(u8::from(blob.kind == BlobType::Tree) + if blob.unpacked > 0 { 2 } else { 0 });
                plain.extend(blob.length.to_le_bytes());
                if blob.unpacked > 0 {
                    plain.extend(blob.unpacked.to_le_bytes());
                }
                plain.extend(super::super::index::bytes(&blob.id));
            }
            plain.extend(more);
            let mut sealed = cipher.encrypt(&plain).expect("sealed");
            sealed.extend((sealed.len() as u32).to_le_bytes());
            sealed
        };
        let blobs: Vec<IndexedBlob> = (0..4).map(blob).collect();
        let compare = |sealed: &[u8]| Header { sealed, blobs: &blobs }.compare(&cipher);
        assert_eq!(compare(&sealed(&blobs, &[])), Ok(()));
        assert!(compare(&sealed(&blobs, &[0])).is_err(), "more");
        assert!(compare(&sealed(&blobs[..3], &[])).is_err(), "less");
        assert!(compare(&sealed(&blobs[..3], &[7; 40])).is_err(), "no kind");
        assert!(compare(&[]).is_err() && compare(&[0; 4]).is_err() && compare(&sealed(&blobs, &[])[1..]).is_err());
        let other: [fn(&mut IndexedBlob); 4] = [
            |blob| blob.kind = BlobType::Tree,
            |blob| blob.length += 1,
            |blob| blob.unpacked += 1,
            |blob| blob.id = id_of(b"other"),
        ];
        for change in other {
            let mut changed = blobs.clone();
            change(&mut changed[2]);
            assert!(compare(&sealed(&changed, &[])).is_err(), "{:?}", changed[2]);
        }
    }
}
