//! What has to be remembered of a stream until its consumers are told: which entries are there, and what a group has
//! pending.
//!
//! Always holds: at most some 40 MiB are held, whatever the stream has. Above that, nobody is told whether an entry that is
//! pending is still there; and a group with more pending entries than [`MOST_PENDING`] is refused.

use super::visit::Id;

/// Nodes of a stream, and deleted entries in them, that are remembered at most.
const MOST_PLACES: usize = 1 << 18;

/// Entries that one group may have pending.
pub(crate) const MOST_PENDING: u64 = 1 << 20;

/// Entries in one block.
const BLOCK: usize = 4096;

/// Which entries a stream has: the nodes from which none is missing but those that are marked as deleted.
#[derive(Debug, Default)]
pub(super) struct Present {
    nodes: Vec<(Id, Id)>,
    deleted: Vec<Id>,
    too_many: bool,
}

impl Present {
    /// Another entry of a node; `first` where it begins one.
    pub(super) fn add(&mut self, id: Id, first: bool, deleted: bool) {
        if self.nodes.len() + self.deleted.len() >= MOST_PLACES {
            self.too_many = true;
            return;
        }
        match self.nodes.last_mut() {
            Some(node) if !first => node.1 = id,
            _ => self.nodes.push((id, id)),
        }
        if deleted {
            self.deleted.push(id);
        }
    }

    /// Whether an entry that once was there still is; nothing where there were too many to remember.
    pub(super) fn has(&self, id: Id) -> Option<bool> {
        if self.too_many {
            return None;
        }
        let node = self.nodes.partition_point(|node| node.0 <= id).checked_sub(1).and_then(|at| self.nodes.get(at));
        Some(node.is_some_and(|node| id <= node.1) && self.deleted.binary_search(&id).is_err())
    }
}

/// An entry that was delivered and not acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Delivered {
    pub(super) id: Id,
    /// When, in milliseconds.
    pub(super) at: i64,
    /// How often.
    pub(super) times: u64,
}

/// What a group has pending, in the order of the ids.
#[derive(Debug, Default)]
pub(super) struct Pending {
    /// Blocks, so that growing never copies what is there.
    blocks: Vec<Vec<Delivered>>,
}

impl Pending {
    /// Another one; false where it does not come behind the one before.
    pub(super) fn push(&mut self, delivered: Delivered) -> bool {
        match self.blocks.last_mut() {
            Some(block) if block.last().is_some_and(|last| last.id >= delivered.id) => return false,
            Some(block) if block.len() < BLOCK => block.push(delivered),
            _ => {
                let mut block = Vec::with_capacity(if self.blocks.is_empty() { 16 } else { BLOCK });
                block.push(delivered);
                self.blocks.push(block);
            }
        }
        true
    }

    /// The one of this id.
    pub(super) fn find(&self, id: Id) -> Option<Delivered> {
        let block = self.blocks.partition_point(|block| block.first().is_some_and(|first| first.id <= id));
        let block = self.blocks.get(block.checked_sub(1)?)?;
        block.binary_search_by_key(&id, |delivered| delivered.id).ok().map(|at| block[at])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_pending_is_found() {
        let mut pending = Pending::default();
        let delivered = |n: u64| Delivered { id: (n * 2, 7), at: n as i64, times: n };
        for n in 0..10_000 {
            assert!(pending.push(delivered(n)));
        }
        assert!(!pending.push(delivered(9_999)) && !pending.push(delivered(3)));
        for n in [0, 1, 4095, 4096, 9_999] {
            assert_eq!(pending.find((n * 2, 7)), Some(delivered(n)));
            assert_eq!(pending.find((n * 2 + 1, 7)), None);
        }
        assert_eq!(Pending::default().find((0, 0)), None);
    }

    #[test]
    fn an_entry_is_there_or_not() {
        let mut present = Present::default();
        for (id, first, deleted) in [(1, true, false), (2, false, true), (3, false, false), (9, true, false)] {
            present.add((id, 0), first, deleted);
        }
        let there: Vec<u64> = (0..12).filter(|id| present.has((*id, 0)) == Some(true)).collect();
        assert_eq!(there, [1, 3, 9]);
        for id in 10..10 + MOST_PLACES as u64 {
            present.add((id, 0), true, false);
        }
        assert_eq!(present.has((1, 0)), None);
    }
}
