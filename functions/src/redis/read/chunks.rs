//! A big value with parts, read some at a time, so that the server goes on answering others.
//!
//! Takes a key. Gives chunks of its elements, each read in one transaction with the key's expiry, and the commands that make
//! them again. Always holds: how many elements a chunk has depends on the value alone, so an unchanged one gives the same
//! bytes again; no chunk is more work for the server than a quarter of a millisecond, as far as its elements are of one size.

use aquifer_engine::failure::Failure;
use bytes::Bytes;

use crate::redis::keys::tally::Kind;
use crate::redis::read::passing;
use crate::redis::read::values;
use crate::redis::read::work;
use crate::redis::stream::form::Form;
use crate::redis::wire::connection::Connection;
use crate::redis::wire::expiry::{self, Expiry};
use crate::redis::wire::facts::Clock;
use crate::redis::wire::outgoing::Outgoing;
use crate::redis::wire::refusal;
use crate::redis::wire::refusal::reading;
use crate::redis::wire::reply::Reply;
use crate::redis::wire::resp::{self, Head};

/// How many bytes of the server's memory a chunk is meant to cover.
const CHUNK: u64 = 128 << 10;

/// Elements in a chunk at most, even of the smallest.
const MOST_SCANNED: u64 = 200;
const MOST_LISTED: u64 = 800;

/// Elements in one command at most.
const MOST_IN_COMMAND: u64 = 1000;

/// A key being read in chunks.
#[derive(Debug, Clone)]
pub(crate) struct Parts {
    pub(crate) key: Bytes,
    pub(crate) kind: Kind,
    pub(crate) clock: Clock,
    /// How many elements it had, and how many are a chunk.
    pub(crate) length: u64,
    pub(crate) count: u64,
}

/// What stands before a chunk's elements.
#[derive(Debug)]
pub(crate) struct ChunkHead {
    pub(crate) expiry: Expiry,
    /// Where the next chunk begins; `None` after the last one.
    pub(crate) next: Option<Bytes>,
    /// How many replies follow: fields and values count by themselves, so do members and scores.
    pub(crate) replies: u64,
}

/// How many things of a value are asked for at once, where it has so many and takes so many bytes.
pub(crate) fn at_once(bytes: u64, length: u64, most: u64) -> u64 {
    let each = bytes / length.max(1);
    (CHUNK / each.max(1)).clamp(1, most)
}

impl Parts {
    /// Asks for the number of elements, and decides how many are a chunk; `None` where the value has none that could be read
    /// one by one, or has become something else.
    ///
    /// # Errors
    /// The server refuses.
    pub(crate) async fn of(
        connection: &mut Connection,
        key: &Bytes,
        kind: Kind,
        size: u64,
        clock: Clock,
    ) -> Result<Option<Self>, Failure> {
        let (length, most): (&[u8], u64) = match kind {
            Kind::Hash => (b"HLEN", MOST_SCANNED),
            Kind::Set => (b"SCARD", MOST_SCANNED),
            Kind::SortedSet => (b"ZCARD", MOST_SCANNED),
            Kind::List => (b"LLEN", MOST_LISTED),
            Kind::String | Kind::Stream | Kind::Other => return Ok(None),
        };
        match connection.ask(&[length, key]).await? {
            Reply::Integer(length) => {
                let (key, length) = (key.clone(), length.unsigned_abs());
                Ok(Some(Self { key, kind, clock, length, count: at_once(size, length, most) }))
            }
            Reply::Error(error) if !error.starts_with("WRONGTYPE") => Err(refusal::failure(&error, reading(key))),
            _ => Ok(None),
        }
    }

    /// What a chunk costs the server.
    pub(crate) fn work(&self) -> u64 {
        let each = if self.kind == Kind::List { work::LISTED } else { work::SCANNED_ELEMENT };
        work::TRANSACTION.saturating_add(each.saturating_mul(self.count.min(self.length)))
    }

    /// Asks for a chunk.
    pub(crate) fn ask(&self, out: &mut Outgoing, at: &[u8]) {
        let key = &self.key[..];
        out.command(&[b"MULTI"]);
        expiry::ask_timed(out, self.clock, key);
        let count = self.count.to_string();
        let scan: &[u8] = match self.kind {
            Kind::Hash => b"HSCAN",
            Kind::Set => b"SSCAN",
            Kind::SortedSet => b"ZSCAN",
            _ => {
                out.command(&[b"LLEN", key]);
                self.ask_list(out, resp::number(at).unwrap_or(0).unsigned_abs());
                out.command(&[b"EXEC"]);
                return;
            }
        };
        out.command(&[scan, key, at, b"COUNT", count.as_bytes()]);
        out.command(&[b"EXEC"]);
    }

    /// Asks for the elements of a list from this one on, and for nothing else.
    pub(crate) fn ask_list(&self, out: &mut Outgoing, first: u64) {
        let last = first.saturating_add(self.count - 1).min(i64::MAX as u64);
        out.command(&[b"LRANGE", &self.key, first.to_string().as_bytes(), last.to_string().as_bytes()]);
    }

    /// Reads what stands before a chunk's elements; `None` where the key holds another type by now.
    ///
    /// # Errors
    /// The server refuses, or the connection is lost.
    pub(crate) async fn head(&self, connection: &mut Connection, at: &[u8]) -> Result<Option<ChunkHead>, Failure> {
        let is_list = self.kind == Kind::List;
        let requests = expiry::timed(self.clock) + 1 + usize::from(is_list);
        values::begin(connection, requests, |_| reading(&self.key)).await?;
        let expiry = expiry::read_timed(connection, self.clock, &self.key).await?;
        let mut next = None;
        if is_list {
            let length = match connection.reply().await? {
                Reply::Integer(length) => length.unsigned_abs(),
                // It is no list any more, as the reply behind this one says too.
                _ => 0,
            };
            let then = resp::number(at).unwrap_or(0).unsigned_abs().saturating_add(self.count);
            next = (then < length).then(|| Bytes::from(then.to_string()));
        }
        let mut head = connection.head().await?;
        if !is_list && head == Head::Array(2) {
            match connection.reply().await? {
                Reply::Bulk(cursor) => next = Some(cursor).filter(|cursor| &cursor[..] != b"0"),
                reply => return Err(connection.unexpected("a scan", &reply)),
            }
            head = connection.head().await?;
        }
        match head {
            Head::Array(replies) => Ok(Some(ChunkHead { expiry, next, replies })),
            Head::Error(error) if error.starts_with("WRONGTYPE") => Ok(None),
            Head::Error(error) => Err(refusal::failure(&error, reading(&self.key))),
            head => Err(connection.unexpected("a scan", &head)),
        }
    }
}

/// Writes elements as commands that add them to their key.
///
/// # Errors
/// The connection is lost, or nobody reads any more.
pub(crate) async fn write(
    connection: &mut Connection,
    form: &mut Form,
    parts: &Parts,
    mut replies: u64,
) -> Result<(), Failure> {
    let (name, each): (&[u8], u64) = match parts.kind {
        Kind::Hash => (b"HSET", 2),
        Kind::Set => (b"SADD", 1),
        Kind::SortedSet => (b"ZADD", 2),
        _ => (b"RPUSH", 1),
    };
    while replies > 0 {
        let now = replies.min(MOST_IN_COMMAND * each);
        replies -= now;
        let out = form.begin_command(2 + now);
        resp::argument(out, name);
        resp::argument(out, &parts.key);
        if parts.kind == Kind::SortedSet {
            // Scores come behind their members and have to be written before them.
            for _ in 0..now / 2 {
                let (member, score) = (connection.reply().await?, connection.reply().await?);
                let (Some(member), Some(score)) = (member.bytes(), score.bytes()) else {
                    return Err(connection.unexpected("`ZSCAN`", &(member, score)));
                };
                resp::argument(form.out(), score);
                resp::argument(form.out(), member);
                form.flush_some().await?;
            }
            continue;
        }
        for _ in 0..now {
            match connection.head().await? {
                Head::Bulk(length) => passing::pass(connection, form, &parts.key, length).await?,
                head => return Err(connection.unexpected("a scan", &head)),
            }
        }
    }
    Ok(())
}
