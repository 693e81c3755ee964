//! Keys of a server, page by page, each with the hash of its value: what digests are made of and servers compared by.
//!
//! Takes a connection with its database selected. Gives the names that `SCAN` shows, and, for any names, what is there.
//! Always holds: no more than about [`BIG`] bytes of values are asked for at once, a single longer one aside, and none is
//! held; the temporary keys of restores are not shown.

use aquifer_engine::failure::Failure;
use bytes::Bytes;

use super::chunks::Parts;
use super::connection::{Connection, Reply};
use super::digest::{self, Value};
use super::digest_stream::{self, Counters};
use super::expiry::{self, Expiry};
use super::facts::Clock;
use super::scan::{BIG, reading};
use super::tally::Kind;
use super::temporary::is_reserved;
use super::values;

/// The keys of one database, as `SCAN` shows them.
#[derive(Debug)]
pub(crate) struct Walk {
    /// `None` at the end.
    cursor: Option<Bytes>,
    count: u64,
    /// How many keys were shown, those included that are left out.
    pub(crate) shown: u64,
}

impl Walk {
    /// Begins.
    pub(crate) fn new() -> Self {
        Self { cursor: Some(Bytes::from_static(b"0")), count: 16, shown: 0 }
    }

    /// The next names, some or none; `None` at the end.
    ///
    /// # Errors
    /// The server refuses, or the connection is lost.
    pub(crate) async fn next(
        &mut self,
        connection: &mut Connection,
        pattern: Option<&[u8]>,
    ) -> Result<Option<Vec<Bytes>>, Failure> {
        let Some(cursor) = &self.cursor else { return Ok(None) };
        let text = self.count.to_string();
        let mut ask: Vec<&[u8]> = vec![b"SCAN", cursor, b"COUNT", text.as_bytes()];
        if let Some(pattern) = pattern {
            ask.extend([&b"MATCH"[..], pattern]);
        }
        let reply = connection.ask(&ask).await?;
        let reply = connection.accepted(reply, "scanning a database")?;
        let Some([Reply::Bulk(next), Reply::Array(keys)]) =
            reply.items().and_then(|items| <[Reply; 2]>::try_from(items).ok())
        else {
            return Err(connection.unexpected("`SCAN`", &"something else"));
        };
        self.shown += keys.len() as u64;
        let keys: Vec<Bytes> = keys.iter().filter_map(Reply::bytes).filter(|key| !is_reserved(key)).cloned().collect();
        let bytes: usize = keys.iter().map(Bytes::len).sum();
        self.count = if bytes > 128 << 10 { (self.count / 2).max(1) } else { (self.count * 4).min(512) };
        self.cursor = Some(next).filter(|next| &next[..] != b"0");
        Ok(Some(keys))
    }
}

/// What stands under a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Hashed {
    pub(crate) kind: Kind,
    pub(crate) expiry: Expiry,
    /// The hash of its value.
    pub(crate) value: u128,
    /// Of a stream: the hash of all but its groups.
    pub(crate) entries: Option<u128>,
}

/// A key of which everything but the value is known.
struct Found {
    place: usize,
    key: Bytes,
    kind: Kind,
    expiry: Expiry,
    size: u64,
}

impl Found {
    fn hashed(&self, value: u128, entries: Option<u128>) -> Hashed {
        Hashed { kind: self.kind, expiry: self.expiry, value, entries }
    }
}

/// What stands under each of these keys; `None` where there is none.
///
/// # Errors
/// The server refuses, or the connection is lost.
pub(crate) async fn page(
    connection: &mut Connection,
    clock: Clock,
    counters: Counters,
    keys: &[Bytes],
) -> Result<Vec<Option<Hashed>>, Failure> {
    for key in keys {
        connection.push(&[b"TYPE", key]);
        connection.push(&[b"MEMORY", b"USAGE", key]);
        if clock == Clock::Left {
            connection.push(&[b"MULTI"]);
            connection.push(&[b"TIME"]);
        }
        expiry::ask_expiry(connection.output(), clock, key);
        if clock == Clock::Left {
            connection.push(&[b"EXEC"]);
        }
    }
    connection.flush().await?;
    let mut found = Vec::with_capacity(keys.len());
    for (place, key) in keys.iter().enumerate() {
        let reply = connection.reply().await?;
        let kind = connection.accepted(reply, reading(key))?;
        let size = connection.reply().await?;
        let size = match connection.accepted(size, reading(key))? {
            Reply::Integer(size) => size.unsigned_abs(),
            _ => 0,
        };
        let now = match clock {
            Clock::At => None,
            Clock::Left => {
                values::begin(connection, 2, |_| reading(key)).await?;
                Some(expiry::time(connection).await?)
            }
        };
        let expiry = expiry::read_expiry(connection, key, now).await?;
        if expiry != Expiry::Gone {
            let kind = Kind::of_name(kind.bytes().map_or(&b""[..], |name| name));
            found.push(Found { place, key: key.clone(), kind, expiry, size });
        }
    }
    let small = |found: &Found| {
        found.kind == Kind::Other || found.kind != Kind::Stream && (found.kind == Kind::String || found.size <= BIG)
    };
    let mut hashes = vec![None; keys.len()];
    // Several small values at once, but never more than about as many bytes as one big one has.
    let mut rest = &found[..];
    while !rest.is_empty() {
        let mut size = 0;
        let some = rest.iter().take_while(|found| {
            size += found.size;
            size <= BIG || size == found.size
        });
        let (now, later) = rest.split_at(some.count());
        now.iter().filter(|found| small(found)).for_each(|found| digest::ask(connection, found.kind, &found.key));
        connection.flush().await?;
        for found in now.iter().filter(|found| small(found)) {
            if let Value::Is(value) = digest::answer(connection, found.kind, &found.key).await? {
                hashes[found.place] = Some(found.hashed(value, None));
            }
        }
        rest = later;
    }
    for found in found.iter().filter(|found| !small(found)) {
        if found.kind == Kind::Stream {
            if let Some(stream) = digest_stream::stream(connection, &found.key, counters).await? {
                hashes[found.place] = Some(found.hashed(stream.whole, Some(stream.entries)));
            }
            continue;
        }
        let value = match Parts::of(connection, &found.key, found.size, clock).await? {
            Some(parts) => digest::big(connection, &parts).await?,
            None => {
                digest::ask(connection, found.kind, &found.key);
                connection.flush().await?;
                digest::answer(connection, found.kind, &found.key).await?
            }
        };
        if let Value::Is(value) = value {
            hashes[found.place] = Some(found.hashed(value, None));
        }
    }
    Ok(hashes)
}
