//! Keys of a server, page by page, each with the hash of its value: what digests are made of and servers compared by.
//!
//! Takes a connection with its database selected. Gives the names that `SCAN` shows, and, for any names, what is there.
//! Always holds: no more work is asked for at once than the [`Pace`] allows, a single value aside, and no value is
//! held; the temporary keys of restores are not shown.

use aquifer_engine::failure::Failure;
use bytes::Bytes;

use crate::redis::hash::big;
use crate::redis::hash::small;
use crate::redis::hash::small::Value;
use crate::redis::hash::streams::{self, Counters};
use crate::redis::keys::digest::ExpiryIn;
use crate::redis::keys::reserved::is_reserved;
use crate::redis::keys::tally::Kind;
use crate::redis::read::chunks::Parts;
use crate::redis::read::fields;
use crate::redis::read::pace::Pace;
use crate::redis::read::scan::{BIG, LONG};
use crate::redis::read::values;
use crate::redis::read::work;
use crate::redis::wire::connection::Connection;
use crate::redis::wire::cursors::Cursors;
use crate::redis::wire::expiry::{self, Expiry};
use crate::redis::wire::facts::Clock;
use crate::redis::wire::refusal::reading;
use crate::redis::wire::reply::Reply;

/// The keys of one database, as `SCAN` shows them.
#[derive(Debug)]
pub(crate) struct Walk {
    /// `None` at the end.
    cursor: Option<Bytes>,
    cursors: Cursors,
    count: u64,
    /// How many keys were shown, those included that are left out.
    pub(crate) shown: u64,
}

impl Walk {
    /// Begins.
    pub(crate) fn new() -> Self {
        Self { cursor: Some(Bytes::from_static(b"0")), cursors: Cursors::default(), count: 16, shown: 0 }
    }

    /// The next names, some or none; `None` at the end.
    ///
    /// # Errors
    /// The server refuses, or the connection is lost.
    pub(crate) async fn next(
        &mut self,
        connection: &mut Connection,
        pattern: Option<&[u8]>,
        pace: &mut Pace,
    ) -> Result<Option<Vec<Bytes>>, Failure> {
        let Some(cursor) = &self.cursor else { return Ok(None) };
        pace.rest().await?;
        let count = self.count.min(pace.fit(work::SCANNED) as u64);
        pace.asked(count * work::SCANNED);
        let text = count.to_string();
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
        self.cursors.next(&next).map_err(|what| connection.strange(what))?;
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

/// How keys are looked at.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Glance {
    pub(crate) clock: Clock,
    /// Fields of hashes may have an expiry of their own.
    pub(crate) field_expiry: bool,
    pub(crate) counters: Counters,
    /// How the expiries of fields count.
    pub(crate) expiry: ExpiryIn,
}

/// More fields than any hash has that is read at once.
const ALL_FIELDS: u64 = 1 << 20;

/// What stands under each of these keys; `None` where there is none.
///
/// # Errors
/// The server refuses, or the connection is lost.
pub(crate) async fn page(
    connection: &mut Connection,
    glance: Glance,
    pace: &mut Pace,
    keys: &[Bytes],
) -> Result<Vec<Option<Hashed>>, Failure> {
    let clock = glance.clock;
    let mut hashes = vec![None; keys.len()];
    let most = pace.fit(work::TYPE + work::SIZE + work::EXPIRY);
    let mut first = 0;
    for keys in keys.chunks(most) {
        pace.rest().await?;
        pace.asked(keys.len() as u64 * (work::TYPE + work::SIZE + work::EXPIRY));
        let found = look(connection, clock, keys).await?;
        // Several small values at once, but never more than one request's work.
        let mut rest = &found[..];
        while !rest.is_empty() {
            pace.rest().await?;
            let (mut work, most) = (0, pace.request());
            let some = rest.iter().take_while(|found| {
                let first = work == 0;
                work += if is_small(found) { work::dumped(found.size) } else { 1 };
                work <= most || first
            });
            let (now, later) = rest.split_at(some.count());
            pace.asked(work);
            small(connection, glance, pace, now, &mut hashes[first..]).await?;
            rest = later;
        }
        for found in found.iter().filter(|found| !is_small(found)) {
            hashes[first + found.place] = big(connection, glance, pace, found).await?;
        }
        first += keys.len();
    }
    Ok(hashes)
}

fn is_small(found: &Found) -> bool {
    match found.kind {
        Kind::Other => true,
        Kind::String => found.size <= LONG,
        Kind::Stream => false,
        _ => found.size <= BIG,
    }
}

/// Reads those of these values that are small.
async fn small(
    connection: &mut Connection,
    glance: Glance,
    pace: &mut Pace,
    all: &[Found],
    hashes: &mut [Option<Hashed>],
) -> Result<(), Failure> {
    let all: Vec<&Found> = all.iter().filter(|found| is_small(found)).collect();
    let has_fields = |found: &Found| glance.field_expiry && found.kind == Kind::Hash;
    for found in &all {
        if has_fields(found) {
            fields::ask_names(connection.output(), &found.key, b"0", ALL_FIELDS);
        } else {
            small::ask(connection, found.kind, &found.key);
        }
    }
    connection.flush().await?;
    let mut named = Vec::new();
    for found in all {
        if has_fields(found) {
            if let Some(names) = fields::read_names(connection, &found.key).await? {
                named.push((found, names));
            }
        } else if let Value::Is(value) = small::answer(connection, found.kind, &found.key).await? {
            hashes[found.place] = Some(found.hashed(value, None));
        }
    }
    for (found, names) in named {
        let how = (ALL_FIELDS, glance.clock, glance.expiry);
        if let Value::Is(value) = big::fields_in(connection, &found.key, names, how, pace).await? {
            hashes[found.place] = Some(found.hashed(value, None));
        }
    }
    Ok(())
}

async fn big(
    connection: &mut Connection,
    glance: Glance,
    pace: &mut Pace,
    found: &Found,
) -> Result<Option<Hashed>, Failure> {
    let value = match found.kind {
        Kind::Stream => {
            let stream = streams::stream(connection, &found.key, found.size, glance.counters, pace).await?;
            return Ok(stream.map(|stream| found.hashed(stream.whole, Some(stream.entries))));
        }
        Kind::String => big::long_string(connection, &found.key, pace).await?,
        kind => match Parts::of(connection, &found.key, kind, found.size, glance.clock).await? {
            Some(parts) if kind == Kind::Hash && glance.field_expiry => {
                match fields::names(connection, &found.key, b"0", parts.count).await? {
                    Some(names) => {
                        let how = (parts.count, glance.clock, glance.expiry);
                        big::fields_in(connection, &found.key, names, how, pace).await?
                    }
                    None => Value::Gone,
                }
            }
            Some(parts) => big::big(connection, &parts, pace).await?,
            None => Value::Gone,
        },
    };
    Ok(match value {
        Value::Is(value) => Some(found.hashed(value, None)),
        Value::Gone => None,
    })
}

/// Everything about these keys but their values; those that are gone are left out.
async fn look(connection: &mut Connection, clock: Clock, keys: &[Bytes]) -> Result<Vec<Found>, Failure> {
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
    Ok(found)
}
