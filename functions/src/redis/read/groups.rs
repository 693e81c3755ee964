//! A database's keys on their way through a scan: in groups of neighbours, each of which goes through the same steps.
//!
//! Takes keys in the order in which the server shows them. Gives groups, and which step of which group is the next to be
//! written. Always holds: where a group ends depends on its keys alone, and the order of the steps on the groups alone, so an
//! unchanged server gives the same bytes however fast or slowly it was asked: the short strings of a group are written first,
//! its other keys [`BEHIND`] groups later, by when the server has told their sizes, and what turned out to be something else than
//! was thought another [`LATER`] groups later. What is known of names is learnt in the groups' order too.

use std::collections::VecDeque;

use bytes::Bytes;
use xxhash_rust::xxh3::xxh3_64;

use crate::redis::keys::tally::Kind;
use crate::redis::read::shapes::shape;
use crate::redis::read::values::How;

/// Keys of a group at most, and at least where another one follows.
const KEYS: usize = 256;
const FEWEST: usize = 160;

/// A group is ended, once it has the fewest, by one key in so many, so that a key more or less moves the ends of a few groups and
/// not of all behind it.
const ENDS: u64 = 64;

/// A group is ended above so many bytes of names.
const BYTES: usize = 128 << 10;

/// By how many groups the other keys are behind the short strings.
const BEHIND: u64 = 4;

/// By how many groups what was thought to be something else is behind the other keys: by then all of them were read.
const LATER: u64 = 2;

/// By how many groups what is learnt of names is behind: more than there ever are under way.
const LAG: u64 = 24;

/// A key of which the size is known.
#[derive(Debug, Clone)]
pub(crate) struct Sized {
    pub(crate) place: usize,
    pub(crate) how: How,
    pub(crate) size: u64,
}

/// Neighbours.
#[derive(Debug, Default)]
pub(crate) struct Group {
    pub(crate) keys: Vec<Bytes>,
    /// Of which the type is to be asked.
    pub(crate) unknown: VecDeque<usize>,
    /// Keys that are probably short strings, to be read.
    pub(crate) short: VecDeque<usize>,
    /// Of which the size is to be asked; the type where it is known.
    pub(crate) unsized_: VecDeque<(usize, Option<Kind>)>,
    /// To be read at once.
    pub(crate) items: Vec<Sized>,
    /// Keys that come in parts.
    pub(crate) big: Vec<usize>,
    /// Keys that were something else than was thought: read one by one.
    pub(crate) odd: Vec<usize>,
    /// Which of its keys turned out to be strings, or not to be.
    strings: Vec<(usize, bool)>,
    /// Questions about the group that are unanswered: for types, for short strings, for sizes, and for other values.
    pub(crate) open: [usize; 4],
    /// The short strings are in order, and being read.
    short_sorted: bool,
    /// The items are in order, and being read.
    pub(crate) sorted: bool,
}

/// What is written next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// The short strings of this group.
    Short(u64),
    /// Its other keys.
    Items(u64),
    /// What is left of an earlier group, and then those of this one that come in parts.
    Big(u64),
}

/// All groups that are under way.
#[derive(Debug)]
pub(crate) struct Groups {
    forming: Group,
    bytes: usize,
    all: VecDeque<Group>,
    /// The number of the first of them.
    first: u64,
    /// Groups in front of the first one, of which some values may still be read.
    late: VecDeque<Group>,
    /// What was learnt of names in groups before those, each group's by itself, and not passed on yet; the last is of the group in
    /// front of the late ones.
    learnt: VecDeque<Vec<(u64, bool)>>,
    pub(crate) turn: Turn,
    /// No more keys will come.
    ended: bool,
}

impl Group {
    /// Everything about its keys is known, and its short strings are written.
    pub(crate) fn is_known(&self) -> bool {
        self.unknown.is_empty() && self.short.is_empty() && self.unsized_.is_empty() && self.open[..3] == [0; 3]
    }

    /// Remembers what a key turned out to be.
    pub(crate) fn learn(&mut self, place: usize, string: bool) {
        self.strings.push((place, string));
    }

    /// Puts its short strings into the order of its keys, once all of them are known: those that were guessed and those that were
    /// asked for came as the pace had it.
    pub(crate) fn order_short(&mut self) {
        if !self.short_sorted && self.has_types() {
            self.short_sorted = true;
            self.short.make_contiguous().sort_unstable();
        }
    }

    /// Which of its keys are strings is known.
    pub(crate) fn has_types(&self) -> bool {
        self.unknown.is_empty() && self.open[0] == 0
    }
}

impl Groups {
    pub(crate) fn new() -> Self {
        let (forming, all, late, learnt) = (Group::default(), VecDeque::new(), VecDeque::new(), VecDeque::new());
        Self { forming, bytes: 0, all, first: 0, late, learnt, turn: Turn::Short(0), ended: false }
    }

    /// Adds a key.
    pub(crate) fn add(&mut self, key: Bytes) {
        self.bytes += key.len();
        let ends = self.forming.keys.len() + 1 >= FEWEST && xxh3_64(&key).is_multiple_of(ENDS);
        self.forming.keys.push(key);
        if ends || self.forming.keys.len() >= KEYS || self.bytes >= BYTES {
            self.close();
        }
    }

    fn close(&mut self) {
        let mut group = std::mem::take(&mut self.forming);
        self.bytes = 0;
        group.unknown = (0..group.keys.len()).collect();
        self.all.push_back(group);
    }

    /// Says that no more keys will come.
    pub(crate) fn end(&mut self) {
        if !self.forming.keys.is_empty() {
            self.close();
        }
        self.ended = true;
    }

    /// A group by its number, of which something is still to be written or read.
    pub(crate) fn get(&mut self, number: u64) -> Option<&mut Group> {
        match number.checked_sub(self.first) {
            Some(at) => self.all.get_mut(usize::try_from(at).ok()?),
            None => {
                let at = (number + self.late.len() as u64).checked_sub(self.first)?;
                self.late.get_mut(usize::try_from(at).ok()?)
            }
        }
    }

    /// The next key that is read by itself, once one has its turn.
    pub(crate) fn next_alone(&mut self) -> Option<Bytes> {
        let Turn::Big(number) = self.turn else { return None };
        let late = number.checked_sub(LATER).and_then(|number| self.get(number)).filter(|group| group.open[3] == 0);
        if let Some(group) = late
            && let Some(place) = group.odd.pop()
        {
            return Some(group.keys[place].clone());
        }
        let group = self.get(number)?;
        group.big.pop().map(|place| group.keys[place].clone())
    }

    /// Passes on what was learnt of names, as far as it is meant for this group, whose keys are to be guessed now; false where it
    /// is not known yet.
    pub(crate) fn teach(&mut self, number: u64, mut learn: impl FnMut(u64, bool)) -> bool {
        let Some(until) = number.checked_sub(LAG) else { return true };
        let told = self.first - self.late.len() as u64;
        let mut first = told - self.learnt.len() as u64;
        while first <= until
            && let Some(names) = self.learnt.pop_front()
        {
            names.into_iter().for_each(|(shape, string)| learn(shape, string));
            first += 1;
        }
        first > until
    }

    /// The groups with their numbers.
    pub(crate) fn each(&mut self) -> impl Iterator<Item = (u64, &mut Group)> {
        (self.first..).zip(self.all.iter_mut())
    }

    /// The first group that has keys of which nothing is known.
    pub(crate) fn first_unknown(&mut self) -> Option<u64> {
        self.each().find(|(_, group)| !group.unknown.is_empty()).map(|(number, _)| number)
    }

    /// How many groups are there of which nothing was written yet.
    pub(crate) fn ahead(&self) -> u64 {
        let next = self.first + self.all.len() as u64;
        match self.turn {
            Turn::Short(number) => next.saturating_sub(number),
            Turn::Items(number) | Turn::Big(number) => next.saturating_sub(number + BEHIND + 1),
        }
    }

    /// Goes on to the next step as long as there is nothing left to ask for in this one.
    pub(crate) fn advance(&mut self) {
        loop {
            let ended = self.ended && !self.is_done();
            self.turn = match self.turn {
                Turn::Short(number) => match self.get(number) {
                    Some(group) if group.has_types() && group.short.is_empty() => self.behind(number),
                    None if ended => self.behind(number),
                    _ => return,
                },
                Turn::Items(number) => match self.get(number) {
                    Some(group) if !group.is_known() => return,
                    Some(group) => {
                        if !group.sorted {
                            group.sorted = true;
                            // The last one first, so that they can be taken off the end.
                            group.items.sort_unstable_by_key(|item| std::cmp::Reverse(item.place));
                            group.big.sort_unstable_by_key(|place| std::cmp::Reverse(*place));
                        }
                        if !group.items.is_empty() {
                            return;
                        }
                        Turn::Big(number)
                    }
                    None => Turn::Big(number),
                },
                Turn::Big(number) => {
                    if number >= LATER && !self.end_late(number - LATER) {
                        return;
                    }
                    match self.get(number) {
                        Some(group) if !group.big.is_empty() => return,
                        _ => {
                            if number >= self.first
                                && let Some(group) = self.all.pop_front()
                            {
                                self.late.push_back(group);
                                self.first += 1;
                            }
                            Turn::Short(number + BEHIND + 1)
                        }
                    }
                }
            };
        }
    }

    /// Lets go of a late group; false where something of it is still to be read.
    fn end_late(&mut self, number: u64) -> bool {
        if number + self.late.len() as u64 != self.first {
            // It was let go of before, or there is none of this number.
            return true;
        }
        let Some(group) = self.late.front_mut() else { return true };
        if group.open[3] > 0 {
            return false;
        }
        if !group.odd.is_empty() {
            // The last one first, so that they can be taken off the end.
            group.odd.sort_unstable_by_key(|place| std::cmp::Reverse(*place));
            return false;
        }
        if let Some(mut group) = self.late.pop_front() {
            group.strings.sort_unstable();
            let name = |(place, string): (usize, bool)| (shape(&group.keys[place]), string);
            self.learnt.push_back(group.strings.iter().copied().map(name).collect());
        }
        true
    }

    /// Behind the short strings of a group.
    fn behind(&self, number: u64) -> Turn {
        match number.checked_sub(BEHIND) {
            Some(behind) => Turn::Items(behind),
            None => Turn::Short(number + 1),
        }
    }

    /// Everything was written.
    pub(crate) fn is_done(&self) -> bool {
        self.ended && self.all.is_empty() && self.late.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goes through all steps; `big` keys come in parts, every other one is short.
    fn order(keys: usize, big: impl Fn(usize) -> bool) -> Vec<Turn> {
        let mut groups = Groups::new();
        (0..keys).for_each(|n| groups.add(Bytes::from(n.to_string())));
        groups.end();
        for (_, group) in groups.each() {
            group.unknown.clear();
            group.big = (0..group.keys.len()).filter(|place| big(*place)).collect();
            group.short = (0..group.keys.len()).filter(|place| !big(*place)).collect();
        }
        let mut turns = Vec::new();
        groups.advance();
        while !groups.is_done() {
            let turn = groups.turn;
            turns.push(turn);
            match turn {
                Turn::Short(number) => groups.get(number).expect("it is there").short.clear(),
                Turn::Items(number) => groups.get(number).expect("it is there").items.clear(),
                Turn::Big(number) => groups.get(number).expect("it is there").big.clear(),
            }
            groups.advance();
        }
        turns
    }

    #[test]
    fn every_group_has_its_turn_and_what_is_behind_comes_later() {
        assert_eq!(order(0, |_| false), []);
        assert_eq!(order(3, |_| false), [Turn::Short(0)]);
        assert_eq!(order(3, |place| place == 1), [Turn::Short(0), Turn::Big(0)]);
        let turns = order(KEYS * 6, |place| place == 0);
        let groups = turns.len() as u64 / 2;
        assert!((6..=10).contains(&groups), "{groups}");
        assert!((0..groups).map(Turn::Short).all(|turn| turns.contains(&turn)));
        let place = |turn: Turn| turns.iter().position(|found| *found == turn).expect("it had its turn");
        for number in 0..groups - BEHIND {
            assert!(place(Turn::Big(number)) > place(Turn::Short(number + BEHIND)));
            let later = number + BEHIND + 1;
            assert!(later >= groups || place(Turn::Big(number)) < place(Turn::Short(later)));
        }
        assert_eq!(turns.len() as u64, groups * 2);
    }

    #[test]
    fn short_strings_are_in_order_however_their_types_became_known() {
        let mut group = Group { unknown: [3].into(), short: [0, 2, 1].into(), ..Group::default() };
        group.order_short();
        assert_eq!(group.short, [0, 2, 1], "another one may come");
        // The answers are there, and the last one is guessed.
        group.unknown.clear();
        group.short.push_back(3);
        group.order_short();
        assert_eq!(group.short, [0, 1, 2, 3]);
    }

    #[test]
    fn a_key_more_moves_the_ends_of_a_few_groups() {
        let groups = |keys: &mut dyn Iterator<Item = u32>| {
            let mut groups = Groups::new();
            keys.for_each(|n| groups.add(Bytes::from(format!("key:{n}"))));
            groups.end();
            groups.all.iter().map(|group| group.keys.clone()).collect::<Vec<_>>()
        };
        let before = groups(&mut (0..100_000));
        let after = groups(&mut (0..20_000).chain(500_000..500_001).chain(20_000..100_000));
        let same = after.iter().filter(|group| before.contains(group)).count();
        assert!(same + 10 > before.len(), "{same} of {}", before.len());
        let mean = 100_000 / before.len();
        assert!((180..240).contains(&mean), "{mean}");
    }
}
