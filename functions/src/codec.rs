//! What the codecs (compression, encryption) share: blocking work between two pipes, and the compression formats.
//!
//! Takes a pipe's ends. Gives readers and writers as the codec libraries want them, without a copy where they allow it.
//! Always holds: a failure of the pipe comes out as that failure, never as damaged data; the codec's work is done on a
//! thread of its own, which ends when the pipe breaks.

use std::io::{self, BufRead, Read, Write};

use aquifer_engine::failure::Failure;
use aquifer_engine::pipe::{BlockingReader, BlockingWriter};
pub(crate) use aquifer_engine::thread::on_own_thread as blocking;
use bytes::{Buf, Bytes, BytesMut};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A compression format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Zstandard frames (RFC 8878).
    Zstd,
    /// gzip members (RFC 1952).
    Gzip,
    /// LZ4 frames (not the older "legacy" ones).
    Lz4,
}

impl Format {
    /// Every format.
    pub(crate) const ALL: [Self; 3] = [Self::Zstd, Self::Gzip, Self::Lz4];

    /// Its name, which is also the wrap that it adds to a stream's type.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Zstd => "zstd",
            Self::Gzip => "gzip",
            Self::Lz4 => "lz4",
        }
    }

    /// The format that begins like this. Skippable frames, which zstd and lz4 share, count as zstd: only zstd's own tools write them first.
    pub(crate) fn of(head: &[u8]) -> Option<Self> {
        match head {
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Some(Self::Zstd),
            [0x1f, 0x8b, ..] => Some(Self::Gzip),
            [0x04, 0x22, 0x4d, 0x18, ..] => Some(Self::Lz4),
            _ => None,
        }
    }
}

/// The failure behind a codec's error: the pipe's own, or else damaged data.
pub(crate) fn damaged(error: io::Error, what: &str) -> Failure {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<Failure>()) {
        Some(of_the_pipe) => of_the_pipe.clone(),
        None => Failure::corrupt(format!("{what}: {error}")),
    }
}

/// A [`BufRead`] over a pipe that lends the pipe's own pieces.
#[derive(Debug)]
pub(crate) struct Input {
    reader: BlockingReader,
    chunk: Bytes,
    bytes: u64,
}

impl Input {
    pub(crate) fn new(reader: BlockingReader) -> Self {
        Self { reader, chunk: Bytes::new(), bytes: 0 }
    }

    /// How many bytes were taken from it.
    pub(crate) fn taken(&self) -> u64 {
        self.bytes
    }

    /// The first bytes without taking them: `wanted`, or fewer where the stream is shorter.
    pub(crate) fn peek(&mut self, wanted: usize) -> Result<&[u8], Failure> {
        while self.chunk.len() < wanted {
            let Some(more) = self.reader.read_chunk()? else { break };
            if self.chunk.is_empty() {
                self.chunk = more;
            } else {
                let mut joined = BytesMut::with_capacity(self.chunk.len() + more.len());
                joined.extend_from_slice(&self.chunk);
                joined.extend_from_slice(&more);
                self.chunk = joined.freeze();
            }
        }
        Ok(&self.chunk[..wanted.min(self.chunk.len())])
    }

    /// True where nothing is left and the stream was finished.
    pub(crate) fn is_at_end(&mut self) -> Result<bool, Failure> {
        Ok(self.peek(1)?.is_empty())
    }
}

impl BufRead for Input {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.chunk.is_empty()
            && let Some(chunk) = self.reader.read_chunk()?
        {
            self.chunk = chunk;
        }
        Ok(&self.chunk)
    }

    fn consume(&mut self, taken: usize) {
        self.chunk.advance(taken);
        self.bytes += taken as u64;
    }
}

impl Read for Input {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let chunk = self.fill_buf()?;
        let taken = chunk.len().min(buffer.len());
        buffer[..taken].copy_from_slice(&chunk[..taken]);
        self.consume(taken);
        Ok(taken)
    }
}

/// A pipe's writing end that counts.
#[derive(Debug)]
pub(crate) struct Output {
    writer: BlockingWriter,
    bytes: u64,
}

impl Output {
    pub(crate) fn new(writer: BlockingWriter) -> Self {
        Self { writer, bytes: 0 }
    }

    /// Hands on what was collected and says how many bytes were written in all.
    pub(crate) fn end(mut self) -> Result<u64, Failure> {
        self.writer.flush().map_err(|error| Failure::from_io(error, "writing"))?;
        Ok(self.bytes)
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.writer.write(bytes)?;
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        // Codecs flush at their own boundaries; only `end` has to.
        Ok(())
    }
}

/// How much of a codec's output is collected before it is handed on.
const COPY_BUFFER: usize = 128 << 10;

/// Copies all that a decoder gives.
pub(crate) fn copy(decoder: &mut impl Read, output: &mut Output, what: &str) -> Result<(), Failure> {
    let mut buffer = vec![0; COPY_BUFFER];
    loop {
        match decoder.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => output.write_all(&buffer[..count]).map_err(|error| Failure::from_io(error, "writing"))?,
            Err(error) => return Err(damaged(error, what)),
        }
    }
}
