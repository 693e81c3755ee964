//! A big hash of a server whose fields can expire by themselves (Redis 7.4, Valkey 9).
//!
//! Takes a hash. Gives `HSET` for each chunk, and `HPEXPIREAT` for those of its fields that have an expiry. Always holds: a
//! chunk's names are looked for first (`HSCAN … NOVALUES`), then the values, the fields' expiries and the key's own come from
//! one transaction: no value gets the expiry of another, and none loses its own.

use aquifer_engine::failure::Failure;
use bytes::Bytes;

use crate::redis::read::big::Attempt;
use crate::redis::read::chunks::Parts;
use crate::redis::read::passing;
use crate::redis::read::scan::Dump;
use crate::redis::read::streams::bounded;
use crate::redis::read::values;
use crate::redis::read::work;
use crate::redis::wire::connection::Connection;
use crate::redis::wire::expiry::{self, Expiry};
use crate::redis::wire::facts::Clock;
use crate::redis::wire::outgoing::Outgoing;
use crate::redis::wire::refusal;
use crate::redis::wire::refusal::reading;
use crate::redis::wire::reply::Reply;
use crate::redis::wire::resp::{self, Head};

/// The names of a chunk's fields, and where the next chunk begins.
#[derive(Debug)]
pub(crate) struct Names {
    pub(crate) names: Vec<Bytes>,
    pub(crate) next: Option<Bytes>,
}

/// Looks for the names of a chunk; `None` where the key holds another type.
///
/// # Errors
/// The server refuses, or the connection is lost.
pub(crate) async fn names(
    connection: &mut Connection,
    key: &[u8],
    at: &[u8],
    count: u64,
) -> Result<Option<Names>, Failure> {
    ask_names(connection.output(), key, at, count);
    connection.flush().await?;
    read_names(connection, key).await
}

/// Asks for the names of a chunk.
pub(crate) fn ask_names(out: &mut Outgoing, key: &[u8], at: &[u8], count: u64) {
    out.command(&[b"HSCAN", key, at, b"COUNT", count.to_string().as_bytes(), b"NOVALUES"]);
}

/// Reads the reply to [`ask_names`].
///
/// # Errors
/// The server refuses, or the connection is lost.
pub(crate) async fn read_names(connection: &mut Connection, key: &[u8]) -> Result<Option<Names>, Failure> {
    let reply = connection.reply().await?;
    if matches!(&reply, Reply::Error(error) if error.starts_with("WRONGTYPE")) {
        return Ok(None);
    }
    let reply = connection.accepted(reply, reading(key))?;
    match reply.items().and_then(|items| <[Reply; 2]>::try_from(items).ok()) {
        Some([Reply::Bulk(next), Reply::Array(names)]) => {
            let names = names.iter().filter_map(Reply::bytes).cloned().collect();
            Ok(Some(Names { names, next: Some(next).filter(|next| &next[..] != b"0") }))
        }
        _ => Err(connection.unexpected("`HSCAN`", &"something else")),
    }
}

/// Asks for the values and expiries of these fields, in one transaction with the key's expiry.
pub(crate) fn ask(out: &mut Outgoing, clock: Clock, key: &[u8], names: &[Bytes]) {
    out.command(&[b"MULTI"]);
    expiry::ask_timed(out, clock, key);
    let words = out.begin(4 + names.len() as u64, b"HPEXPIRETIME");
    resp::all(words, &[key, b"FIELDS"]);
    resp::number_argument(words, names.len() as u64);
    names.iter().for_each(|name| resp::argument(words, name));
    let words = out.begin(2 + names.len() as u64, b"HMGET");
    resp::argument(words, key);
    names.iter().for_each(|name| resp::argument(words, name));
    out.command(&[b"EXEC"]);
}

/// Reads what stands before the values: the key's expiry, and each field's, in which [`Expiry::Gone`] is no field at all.
/// As many replies as there are names follow: a text, or nothing. `None` where the key holds another type.
///
/// # Errors
/// The server refuses, or the connection is lost.
pub(crate) async fn head(
    connection: &mut Connection,
    clock: Clock,
    key: &[u8],
    names: usize,
) -> Result<Option<(Expiry, Vec<Expiry>)>, Failure> {
    values::begin(connection, expiry::timed(clock) + 2, |_| reading(key)).await?;
    let own = expiry::read_timed(connection, clock, key).await?;
    let expiries: Vec<Expiry> = match connection.reply().await? {
        Reply::Array(items) if items.len() == names => {
            let one = |item: &Reply| match item {
                Reply::Integer(at) => Expiry::new(*at, None),
                _ => Expiry::Gone,
            };
            items.iter().map(one).collect()
        }
        // The key has gone.
        Reply::Array(_) | Reply::Nil => vec![Expiry::Gone; names],
        Reply::Error(error) if error.starts_with("WRONGTYPE") => {
            connection.skip_reply().await?;
            return Ok(None);
        }
        Reply::Error(error) => return Err(refusal::failure(&error, reading(key))),
        reply => return Err(connection.unexpected("`HPEXPIRETIME`", &reply)),
    };
    match connection.head().await? {
        Head::Array(count) if count == names as u64 => Ok(Some((own, expiries))),
        Head::Error(error) if error.starts_with("WRONGTYPE") => Ok(None),
        Head::Error(error) => Err(refusal::failure(&error, reading(key))),
        head => Err(connection.unexpected("`HMGET`", &head)),
    }
}

/// Expiries of fields whose names have more bytes than this go into commands of their own.
const TOGETHER: usize = 1 << 10;

impl Dump<'_> {
    /// Reads a hash.
    pub(super) async fn fields(&mut self, parts: &Parts) -> Result<Attempt, Failure> {
        let (key, clock) = (&parts.key, parts.clock);
        let mut at = Bytes::from_static(b"0");
        let mut first = None;
        let mut fields = 0;
        loop {
            self.pace.rest().await?;
            self.pace.asked(2 * parts.work() + parts.count * work::EXPIRY);
            let Some(found) = names(&mut self.connection, key, &at, parts.count).await? else {
                return Ok(Attempt::Changed);
            };
            if !found.names.is_empty() {
                ask(self.connection.output(), clock, key, &found.names);
                self.connection.flush().await?;
                let Some((own, expiries)) = head(&mut self.connection, clock, key, found.names.len()).await? else {
                    return Ok(Attempt::Changed);
                };
                let changed = !own.is_as(*first.get_or_insert(own), clock);
                if changed || own == Expiry::Gone {
                    for _ in &found.names {
                        self.connection.skip_reply().await?;
                    }
                    return Ok(if changed { Attempt::Changed } else { Attempt::Gone });
                }
                if self.touched().await? {
                    for _ in &found.names {
                        self.connection.skip_reply().await?;
                    }
                    return Ok(Attempt::Touched);
                }
                fields += self.write_fields(key, &found.names, &expiries).await?;
                self.note();
            }
            match found.next {
                Some(next) => at = next,
                None => break,
            }
        }
        Ok(match first {
            Some(expiry) if fields > 0 => Attempt::Done(expiry),
            _ => Attempt::Changed,
        })
    }

    /// Writes the fields that are there; gives how many.
    async fn write_fields(&mut self, key: &Bytes, names: &[Bytes], expiries: &[Expiry]) -> Result<u64, Failure> {
        let there = expiries.iter().filter(|expiry| **expiry != Expiry::Gone).count() as u64;
        if there > 0 {
            let out = self.form.begin_command(2 + 2 * there);
            resp::argument(out, b"HSET");
            resp::argument(out, key);
        }
        for (name, expiry) in names.iter().zip(expiries) {
            match self.connection.head().await? {
                Head::Bulk(length) if *expiry != Expiry::Gone => {
                    resp::argument(self.form.out(), name);
                    passing::pass(&mut self.connection, &mut self.form, key, length).await?;
                }
                Head::Nil if *expiry == Expiry::Gone => {}
                head => return Err(self.connection.unexpected("`HMGET`", &head)),
            }
        }
        let mut timed: Vec<(u64, &Bytes)> = Vec::new();
        timed.extend(names.iter().zip(expiries).filter_map(|(name, expiry)| match expiry {
            Expiry::At(at) => Some((*at, name)),
            _ => None,
        }));
        for (_, name) in &timed {
            bounded(key, key.len() + name.len())?;
        }
        for same in timed.chunk_by(|one, other| one.0 == other.0 && one.1.len() + other.1.len() < TOGETHER) {
            let out = self.form.begin_command(5 + same.len() as u64);
            resp::all(out, &[&b"HPEXPIREAT"[..], key]);
            resp::number_argument(out, same[0].0);
            resp::argument(out, b"FIELDS");
            resp::number_argument(out, same.len() as u64);
            same.iter().for_each(|(_, name)| resp::argument(out, name));
        }
        self.form.flush_some().await?;
        Ok(there)
    }
}
