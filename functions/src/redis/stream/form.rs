//! The form of a dump: RESP commands between a head and a trailer. Documented in `docs/reference/redis-stream.md`.
//!
//! Takes commands. Gives a pipe their bytes, counted and hashed. Always holds: [`Form::finish`] writes the trailer over
//! exactly the bytes that were written before it; a stream without one is not whole.

use std::collections::VecDeque;

use aquifer_engine::failure::Failure;
use aquifer_engine::pipe::Writer;
use aquifer_engine::stream::StreamType;
use bytes::{Bytes, BytesMut};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use xxhash_rust::xxh3::Xxh3;

use crate::redis::keys::tally::PerType;
use crate::redis::wire::facts::Facts;
use crate::redis::wire::resp;

/// The media type of the stream.
pub(crate) const MEDIA_TYPE: &str = "application/vnd.redis.resp";

/// The version of the form that is written, and the newest that is read.
pub(crate) const VERSION: u32 = 1;

/// What the text of the head begins with; a version and a JSON object follow.
pub(crate) const HEAD: &str = "aquifer-redis-dump v";

/// What the text of the trailer begins with; a version and a JSON object follow.
pub(crate) const TRAILER: &str = "aquifer-redis-dump-end v";

/// How much is collected before it goes into the pipe.
const COLLECT: usize = 256 << 10;

/// Buffers that are free and kept, at most.
const KEPT: usize = 4;

/// Buffers that others have and that are waited for, at most: as many as a pipe holds, and a few.
const IN_USE: usize = 40;

/// The longest argument that a stream may have: what a server takes unless its `proto-max-bulk-len` was raised.
pub(crate) const LONGEST_ARGUMENT: u64 = 512 << 20;

/// A library of functions is code and is held whole; nobody writes as much of it.
pub(crate) const LONGEST_LIBRARY: u64 = 16 << 20;

/// The most bytes of names that a command made of names may have (`XGROUP`, `XCLAIM`, expiries of fields): whoever reads a
/// stream holds it whole.
pub(crate) const LONGEST_NAMES: usize = 16 << 20;

/// The stream's type.
pub(crate) fn stream_type() -> StreamType {
    // The text is a constant that parses; unknown would only lose the check of the pipe.
    MEDIA_TYPE.parse().unwrap_or_else(|_| StreamType::unknown())
}

/// What the head says. Nothing in it changes from dump to dump of an unchanged server.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StreamHead {
    /// The version of the server that was read.
    pub(crate) redis: String,
    /// How it was read: `replication`, `scan`, `rdb`.
    pub(crate) source: String,
    /// What the keys have in common: `point-in-time` or `per-key`. Empty where nobody said, as `role` is.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) consistency: String,
    /// What the server was to others: `master` or `replica`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) role: String,
    /// The databases that follow, in order; empty where that was not known beforehand.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) databases: Vec<u32>,
    /// Of a cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) cluster: Option<ClusterHead>,
}

/// What the head of a cluster's dump says of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ClusterHead {
    /// How many shards it had.
    pub(crate) shards: u32,
    /// Which of them was read, where it was only one: 1 has the lowest slot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) shard: Option<u32>,
    /// The stream is one of those of all shards, which are whole only behind each other.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) joined: bool,
    /// Of such a stream: who had which slots, since when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) layout: Option<String>,
    /// Of such a stream: a digest of the functions' libraries that this shard had; nothing where they were left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) functions: Option<String>,
}

impl StreamHead {
    /// The head of a dump that is made now.
    pub(crate) fn new(facts: &Facts, source: &str, consistency: &str, role: &str, databases: Vec<u32>) -> Self {
        Self {
            redis: facts.version.clone(),
            source: source.to_owned(),
            consistency: consistency.to_owned(),
            role: role.to_owned(),
            databases,
            cluster: None,
        }
    }
}

/// What the trailer says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Trailer {
    /// Keys.
    pub(crate) keys: u64,
    /// Keys per type.
    pub(crate) types: PerType,
    /// Libraries of functions.
    pub(crate) functions: u64,
    /// Commands before the trailer, the head counted.
    pub(crate) commands: u64,
    /// Bytes before the trailer.
    pub(crate) bytes: u64,
    /// XXH3-64 of these bytes, in 16 hexadecimal digits.
    pub(crate) xxh3: String,
}

/// A text that a head or trailer is made of.
pub(crate) fn text(begin: &str, json: &impl Serialize) -> Result<String, Failure> {
    let json = serde_json::to_string(json).map_err(|error| Failure::internal("a head is no JSON").caused_by(&error))?;
    Ok(format!("{begin}{VERSION} {json}"))
}

/// Where a form goes.
enum Out {
    Pipe(Writer),
    /// A part of a stream: to whoever makes one of several.
    Part(mpsc::Sender<Bytes>),
}

/// Buffers that were handed on, to be filled again once nobody has them any more: memory of this size comes fresh from the
/// kernel each time, page by page, which takes longer than to fill it.
#[derive(Debug, Default)]
struct Used(VecDeque<Bytes>);

impl Used {
    /// A buffer in place of one that is handed on.
    fn instead_of(&mut self, full: &Bytes) -> BytesMut {
        let mut free = None;
        // Those who read give them back in the order in which they got them.
        while (free.is_none() || self.0.len() > KEPT)
            && let Some(oldest) = self.0.pop_front()
        {
            match oldest.try_into_mut() {
                Ok(buffer) => free = Some(buffer),
                Err(oldest) => {
                    if self.0.len() < IN_USE {
                        self.0.push_front(oldest);
                    }
                    break;
                }
            }
        }
        // What held a long member is not kept.
        if full.len() <= 2 * COLLECT {
            self.0.push_back(full.clone());
        }
        match free {
            Some(mut buffer) if (COLLECT..=4 * COLLECT).contains(&buffer.capacity()) => {
                buffer.clear();
                buffer
            }
            _ => BytesMut::with_capacity(COLLECT + COLLECT / 4),
        }
    }
}

/// A dump being written.
pub(crate) struct Form {
    pipe: Out,
    out: BytesMut,
    used: Used,
    hash: Box<Xxh3>,
    bytes: u64,
    commands: u64,
}

impl Form {
    /// Begins a stream with its head.
    ///
    /// # Errors
    /// The head is no JSON, which it always is.
    pub(crate) fn begin(pipe: Writer, head: &StreamHead) -> Result<Self, Failure> {
        let pipe = Out::Pipe(pipe);
        let (out, used) = (BytesMut::new(), Used::default());
        let mut form = Self { pipe, out, used, hash: Box::default(), bytes: 0, commands: 0 };
        form.command(&[b"ECHO", text(HEAD, head)?.as_bytes()]);
        Ok(form)
    }

    /// Begins a part of a stream, without head and trailer.
    pub(crate) fn part(to: mpsc::Sender<Bytes>) -> Self {
        let (out, used) = (BytesMut::new(), Used::default());
        Self { pipe: Out::Part(to), out, used, hash: Box::default(), bytes: 0, commands: 0 }
    }

    /// True for a part of a stream.
    pub(crate) fn is_part(&self) -> bool {
        matches!(self.pipe, Out::Part(_))
    }

    /// Ends a part.
    ///
    /// # Errors
    /// Nobody reads any more.
    pub(crate) async fn end_part(mut self) -> Result<(), Failure> {
        self.flush().await
    }

    /// Writes commands as they stand; so many more end with them.
    ///
    /// # Errors
    /// Nobody reads any more.
    pub(crate) async fn copy(&mut self, bytes: &[u8], commands: u64) -> Result<(), Failure> {
        self.commands += commands;
        self.out.extend_from_slice(bytes);
        self.flush_some().await
    }

    /// Writes a whole command.
    pub(crate) fn command(&mut self, args: &[&[u8]]) {
        self.commands += 1;
        resp::command(&mut self.out, args);
    }

    /// Writes commands that were made already, so many of them.
    pub(crate) fn raw(&mut self, commands: &[u8], count: u64) {
        self.commands += count;
        self.out.extend_from_slice(commands);
    }

    /// Begins a command of so many arguments, to be written into what this gives.
    pub(crate) fn begin_command(&mut self, arguments: u64) -> &mut BytesMut {
        self.commands += 1;
        resp::arguments(&mut self.out, arguments);
        &mut self.out
    }

    /// Goes on with a command that was begun.
    pub(crate) fn out(&mut self) -> &mut BytesMut {
        &mut self.out
    }

    /// Goes on with a command that was begun, with bytes as they are.
    ///
    /// # Errors
    /// As [`Form::flush_some`].
    pub(crate) async fn piece(&mut self, piece: Bytes) -> Result<(), Failure> {
        self.out.extend_from_slice(&piece);
        self.flush_some().await
    }

    /// Hands on what was collected, once it is worth it.
    ///
    /// # Errors
    /// Nobody reads any more.
    pub(crate) async fn flush_some(&mut self) -> Result<(), Failure> {
        if self.out.len() >= COLLECT { self.flush().await } else { Ok(()) }
    }

    async fn flush(&mut self) -> Result<(), Failure> {
        let full = std::mem::take(&mut self.out).freeze();
        self.out = self.used.instead_of(&full);
        self.bytes += full.len() as u64;
        match &mut self.pipe {
            Out::Pipe(pipe) => {
                self.hash.update(&full);
                pipe.write(full).await
            }
            Out::Part(_) if full.is_empty() => Ok(()),
            Out::Part(to) => to.send(full).await.map_err(|_| Failure::cancelled("nobody takes this part any more")),
        }
    }

    /// Writes the trailer, and gives how many bytes the whole stream has.
    ///
    /// # Errors
    /// Nobody reads any more.
    pub(crate) async fn finish(mut self, types: PerType, functions: u64) -> Result<u64, Failure> {
        self.flush().await?;
        let trailer = Trailer {
            keys: types.total(),
            types,
            functions,
            commands: self.commands,
            bytes: self.bytes,
            xxh3: format!("{:016x}", self.hash.digest()),
        };
        self.command(&[b"ECHO", text(TRAILER, &trailer)?.as_bytes()]);
        self.flush().await?;
        Ok(self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_filled_again_once_nobody_has_it_and_few_are_kept() {
        let mut used = Used::default();
        let full = |out: &mut BytesMut, byte: u8| {
            out.extend_from_slice(&vec![byte; COLLECT]);
            std::mem::take(out).freeze()
        };
        let (mut out, mut held) = (BytesMut::with_capacity(COLLECT), VecDeque::new());
        for byte in 0..100 {
            let piece = full(&mut out, byte);
            out = used.instead_of(&piece);
            assert!(out.is_empty() && out.capacity() >= COLLECT);
            held.push_back((byte, piece));
            // Somebody reads more slowly, then faster.
            let most = if byte < 60 { 50 } else { 2 };
            while held.len() > most {
                let (byte, piece) = held.pop_front().expect("one");
                assert!(piece.iter().all(|found| *found == byte), "piece {byte} was overwritten");
            }
        }
        let (first, mut places) = (held.len(), std::collections::BTreeSet::new());
        held.clear();
        for byte in 0..20 {
            let piece = full(&mut out, byte);
            places.insert(piece.as_ptr());
            out = used.instead_of(&piece);
        }
        assert!(used.0.len() <= KEPT + 2 && places.len() <= KEPT + 2 + first, "{} of {}", used.0.len(), places.len());
        let long = Bytes::from(vec![0; 2 * COLLECT + 1]);
        used.instead_of(&long);
        assert!(long.is_unique(), "what is long is not kept");
    }
}
