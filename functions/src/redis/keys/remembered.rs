//! Keys that came already, as hashes.
//!
//! Takes keys of databases. Gives whether a key was there before. Always holds: no more than [`MOST_REMEMBERED`] are
//! remembered, so a key that came later may be taken for a new one; [`Remembered::is_full`] tells that it may.

use std::collections::HashSet;

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// The most keys that are remembered: as many as fit into the 9 MiB of a table of 2^20 places.
pub(crate) const MOST_REMEMBERED: usize = 900_000;

/// The hash by which a key of a database is remembered.
pub(crate) fn hash(key: &[u8], database: u32) -> u64 {
    xxh3_64_with_seed(key, u64::from(database))
}

/// Keys that came already.
#[derive(Debug, Default)]
pub(crate) struct Remembered(HashSet<u64>);

impl Remembered {
    /// Remembers a key; true where it was there before.
    pub(crate) fn again(&mut self, key: &[u8], database: u32) -> bool {
        let hash = hash(key, database);
        if self.is_full() { self.0.contains(&hash) } else { !self.0.insert(hash) }
    }

    /// True where no further key is remembered.
    pub(crate) fn is_full(&self) -> bool {
        self.0.len() >= MOST_REMEMBERED
    }
}
