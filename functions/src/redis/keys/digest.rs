//! The digest of a keyspace: a number that is the same for the same keys, values and expiries, in whatever order, encoding
//! or server they are.
//!
//! Takes keys one by one. Gives the sum, modulo 2^128, of one hash for each (the first 16 bytes of a SHA-256), so that the
//! order does not matter and nothing is kept; unordered parts (members of sets, fields of hashes) are summed up the same
//! way inside a value. Always holds: every text is hashed behind its length, so no two different keyspaces are written the
//! same way; a value's parts are hashed in pieces, so none is held whole.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::redis::keys::tally::Kind;
use crate::redis::wire::expiry::Expiry;

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
    pub(crate) fn expiry(&mut self, expiry: Expiry, looked_at: ExpiryIn) {
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
}
