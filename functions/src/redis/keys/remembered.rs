//! Keys that came already, as hashes of 8 bytes.
//!
//! Takes keys of databases. Gives whether a key was there before. Always holds: no more than [`MOST_REMEMBERED`] are
//! remembered, so a key that came later may be taken for a new one; [`Remembered::is_full`] tells that it may. A key is taken
//! for another one once in some fifty million runs; a scan, where a key would be lost by it, remembers 16 bytes for each.

use std::collections::HashSet;

use crate::redis::keys::name_hash::{name_hash, unknown_seed};

/// The most keys that are remembered: as many as fit into the 9 MiB of a table of 2^20 places.
pub(crate) const MOST_REMEMBERED: usize = 900_000;

/// Keys that came already.
#[derive(Debug)]
pub(crate) struct Remembered {
    hashes: HashSet<u64>,
    /// Nobody outside knows it, so nobody makes keys that are taken for each other.
    seed: u64,
}

impl Default for Remembered {
    fn default() -> Self {
        Self { hashes: HashSet::new(), seed: unknown_seed() }
    }
}

impl Remembered {
    /// Remembers a key; true where it was there before.
    pub(crate) fn again(&mut self, key: &[u8], database: u32) -> bool {
        let hash = name_hash(key, database, self.seed) as u64;
        if self.is_full() { self.hashes.contains(&hash) } else { !self.hashes.insert(hash) }
    }

    /// True where no further key is remembered.
    pub(crate) fn is_full(&self) -> bool {
        self.hashes.len() >= MOST_REMEMBERED
    }
}
