//! The names of a database in their order, as many at a time as there is room for.
//!
//! Takes all names of the database, in any order and some of them twice, once a round. Gives those that come next in the order
//! of their bytes. Always holds: each name that was taken in every round is given once, in order; some [`ROOM`] bytes of
//! names are held at the most, or one name. A round gives at least half as many as there is room for.

use bytes::Bytes;
use schemars::JsonSchema;
use serde::Deserialize;

/// In which order keys are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// As the server shows them.
    #[default]
    Server,
    /// By the bytes of their names.
    Name,
}

/// Bytes of names that are held.
const ROOM: usize = 16 << 20;

/// Names that are held.
const MOST: usize = 1 << 20;

/// Names in their order.
#[derive(Debug)]
pub(super) struct Sorted {
    room: usize,
    most: usize,
    names: Vec<u8>,
    /// Where each name stands. While a round goes on in any order, then in the order of the names.
    places: Vec<(u32, u32)>,
    /// The names of this round are behind this one.
    after: Option<Bytes>,
    /// The last name that this round takes; nothing where it takes all that come.
    last: Option<Bytes>,
    /// How many of the names were given.
    given: usize,
    rounds: u64,
}

impl Sorted {
    pub(super) fn new() -> Self {
        Self::with_room(ROOM, MOST)
    }

    fn with_room(room: usize, most: usize) -> Self {
        let (names, places) = (Vec::new(), Vec::new());
        Self { room, most, names, places, after: None, last: None, given: 0, rounds: 0 }
    }

    /// Whether all names are shown for the first time.
    pub(super) fn is_first_round(&self) -> bool {
        self.rounds == 0
    }

    /// Another name.
    pub(super) fn add(&mut self, name: &[u8]) {
        if self.after.as_ref().is_some_and(|after| name <= after) || self.last.as_ref().is_some_and(|last| name > last)
        {
            return;
        }
        // A name has 512 MiB at most, so that all that is held stays below what a place can say.
        self.places.push((self.names.len() as u32, name.len() as u32));
        self.names.extend_from_slice(name);
        if self.names.len() > self.room || self.places.len() > self.most {
            self.order();
            self.halve();
        }
    }

    /// Ends a round: what was taken is given from now on.
    pub(super) fn end_round(&mut self) {
        self.order();
        self.rounds += 1;
        self.given = 0;
    }

    /// The next name; nothing where the round has no more.
    pub(super) fn next(&mut self) -> Option<Bytes> {
        let place = *self.places.get(self.given)?;
        self.given += 1;
        Some(Bytes::copy_from_slice(self.name(place)))
    }

    /// Begins the next round; false where there is nothing behind this one.
    pub(super) fn begin_round(&mut self) -> bool {
        let Some(last) = self.last.take() else { return false };
        self.after = Some(last);
        self.names.clear();
        self.places.clear();
        self.given = 0;
        true
    }

    fn name(&self, place: (u32, u32)) -> &[u8] {
        name_at(&self.names, place)
    }

    /// Brings the names into order, each once.
    fn order(&mut self) {
        let mut places = std::mem::take(&mut self.places);
        places.sort_unstable_by(|one, other| self.name(*one).cmp(self.name(*other)));
        places.dedup_by(|one, other| self.name(*one) == self.name(*other));
        self.places = places;
    }

    /// Keeps the first of the names, up to half of what there is room for, and leaves the others to the next round.
    fn halve(&mut self) {
        let (mut names, mut places) = (Vec::with_capacity(self.room), Vec::with_capacity(self.places.len()));
        for place in &self.places {
            let name = self.name(*place);
            if !places.is_empty() && (names.len() + name.len() > self.room / 2 || places.len() >= self.most / 2) {
                break;
            }
            places.push((names.len() as u32, name.len() as u32));
            names.extend_from_slice(name);
        }
        if places.len() < self.places.len() {
            self.last = places.last().map(|place| Bytes::copy_from_slice(name_at(&names, *place)));
        }
        (self.names, self.places) = (names, places);
    }
}

fn name_at(names: &[u8], (from, length): (u32, u32)) -> &[u8] {
    let from = from as usize;
    &names[from..from + length as usize]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All names in the order in which they are given, and the rounds that it took.
    fn given(sorted: &mut Sorted, names: &[Vec<u8>]) -> (Vec<Bytes>, u64) {
        let mut all = Vec::new();
        loop {
            for name in names {
                sorted.add(name);
                assert!(sorted.places.len() <= sorted.most + 1);
                assert!(sorted.names.len() <= sorted.room + name.len());
            }
            sorted.end_round();
            all.extend(std::iter::from_fn(|| sorted.next()));
            if !sorted.begin_round() {
                return (all, sorted.rounds);
            }
        }
    }

    #[test]
    fn each_name_is_given_once_and_in_order_whatever_room_there_is() {
        let mut names: Vec<Vec<u8>> =
            (0..10_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) % 9_000).to_be_bytes().to_vec()).collect();
        names.extend([vec![], vec![0xff; 900], vec![0; 300], b"same".to_vec(), b"same".to_vec()]);
        let mut expected = names.clone();
        expected.sort();
        expected.dedup();
        for (room, most, rounds) in
            [(1 << 20, 1 << 20, 1..2), (12_000, 1 << 20, 3..9), (1 << 20, 1000, 9..20), (1000, 7, 1000..4000)]
        {
            let (all, took) = given(&mut Sorted::with_room(room, most), &names);
            assert!(all == expected, "{room} {most}");
            assert!(rounds.contains(&took), "{took} rounds for {room}, {most}");
        }
    }

    #[test]
    fn names_longer_than_the_room_have_a_round_of_their_own() {
        let names: Vec<Vec<u8>> = (0..5).map(|n| vec![n; 2000]).rev().collect();
        let (all, rounds) = given(&mut Sorted::with_room(1000, 100), &names);
        assert!(all.iter().map(|name| name[0]).eq(0..5));
        assert_eq!(rounds, 5);
        assert_eq!(given(&mut Sorted::with_room(1000, 100), &[]), (Vec::new(), 1));
    }

    #[test]
    fn a_name_that_comes_later_or_goes_moves_no_other() {
        let mut sorted = Sorted::with_room(1 << 20, 8);
        for name in ["d", "b", "a", "c", "h", "g", "f", "e", "i"] {
            sorted.add(name.as_bytes());
        }
        sorted.end_round();
        let first: Vec<Bytes> = std::iter::from_fn(|| sorted.next()).collect();
        assert_eq!(first, ["a", "b", "c", "d"]);
        assert!(sorted.begin_round());
        // `aa` is behind what is written already; `f` has gone.
        for name in ["d", "b", "aa", "c", "h", "g", "e", "i"] {
            sorted.add(name.as_bytes());
        }
        sorted.end_round();
        assert!(std::iter::from_fn(|| sorted.next()).eq(["e", "g", "h", "i"]));
        assert!(!sorted.begin_round());
    }
}
