//! A set of keys in a fixed amount of memory, which never forgets one and sometimes takes another for one of them.
//!
//! Takes hashes of keys. Gives whether one may have been added. Always holds: its size does not depend on what is added; for
//! 10 million keys about one in 500 others is taken for one of them, for 1 million hardly any.

/// Bits: 16 MiB of them.
const BITS: u64 = 1 << 27;

/// How many bits a key sets.
const EACH: u64 = 6;

/// The set.
pub(crate) struct Bloom {
    words: Vec<u64>,
    /// How many were added that were not there.
    pub(crate) count: u64,
}

impl Bloom {
    /// An empty one.
    pub(crate) fn new() -> Self {
        Self { words: vec![0; (BITS / 64) as usize], count: 0 }
    }

    fn places(hash: u128) -> impl Iterator<Item = (usize, u64)> {
        let (first, step) = (hash as u64, (hash >> 64) as u64 | 1);
        (0..EACH).map(move |n| {
            let bit = first.wrapping_add(step.wrapping_mul(n)) % BITS;
            ((bit / 64) as usize, 1 << (bit % 64))
        })
    }

    /// Adds a key by its hash.
    pub(crate) fn add(&mut self, hash: u128) {
        let mut new = false;
        for (word, bit) in Self::places(hash) {
            if let Some(word) = self.words.get_mut(word) {
                new |= *word & bit == 0;
                *word |= bit;
            }
        }
        self.count += u64::from(new);
    }

    /// Which share of other keys is taken for one of these.
    pub(crate) fn mistakes(&self) -> f64 {
        let set = 1.0 - (-((self.count * EACH) as f64) / BITS as f64).exp();
        set.powi(EACH as i32)
    }

    /// True where a key may have been added; false where it was not.
    pub(crate) fn may_have(&self, hash: u128) -> bool {
        Self::places(hash).all(|(word, bit)| self.words.get(word).is_some_and(|word| word & bit != 0))
    }
}

#[cfg(test)]
mod tests {
    use xxhash_rust::xxh3::xxh3_128;

    use super::*;

    #[test]
    fn none_is_forgotten_and_hardly_any_mistaken() {
        let hash = |n: u64| xxh3_128(&n.to_le_bytes());
        let mut bloom = Bloom::new();
        (0..300_000).for_each(|n| bloom.add(hash(n)));
        assert!((0..300_000).all(|n| bloom.may_have(hash(n))));
        assert_eq!((300_000..600_000).filter(|n| bloom.may_have(hash(*n))).count(), 0);
        assert!((299_999..=300_000).contains(&bloom.count));
        assert!(bloom.mistakes() < 1e-9);
        bloom.count = 10_000_000;
        assert!((0.001..0.003).contains(&bloom.mistakes()));
    }
}
