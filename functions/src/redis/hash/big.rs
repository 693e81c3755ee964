//! The hashes of values that are read in parts: long strings, big values with parts, hashes whose fields expire.
//!
//! Takes a key. Gives the hash that it would have if it were read at once. Always holds: the server rests between two parts as
//! the [`Pace`] says; a scan that shows a part twice is not believed.

use aquifer_engine::failure::Failure;
use bytes::Bytes;

use crate::redis::hash::small::PartsHash;
use crate::redis::hash::small::Value;
use crate::redis::hash::small::answer;
use crate::redis::hash::small::ask;
use crate::redis::keys::digest::{ExpiryIn, Hasher, with_expiry};
use crate::redis::keys::tally::Kind;
use crate::redis::read::chunks::Parts;
use crate::redis::read::fields::{self as field_expiries, Names};
use crate::redis::read::pace::Pace;
use crate::redis::read::work;
use crate::redis::wire::connection::Connection;
use crate::redis::wire::expiry::Expiry;
use crate::redis::wire::facts::Clock;
use crate::redis::wire::refusal;
use crate::redis::wire::refusal::reading;
use crate::redis::wire::reply::Reply;
use crate::redis::wire::resp::Head;

/// How often a value is read in chunks before it is read at once: a scan may show a part twice.
const ATTEMPTS: u32 = 3;

/// Bytes of a long string that are read at once.
const PIECE: u64 = 256 << 10;

/// The hash of a string of any length, read in pieces; the same as that of one that is read at once.
///
/// # Errors
/// The server refuses, or the connection is lost.
pub(crate) async fn long_string(connection: &mut Connection, key: &[u8], pace: &mut Pace) -> Result<Value, Failure> {
    for _ in 0..ATTEMPTS {
        let reply = connection.ask(&[b"STRLEN", key]).await?;
        let Reply::Integer(length) = connection.accepted(reply, reading(key))? else { return Ok(Value::Gone) };
        let length = length.unsigned_abs();
        let mut hasher = Hasher::default();
        let mut first = 0;
        while first < length {
            pace.rest().await?;
            pace.asked(work::read(PIECE));
            let last = (first + PIECE).min(length) - 1;
            connection.push(&[b"GETRANGE", key, first.to_string().as_bytes(), last.to_string().as_bytes()]);
            connection.flush().await?;
            match connection.head().await? {
                Head::Bulk(found) => {
                    hasher.bytes(connection, found).await?;
                    if found != last + 1 - first {
                        break;
                    }
                }
                Head::Error(error) => return Err(refusal::failure(&error, reading(key))),
                head => return Err(connection.unexpected("`GETRANGE`", &head)),
            }
            first = last + 1;
        }
        if first == length {
            hasher.number(length);
            return Ok(Value::Is(hasher.finish()));
        }
    }
    ask(connection, Kind::String, key);
    connection.flush().await?;
    answer(connection, Kind::String, key).await
}

/// The hash of a big value with parts, or of whatever else is not read in one reply.
///
/// # Errors
/// The server refuses, or the connection is lost.
pub(crate) async fn big(connection: &mut Connection, parts: &Parts, pace: &mut Pace) -> Result<Value, Failure> {
    for _ in 0..ATTEMPTS {
        let mut hash = PartsHash::new(parts.kind);
        let mut at = Bytes::from_static(b"0");
        let gone = loop {
            pace.rest().await?;
            pace.asked(parts.work());
            parts.ask(connection.output(), &at);
            connection.flush().await?;
            let Some(head) = parts.head(connection, &at).await? else { break true };
            hash.read(connection, head.replies).await?;
            match head.next {
                Some(next) => at = next,
                None => break head.expiry == Expiry::Gone,
            }
        };
        if gone {
            return Ok(Value::Gone);
        }
        if same_length(connection, parts.kind, &parts.key, hash.sum.count).await? {
            return Ok(Value::Is(hash.finish()));
        }
    }
    ask(connection, parts.kind, &parts.key);
    connection.flush().await?;
    answer(connection, parts.kind, &parts.key).await
}

async fn same_length(connection: &mut Connection, kind: Kind, key: &[u8], count: u64) -> Result<bool, Failure> {
    let length: &[u8] = match kind {
        Kind::Hash => b"HLEN",
        Kind::Set => b"SCARD",
        Kind::SortedSet => b"ZCARD",
        _ => b"LLEN",
    };
    Ok(connection.ask(&[length, key]).await? == Reply::Integer(count as i64))
}

/// The hash of a hash whose fields may have an expiry each, from the names of its first chunk on. Where none has, it is that of
/// any other hash.
///
/// # Errors
/// The server refuses, the connection is lost, or the hash shows its fields twice again and again.
pub(crate) async fn fields_in(
    connection: &mut Connection,
    key: &Bytes,
    mut found: Names,
    (count, clock, looked_at): (u64, Clock, ExpiryIn),
    pace: &mut Pace,
) -> Result<Value, Failure> {
    for _ in 0..ATTEMPTS {
        let mut hash = PartsHash::new(Kind::Hash);
        loop {
            if !found.names.is_empty() {
                pace.rest().await?;
                pace.asked(3 * count.min(found.names.len() as u64) * work::SCANNED_ELEMENT);
                field_expiries::ask(connection.output(), clock, key, &found.names);
                connection.flush().await?;
                let names = found.names.len();
                let Some((_, expiries)) = field_expiries::head(connection, clock, key, names).await? else {
                    return Ok(Value::Gone);
                };
                for (name, expiry) in found.names.iter().zip(expiries) {
                    let mut own = Hasher::default().text(name);
                    match connection.head().await? {
                        Head::Bulk(length) => own.read(connection, length).await?,
                        Head::Nil => continue,
                        head => return Err(connection.unexpected("`HMGET`", &head)),
                    }
                    hash.sum.add(with_expiry(own.finish(), expiry, looked_at));
                }
            }
            let Some(next) = found.next.take() else { break };
            match field_expiries::names(connection, key, &next, count).await? {
                Some(names) => found = names,
                None => return Ok(Value::Gone),
            }
        }
        if hash.sum.count == 0 {
            return Ok(Value::Gone);
        }
        if same_length(connection, Kind::Hash, key, hash.sum.count).await? {
            return Ok(Value::Is(hash.finish()));
        }
        match field_expiries::names(connection, key, b"0", count).await? {
            Some(names) => found = names,
            None => return Ok(Value::Gone),
        }
    }
    Err(Failure::unavailable(format!("{}: it shows more fields than it has, again and again", reading(key)))
        .with_help("it is being changed while it is read; the digest is for servers that nobody writes to"))
}
