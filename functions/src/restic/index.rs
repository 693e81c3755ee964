//! What a repository's index says: which blobs there are, and where.
//!
//! Takes the index files, gives a lookup. Always holds: packs that are marked for deletion count as gone, for a new snapshot must
//! not lean on what the next prune removes; memory is some 70 bytes a blob, and no more while loading than one index file.

use std::collections::HashMap;

use aquifer_engine::failure::Failure;
use rustic_core::Id;
use rustic_core::repofile::{BlobType, IndexFile};

use super::index_file::{IndexedBlob, IndexedPack};
use super::open::Repo;

/// Where a blob lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    /// Its pack, as a number of this index.
    pack: u32,
    /// Its first byte in the pack.
    pub(crate) offset: u32,
    /// Its length in the pack, in bytes.
    pub(crate) length: u32,
    /// Its length once unpacked, in bytes; 0 where it is not compressed.
    pub(crate) unpacked: u32,
}

impl Place {
    /// Its pack's number: blobs of one pack have the same.
    pub(crate) fn pack(&self) -> u32 {
        self.pack
    }
}

/// All blobs of a repository.
#[derive(Debug, Default)]
pub(crate) struct Index {
    packs: Vec<Id>,
    /// How many bytes each pack has, its header included: more where another index file names more of it.
    lengths: Vec<u64>,
    data: HashMap<Id, Place>,
    trees: HashMap<Id, Place>,
}

impl Index {
    /// Reads all index files.
    ///
    /// # Errors
    /// One cannot be read or is damaged.
    pub(crate) fn load(repo: &Repo) -> Result<Self, Failure> {
        let failed =
            |error: Box<rustic_core::RusticError>| repo.trouble().failure(&error, "reading the repository's index");
        let mut index = Self::default();
        for file in repo.rustic().stream_files::<IndexFile>().map_err(failed)? {
            let (_, file) = file.map_err(failed)?;
            for pack in file.packs {
                index.add(&pack.into(), |_| true)?;
            }
        }
        Ok(index)
    }

    /// The trees alone in these packs, whether or not they are marked: for following snapshots, not for leaning on what is there.
    ///
    /// # Errors
    /// There are over 4 billion packs.
    pub(crate) fn of_trees<'p>(packs: impl Iterator<Item = &'p IndexedPack>) -> Result<Self, Failure> {
        let mut index = Self::default();
        for pack in packs {
            index.add(pack, |blob| blob.kind == BlobType::Tree)?;
        }
        Ok(index)
    }

    fn add(&mut self, pack: &IndexedPack, wanted: impl Fn(&IndexedBlob) -> bool) -> Result<(), Failure> {
        let number =
            u32::try_from(self.packs.len()).map_err(|_| Failure::corrupt("the index names over 4 billion packs"))?;
        self.packs.push(pack.id);
        self.lengths.push(pack.length());
        for blob in pack.blobs.iter().filter(|blob| wanted(blob)) {
            let known = if blob.kind == BlobType::Tree { &mut self.trees } else { &mut self.data };
            let (offset, length, unpacked) = (blob.offset, blob.length, blob.unpacked);
            known.insert(blob.id, Place { pack: number, offset, length, unpacked });
        }
        Ok(())
    }

    /// Where a blob of this kind lies; none where there is no such blob.
    pub(crate) fn find(&self, kind: BlobType, id: &Id) -> Option<Place> {
        if kind == BlobType::Tree { self.trees.get(id) } else { self.data.get(id) }.copied()
    }

    /// How many bytes the pack of a place has at least.
    pub(crate) fn length_of_pack(&self, place: Place) -> u64 {
        self.lengths.get(place.pack as usize).copied().unwrap_or_default()
    }

    /// The pack of a place that this index gave.
    pub(crate) fn pack(&self, place: Place) -> Option<Id> {
        self.packs.get(place.pack as usize).copied()
    }
}

/// An id's bytes, which the library gives only as hexadecimal digits.
pub(crate) fn bytes(id: &Id) -> [u8; 32] {
    let mut bytes = [0; 32];
    // The digits are the library's own: 64 of them, always.
    _ = hex::decode_to_slice(id.to_hex().as_str(), &mut bytes);
    bytes
}
