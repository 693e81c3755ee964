//! The hash of a value that a server tells in one answer.
//!
//! Takes a question and its answer. Gives a hash, the same for the same value whatever its encoding is. Always holds: a
//! value's parts are hashed in pieces, so none is held whole.

use aquifer_engine::failure::Failure;

use crate::redis::keys::digest::{Hasher, Sum, parts, score_bits};
use crate::redis::keys::tally::Kind;
use crate::redis::wire::connection::Connection;
use crate::redis::wire::refusal;
use crate::redis::wire::refusal::reading;
use crate::redis::wire::resp::Head;

/// What a value is hashed to.
pub(crate) enum Value {
    /// The value's hash.
    Is(u128),
    /// The key has gone, or holds another type by now.
    Gone,
}

/// A score as a number, so that its text does not matter: `3`, `3.0`; -0 is 0.
fn score(text: &[u8]) -> Option<u64> {
    let number: f64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    Some(score_bits(number))
}

/// Asks for a small value; one reply comes.
pub(crate) fn ask(connection: &mut Connection, kind: Kind, key: &[u8]) {
    match kind {
        Kind::String => connection.push(&[b"GET", key]),
        Kind::List => connection.push(&[b"LRANGE", key, b"0", b"-1"]),
        Kind::Hash => connection.push(&[b"HGETALL", key]),
        Kind::Set => connection.push(&[b"SMEMBERS", key]),
        Kind::SortedSet => connection.push(&[b"ZRANGE", key, b"0", b"-1", b"WITHSCORES"]),
        // A stream takes several questions, and is asked them in its turn.
        Kind::Stream => {}
        Kind::Other => connection.push(&[b"DUMP", key]),
    }
}

/// Reads the reply to [`ask`].
///
/// # Errors
/// The server refuses, or the connection is lost.
pub(crate) async fn answer(connection: &mut Connection, kind: Kind, key: &[u8]) -> Result<Value, Failure> {
    match (connection.head().await?, kind) {
        (Head::Nil, _) => Ok(Value::Gone),
        (Head::Array(0), _) => Ok(Value::Gone),
        (Head::Error(error), _) if error.starts_with("WRONGTYPE") => Ok(Value::Gone),
        (Head::Error(error), _) => Err(refusal::failure(&error, reading(key))),
        (Head::Bulk(length), Kind::String) => {
            // The length last: a stream may have a long string in pieces, and tells it nowhere.
            let mut hasher = Hasher::default();
            hasher.bytes(connection, length).await?;
            hasher.number(length);
            Ok(Value::Is(hasher.finish()))
        }
        (Head::Bulk(length), _) => {
            // The value of a module. Behind it stand the version of its form and a checksum, which differ from server to
            // server: 10 bytes.
            let payload = connection.text(length).await?;
            let value = &payload[..payload.len().saturating_sub(10)];
            Ok(Value::Is(Hasher::default().text(value).finish()))
        }
        (Head::Array(replies), _) => {
            let replies = if kind == Kind::SortedSet && connection.pairs() { replies * 2 } else { replies };
            let mut parts = PartsHash::new(kind);
            parts.read(connection, replies).await?;
            Ok(Value::Is(parts.finish()))
        }
        (head, _) => Err(connection.unexpected("reading a value", &head)),
    }
}

/// The hash of a value with parts, chunk by chunk.
#[derive(Debug)]
pub(crate) struct PartsHash {
    kind: Kind,
    ordered: Hasher,
    pub(super) sum: Sum,
}

impl PartsHash {
    pub(super) fn new(kind: Kind) -> Self {
        Self { kind, ordered: Hasher::default(), sum: Sum::default() }
    }

    pub(super) async fn read(&mut self, connection: &mut Connection, replies: u64) -> Result<(), Failure> {
        let pairs = matches!(self.kind, Kind::Hash | Kind::SortedSet);
        for _ in 0..if pairs { replies / 2 } else { replies } {
            let mut own = Hasher::default();
            let mut head = connection.head().await?;
            if self.kind == Kind::SortedSet && head == Head::Array(2) {
                // A member and its score, in version 3 of the protocol.
                head = connection.head().await?;
            }
            let hasher = if self.kind == Kind::List { &mut self.ordered } else { &mut own };
            match head {
                Head::Bulk(length) => hasher.read(connection, length).await?,
                head => return Err(connection.unexpected("reading parts", &head)),
            }
            match (self.kind, pairs.then_some(())) {
                (Kind::Hash, _) => match connection.head().await? {
                    Head::Bulk(length) => hasher.read(connection, length).await?,
                    head => return Err(connection.unexpected("reading a field", &head)),
                },
                (_, Some(())) => {
                    let reply = connection.reply().await?;
                    let Some(bits) = reply.bytes().and_then(|text| score(text)) else {
                        return Err(connection.unexpected("reading a score", &reply));
                    };
                    hasher.number(bits);
                }
                _ => {}
            }
            if self.kind == Kind::List {
                self.sum.count += 1;
            } else {
                self.sum.add(own.finish());
            }
        }
        Ok(())
    }

    pub(super) fn finish(self) -> u128 {
        parts(self.sum, self.ordered)
    }
}

impl Hasher {
    /// A text that is read in pieces.
    pub(super) async fn read(&mut self, connection: &mut Connection, length: u64) -> Result<(), Failure> {
        self.number(length);
        self.bytes(connection, length).await
    }

    pub(super) async fn bytes(&mut self, connection: &mut Connection, length: u64) -> Result<(), Failure> {
        let mut left = length;
        while left > 0 {
            self.update(&connection.piece(&mut left).await?);
        }
        connection.bulk_end().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_are_numbers() {
        assert_eq!(score(b"3"), score(b"3.0"));
        assert_eq!(score(b"-0"), score(b"0"));
        assert_ne!(score(b"inf"), score(b"-inf"));
        assert_eq!(score(b"x"), None);
    }
}
