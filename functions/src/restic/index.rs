//! What a repository's index says: which blobs there are, and where.
//!
//! Takes the index files, gives a lookup. Always holds: packs that are marked for deletion count as gone, for a new snapshot must
//! not lean on what the next prune removes; of several packs with the same blob one is named that is there; memory is some 70 bytes
//! a blob and place, and no more while loading than a few index files.

use std::collections::HashMap;

use aquifer_engine::failure::Failure;
use futures::TryStreamExt;
use rustic_core::Id;
use rustic_core::repofile::BlobType;

use super::index_file::{self, IndexedBlob, IndexedPack};
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
    /// The other places of blobs that lie in several packs, until it is known which of those are there.
    others: HashMap<(BlobType, Id), Vec<Place>>,
}

impl Index {
    /// Reads all index files. Of blobs that lie in several packs the place is one that is there, if any is.
    ///
    /// # Errors
    /// An index file cannot be read or is damaged.
    pub(crate) fn load(repo: &Repo) -> Result<Self, Failure> {
        repo.backend().wait(async {
            let mut index = Self::read(repo, index_file::ids(repo).await?, |_| {}).await?;
            // Without such blobs there is no choice, and nothing to list.
            if !index.others.is_empty() {
                let there = repo.backend().packs().await?;
                let lost = index.lost(|pack| there.get(pack).copied());
                index.choose(&lost, false);
            }
            Ok(index)
        })
    }

    /// Reads all index files and leaves out what lies in packs that are not there or too short: for those who store what is missing.
    /// Gives also how many packs these are.
    ///
    /// # Errors
    /// An index file cannot be read or is damaged, or the packs cannot be listed.
    pub(crate) fn load_of_what_is_there(repo: &Repo) -> Result<(Self, u64), Failure> {
        repo.backend().wait(async {
            // The listing begins once it is known which index files count: all packs that they name had been stored by then.
            let files = index_file::ids(repo).await?;
            let (mut index, there) = futures::try_join!(Self::read(repo, files, |_| {}), repo.backend().packs())?;
            let lost = index.lost(|pack| there.get(pack).copied());
            let mut packs: Vec<Id> =
                index.packs.iter().zip(&lost).filter(|(_, lost)| **lost).map(|(id, _)| *id).collect();
            packs.sort_unstable();
            packs.dedup();
            index.choose(&lost, true);
            Ok((index, packs.len() as u64))
        })
    }

    /// As [`Self::load`]; shows each pack as an index file names it, those included that are marked for deletion, and gives also the
    /// packs that are there, with their sizes in bytes.
    ///
    /// # Errors
    /// An index file cannot be read or is damaged, or the packs cannot be listed.
    pub(crate) fn load_and_show(
        repo: &Repo,
        show: impl FnMut(&IndexedPack),
    ) -> Result<(Self, HashMap<Id, u64>), Failure> {
        repo.backend().wait(async {
            let files = index_file::ids(repo).await?;
            let (mut index, there) = futures::try_join!(Self::read(repo, files, show), repo.backend().packs())?;
            let lost = index.lost(|pack| there.get(pack).copied());
            index.choose(&lost, false);
            Ok((index, there))
        })
    }

    async fn read(repo: &Repo, files: Vec<Id>, mut show: impl FnMut(&IndexedPack)) -> Result<Self, Failure> {
        let mut index = Self::default();
        let mut files = std::pin::pin!(index_file::read(repo, files));
        while let Some((_, file)) = files.try_next().await? {
            for pack in file.packs {
                let pack = pack.into();
                show(&pack);
                index.add(&pack, |_| true)?;
            }
            file.packs_to_delete.into_iter().for_each(|pack| show(&pack.into()));
        }
        Ok(index)
    }

    /// Which of its packs are not `there`, or shorter than they must be.
    fn lost(&self, there: impl Fn(&Id) -> Option<u64>) -> Vec<bool> {
        let packs = self.packs.iter().zip(&self.lengths);
        packs.map(|(id, length)| there(id).is_none_or(|size| size < *length)).collect()
    }

    /// Names for each blob a place that is not lost; where there is none, a lost one, or it is left out.
    fn choose(&mut self, lost: &[bool], leave_out: bool) {
        let others = std::mem::take(&mut self.others);
        if !lost.contains(&true) {
            return;
        }
        let is_lost = |place: &Place| lost.get(place.pack as usize).copied().unwrap_or(true);
        for (kind, known) in [(BlobType::Data, &mut self.data), (BlobType::Tree, &mut self.trees)] {
            known.retain(|id, place| {
                if is_lost(place) {
                    let other = others.get(&(kind, *id)).into_iter().flatten().find(|other| !is_lost(other));
                    match other {
                        Some(other) => *place = *other,
                        None => return !leave_out,
                    }
                }
                true
            });
        }
    }

    /// The trees alone in these packs, whether or not they are marked: for following snapshots, not for leaning on what is there. Of
    /// several places one is named that is `there`.
    ///
    /// # Errors
    /// There are over 4 billion packs.
    pub(crate) fn of_trees<'p>(
        packs: impl Iterator<Item = &'p IndexedPack>,
        there: &HashMap<Id, u64>,
    ) -> Result<Self, Failure> {
        let mut index = Self::default();
        for pack in packs {
            index.add(pack, |blob| blob.kind == BlobType::Tree)?;
        }
        let lost = index.lost(|pack| there.get(pack).copied());
        index.choose(&lost, false);
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
            let before = known.insert(blob.id, Place { pack: number, offset, length, unpacked });
            if let Some(before) = before.filter(|before| self.packs[before.pack as usize] != pack.id) {
                self.others.entry((blob.kind, blob.id)).or_default().push(before);
            }
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
