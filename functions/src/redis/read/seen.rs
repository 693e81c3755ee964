//! Names that a scan was shown, so that one that is shown twice is read once.
//!
//! Takes names. Says of each whether it is new. Always holds: a name that is new is told from all that are remembered; no
//! more than [`MOST`] are, in 10 MiB, and further ones all count as new.

use std::collections::HashSet;
use std::hash::{BuildHasher, BuildHasherDefault, Hasher, RandomState};

use xxhash_rust::xxh3::xxh3_128_with_seed;

/// Names that are remembered: the most that fit into a table of 2^19 places of 16 bytes.
const MOST: usize = 450_000;

/// The names, each by its hash.
#[derive(Debug)]
pub(super) struct Seen {
    hashes: HashSet<u128, BuildHasherDefault<Half>>,
    /// Nobody outside knows it, so nobody makes names that are taken for each other.
    seed: u64,
}

/// Half of a hash, for what is a hash already needs no other.
#[derive(Debug, Default)]
struct Half(u64);

impl Hasher for Half {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        // Nobody hashes anything else here; it would be slow, and right.
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u128(&mut self, hash: u128) {
        self.0 = hash as u64;
    }
}

impl Seen {
    pub(super) fn new() -> Self {
        Self { hashes: HashSet::default(), seed: RandomState::new().build_hasher().finish() }
    }

    /// True where this name is not remembered; from now on it is, if there is room.
    pub(super) fn is_new(&mut self, name: &[u8]) -> bool {
        let hash = xxh3_128_with_seed(name, self.seed);
        if self.hashes.len() < MOST { self.hashes.insert(hash) } else { !self.hashes.contains(&hash) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_new_once_as_long_as_there_is_room() {
        let mut seen = Seen::new();
        let name = |n: usize| format!("key:{n}");
        for n in 0..MOST + 1000 {
            assert!(seen.is_new(name(n).as_bytes()));
            assert!(n % 1000 > 0 || n >= MOST || !seen.is_new(name(n).as_bytes()), "{n} while there is room");
        }
        assert_eq!(seen.hashes.len(), MOST);
        for n in 0..MOST {
            assert!(!seen.is_new(name(n).as_bytes()), "{n}");
        }
        assert!(seen.is_new(name(MOST).as_bytes()));
    }
}
