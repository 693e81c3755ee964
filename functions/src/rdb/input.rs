//! Bytes of an RDB as they come, with their place and their checksum.
//!
//! Takes pieces from a [`Source`]. Gives a view of what has come, and more of it when asked. Always holds: every byte that
//! was passed over is in the checksum once; only as much is held as somebody asked to see at once.

use std::future::Future;

use aquifer_engine::failure::Failure;
use aquifer_engine::pipe::Reader;
use bytes::{Buf, Bytes, BytesMut};
use crc_fast::{CrcAlgorithm, Digest};

/// How much room is kept when nothing is held.
const ROOM: usize = 1 << 20;

/// Where bytes come from.
pub(crate) trait Source: Send {
    /// The next bytes; `None` at the end.
    ///
    /// # Errors
    /// Whoever gives them has failed.
    fn piece(&mut self) -> impl Future<Output = Result<Option<Bytes>, Failure>> + Send;
}

impl Source for Reader {
    async fn piece(&mut self) -> Result<Option<Bytes>, Failure> {
        self.read().await
    }
}

/// Bytes that are there already.
impl Source for Option<Bytes> {
    async fn piece(&mut self) -> Result<Option<Bytes>, Failure> {
        Ok(self.take())
    }
}

/// An RDB being read.
pub(crate) struct Input<S> {
    source: S,
    /// What it is, for messages.
    name: &'static str,
    buffer: BytesMut,
    /// Where in the buffer the next byte is.
    at: usize,
    /// Up to where the buffer is in the checksum.
    summed: usize,
    /// Where in the RDB the buffer begins.
    base: u64,
    ended: bool,
    digest: Digest,
}

impl<S: Source> Input<S> {
    /// Begins at the beginning.
    pub(crate) fn new(source: S, name: &'static str) -> Self {
        let digest = Digest::new(CrcAlgorithm::Crc64Redis);
        Self { source, name, buffer: BytesMut::new(), at: 0, summed: 0, base: 0, ended: false, digest }
    }

    /// Where the next byte is.
    pub(crate) fn offset(&self) -> u64 {
        self.base + self.at as u64
    }

    /// What has come.
    pub(crate) fn rest(&self) -> &[u8] {
        &self.buffer[self.at..]
    }

    /// Passes over so many of the bytes that have come.
    pub(crate) fn skip(&mut self, bytes: usize) {
        self.at = self.at.saturating_add(bytes).min(self.buffer.len());
    }

    /// Passes over at most so many of the bytes that have come, and gives them.
    pub(crate) fn take(&mut self, most: usize) -> &[u8] {
        let from = self.at;
        self.skip(most);
        &self.buffer[from..self.at]
    }

    /// The checksum of all that was passed over.
    pub(crate) fn sum(&mut self) -> u64 {
        self.digest.update(&self.buffer[self.summed..self.at]);
        self.summed = self.at;
        self.digest.finalize()
    }

    /// Waits for more bytes; false where there are none.
    ///
    /// # Errors
    /// The source has failed.
    pub(crate) async fn more(&mut self) -> Result<bool, Failure> {
        if self.ended {
            return Ok(false);
        }
        match self.source.piece().await? {
            Some(piece) => {
                self.sum();
                if self.at == self.buffer.len() && self.buffer.capacity() > ROOM {
                    // What a long value needed is given back.
                    self.buffer = BytesMut::new();
                } else {
                    self.buffer.advance(self.at);
                }
                self.base += self.at as u64;
                (self.at, self.summed) = (0, 0);
                self.buffer.extend_from_slice(&piece);
            }
            None => self.ended = true,
        }
        Ok(!self.ended)
    }

    /// Makes room for so many bytes more, so that what has come is not moved again and again while they come.
    pub(crate) fn make_room(&mut self, bytes: usize) {
        self.buffer.reserve(bytes);
    }

    /// Waits until so many bytes can be seen.
    ///
    /// # Errors
    /// There are not so many.
    pub(crate) async fn need(&mut self, bytes: usize) -> Result<(), Failure> {
        while self.buffer.len() - self.at < bytes {
            if !self.more().await? {
                return Err(self.cut());
            }
        }
        Ok(())
    }

    /// The next byte.
    ///
    /// # Errors
    /// As [`Input::need`].
    pub(crate) async fn byte(&mut self) -> Result<u8, Failure> {
        Ok(self.array::<1>().await?[0])
    }

    /// The next few bytes.
    ///
    /// # Errors
    /// As [`Input::need`].
    pub(crate) async fn array<const N: usize>(&mut self) -> Result<[u8; N], Failure> {
        self.need(N).await?;
        let mut bytes = [0; N];
        bytes.copy_from_slice(&self.rest()[..N]);
        self.skip(N);
        Ok(bytes)
    }

    /// What it is, for messages.
    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    /// A failure of what stands here.
    pub(crate) fn wrong(&self, what: impl std::fmt::Display) -> Failure {
        wrong(self.name, self.offset(), what)
    }

    /// A failure of an end that comes too early.
    pub(crate) fn cut(&self) -> Failure {
        let at = self.base + self.buffer.len() as u64;
        Failure::corrupt(format!("{} is cut off: it ends at byte {at}", self.name))
            .with_help("take another copy of it; this one is not whole")
    }
}

/// A failure of what stands at a place.
pub(crate) fn wrong(name: &str, at: u64, what: impl std::fmt::Display) -> Failure {
    Failure::corrupt(format!("at byte {at} of {name}: {what}"))
        .with_help("it is damaged, or newer than this program; is it still compressed or encrypted?")
}
