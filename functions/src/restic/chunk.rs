//! Cuts a stream where its own content says so: restic's chunks, or finer ones.
//!
//! Takes pieces of any size, gives chunks between a least and a most size, cut where a rolling hash (Rabin, over 64 bytes, with
//! the repository's own polynomial) has its low bits zero. Always holds: the same bytes are cut at the same places however they
//! arrive; with the repository's settings the places are those of restic, so that both find each other's chunks again; the
//! fine ones grow with the stream, so that their number stays small whatever its length.
//!
//! What the fine sizes cost and save was measured: `docs/decisions/0020-chunks.md`.

use std::sync::mpsc::Receiver;

use aquifer_engine::failure::Failure;
use aquifer_engine::stream::StreamType;
use rustic_core::repofile::{Chunker, ConfigFile};
use schemars::JsonSchema;
use serde::Deserialize;

use super::cipher::OVERHEAD;
use super::polynomial::Polynomial;
use super::rabin::{Rabin, WINDOW};
use crate::redis::stream::form::MEDIA_TYPE;

/// How a stream is cut into the chunks that are stored once each.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Chunks {
    /// `fine` for a dump of Redis that is neither compressed nor encrypted, unless the repository has sizes of its own; else
    /// `repository`.
    #[default]
    Auto,
    /// About 10 KiB in the first 320 MiB of a stream, and twice as much in each part behind it, which is twice as long as the one
    /// before. A change here and there costs little; index and tree are larger.
    Fine,
    /// As the repository says: about 1 MiB, unless it was made otherwise.
    Repository,
}

impl Chunks {
    fn is_fine(self, config: &ConfigFile, stream: &StreamType) -> bool {
        match self {
            Self::Fine => true,
            Self::Repository => false,
            Self::Auto => {
                let own = config.chunk_size.is_some() || config.chunker.is_some();
                !own && stream.base() == MEDIA_TYPE && stream.wraps().is_empty()
            }
        }
    }
}

/// Between which lengths the cuts are, and how seldom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Sizes {
    least: usize,
    most: usize,
    mask: u64,
}

/// The finest sizes: all but a few chunks have 8 to 16 KiB, which is little more for one that is hit by a change than for the
/// mean.
const FINEST: Sizes = Sizes { least: 8 << 10, most: 64 << 10, mask: (2 << 10) - 1 };

/// How long the part of a stream is that is cut the finest: some 32,000 chunks. Each part behind it has as many.
const FINEST_PART: u64 = 320 << 20;

/// How often the sizes double at most: 1 to 2 MiB, as restic's own.
const DOUBLINGS: u32 = 7;

impl Sizes {
    /// Those of the chunk that begins at this byte of a stream.
    fn fine(at: u64) -> Self {
        let doublings = (at / FINEST_PART + 1).ilog2().min(DOUBLINGS);
        let Self { least, most, mask } = FINEST;
        Self { least: least << doublings, most: most << doublings, mask: ((mask + 1) << doublings) - 1 }
    }
}

/// Where the cuts may be.
#[derive(Debug, Clone, Copy)]
enum Rule {
    /// Where the hash's bits under the mask are zero.
    Content(Sizes),
    /// The same, with sizes that grow with the stream.
    Growing,
    /// Always after so many bytes.
    Fixed(usize),
}

/// The cutter of one stream.
pub(crate) struct Cutter {
    rule: Rule,
    hash: Rabin,
    chunk: Vec<u8>,
    /// Room of chunks that nobody needs any more.
    rooms: Option<Receiver<Vec<u8>>>,
    /// How many bytes were cut already.
    before: u64,
}

impl std::fmt::Debug for Cutter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cutter").field("rule", &self.rule).field("pending", &self.chunk.len()).finish_non_exhaustive()
    }
}

impl Cutter {
    /// The cutter of a stream for a repository of this configuration.
    ///
    /// # Errors
    /// The configuration is damaged.
    pub(crate) fn new(config: &ConfigFile, chunks: Chunks, stream: &StreamType) -> Result<Self, Failure> {
        let damaged = |what: &str| Failure::corrupt(format!("the repository's config has {what}"));
        let polynomial = config.poly().map_err(|_| damaged("no polynomial to cut chunks with"))?;
        let polynomial = Polynomial::new(polynomial).ok_or_else(|| {
            damaged("a polynomial that no chunks can be cut with").with_help(
                "bring the file `config` back from a copy of the repository, or begin a new one in another place",
            )
        })?;
        let (size, least, most) = (config.chunk_size(), config.chunk_min_size(), config.chunk_max_size());
        let rule = match config.chunker() {
            _ if chunks.is_fine(config, stream) => Rule::Growing,
            Chunker::FixedSize if size > 0 => Rule::Fixed(size),
            Chunker::Rabin if size.is_power_of_two() && WINDOW <= least && least <= size && size <= most => {
                Rule::Content(Sizes { least, most, mask: size as u64 - 1 })
            }
            _ => return Err(damaged("chunk sizes that cannot be used")),
        };
        Ok(Self { rule, hash: Rabin::new(polynomial), chunk: Vec::new(), rooms: None, before: 0 })
    }

    /// Puts the chunks into rooms that come back this way, as long as there are any.
    pub(crate) fn reuse(&mut self, rooms: Receiver<Vec<u8>>) {
        self.rooms = Some(rooms);
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
                Rule::Content(sizes) => self.roll(rest, sizes),
                Rule::Growing => self.roll(rest, Sizes::fine(self.before)),
            };
            self.chunk.extend_from_slice(&rest[..used]);
            rest = &rest[used..];
            if complete {
                self.cut(&mut take)?;
            }
        }
        Ok(())
    }

    /// How many of these bytes belong to the chunk, and whether it ends with them. Before the least size there is nothing to hash.
    fn roll(&self, rest: &[u8], sizes: Sizes) -> (usize, bool) {
        let Sizes { least, most, mask } = sizes;
        let have = self.chunk.len();
        // In bytes of `rest`: the ends from the first one that may be a cut up to the last one.
        let (first, last) = (least.max(have + 1) - have, rest.len().min(most - have));
        if first > last {
            return (last, false);
        }
        let found = self.across(&rest[..last], first, mask).or_else(|| {
            let first = first.max(WINDOW);
            (first <= last).then(|| self.hash.first(&rest[..last], first, mask)).flatten()
        });
        (found.unwrap_or(last), found.is_some() || have + last == most)
    }

    /// The first end of those whose window begins in what is held already.
    fn across(&self, rest: &[u8], first: usize, mask: u64) -> Option<usize> {
        if first >= WINDOW {
            return None;
        }
        let held = &self.chunk[self.chunk.len() - self.chunk.len().min(WINDOW)..];
        let joint = [held, &rest[..rest.len().min(WINDOW - 1)]].concat();
        self.hash.first(&joint, held.len() + first, mask).map(|end| end - held.len())
    }

    fn cut(&mut self, take: &mut impl FnMut(Vec<u8>) -> Result<(), Failure>) -> Result<(), Failure> {
        self.before += self.chunk.len() as u64;
        let used = self.rooms.as_ref().and_then(|rooms| rooms.try_recv().ok());
        // The next chunk is probably about as long.
        let mut room = used.unwrap_or_else(|| Vec::with_capacity(self.chunk.len() + OVERHEAD));
        room.clear();
        take(std::mem::replace(&mut self.chunk, room))
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

    fn redis() -> StreamType {
        MEDIA_TYPE.parse().expect("a type")
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
        cut_as(Chunks::Repository, config, data, piece)
    }

    fn cut_as(chunks: Chunks, config: &ConfigFile, data: &[u8], piece: usize) -> Vec<Vec<u8>> {
        let mut cutter = Cutter::new(config, chunks, &redis()).expect("sound");
        let mut cuts = Vec::new();
        for piece in data.chunks(piece) {
            cutter
                .add(piece, |chunk| {
                    cuts.push(chunk);
                    Ok(())
                })
                .expect("taken");
        }
        cuts.extend(cutter.finish());
        cuts
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
        let (mut small, data) = (config(), noise(50_000));
        (small.chunk_min_size, small.chunk_size, small.chunk_max_size) = (Some(100), Some(256), Some(1000));
        let polynomial = small.poly().expect("one");
        let slowly = |window: &[u8]| {
            // Long division, bit by bit.
            window.iter().flat_map(|byte| (0..8).rev().map(move |bit| u64::from(byte >> bit & 1))).fold(
                0_u64,
                |hash, bit| {
                    let hash = hash << 1 | bit;
                    if hash >> 53 == 0 { hash } else { hash ^ polynomial }
                },
            )
        };
        let mut expected = Vec::new();
        let mut start = 0;
        for end in 1..=data.len() {
            let length = end - start;
            if length >= 100 && (slowly(&data[end - WINDOW..end]) & 255 == 0 || length == 1000) {
                expected.push(length);
                start = end;
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
        assert!(Cutter::new(&fixed, Chunks::Repository, &redis()).is_err());
    }

    #[test]
    fn fine_chunks_are_much_alike_and_cut_at_the_same_places_however_they_arrive() {
        let data = noise(4 << 20);
        let fine = cut_as(Chunks::Auto, &config(), &data, usize::MAX);
        assert_eq!(fine.concat(), data);
        let (_, all_but_last) = fine.split_last().expect("chunks");
        assert!(all_but_last.iter().all(|chunk| (8 << 10..=64 << 10).contains(&chunk.len())));
        let mean = data.len() / fine.len();
        assert!((9_500..11_000).contains(&mean), "{mean}");
        // What a change at any place costs, in bytes.
        let hit: usize = fine.iter().map(|chunk| chunk.len() * chunk.len()).sum::<usize>() / data.len();
        assert!(hit < mean * 11 / 10, "{hit} of {mean}");
        for piece in [65_536, 4_099, 77] {
            assert!(fine == cut_as(Chunks::Fine, &config(), &data, piece), "{piece}");
        }
        let mut longer = data.clone();
        longer.splice(1_000_000..1_000_000, [1, 2, 3]);
        let known: std::collections::HashSet<_> = fine.iter().collect();
        let after = cut_as(Chunks::Fine, &config(), &longer, usize::MAX);
        assert!(after.iter().filter(|chunk| !known.contains(chunk)).count() <= 4);
    }

    #[test]
    fn fine_sizes_double_where_parts_of_twice_the_length_begin() {
        let least = |at: u64| Sizes::fine(at).least >> 10;
        let part = FINEST_PART;
        assert_eq!([0, part - 1, part, 3 * part - 1, 3 * part].map(least), [8, 8, 16, 16, 32]);
        assert_eq!([127 * part - 1, 127 * part, u64::MAX].map(least), [512, 1024, 1024]);
        assert_eq!(Sizes::fine(u64::MAX), Sizes { least: 1 << 20, most: 8 << 20, mask: (256 << 10) - 1 });
    }

    #[test]
    fn the_repositorys_own_sizes_are_kept_unless_others_are_asked_for() {
        let mut own = config();
        let redis = redis();
        assert!(Chunks::Auto.is_fine(&own, &redis) && !Chunks::Repository.is_fine(&own, &redis));
        assert!(
            !Chunks::Auto.is_fine(&own, &StreamType::unknown()) && Chunks::Fine.is_fine(&own, &StreamType::unknown())
        );
        own.chunk_size = Some(1 << 20);
        assert!(!Chunks::Auto.is_fine(&own, &redis) && Chunks::Fine.is_fine(&own, &redis));
    }
}
