//! Finds the tree of an earlier snapshot in which nothing but times differs from the one to be stored.
//!
//! Takes the new file's node. Gives the earlier tree's id; the times in it are those of the last change, and a long list of chunks
//! need not be stored once more. Always holds: it only saves room, so whatever cannot be read is passed over, and never stops
//! a backup.

use futures::StreamExt;
use rustic_core::Id;
use rustic_core::repofile::{BlobType, Node, SnapshotFile};

use super::fetch::read_tree;
use super::index::Index;
use super::open::Repo;
use aquifer_engine::failure::Failure;

/// How many snapshot files are read at once.
const AT_ONCE: usize = 8;

/// The tree of the last snapshot of this host that has a file of this name alone, where that file is the same but for its times.
///
/// # Errors
/// The step was stopped.
pub(super) fn unchanged(repo: &Repo, index: &Index, node: &Node, host: &str) -> Result<Option<Id>, Failure> {
    repo.backend().wait(async {
        let Some(tree) = last_tree(repo, node, host).await.filter(|tree| index.find(BlobType::Tree, tree).is_some())
        else {
            return Ok(None);
        };
        let Ok(found) = read_tree(repo, index, &tree).await else { return Ok(None) };
        let [found] = &found.nodes[..] else { return Ok(None) };
        let mut found = found.clone();
        let (meta, now) = (&mut found.meta, &node.meta);
        (meta.mtime, meta.atime, meta.ctime) = (now.mtime, now.atime, now.ctime);
        Ok((found == *node).then_some(tree))
    })
}

async fn last_tree(repo: &Repo, node: &Node, host: &str) -> Option<Id> {
    let path = format!("/{}", node.name().to_string_lossy());
    let names = repo.backend().list("snapshots").await.ok()?;
    let read = |(name, _): (String, u64)| async move {
        let sealed = repo.backend().read_all(&format!("snapshots/{name}")).await.ok()?;
        let json = repo.sealer().open_file(&sealed).ok()?;
        serde_json::from_slice::<SnapshotFile>(&json).ok()
    };
    let mut snapshots = futures::stream::iter(names).map(read).buffer_unordered(AT_ONCE);
    let mut last: Option<SnapshotFile> = None;
    while let Some(snapshot) = snapshots.next().await {
        let same = |snapshot: &SnapshotFile| snapshot.hostname == host && snapshot.paths.iter().eq([&path]);
        if let Some(snapshot) = snapshot.filter(same)
            && last.as_ref().is_none_or(|last| last.time.timestamp() < snapshot.time.timestamp())
        {
            last = Some(snapshot);
        }
    }
    last.map(|last| *last.tree)
}
