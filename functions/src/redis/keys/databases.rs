//! Which databases of a stream are taken, and which database of the server each of them goes into.
//!
//! Takes the params `databases`, `databaseMap` and `mergeDatabases`. Gives a database's place. Always holds: two databases
//! of a stream go into one only where `mergeDatabases` says so.

use std::collections::{BTreeMap, BTreeSet};

use aquifer_engine::failure::Failure;
use aquifer_engine::function::ParamError;

/// Databases chosen and mapped.
#[derive(Debug, Clone, Default)]
pub(crate) struct Databases {
    only: Option<BTreeSet<u32>>,
    map: BTreeMap<u32, u32>,
    merge: bool,
    /// The databases of the stream that came so far, by the one that they go into.
    came: BTreeMap<u32, BTreeSet<u32>>,
}

impl Databases {
    /// Checks the params.
    ///
    /// # Errors
    /// The param that is wrong.
    pub(crate) fn new(only: Option<&[u32]>, map: &BTreeMap<u32, u32>, merge: bool) -> Result<Self, ParamError> {
        if only.is_some_and(<[u32]>::is_empty) {
            return Err(ParamError::new("databases", "the list is empty").with_help("leave it out to take all of them"));
        }
        let databases = Self {
            only: only.map(|only| only.iter().copied().collect()),
            map: map.clone(),
            merge,
            came: BTreeMap::new(),
        };
        if let Some(index) = map.keys().find(|index| !databases.takes(**index)) {
            return Err(ParamError::new("databaseMap", format!("database {index} is not among `databases`")));
        }
        let listed: BTreeSet<u32> = databases.only.iter().flatten().chain(map.keys()).copied().collect();
        let mut targets: BTreeMap<u32, u32> = BTreeMap::new();
        for index in listed {
            if let Some(other) = targets.insert(databases.place(index), index)
                && !merge
            {
                return Err(ParamError::new("databaseMap", meet(other, index, databases.place(index)))
                    .with_help("say `mergeDatabases: true` if that is what you want"));
            }
        }
        Ok(databases)
    }

    /// True where all are taken and stay where they are.
    pub(crate) fn stay(&self) -> bool {
        self.only.is_none() && self.map.is_empty()
    }

    /// True where a database is taken.
    pub(crate) fn takes(&self, index: u32) -> bool {
        self.only.as_ref().is_none_or(|only| only.contains(&index))
    }

    /// Where a database goes.
    pub(crate) fn place(&self, index: u32) -> u32 {
        self.map.get(&index).copied().unwrap_or(index)
    }

    /// Which database goes here; `None` where none does.
    pub(crate) fn source(&self, place: u32) -> Option<u32> {
        let mapped = self.map.iter().find(|(_, target)| **target == place).map(|(index, _)| *index);
        mapped.or((self.place(place) == place).then_some(place))
    }

    /// Begins a database of the stream that is taken; gives where it goes.
    ///
    /// # Errors
    /// Another one goes there already.
    pub(crate) fn begin(&mut self, index: u32) -> Result<u32, Failure> {
        let place = self.place(index);
        let came = self.came.entry(place).or_default();
        came.insert(index);
        match came.iter().find(|other| **other != index) {
            Some(other) if !self.merge => {
                Err(Failure::rejected(format!("`databaseMap`: {}", meet(*other, index, place))).with_help(
                    "say `mergeDatabases: true` if that is what you want, or leave one of them out with `databases`",
                ))
            }
            _ => Ok(place),
        }
    }

    /// Holds the databases that a stream is said to have to the params, before any of them is written.
    ///
    /// # Errors
    /// Two of them go into one.
    pub(crate) fn expect(&mut self, listed: &[u32]) -> Result<(), Failure> {
        let mut probe = self.clone();
        listed.iter().filter(|index| self.takes(**index)).try_for_each(|index| probe.begin(*index).map(drop))
    }

    /// True where keys of several databases may come into this one.
    pub(crate) fn merges(&self, place: u32) -> bool {
        let mapped = self.map.values().filter(|target| **target == place).count();
        let stays = usize::from(self.takes(place) && !self.map.contains_key(&place));
        self.merge && mapped + stays > 1
    }
}

fn meet(one: u32, other: u32, place: u32) -> String {
    format!("databases {} and {} both go into database {place}", one.min(other), one.max(other))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn databases_meet_only_where_that_is_said() {
        let map = |pairs: &[(u32, u32)]| pairs.iter().copied().collect::<BTreeMap<u32, u32>>();
        assert!(Databases::new(None, &map(&[(0, 3), (1, 3)]), false).is_err());
        assert!(Databases::new(Some(&[0, 3]), &map(&[(0, 3)]), false).is_err());
        assert!(Databases::new(Some(&[1]), &map(&[(0, 3)]), false).is_err());
        assert!(Databases::new(Some(&[]), &map(&[]), false).is_err());
        let mut apart = Databases::new(None, &map(&[(0, 3), (3, 0)]), false).expect("exchanged");
        assert_eq!((apart.begin(0).ok(), apart.begin(3).ok(), apart.begin(0).ok()), (Some(3), Some(0), Some(3)));
        let mut met = Databases::new(None, &map(&[(0, 3)]), false).expect("a stream of one database");
        assert!(met.expect(&[0, 3]).is_err() && met.expect(&[0, 1]).is_ok() && !met.merges(3));
        assert!(met.begin(3).is_ok() && met.begin(0).is_err());
        let mut merged = Databases::new(None, &map(&[(0, 3)]), true).expect("said");
        assert!(merged.begin(3).is_ok() && merged.begin(0).is_ok());
        assert!(merged.merges(3) && !merged.merges(0) && !merged.merges(1));
        let only = Databases::new(Some(&[2]), &map(&[(2, 0)]), false).expect("one");
        assert!(only.takes(2) && !only.takes(0) && only.place(2) == 0 && !only.stay());
    }
}
