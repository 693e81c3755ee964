//! A database's keys on their way through a scan: in groups of neighbours, each of which goes through the same steps.
//!
//! Takes keys in the order in which the server shows them. Gives groups, and which step of which group is the next to be
//! written. Always holds: where a group ends depends on its keys alone, and the order of the steps on the groups alone, so an
//! unchanged server gives the same bytes however fast or slowly it was asked: the short strings of a group are written first,
//! and its other keys [`BEHIND`] groups later, by when the server has told their sizes.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::redis::keys::tally::Kind;
use crate::redis::read::values::How;

/// Keys of a group.
const KEYS: usize = 256;

/// A group is ended above so many bytes of names.
const BYTES: usize = 128 << 10;

/// By how many groups the other keys are behind the short strings.
const BEHIND: u64 = 4;

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
    /// Questions about the group that are unanswered: for types, for short strings, and for sizes.
    pub(crate) open: [usize; 3],
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
    /// Those that come in parts.
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
    pub(crate) turn: Turn,
    /// No more keys will come.
    ended: bool,
}

impl Group {
    /// Everything about its keys is known, and its short strings are written.
    pub(crate) fn is_known(&self) -> bool {
        self.unknown.is_empty() && self.short.is_empty() && self.unsized_.is_empty() && self.open == [0; 3]
    }

    /// Which of its keys are strings is known.
    pub(crate) fn has_types(&self) -> bool {
        self.unknown.is_empty() && self.open[0] == 0
    }
}

impl Groups {
    pub(crate) fn new() -> Self {
        let (forming, all) = (Group::default(), VecDeque::new());
        Self { forming, bytes: 0, all, first: 0, turn: Turn::Short(0), ended: false }
    }

    /// Adds a key.
    pub(crate) fn add(&mut self, key: Bytes) {
        self.bytes += key.len();
        self.forming.keys.push(key);
        if self.forming.keys.len() >= KEYS || self.bytes >= BYTES {
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

    /// A group by its number.
    pub(crate) fn get(&mut self, number: u64) -> Option<&mut Group> {
        self.all.get_mut(usize::try_from(number.checked_sub(self.first)?).ok()?)
    }

    /// The groups with their numbers.
    pub(crate) fn each(&mut self) -> impl Iterator<Item = (u64, &mut Group)> {
        (self.first..).zip(self.all.iter_mut())
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
                Turn::Big(number) => match self.get(number) {
                    Some(group) if !group.big.is_empty() => return,
                    _ => {
                        if number >= self.first && !self.all.is_empty() {
                            self.all.pop_front();
                            self.first += 1;
                        }
                        Turn::Short(number + BEHIND + 1)
                    }
                },
            };
        }
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
        self.ended && self.all.is_empty()
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
        let short = (0..6).map(Turn::Short);
        assert!(short.clone().all(|turn| turns.contains(&turn)));
        let place = |turn: Turn| turns.iter().position(|found| *found == turn).expect("it had its turn");
        for number in 0..2 {
            assert!(place(Turn::Big(number)) > place(Turn::Short(number + BEHIND)));
            assert!(number + BEHIND + 1 >= 6 || place(Turn::Big(number)) < place(Turn::Short(number + BEHIND + 1)));
        }
        assert_eq!(turns.len(), 12);
    }
}
