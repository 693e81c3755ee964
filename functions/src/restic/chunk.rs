//! Cuts a stream where its own content says so: restic's chunks.
//!
//! Takes pieces of any size, gives chunks between a least and a most size, cut where a rolling hash (Rabin, over 64 bytes, with
//! the repository's own polynomial) has its low bits zero. Always holds: the same bytes are cut at the same places however they
//! arrive; the places are those of restic with the same settings, so that both find each other's chunks again.

use aquifer_engine::failure::Failure;
use rustic_cdc::{Rabin64, RollingHash64};
use rustic_core::repofile::{Chunker, ConfigFile};

/// The rolling hash's window, in bytes.
const WINDOW: usize = 64;

/// Where the cuts may be.
#[derive(Debug, Clone, Copy)]
enum Rule {
    /// Where the hash's bits under the mask are zero.
    Content { least: usize, most: usize, mask: u64 },
    /// Always after so many bytes.
    Fixed(usize),
}

/// The cutter of one stream.
pub(crate) struct Cutter {
    rule: Rule,
    hash: Rabin64,
    chunk: Vec<u8>,
    /// Whether the hash's window covers the chunk's last bytes.
    primed: bool,
}

impl std::fmt::Debug for Cutter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cutter").field("rule", &self.rule).field("pending", &self.chunk.len()).finish_non_exhaustive()
    }
}

impl Cutter {
    /// By a repository's own settings.
    ///
    /// # Errors
    /// The settings are damaged.
    pub(crate) fn new(config: &ConfigFile) -> Result<Self, Failure> {
        let damaged = |what: &str| Failure::corrupt(format!("the repository's config has {what}"));
        let polynomial = config.poly().map_err(|_| damaged("no polynomial to cut chunks with"))?;
        let (size, least, most) = (config.chunk_size(), config.chunk_min_size(), config.chunk_max_size());
        let rule = match config.chunker() {
            Chunker::FixedSize if size > 0 => Rule::Fixed(size),
            Chunker::Rabin if size.is_power_of_two() && WINDOW <= least && least <= size && size <= most => {
                Rule::Content { least, most, mask: size as u64 - 1 }
            }
            _ => return Err(damaged("chunk sizes that cannot be used")),
        };
        Ok(Self { rule, hash: Rabin64::new_with_polynom(6, &polynomial), chunk: Vec::new(), primed: false })
    }

    /// Takes bytes and gives each chunk that they complete.
    ///
    /// # Errors
    /// Those of `take`.
    pub(crate) fn add(
        &mut self,
        bytes: &[u8],
        mut take: impl FnMut(Vec<u8>) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let (used, complete) = match self.rule {
                Rule::Fixed(size) => {
                    let used = (size - self.chunk.len()).min(rest.len());
                    (used, self.chunk.len() + used == size)
                }
                Rule::Content { least, most, mask } => self.roll(rest, least, most, mask),
            };
            self.chunk.extend_from_slice(&rest[..used]);
            rest = &rest[used..];
            if let Rule::Content { least, mask, .. } = self.rule
                && !self.primed
                && self.chunk.len() == least
            {
                // It fills all of its window but one byte.
                self.hash.reset_and_prefill_window(&mut self.chunk[least - WINDOW..].iter().copied());
                self.hash.slide(self.chunk[least - 1]);
                self.primed = true;
                if self.hash.hash & mask == 0 {
                    self.cut(&mut take)?;
                    continue;
                }
            }
            if complete {
                self.cut(&mut take)?;
            }
        }
        Ok(())
    }

    /// How many of these bytes belong to the chunk, and whether it ends with them. Before the least size there is nothing to hash.
    fn roll(&mut self, rest: &[u8], least: usize, most: usize, mask: u64) -> (usize, bool) {
        if !self.primed {
            return ((least - self.chunk.len()).min(rest.len()), false);
        }
        let room = (most - self.chunk.len()).min(rest.len());
        for (at, byte) in rest[..room].iter().enumerate() {
            self.hash.slide(*byte);
            if self.hash.hash & mask == 0 {
                return (at + 1, true);
            }
        }
        (room, self.chunk.len() + room >= most)
    }

    fn cut(&mut self, take: &mut impl FnMut(Vec<u8>) -> Result<(), Failure>) -> Result<(), Failure> {
        self.primed = false;
        // The next chunk is probably about as long.
        let room = self.chunk.len();
        take(std::mem::replace(&mut self.chunk, Vec::with_capacity(room)))
    }

    /// The last chunk, which the end of the stream completes; none where nothing is left.
    pub(crate) fn finish(self) -> Option<Vec<u8>> {
        (!self.chunk.is_empty()).then_some(self.chunk)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> ConfigFile {
        // A polynomial that restic itself made.
        let id = "0".repeat(64).parse::<rustic_core::Id>().expect("an id");
        ConfigFile::new(2, id.into(), 0x003d_a335_8b4d_c173)
    }

    fn noise(length: usize) -> Vec<u8> {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()
        };
        (0..length.div_ceil(8)).flat_map(|_| next()).take(length).collect()
    }

    fn cut(config: &ConfigFile, data: &[u8], piece: usize) -> Vec<Vec<u8>> {
        let mut cutter = Cutter::new(config).expect("sound");
        let mut chunks = Vec::new();
        for piece in data.chunks(piece) {
            cutter
                .add(piece, |chunk| {
                    chunks.push(chunk);
                    Ok(())
                })
                .expect("taken");
        }
        chunks.extend(cutter.finish());
        chunks
    }

    #[test]
    fn the_cuts_do_not_depend_on_how_the_bytes_arrive() {
        let data = noise(20 << 20);
        let whole = cut(&config(), &data, usize::MAX);
        assert!(whole.len() > 5, "{}", whole.len());
        for piece in [1 << 20, 65_536, 4_099, (512 << 10) - 1] {
            assert!(whole == cut(&config(), &data, piece), "{piece}");
        }
        assert_eq!(whole.concat(), data);
        let (_, all_but_last) = whole.split_last().expect("chunks");
        assert!(all_but_last.iter().all(|chunk| (512 << 10..=8 << 20).contains(&chunk.len())));
    }

    /// The definition itself: of each place, the hash of the 64 bytes in front of it.
    #[test]
    fn the_cuts_are_where_the_window_says() {
        let (mut small, data) = (config(), noise(200_000));
        (small.chunk_min_size, small.chunk_size, small.chunk_max_size) = (Some(100), Some(256), Some(1000));
        let mut hash = Rabin64::new_with_polynom(6, &small.poly().expect("one"));
        let mut expected = Vec::new();
        let mut start = 0;
        for end in 1..=data.len() {
            let length = end - start;
            if length >= 100 {
                hash.reset();
                data[end - WINDOW..end].iter().for_each(|byte| hash.slide(*byte));
                if hash.hash & 255 == 0 || length == 1000 {
                    expected.push(length);
                    start = end;
                }
            }
        }
        expected.push(data.len() - start);
        for piece in [usize::MAX, 77] {
            assert!(cut(&small, &data, piece).iter().map(Vec::len).eq(expected.iter().copied()), "{piece}");
        }
    }

    #[test]
    fn a_change_moves_no_cut_far_behind_it() {
        let data = noise(20 << 20);
        let mut longer = data.clone();
        longer.splice(1_000_000..1_000_000, [1, 2, 3]);
        let (before, after) = (cut(&config(), &data, usize::MAX), cut(&config(), &longer, usize::MAX));
        let known: std::collections::HashSet<_> = before.iter().collect();
        assert!(after.iter().filter(|chunk| !known.contains(chunk)).count() <= 2);
    }

    #[test]
    fn short_long_and_fixed_streams() {
        assert!(cut(&config(), b"", 1).is_empty());
        assert_eq!(cut(&config(), b"abc", 2), [b"abc".to_vec()]);
        let zeros = cut(&config(), &vec![0; 9 << 20], usize::MAX);
        assert_eq!(zeros[0].len(), 512 << 10, "zeros hash to zero, which is a cut at once");
        let mut fixed = config();
        fixed.chunker = Some(Chunker::FixedSize);
        fixed.chunk_size = Some(10);
        assert_eq!(cut(&fixed, &[1; 25], 7).iter().map(Vec::len).collect::<Vec<_>>(), [10, 10, 5]);
        fixed.chunk_size = Some(0);
        assert!(Cutter::new(&fixed).is_err());
    }
}
