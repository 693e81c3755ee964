//! The hash of a key: of its name and its database.
//!
//! Takes both and a seed. Gives 128 bits. Always holds: the same name in two databases has two hashes, and they meet those of
//! other keys no more often than any others. (The database is no part of the seed: with names of up to three bytes, XXH3 only
//! adds the seed to the name, so that `x1` in one database is `x2` in another.)

use std::hash::{BuildHasher, Hasher, RandomState};

use xxhash_rust::xxh3::xxh3_128_with_seed;

/// Odd, with its bits spread: the golden ratio's.
const SPREAD: u128 = 0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835;

/// The hash of a key.
pub(crate) fn name_hash(name: &[u8], database: u32, seed: u64) -> u128 {
    xxh3_128_with_seed(name, seed) ^ u128::from(database).wrapping_mul(SPREAD)
}

/// A seed that nobody outside knows, so that nobody makes keys that are taken for each other.
pub(crate) fn unknown_seed() -> u64 {
    RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn short_names_in_many_databases_are_told_from_each_other() {
        for seed in [0, 1, unknown_seed()] {
            let mut halves = HashSet::new();
            let mut keys = 0;
            for database in (0..40).chain([u32::MAX]) {
                for name in
                    (0..1000).map(|n| n.to_string()).chain((0..100).map(|n| format!("k:{n}"))).chain([String::new()])
                {
                    keys += 1;
                    halves.insert(name_hash(name.as_bytes(), database, seed) as u64 >> 8);
                }
            }
            assert_eq!(halves.len(), keys);
        }
    }
}
