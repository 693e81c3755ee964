//! The rolling hash by which streams are cut: Rabin's, over 64 bytes, modulo the repository's polynomial.
//!
//! Takes bytes, gives the first place whose hash ends in zeros. Always holds: a place's hash depends on the 64 bytes in front of it
//! and on nothing else, and is the one that restic computes ("Chunker" in restic's design document). A hash needs the one before it, which
//! leaves most of a processor idle; so long stretches are hashed in several places at once.

use super::polynomial::{DEGREE, Polynomial};

/// How many bytes a hash is of.
pub(super) const WINDOW: usize = 64;

/// How many stretches are hashed at once: as many as keep a processor's units busy.
const LANES: usize = 4;

/// The tables of one polynomial.
pub(super) struct Rabin {
    /// What a leading byte comes to, modulo the polynomial; with the byte itself, which that removes.
    reduce: [u64; 256],
    /// The share of the hash that the oldest byte has.
    oldest: [u64; 256],
}

impl Rabin {
    /// For a repository's polynomial.
    pub(super) fn new(polynomial: Polynomial) -> Self {
        let mut reduce = [0; 256];
        for (byte, entry) in (0_u64..).zip(&mut reduce) {
            let lead = byte << DEGREE;
            *entry = remainder(lead, polynomial) | lead;
        }
        let mut rabin = Self { reduce, oldest: [0; 256] };
        for byte in 0..=u8::MAX {
            let first = rabin.append(0, byte);
            rabin.oldest[usize::from(byte)] = (1..WINDOW).fold(first, |hash, _| rabin.append(hash, 0));
        }
        rabin
    }

    #[inline(always)]
    fn append(&self, hash: u64, byte: u8) -> u64 {
        let lead = (hash >> (DEGREE - 8)) as u8;
        (hash << 8 | u64::from(byte)) ^ self.reduce[usize::from(lead)]
    }

    #[inline(always)]
    fn slide(&self, hash: u64, old: u8, new: u8) -> u64 {
        self.append(hash ^ self.oldest[usize::from(old)], new)
    }

    fn of(&self, window: &[u8]) -> u64 {
        window.iter().fold(0, |hash, byte| self.append(hash, *byte))
    }

    /// The first place from `from` on, and up to the end, whose hash has zeros under the mask. `from` has a whole window in front of it.
    pub(super) fn first(&self, data: &[u8], from: usize, mask: u64) -> Option<usize> {
        // About as long, all in all, as it takes to find one: what is hashed behind it is lost.
        let lane = (mask as usize / LANES).clamp(4 * WINDOW, 64 * WINDOW);
        let mut at = from;
        while at + LANES * lane <= data.len() + 1 {
            if let Some(found) = self.side_by_side(&data[at - WINDOW..at + LANES * lane - 1], lane, mask) {
                return Some(at + found);
            }
            at += LANES * lane;
        }
        if at > data.len() {
            return None;
        }
        let mut hash = self.of(&data[at - WINDOW..at]);
        loop {
            if hash & mask == 0 {
                return Some(at);
            }
            let new = *data.get(at)?;
            hash = self.slide(hash, data[at - WINDOW], new);
            at += 1;
        }
    }

    /// The same for `LANES` stretches of `lane` places each, the first of which has its window at the beginning of the data.
    fn side_by_side(&self, data: &[u8], lane: usize, mask: u64) -> Option<usize> {
        let stretch = |number: usize| &data[number * lane..][..WINDOW + lane - 1];
        let stretches: [&[u8]; LANES] = std::array::from_fn(stretch);
        let mut hashes = stretches.map(|bytes| self.of(&bytes[..WINDOW]));
        let news = stretches.map(|bytes| &bytes[WINDOW..][..lane - 1]);
        let olds = stretches.map(|bytes| &bytes[..lane - 1]);
        let mut found = [None; LANES];
        let mut look = |hashes: &[u64; LANES], place: usize| {
            let hit = hashes.iter().fold(false, |hit, hash| hit | (hash & mask == 0));
            if hit {
                for (found, hash) in found.iter_mut().zip(hashes) {
                    if hash & mask == 0 {
                        found.get_or_insert(place);
                    }
                }
            }
            hit && found[0].is_some()
        };
        for place in 0..lane - 1 {
            if look(&hashes, place) {
                break;
            }
            for (number, hash) in hashes.iter_mut().enumerate() {
                *hash = self.slide(*hash, olds[number][place], news[number][place]);
            }
        }
        look(&hashes, lane - 1);
        found.iter().enumerate().find_map(|(number, place)| place.map(|place| number * lane + place))
    }
}

/// The remainder of a division of polynomials over the field of two elements.
fn remainder(mut dividend: u64, divisor: Polynomial) -> u64 {
    while let Some(lead) = dividend.checked_ilog2().filter(|lead| *lead >= DEGREE) {
        dividend ^= divisor.bits() << (lead - DEGREE);
    }
    dividend
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One that restic itself made.
    const BITS: u64 = 0x003d_a335_8b4d_c173;

    #[test]
    fn the_first_place_is_the_first_one_wherever_the_search_begins() {
        let rabin = Rabin::new(Polynomial::new(BITS).expect("sound"));
        let mut state = 1_u64;
        let mut byte = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        };
        let data: Vec<u8> = (0..60_000).map(|_| byte()).collect();
        for mask in [0x3f, 0x7ff, 0xfff] {
            let all: Vec<usize> =
                (WINDOW..=data.len()).filter(|end| rabin.of(&data[end - WINDOW..*end]) & mask == 0).collect();
            assert!(all.len() > 1, "{mask}");
            for from in (WINDOW..=data.len()).step_by(37) {
                let expected = all.iter().copied().find(|end| *end >= from);
                assert_eq!(rabin.first(&data, from, mask), expected, "{mask} from {from}");
            }
            // The last place of all, and the one behind which there is nothing.
            for end in all.iter().rev().take(20) {
                assert_eq!(rabin.first(&data[..*end], *end, mask), Some(*end));
                assert_eq!(rabin.first(&data[..*end], end + 1, mask), None);
            }
        }
    }
}
