//! The digest of a keyspace: a number that is the same for the same keys, values and expiries, in whatever order, encoding
//! or server they are.
//!
//! Takes keys one by one. Gives the sum, modulo 2^128, of one hash for each (the first 16 bytes of a SHA-256), so that the
//! order does not matter and nothing is kept; unordered parts (members of sets, fields of hashes) are summed up the same
//! way inside a value. Always holds: every text is hashed behind its length, so no two different keyspaces are written the
//! same way; a value's parts are hashed in pieces, so none is held whole.

use std::collections::BTreeMap;

use aquifer_engine::failure::Failure;
use bytes::Bytes;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::connection::{Connection, Reply};
use super::expiry::Expiry;
use super::facts::Facts;
use super::libraries;
use super::refusal;
use super::resp::Head;
use super::scan::reading;
use super::tally::Kind;

/// How expiries are looked at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ExpiryIn {
    /// To the millisecond.
    #[default]
    Exact,
    /// Whether there is one.
    Presence,
    /// Not at all.
    Ignore,
}

/// A sum of hashes and how many they are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Sum {
    pub(crate) sum: u128,
    pub(crate) count: u64,
}

impl Sum {
    pub(crate) fn add(&mut self, hash: u128) {
        self.sum = self.sum.wrapping_add(hash);
        self.count += 1;
    }
}

/// One hash being made.
#[derive(Debug, Clone, Default)]
pub(crate) struct Hasher(Sha256);

impl Hasher {
    /// A text, behind its length.
    pub(crate) fn text(mut self, text: &[u8]) -> Self {
        self.number(text.len() as u64);
        self.0.update(text);
        self
    }

    pub(crate) fn number(&mut self, number: u64) {
        self.0.update(number.to_le_bytes());
    }

    /// Bytes, of which somebody has told the length.
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// An expiry, as far as it counts; nothing where there is none.
    pub(super) fn expiry(&mut self, expiry: Expiry, looked_at: ExpiryIn) {
        match (expiry, looked_at) {
            (_, ExpiryIn::Ignore) | (Expiry::Never | Expiry::Gone, _) => {}
            (Expiry::At(_), ExpiryIn::Presence) => self.0.update([1]),
            (Expiry::At(at), ExpiryIn::Exact) => {
                self.0.update([2]);
                self.number(at);
            }
        }
    }

    pub(crate) fn sum(mut self, sum: Sum) -> Self {
        self.0.update(sum.sum.to_le_bytes());
        self.number(sum.count);
        self
    }

    pub(crate) fn finish(self) -> u128 {
        let bytes: [u8; 32] = self.0.finalize().into();
        bytes[..16].iter().rev().fold(0, |number, byte| number << 8 | u128::from(*byte))
    }

    /// A text that is read in pieces.
    pub(super) async fn read(&mut self, connection: &mut Connection, length: u64) -> Result<(), Failure> {
        self.number(length);
        self.bytes(connection, length).await
    }

    pub(super) async fn bytes(&mut self, connection: &mut Connection, length: u64) -> Result<(), Failure> {
        let mut left = length;
        while left > 0 {
            self.0.update(connection.piece(&mut left).await?);
        }
        connection.bulk_end().await
    }
}

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

/// The hash of a value with parts: those without an order, and those in their order.
pub(crate) fn parts(sum: Sum, ordered: Hasher) -> u128 {
    let mut hasher = Hasher::default().sum(sum);
    hasher.update(&ordered.finish().to_le_bytes());
    hasher.finish()
}

/// The bits of a score that count: -0 is 0.
pub(crate) fn score_bits(score: f64) -> u64 {
    (score + 0.0).to_bits()
}

/// A flat list of names and values.
pub(super) fn fields(reply: Reply) -> Vec<Reply> {
    reply.items().unwrap_or_default()
}

/// The value behind a name, as text; empty where there is none.
pub(super) fn field(fields: &[Reply], name: &str) -> Bytes {
    let found = fields.chunks_exact(2).find(|pair| pair[0].bytes().is_some_and(|found| found == name.as_bytes()));
    match found.map(|pair| &pair[1]) {
        Some(Reply::Integer(number)) => number.to_string().into(),
        Some(reply) => reply.bytes().cloned().unwrap_or_default(),
        None => Bytes::new(),
    }
}

/// The hash of a field that may have an expiry of its own, from that of its name and value.
pub(crate) fn with_expiry(field: u128, expiry: Expiry, looked_at: ExpiryIn) -> u128 {
    if matches!(expiry, Expiry::Never | Expiry::Gone) || looked_at == ExpiryIn::Ignore {
        return field;
    }
    let mut hasher = Hasher::default();
    hasher.0.update(field.to_le_bytes());
    hasher.expiry(expiry, looked_at);
    hasher.finish()
}

/// The hash of one key.
pub(crate) fn key(key: &[u8], kind: Kind, value: u128, expiry: Expiry, looked_at: ExpiryIn) -> u128 {
    let mut hasher = Hasher::default().text(key);
    hasher.0.update([kind as u8]);
    hasher.0.update(value.to_le_bytes());
    if matches!(expiry, Expiry::Never | Expiry::Gone) || looked_at == ExpiryIn::Ignore {
        hasher.0.update([0]);
    }
    hasher.expiry(expiry, looked_at);
    hasher.finish()
}

/// The digest of several databases and of the functions' code.
pub(crate) fn all(databases: &[(u32, Sum)], functions: Sum) -> u128 {
    let mut hasher = Hasher::default();
    // Not even an empty one: whether a database was looked at must not matter.
    for (index, sum) in databases.iter().filter(|(_, sum)| sum.count > 0) {
        hasher.number(u64::from(*index));
        hasher = hasher.sum(*sum);
    }
    hasher.sum(functions).finish()
}

/// A digest as text.
pub(crate) fn hex(digest: u128) -> String {
    format!("{digest:032x}")
}

/// The hash of a library of functions.
pub(crate) fn library(name: &[u8], engine: &[u8], code: &[u8]) -> u128 {
    Hasher::default().text(name).text(engine).text(code).finish()
}

/// The functions' libraries: the hash of each one's name, engine and code, by name.
///
/// # Errors
/// The server refuses, or the connection is lost.
pub(crate) async fn functions_by_name(
    connection: &mut Connection,
    facts: &Facts,
) -> Result<BTreeMap<Bytes, u128>, Failure> {
    let reply = match connection.ask(&[b"FUNCTION", b"LIST", b"WITHCODE"]).await? {
        Reply::Error(error) if refusal::is_unknown(&error) && !facts.has_functions() => return Ok(BTreeMap::new()),
        Reply::Error(error) => return Err(libraries::unreadable(&error)),
        reply => connection.accepted(reply, "reading the functions")?,
    };
    let hash = |library: Reply| {
        let library = fields(library);
        let [name, engine, code] = ["library_name", "engine", "library_code"].map(|name| field(&library, name));
        let hash = self::library(&name, &engine, &code);
        (name, hash)
    };
    Ok(reply.items().unwrap_or_default().into_iter().map(hash).collect())
}

/// The sum of the hashes of all libraries.
///
/// # Errors
/// As [`functions_by_name`].
pub(crate) async fn functions(connection: &mut Connection, facts: &Facts) -> Result<Sum, Failure> {
    let mut sum = Sum::default();
    functions_by_name(connection, facts).await?.into_values().for_each(|hash| sum.add(hash));
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_do_not_mind_the_order_and_mind_everything_else() {
        let sum = |texts: &[&str]| {
            let mut sum = Sum::default();
            texts.iter().for_each(|text| sum.add(Hasher::default().text(text.as_bytes()).finish()));
            sum
        };
        assert_eq!(sum(&["a", "b"]), sum(&["b", "a"]));
        assert_ne!(sum(&["a", "b"]), sum(&["a", "c"]));
        assert_ne!(sum(&["a", "a"]), sum(&["a"]));
        let pair = |a: &[u8], b: &[u8]| Hasher::default().text(a).text(b).finish();
        assert_ne!(pair(b"ab", b"c"), pair(b"a", b"bc"));
    }

    #[test]
    fn scores_are_numbers() {
        assert_eq!(score(b"3"), score(b"3.0"));
        assert_eq!(score(b"-0"), score(b"0"));
        assert_ne!(score(b"inf"), score(b"-inf"));
        assert_eq!(score(b"x"), None);
    }
}
