//! Which blobs snapshots need.
//!
//! Takes trees, gives all trees below them and all data that files in them have. Always holds: a tree that cannot be read is a
//! failure, for what nobody counts as needed is removed; each tree is read once, and no more than [`AT_ONCE`] at a time.

use std::collections::HashSet;

use aquifer_engine::failure::Failure;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use rustic_core::Id;

use super::fetch::read_tree;
use super::index::Index;
use super::open::Repo;

/// How many trees are read at once.
const AT_ONCE: usize = 8;

/// What snapshots need.
#[derive(Debug, Default)]
pub(crate) struct Used {
    /// Their trees.
    pub(crate) trees: HashSet<Id>,
    /// What is in their files.
    pub(crate) data: HashSet<Id>,
}

impl Used {
    /// Follows trees down to the files, but for those below trees that are `known`.
    ///
    /// # Errors
    /// A tree is missing or damaged, or the store cannot be reached.
    pub(crate) async fn below(
        repo: &Repo,
        index: &Index,
        roots: impl IntoIterator<Item = Id>,
        known: &HashSet<Id>,
    ) -> Result<Self, Failure> {
        let mut used = Self::default();
        let mut waiting: Vec<Id> =
            roots.into_iter().filter(|id| !known.contains(id) && used.trees.insert(*id)).collect();
        let mut reading = FuturesUnordered::new();
        loop {
            while reading.len() < AT_ONCE
                && let Some(id) = waiting.pop()
            {
                reading.push(async move { read_tree(repo, index, &id).await });
            }
            let Some(tree) = reading.next().await else { return Ok(used) };
            for node in tree?.nodes {
                if let Some(id) = node.subtree
                    && !known.contains(&*id)
                    && used.trees.insert(*id)
                {
                    waiting.push(*id);
                }
                used.data.extend(node.content.iter().flatten().map(|id| **id));
            }
        }
    }
}
