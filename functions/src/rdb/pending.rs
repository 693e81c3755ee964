//! What has to be remembered of a stream until its consumers are told: which entries are there, and what a group has
//! pending.
//!
//! Always holds: at most some 45 MiB are held, and rarely more than ten, whatever the stream has. Above that, nobody is told
//! whether an entry that is pending is still there; and a group with more pending entries than [`MOST_PENDING`], or with such
//! that take more than [`MOST_BYTES`], is refused.

use super::visit::Id;

/// Runs of entries, and deleted entries in them, that are remembered at most.
const MOST_PLACES: usize = 1 << 18;

/// Bytes of the ids in runs that are remembered at most: of some three million entries.
const MOST_IDS: usize = 8 << 20;

/// Bytes of the names of consumers that are held at most.
const MOST_NAMES: usize = 4 << 20;

/// Bytes that one group's pending entries may take: 16 for each of the most, which are 8 or so unless somebody made them up.
const MOST_BYTES: usize = 16 << 20;

/// Entries that one group may have pending.
pub(crate) const MOST_PENDING: u64 = 1 << 20;

/// Entries in one block.
const BLOCK: usize = 128;

/// Entries of one node, or some of them.
#[derive(Debug)]
struct Run {
    first: Id,
    last: Id,
    /// Where the ids behind the first one stand, as differences each to the one before; nothing where there was no room: then all
    /// that lie between the first and the last count as there.
    ids: Option<(u32, u32)>,
    count: u32,
}

/// Which entries a stream has.
#[derive(Debug, Default)]
pub(super) struct Present {
    runs: Vec<Run>,
    ids: Vec<u8>,
    deleted: Vec<Id>,
    too_many: bool,
}

impl Present {
    /// Another entry of a node; `first` where it begins one.
    pub(super) fn add(&mut self, id: Id, first: bool, deleted: bool) {
        if self.runs.len() + self.deleted.len() >= MOST_PLACES {
            self.too_many = true;
            return;
        }
        let from = self.ids.len() as u32;
        let room = self.ids.len() < MOST_IDS;
        match self.runs.last_mut() {
            Some(run) if !first && (run.count < BLOCK as u32 || !room) => {
                if let Some((_, end)) = run.ids.as_mut().filter(|_| room) {
                    write(&mut self.ids, id.0.wrapping_sub(run.last.0));
                    write(&mut self.ids, id.1.wrapping_sub(if id.0 == run.last.0 { run.last.1 } else { 0 }));
                    *end = self.ids.len() as u32;
                } else {
                    run.ids = None;
                }
                (run.last, run.count) = (id, run.count.saturating_add(1));
            }
            _ => self.runs.push(Run { first: id, last: id, ids: room.then_some((from, from)), count: 1 }),
        }
        if deleted {
            self.deleted.push(id);
        }
    }

    /// Whether an entry is there; nothing where there were too many to remember.
    pub(super) fn has(&self, id: Id) -> Option<bool> {
        if self.too_many {
            return None;
        }
        let run = self.runs.partition_point(|run| run.first <= id).checked_sub(1).and_then(|at| self.runs.get(at));
        Some(run.is_some_and(|run| id <= run.last && self.stands(run, id)) && self.deleted.binary_search(&id).is_err())
    }

    /// Whether a run has an entry of this id, deleted or not. Somebody may have claimed one that never was (`FORCE`, before 7.0).
    fn stands(&self, run: &Run, id: Id) -> bool {
        let Some(mut rest) = run.ids.and_then(|(from, end)| self.ids.get(from as usize..end as usize)) else {
            return true;
        };
        let mut at = run.first;
        while at < id {
            let (Some(further), Some(second)) = (read(&mut rest), read(&mut rest)) else { return false };
            at = (at.0.wrapping_add(further), second.wrapping_add(if further == 0 { at.1 } else { 0 }));
        }
        at == id
    }
}

/// The names of a group's consumers that have something pending.
#[derive(Debug, Default)]
pub(super) struct Consumers {
    names: Vec<u8>,
    ends: Vec<usize>,
}

impl Consumers {
    /// Another name; gives its number, or nothing where there is no more room.
    pub(super) fn hold(&mut self, name: &[u8]) -> Option<u32> {
        if self.names.len() + name.len() > MOST_NAMES {
            return None;
        }
        self.names.extend_from_slice(name);
        self.ends.push(self.names.len());
        u32::try_from(self.ends.len() - 1).ok()
    }

    pub(super) fn name(&self, number: u32) -> Option<&[u8]> {
        let at = number as usize;
        let from = at.checked_sub(1).map_or(0, |before| self.ends.get(before).copied().unwrap_or(0));
        self.names.get(from..*self.ends.get(at)?)
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
    /// What the full blocks take.
    bytes: usize,
    /// The block that is being filled: its first entry, its last one, how many it has, and the differences.
    first: Option<(Delivered, Delivered, usize)>,
    rest: Vec<u8>,
    /// Who has each of them, by its place; where nobody has been told, [`NOBODY`], or nothing yet.
    owners: Vec<u32>,
}

/// Nobody has an entry pending.
const NOBODY: u32 = u32::MAX;

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
                    self.bytes += size_of::<(Delivered, Box<[u8]>)>() + self.rest.len();
                    self.blocks.push((first, self.rest.as_slice().into()));
                    self.rest.clear();
                }
            }
        }
        true
    }

    /// Whether they take more than can be held.
    pub(super) fn too_many(&self) -> bool {
        self.bytes > MOST_BYTES
    }

    /// The one of this id, and its place.
    pub(super) fn find(&self, id: Id) -> Option<(usize, Delivered)> {
        let block = match &self.first {
            Some((first, _, _)) if first.id <= id => self.blocks.len(),
            _ => self.blocks.partition_point(|block| block.0.id <= id).checked_sub(1)?,
        };
        self.block(block).find(|(_, delivered)| delivered.id >= id).filter(|(_, delivered)| delivered.id == id)
    }

    /// All of them, in order, with their places.
    pub(super) fn all(&self) -> impl Iterator<Item = (usize, Delivered)> {
        (0..=self.blocks.len()).flat_map(|block| self.block(block))
    }

    fn block(&self, block: usize) -> impl Iterator<Item = (usize, Delivered)> {
        let begun = self.first.as_ref().map(|(first, _, _)| (*first, &self.rest[..]));
        let found = self.blocks.get(block).map(|(first, rest)| (*first, &rest[..])).or(begun);
        let mut rest = found.map_or(&[][..], |(_, rest)| rest);
        std::iter::successors(found.map(|(first, _)| first), move |before| next(before, &mut rest))
            .enumerate()
            .map(move |(place, delivered)| (block * BLOCK + place, delivered))
    }

    /// Says who has the one at this place.
    pub(super) fn belongs(&mut self, place: usize, consumer: u32) {
        if self.owners.len() <= place {
            self.owners.resize(place + 1, NOBODY);
        }
        if let Some(owner) = self.owners.get_mut(place) {
            *owner = consumer;
        }
    }

    /// Who has the one at this place.
    pub(super) fn owner(&self, place: usize) -> Option<u32> {
        self.owners.get(place).copied().filter(|owner| *owner != NOBODY)
    }
}

/// The one behind another, by the differences that follow.
fn next(before: &Delivered, rest: &mut &[u8]) -> Option<Delivered> {
    let (further, second, time) = (read(rest)?, read(rest)?, read(rest)?);
    let second = second.wrapping_add(if further == 0 { before.id.1 } else { 0 });
    Some(Delivered {
        id: (before.id.0.wrapping_add(further), second),
        at: before.at.wrapping_add((time >> 1) as i64 ^ -((time & 1) as i64)),
        times: read(rest)?,
    })
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
            assert_eq!(pending.find((first, second)), Some((n as usize, delivered(n))));
            assert_eq!(pending.find((first, second + 1)), None);
            assert_eq!(pending.find((first + 1, second)), None);
        }
        assert_eq!(Pending::default().find((0, 0)), None);
        assert_eq!(Pending::default().all().next(), None);
        let all: Vec<(usize, Delivered)> = pending.all().collect();
        assert!(all.len() == 10_000 && all.iter().enumerate().all(|(n, one)| *one == (n, delivered(n as u64))));
        let mut consumers = Consumers::default();
        for (n, name) in [(300, "alice"), (7, ""), (9_999, "bob")] {
            pending.belongs(n, consumers.hold(name.as_bytes()).expect("room"));
            let owner = |n| pending.owner(n).and_then(|owner| consumers.name(owner));
            assert_eq!((owner(n), owner(n + 1)), (Some(name.as_bytes()), None));
        }
        assert_eq!(consumers.hold(&vec![0; MOST_NAMES]), None);
    }

    #[test]
    fn a_million_of_them_are_held_unless_somebody_made_them_up() {
        let mut real = Pending::default();
        for n in 0..MOST_PENDING {
            // Three each millisecond, delivered within a day in any order, most of them once.
            let at = 1_790_000_000_000 + (n * 48_271 % 86_400_000) as i64;
            assert!(real.push(Delivered { id: (1_780_000_000_000 + n / 3, n % 3), at, times: 1 + n % 200 }));
        }
        assert!(!real.too_many(), "{}", real.bytes);
        let mut wild = Pending::default();
        let at = |n: u64| if n.is_multiple_of(2) { i64::MAX } else { i64::MIN / 2 };
        let pushed = (0..MOST_PENDING)
            .take_while(|n| wild.push(Delivered { id: (n << 40, !n), at: at(*n), times: !n }) && !wild.too_many());
        let pushed = pushed.count() as u64;
        assert!((MOST_PENDING / 4..MOST_PENDING).contains(&pushed), "{pushed}");
    }

    #[test]
    fn an_entry_is_there_or_not() {
        let mut present = Present::default();
        // Those between them never were: somebody has claimed them by force.
        for (id, first, deleted) in [(1, true, false), (4, false, true), (5, false, false), (9, true, false)] {
            present.add((id, 0), first, deleted);
        }
        for second in [2, 3, 900] {
            present.add((9, second), false, false);
        }
        let there: Vec<u64> = (0..12).filter(|id| present.has((*id, 0)) == Some(true)).collect();
        assert_eq!(there, [1, 5, 9]);
        let there: Vec<u64> = (1..1000).filter(|id| present.has((9, *id)) == Some(true)).collect();
        assert_eq!(there, [2, 3, 900]);
        // A node of any length, looked through in pieces.
        let mut long = Present::default();
        (0..100_000).for_each(|id| long.add((2 * id, id), id == 0, false));
        assert!(
            (0..100_000).all(|id| long.has((2 * id, id)) == Some(true) && long.has((2 * id + 1, id)) == Some(false))
        );
        // Where there are too many, what lies between counts as there.
        let mut many = Present::default();
        (0..10_000_000).for_each(|id| many.add((2 * id, 0), id % 100 == 0, false));
        assert!(many.ids.len() <= MOST_IDS + 20, "{}", many.ids.len());
        assert_eq!([3, 19_999_981].map(|id| many.has((id, 0))), [Some(false), Some(true)]);
        for id in 10..10 + MOST_PLACES as u64 {
            present.add((id, 0), true, false);
        }
        assert_eq!(present.has((1, 0)), None);
    }
}
