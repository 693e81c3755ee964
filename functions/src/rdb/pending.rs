//! What has to be remembered of a stream until its consumers are told: which entries are there, and what a group has
//! pending.
//!
//! Always holds: at most some 40 MiB are held, and rarely more than ten, whatever the stream has. Above that, nobody is told whether an entry that is
//! pending is still there; and a group with more pending entries than [`MOST_PENDING`] is refused.

use super::visit::Id;

/// Nodes of a stream, and deleted entries in them, that are remembered at most.
const MOST_PLACES: usize = 1 << 18;

/// Entries that one group may have pending.
pub(crate) const MOST_PENDING: u64 = 1 << 20;

/// Entries in one block.
const BLOCK: usize = 128;

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

/// What a group has pending, in the order of the ids: in blocks, of which all but the first entry are kept as differences
/// to the one before, since they are few bytes then.
#[derive(Debug, Default)]
pub(super) struct Pending {
    blocks: Vec<(Delivered, Box<[u8]>)>,
    /// The block that is being filled: its first entry, its last one, how many it has, and the differences.
    first: Option<(Delivered, Delivered, usize)>,
    rest: Vec<u8>,
}

impl Pending {
    /// Another one; false where it does not come behind the one before.
    pub(super) fn push(&mut self, delivered: Delivered) -> bool {
        match &mut self.first {
            Some((_, last, _)) if last.id >= delivered.id => return false,
            Some((_, last, count)) if *count < BLOCK => {
                let same = last.id.0 == delivered.id.0;
                // The second half of an id begins anew where the first half is another.
                write(&mut self.rest, delivered.id.0.wrapping_sub(last.id.0));
                write(&mut self.rest, delivered.id.1.wrapping_sub(if same { last.id.1 } else { 0 }));
                let time = delivered.at.wrapping_sub(last.at);
                write(&mut self.rest, (time.wrapping_shl(1) ^ (time >> 63)) as u64);
                write(&mut self.rest, delivered.times);
                (*last, *count) = (delivered, *count + 1);
            }
            begun => {
                if let Some((first, _, _)) = begun.replace((delivered, delivered, 1)) {
                    self.blocks.push((first, self.rest.as_slice().into()));
                    self.rest.clear();
                }
            }
        }
        true
    }

    /// The one of this id.
    pub(super) fn find(&self, id: Id) -> Option<Delivered> {
        let (mut delivered, mut rest) = match &self.first {
            Some((first, _, _)) if first.id <= id => (*first, &self.rest[..]),
            _ => {
                let at = self.blocks.partition_point(|block| block.0.id <= id).checked_sub(1)?;
                self.blocks.get(at).map(|block| (block.0, &block.1[..]))?
            }
        };
        while delivered.id < id {
            let further = read(&mut rest)?;
            let second = read(&mut rest)?;
            let time = read(&mut rest)?;
            delivered = Delivered {
                id: (
                    delivered.id.0.wrapping_add(further),
                    second.wrapping_add(if further == 0 { delivered.id.1 } else { 0 }),
                ),
                at: delivered.at.wrapping_add((time >> 1) as i64 ^ -((time & 1) as i64)),
                times: read(&mut rest)?,
            };
        }
        Some(delivered).filter(|delivered| delivered.id == id)
    }
}

/// Writes a number in seven bits for each byte.
fn write(out: &mut Vec<u8>, mut number: u64) {
    while number > 0x7f {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn read(from: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = from.split_first()?;
        *from = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if *byte < 0x80 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_pending_is_found() {
        let mut pending = Pending::default();
        let at = |n: u64| if n.is_multiple_of(3) { i64::MAX - n as i64 } else { i64::MIN + n as i64 };
        let delivered = |n: u64| Delivered { id: (n / 5 * 2, n * u64::from(u32::MAX)), at: at(n), times: n };
        for n in 0..10_000 {
            assert!(pending.push(delivered(n)));
        }
        assert!(!pending.push(delivered(9_999)) && !pending.push(delivered(3)));
        for n in [0, 1, 127, 128, 129, 4095, 9_983, 9_984, 9_999] {
            let (first, second) = delivered(n).id;
            assert_eq!(pending.find((first, second)), Some(delivered(n)));
            assert_eq!(pending.find((first, second + 1)), None);
            assert_eq!(pending.find((first + 1, second)), None);
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
