//! Whether a repository's files are all there and fit together, and which snapshots are lost where they do not.
//!
//! Takes the snapshots, and which blobs were found damaged when data was read. Gives what is wrong, in a line each. Always holds: each
//! tree is read once, however many snapshots have it; a snapshot counts as lost where a tree or a piece of data that it needs is
//! missing, unreadable or known as damaged; memory is that of the index, and some 100 bytes a tree and pack.

use std::collections::{BTreeMap, HashMap, HashSet};

use aquifer_engine::failure::{Failure, FailureKind};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use rustic_core::Id;
use rustic_core::repofile::{BlobType, NodeType, SnapshotFile, Tree};

use super::examine::Damaged;
use super::fetch::read_tree;
use super::index::Index;
use super::index_file::IndexedPack;
use super::open::Repo;

/// How many trees are read at once.
const AT_ONCE: usize = 8;

/// How many findings are kept; the rest is counted.
const KEPT: usize = 20;

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Structure {
    /// What is wrong, in one line each; not all where there are many.
    pub(crate) errors: Vec<String>,
    /// How many errors there are.
    pub(crate) count: usize,
    /// The packs that no index names, which does no harm.
    pub(crate) unnamed: Vec<Id>,
    /// The snapshots, by their ids, that cannot be restored whole.
    pub(crate) lost: HashSet<Id>,
}

impl Structure {
    fn find(&mut self, what: impl Into<String>) {
        self.count += 1;
        if self.errors.len() < KEPT {
            self.errors.push(what.into());
        }
    }
}

/// Looks at index, packs and trees. For blocking threads.
///
/// # Errors
/// An index file cannot be read, the store cannot be reached, or the step was stopped. What is wrong with the rest is no error.
pub(crate) fn look(repo: &Repo, snapshots: &[SnapshotFile], damaged: &Damaged) -> Result<Structure, Failure> {
    let mut found = Structure::default();
    let mut named: BTreeMap<Id, u64> = BTreeMap::new();
    // Whatever the index names is in the listing, though others add to both meanwhile.
    let (index, there) = Index::load_and_show(repo, |pack| {
        if let Some(what) = odd(pack) {
            found.find(format!("the index says of the pack `{}` that {what}", hex(&pack.id)));
        }
        let length = named.entry(pack.id).or_default();
        *length = pack.length().max(*length);
    })?;
    let mut lost = HashSet::new();
    for (pack, length) in &named {
        match there.get(pack) {
            Some(size) if size == length => continue,
            Some(size) => {
                found.find(format!("the pack `{}` has {size} bytes, and by the index it has {length}", hex(pack)));
                if size > length {
                    continue;
                }
            }
            None => found.find(format!("the pack `{}` is not there", hex(pack))),
        }
        lost.insert(*pack);
    }
    found.unnamed = there.keys().filter(|pack| !named.contains_key(pack)).copied().collect();
    found.unnamed.sort_unstable();
    let looking = Looking { repo, index: &index, lost: &lost, damaged };
    let broken = repo.backend().wait(looking.trees(snapshots, &mut found))?;
    let is_lost = |snapshot: &&SnapshotFile| broken.contains(&*snapshot.tree);
    found.lost = snapshots.iter().filter(is_lost).map(|snapshot| *snapshot.id).collect();
    Ok(found)
}

fn hex(id: &Id) -> String {
    id.to_hex().as_str().to_owned()
}

/// What cannot be in a pack, if anything.
fn odd(pack: &IndexedPack) -> Option<String> {
    let mut blobs: Vec<_> = pack.blobs.iter().collect();
    blobs.sort_unstable_by_key(|blob| blob.offset);
    let mut end = 0_u64;
    for blob in blobs {
        if blob.kind != pack.blobs[0].kind {
            return Some("it holds both data and trees".to_owned());
        }
        if u64::from(blob.offset) != end {
            return Some(format!("a blob begins at {}, and the one before it ends at {end}", blob.offset));
        }
        end += u64::from(blob.length);
    }
    None
}

/// The way through the trees.
struct Looking<'a> {
    repo: &'a Repo,
    index: &'a Index,
    lost: &'a HashSet<Id>,
    damaged: &'a Damaged,
}

impl Looking<'_> {
    /// The trees with which, or below which, something is wrong.
    async fn trees(&self, snapshots: &[SnapshotFile], found: &mut Structure) -> Result<HashSet<Id>, Failure> {
        let mut seen = HashSet::new();
        let mut waiting: Vec<Id> =
            snapshots.iter().map(|snapshot| *snapshot.tree).filter(|id| seen.insert(*id)).collect();
        // From each tree to those that it is in.
        let mut above: HashMap<Id, Vec<Id>> = HashMap::new();
        let mut broken = Vec::new();
        let mut reading = FuturesUnordered::new();
        loop {
            while reading.len() < AT_ONCE
                && let Some(id) = waiting.pop()
            {
                reading.push(async move { (id, read_tree(self.repo, self.index, &id).await) });
            }
            let Some((id, tree)) = reading.next().await else { break };
            let tree = match tree {
                Ok(tree) => tree,
                Err(failure) if matches!(failure.kind, FailureKind::Corrupt | FailureKind::NotFound) => {
                    found.find(format!("the tree `{}` cannot be read: {}", hex(&id), failure.message));
                    broken.push(id);
                    continue;
                }
                Err(failure) => return Err(failure),
            };
            if !self.is_whole(&id, &tree, found) {
                broken.push(id);
            }
            for subtree in tree.nodes.iter().filter_map(|node| node.subtree) {
                above.entry(*subtree).or_default().push(id);
                if seen.insert(*subtree) {
                    waiting.push(*subtree);
                }
            }
        }
        let mut all: HashSet<Id> = HashSet::new();
        while let Some(id) = broken.pop() {
            if all.insert(id) {
                broken.extend(above.get(&id).into_iter().flatten());
            }
        }
        Ok(all)
    }

    /// Whether all that the nodes of a tree hold is there.
    fn is_whole(&self, id: &Id, tree: &Tree, found: &mut Structure) -> bool {
        let mut is_whole = true;
        for node in &tree.nodes {
            let name = node.name().to_string_lossy().escape_debug().to_string();
            let here = || format!("`{name}` in the tree `{}`", hex(id));
            match (&node.node_type, &node.content, node.subtree) {
                (NodeType::File, None, _) => {
                    found.find(format!("the file {} has no content", here()));
                    is_whole = false;
                }
                (NodeType::File, Some(content), _) => {
                    let unknown = content.iter().filter(|id| self.index.find(BlobType::Data, id).is_none());
                    let (count, first) = (unknown.clone().count(), unknown.clone().next());
                    if let Some(first) = first {
                        let (first, what) = (hex(first), if count == 1 { "a piece" } else { "pieces" });
                        found.find(format!("the index does not know {what} of the file {}: `{first}`", here()));
                    }
                    is_whole &= count == 0 && !content.iter().any(|id| self.is_lost(id));
                }
                (NodeType::Dir, _, None) => {
                    found.find(format!("the folder {} has no tree", here()));
                    is_whole = false;
                }
                _ => {}
            }
        }
        is_whole
    }

    /// Whether a piece of data that the index knows lies in a pack that is lost, or was found damaged. The pack has its own finding.
    fn is_lost(&self, id: &Id) -> bool {
        let pack = self.index.find(BlobType::Data, id).and_then(|place| self.index.pack(place));
        pack.is_some_and(|pack| self.lost.contains(&pack) || self.damaged.contains(&(pack, *id)))
    }
}
