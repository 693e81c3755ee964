//! A big value with parts, read some at a time, so that the server goes on answering others.
//!
//! Takes a key. Gives `DEL`, then `RPUSH`, `HSET`, `SADD` or `ZADD` for each chunk, then `PEXPIREAT` where it has an
//! expiry. Consistency is that of `HSCAN` and its like: what was there all the time is there once, what was added or
//! removed meanwhile may or may not be. Always holds: each chunk is read in one transaction with the key's expiry (and,
//! of a list, with its length and both ends, of which only a hash is kept); where one of these changes, the key is read
//! again from the start behind another `DEL`, and after [`ATTEMPTS`] of these all at once. So nothing is written with
//! another value's expiry.

use aquifer_engine::failure::Failure;
use bytes::Bytes;
use xxhash_rust::xxh3::Xxh3;

use super::connection::{Connection, Reply};
use super::expiry::{self, Expiry};
use super::facts::Clock;
use super::form::Form;
use super::outgoing::Outgoing;
use super::refusal;
use super::resp::{self, Head};
use super::scan::{Dump, reading};
use super::tally::Kind;
use super::values;

/// How often a key is begun before it is read at once.
const ATTEMPTS: u32 = 3;

/// How many bytes of the server's memory a chunk is meant to cover.
const CHUNK: u64 = 256 << 10;

/// Members in a chunk: at most so many, even of the smallest.
const MOST: u64 = 1000;

/// Above so many bytes a member on average, chunks of members no longer bound anything.
const LARGE_MEMBERS: u64 = 4 << 20;

/// A list's first or last element of more bytes is not asked for with every chunk.
const LONG_END: u64 = 16 << 10;

/// With which chunks of a list its ends are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ends {
    /// With each.
    Every,
    /// With the first and the last one of a list of this length: they are long, and would come again and again.
    Outer(u64),
    /// With none: nobody compares them.
    Never,
}

/// A key being read in chunks.
#[derive(Debug, Clone)]
pub(crate) struct Parts {
    pub(crate) key: Bytes,
    pub(crate) kind: Kind,
    pub(crate) clock: Clock,
    pub(crate) count: u64,
    pub(crate) ends: Ends,
}

/// A list, as far as its changes are looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
struct List {
    length: u64,
    /// Its first and its last element, where they were asked for: length and XXH3-64.
    ends: Option<[Option<(u64, u64)>; 2]>,
}

/// What must stay as it was from chunk to chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Steady {
    pub(crate) expiry: Expiry,
    list: Option<List>,
}

/// What stands before a chunk's elements.
#[derive(Debug)]
pub(crate) struct ChunkHead {
    pub(crate) steady: Steady,
    /// Where the next chunk begins; `None` after the last one.
    pub(crate) next: Option<Bytes>,
    /// How many replies follow: fields and values count by themselves, so do members and scores.
    pub(crate) replies: u64,
}

enum Attempt {
    Done(Expiry),
    Gone,
    Changed,
}

impl Parts {
    /// Asks for a type and for the number of parts, and decides how many are a chunk; `None` where the value has no parts
    /// that could be read one by one.
    ///
    /// # Errors
    /// The server refuses.
    pub(crate) async fn of(
        connection: &mut Connection,
        key: &Bytes,
        size: u64,
        clock: Clock,
    ) -> Result<Option<Self>, Failure> {
        let reply = connection.ask(&[b"TYPE", key]).await?;
        let reply = connection.accepted(reply, reading(key))?;
        let kind = Kind::of_name(reply.bytes().map_or(&b""[..], |name| name));
        let length: &[u8] = match kind {
            Kind::Hash => b"HLEN",
            Kind::Set => b"SCARD",
            Kind::SortedSet => b"ZCARD",
            Kind::List => b"LLEN",
            Kind::String | Kind::Stream | Kind::Other => return Ok(None),
        };
        let Reply::Integer(length) = connection.ask(&[length, key]).await? else {
            // It has become something else between the two questions: reading it at once gets whatever it is.
            return Ok(None);
        };
        let each = size / length.unsigned_abs().max(1);
        let count = (CHUNK / each.max(1)).clamp(1, MOST);
        Ok((each < LARGE_MEMBERS).then(|| Self { key: key.clone(), kind, clock, count, ends: Ends::Every }))
    }

    /// Asks for a chunk.
    pub(crate) fn ask(&self, out: &mut Outgoing, at: &[u8]) {
        let key = &self.key[..];
        out.command(&[b"MULTI"]);
        if self.clock == Clock::Left {
            out.command(&[b"TIME"]);
        }
        expiry::ask_expiry(out, self.clock, key);
        let count = self.count.to_string();
        let scan: &[u8] = match self.kind {
            Kind::Hash => b"HSCAN",
            Kind::Set => b"SSCAN",
            Kind::SortedSet => b"ZSCAN",
            _ => {
                out.command(&[b"LLEN", key]);
                let first = resp::number(at).unwrap_or(0);
                if self.asks_ends(first.unsigned_abs()) {
                    out.command(&[b"LINDEX", key, b"0"]);
                    out.command(&[b"LINDEX", key, b"-1"]);
                }
                let last = first.saturating_add_unsigned(self.count - 1).to_string();
                out.command(&[b"LRANGE", key, at, last.as_bytes()]);
                out.command(&[b"EXEC"]);
                return;
            }
        };
        out.command(&[scan, key, at, b"COUNT", count.as_bytes()]);
        out.command(&[b"EXEC"]);
    }

    fn asks_ends(&self, first: u64) -> bool {
        match self.ends {
            Ends::Every => true,
            Ends::Outer(length) => first == 0 || first + self.count >= length,
            Ends::Never => false,
        }
    }

    /// Learns from the first chunk how long a list and its ends are.
    fn learn(&mut self, steady: &Steady) {
        if let Some(List { length, ends: Some(ends) }) = &steady.list
            && ends.iter().flatten().any(|(bytes, _)| *bytes > LONG_END)
        {
            self.ends = Ends::Outer(*length);
        }
    }

    /// Reads what stands before a chunk's elements; `None` where the key holds another type by now.
    ///
    /// # Errors
    /// The server refuses, or the connection is lost.
    pub(crate) async fn head(&self, connection: &mut Connection, at: &[u8]) -> Result<Option<ChunkHead>, Failure> {
        let is_list = self.kind == Kind::List;
        let first = resp::number(at).unwrap_or(0).unsigned_abs();
        let asks_ends = is_list && self.asks_ends(first);
        let requests = 2 + usize::from(self.clock == Clock::Left) + usize::from(is_list) + 2 * usize::from(asks_ends);
        values::begin(connection, requests, |_| reading(&self.key)).await?;
        let now = match self.clock {
            Clock::At => None,
            Clock::Left => Some(expiry::time(connection).await?),
        };
        let expiry = expiry::read_expiry(connection, &self.key, now).await?;
        let mut list = None;
        if is_list {
            let length = match connection.reply().await? {
                Reply::Integer(length) => length.unsigned_abs(),
                // It is no list any more, as the replies behind this one say too.
                _ => 0,
            };
            let ends = if asks_ends { Some([end(connection).await?, end(connection).await?]) } else { None };
            list = Some(List { length, ends });
        }
        let mut head = connection.head().await?;
        let mut next = None;
        if !is_list && head == Head::Array(2) {
            match connection.reply().await? {
                Reply::Bulk(cursor) => next = Some(cursor).filter(|cursor| &cursor[..] != b"0"),
                reply => return Err(connection.unexpected("a scan", &reply)),
            }
            head = connection.head().await?;
        }
        let replies = match head {
            Head::Array(replies) => replies,
            Head::Error(error) if error.starts_with("WRONGTYPE") => return Ok(None),
            Head::Error(error) => return Err(refusal::failure(&error, reading(&self.key))),
            head => return Err(connection.unexpected("a scan", &head)),
        };
        if let Some(list) = &list {
            let then = first + self.count;
            next = (then < list.length).then(|| Bytes::from(then.to_string()));
        }
        Ok(Some(ChunkHead { steady: Steady { expiry, list }, next, replies }))
    }
}

impl Steady {
    /// True where nothing that would show a change has changed.
    pub(crate) fn is_as(&self, other: &Self, clock: Clock) -> bool {
        // `PTTL` and `TIME` are rounded each by itself: the same expiry may come out a little apart.
        let expiry = match (self.expiry, other.expiry, clock) {
            (Expiry::At(a), Expiry::At(b), Clock::Left) => a.abs_diff(b) <= 5,
            (a, b, _) => a == b,
        };
        let list = match (&self.list, &other.list) {
            (Some(a), Some(b)) => a.length == b.length && (a.ends.is_none() || b.ends.is_none() || a.ends == b.ends),
            (a, b) => a == b,
        };
        expiry && list
    }
}

/// Reads an end of a list: its length and hash, however long it is; nothing where there is none.
async fn end(connection: &mut Connection) -> Result<Option<(u64, u64)>, Failure> {
    match connection.head().await? {
        Head::Bulk(length) => {
            let (mut hash, mut left) = (Box::<Xxh3>::default(), length);
            while left > 0 {
                hash.update(&connection.piece(&mut left).await?);
            }
            connection.bulk_end().await?;
            Ok(Some((length, hash.digest())))
        }
        Head::Nil | Head::Error(_) => Ok(None),
        head => Err(connection.unexpected("`LINDEX`", &head)),
    }
}

impl Dump<'_> {
    /// Reads one key in chunks; gives its size back where it has to be read at once instead.
    ///
    /// # Errors
    /// The server refuses, the connection is lost, or nobody reads any more.
    pub(crate) async fn chunked(&mut self, key: &Bytes, size: u64) -> Result<Option<u64>, Failure> {
        let Some(parts) = Parts::of(&mut self.connection, key, size, self.facts.clock).await? else {
            return Ok(Some(size));
        };
        // `HSCAN` does not tell the expiries of single fields, and `DUMP` has them.
        if parts.kind == Kind::Hash && self.facts.field_expiry {
            return Ok(Some(size));
        }
        for _ in 0..ATTEMPTS {
            self.form.command(&[b"DEL", key]);
            match self.attempt(&parts).await? {
                Attempt::Done(expiry) => {
                    if let Expiry::At(at) = expiry {
                        self.form.command(&[b"PEXPIREAT", key, at.to_string().as_bytes()]);
                    }
                    self.count(parts.kind, expiry != Expiry::Never);
                    return Ok(None);
                }
                Attempt::Gone => {
                    self.form.command(&[b"DEL", key]);
                    self.written.vanished += 1;
                    return Ok(None);
                }
                Attempt::Changed => {}
            }
        }
        self.form.command(&[b"DEL", key]);
        Ok(Some(size))
    }

    async fn attempt(&mut self, parts: &Parts) -> Result<Attempt, Failure> {
        let mut parts = parts.clone();
        let mut at = Bytes::from_static(b"0");
        let mut first: Option<Steady> = None;
        let mut elements = 0;
        loop {
            parts.ask(self.connection.output(), &at);
            self.connection.flush().await?;
            let Some(head) = parts.head(&mut self.connection, &at).await? else { return Ok(Attempt::Changed) };
            elements += head.replies;
            write(&mut self.connection, &mut self.form, &parts, head.replies).await?;
            if head.steady.expiry == Expiry::Gone {
                return Ok(Attempt::Gone);
            }
            if first.is_none() {
                parts.learn(&head.steady);
            }
            let steady = first.get_or_insert_with(|| head.steady.clone());
            if !steady.is_as(&head.steady, parts.clock) {
                return Ok(Attempt::Changed);
            }
            match head.next {
                Some(next) => at = next,
                // A key that is there has parts, so none at all means that they all went meanwhile.
                None if elements == 0 => return Ok(Attempt::Changed),
                None => return Ok(Attempt::Done(steady.expiry)),
            }
        }
    }
}

/// Writes a chunk as one command.
async fn write(connection: &mut Connection, form: &mut Form, parts: &Parts, replies: u64) -> Result<(), Failure> {
    if replies == 0 {
        return Ok(());
    }
    let name: &[u8] = match parts.kind {
        Kind::Hash => b"HSET",
        Kind::Set => b"SADD",
        Kind::SortedSet => b"ZADD",
        _ => b"RPUSH",
    };
    let out = form.begin_command(2 + replies);
    resp::argument(out, name);
    resp::argument(out, &parts.key);
    if parts.kind == Kind::SortedSet {
        // Scores come behind their members and have to be written before them.
        for _ in 0..replies / 2 {
            let (member, score) = (connection.reply().await?, connection.reply().await?);
            let (Some(member), Some(score)) = (member.bytes(), score.bytes()) else {
                return Err(connection.unexpected("`ZSCAN`", &(member, score)));
            };
            resp::argument(form.out(), score);
            resp::argument(form.out(), member);
            form.flush_some().await?;
        }
        return Ok(());
    }
    for _ in 0..replies {
        match connection.head().await? {
            Head::Bulk(length) => values::pass(connection, form, &parts.key, length).await?,
            head => return Err(connection.unexpected("a scan", &head)),
        }
    }
    Ok(())
}
