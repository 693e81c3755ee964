//! How much is in a repository: what snapshots would restore to, what they take, and what nobody needs.
//!
//! Takes snapshots. Gives the numbers that restic's `stats` gives for them, and what of the packs no snapshot needs. Always holds:
//! each tree is read once, unless there are hard links in it, which count once for each snapshot; memory is some 50 bytes for each
//! blob and file that differ, beside the index.

use std::collections::{HashMap, HashSet};

use aquifer_engine::failure::Failure;
use rustic_core::Id;
use rustic_core::repofile::{BlobType, Node, NodeType, SnapshotFile};
use schemars::JsonSchema;
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::cipher::OVERHEAD;
use super::fetch::read_tree;
use super::index::{Index, bytes};
use super::index_file::{self, entry};
use super::open::Repo;

/// Files and their bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Files {
    /// How many files, folders and others of a tree there are.
    pub files: u64,
    /// How many bytes they have.
    pub bytes: u64,
}

/// What the repository stores.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Stored {
    /// How many blobs: pieces of data, and trees.
    pub blobs: u64,
    /// How many bytes they take, compressed and encrypted.
    pub bytes: u64,
    /// How many they would take without compression.
    pub uncompressed_bytes: u64,
}

/// The repository's packs, whatever snapshots were asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PackFiles {
    /// How many packs there are.
    pub packs: u64,
    /// How many bytes they have.
    pub bytes: u64,
    /// How many of the bytes no snapshot needs: what a prune would free that leaves nothing unused.
    pub unused_bytes: u64,
}

/// All numbers.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Measured {
    pub(crate) restored: Files,
    pub(crate) contents: Files,
    pub(crate) stored: Stored,
    pub(crate) packs: PackFiles,
}

type Blob = (BlobType, Id);

/// Measures `chosen` ones of all snapshots, of which `others` are the rest. For blocking threads.
///
/// # Errors
/// A tree is missing or damaged, or the store cannot be reached.
pub(crate) fn measure(repo: &Repo, chosen: &[SnapshotFile], others: &[SnapshotFile]) -> Result<Measured, Failure> {
    let index = Index::load(repo)?;
    let mut walk = Walk { repo, index: &index, known: HashMap::new(), used: HashSet::new(), contents: HashMap::new() };
    let mut measured = Measured::default();
    for snapshot in chosen {
        let files = walk.snapshot(*snapshot.tree)?;
        measured.restored.files += files.files;
        measured.restored.bytes += files.bytes;
    }
    measured.contents = Files { files: walk.contents.len() as u64, bytes: walk.contents.values().sum() };
    for (kind, id) in &walk.used {
        let place = index.find(*kind, id).ok_or_else(|| unknown(id))?;
        measured.stored.blobs += 1;
        measured.stored.bytes += u64::from(place.length);
        let plain = if place.unpacked > 0 { u64::from(place.unpacked) + OVERHEAD as u64 } else { place.length.into() };
        measured.stored.uncompressed_bytes += plain;
    }
    for snapshot in others {
        walk.mark(*snapshot.tree)?;
    }
    measured.packs = packs(repo, walk.used)?;
    Ok(measured)
}

fn unknown(id: &Id) -> Failure {
    Failure::corrupt(format!("the index does not know the blob `{}`", id.to_hex().as_str()))
        .with_help("`restic-check` tells what else is missing")
}

/// What was seen of the trees so far.
struct Walk<'a> {
    repo: &'a Repo,
    index: &'a Index,
    /// What is below a tree, where that is the same for each snapshot.
    known: HashMap<Id, Files>,
    used: HashSet<Blob>,
    /// The size of each file's content that differs, by a hash of its chunks' ids.
    contents: HashMap<[u8; 32], u64>,
}

/// A tree while it is gone through.
struct Level {
    id: Id,
    nodes: std::vec::IntoIter<Node>,
    files: Files,
    has_links: bool,
}

impl Walk<'_> {
    fn enter(&mut self, id: Id) -> Result<Level, Failure> {
        self.used.insert((BlobType::Tree, id));
        let tree = self.repo.backend().wait(read_tree(self.repo, self.index, &id))?;
        Ok(Level { id, nodes: tree.nodes.into_iter(), files: Files::default(), has_links: false })
    }

    /// What a snapshot would restore to.
    fn snapshot(&mut self, tree: Id) -> Result<Files, Failure> {
        if let Some(files) = self.known.get(&tree) {
            return Ok(*files);
        }
        let mut links = HashSet::new();
        // Trees may be nested deeper than a thread's stack is high.
        let mut levels = vec![self.enter(tree)?];
        loop {
            let Some(level) = levels.last_mut() else { return Ok(Files::default()) };
            let Some(node) = level.nodes.next() else {
                let Some(done) = levels.pop() else { continue };
                if !done.has_links {
                    self.known.insert(done.id, done.files);
                }
                let Some(above) = levels.last_mut() else { return Ok(done.files) };
                above.files.files += done.files.files;
                above.files.bytes += done.files.bytes;
                above.has_links |= done.has_links;
                continue;
            };
            let is_link = node.meta.links > 1 && !matches!(node.node_type, NodeType::Dir);
            level.has_links |= is_link;
            level.files.files += 1;
            // A file that has several names in a snapshot is restored once.
            if !is_link || node.meta.inode == 0 || links.insert((node.meta.device_id, node.meta.inode)) {
                level.files.bytes += node.meta.size;
            }
            self.take_content(&node);
            let Some(subtree) = node.subtree.map(|subtree| *subtree) else { continue };
            match self.known.get(&subtree) {
                Some(files) => {
                    level.files.files += files.files;
                    level.files.bytes += files.bytes;
                }
                None => levels.push(self.enter(subtree)?),
            }
        }
    }

    fn take_content(&mut self, node: &Node) {
        let mut hash = Sha256::new();
        for id in node.content.iter().flatten() {
            hash.update(bytes(id));
            self.used.insert((BlobType::Data, **id));
        }
        self.contents.entry(hash.finalize().into()).or_insert(node.meta.size);
    }

    /// Marks what a snapshot uses.
    fn mark(&mut self, tree: Id) -> Result<(), Failure> {
        let mut waiting = vec![tree];
        while let Some(tree) = waiting.pop() {
            if self.used.contains(&(BlobType::Tree, tree)) {
                continue;
            }
            for node in self.enter(tree)?.nodes {
                self.used.extend(node.content.iter().flatten().map(|id| (BlobType::Data, **id)));
                waiting.extend(node.subtree.map(|subtree| *subtree));
            }
        }
        Ok(())
    }
}

/// The packs that are there, and what of them is not `used`.
fn packs(repo: &Repo, mut used: HashSet<Blob>) -> Result<PackFiles, Failure> {
    let mut sizes = repo.backend().wait(repo.backend().packs())?;
    let mut files = PackFiles { packs: sizes.len() as u64, bytes: sizes.values().sum(), unused_bytes: 0 };
    index_file::each(repo, |_, file| {
        for pack in file.packs {
            // One that two index files name counts once.
            let Some(size) = sizes.remove(&*pack.id) else { continue };
            let (mut unused, mut is_needed) = (0, false);
            for blob in pack.blobs {
                // Of a blob that lies in several packs one is needed.
                if used.remove(&(blob.tpe, *blob.id)) {
                    is_needed = true;
                } else {
                    unused += u64::from(blob.location.length) + entry(blob.location.uncompressed_length.is_some());
                }
            }
            files.unused_bytes += if is_needed { unused } else { size };
        }
        Ok(())
    })?;
    // No index names these.
    files.unused_bytes += sizes.values().sum::<u64>();
    Ok(files)
}
