//! Keys counted by type: what a dump promises at its end, and what a restore holds it to.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A value's type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    String,
    List,
    Hash,
    Set,
    SortedSet,
    Stream,
    /// A module's value, or a type newer than this program.
    Other,
}

impl Kind {
    /// The type of a `DUMP` payload, by its first byte: the RDB type (`rdb.h` of Redis 8).
    pub(crate) fn of_payload(first: u8) -> Self {
        match first {
            0 => Self::String,
            1 | 10 | 14 | 18 => Self::List,
            2 | 11 | 20 => Self::Set,
            3 | 5 | 12 | 17 => Self::SortedSet,
            4 | 9 | 13 | 16 | 22..=25 => Self::Hash,
            15 | 19 | 21 => Self::Stream,
            _ => Self::Other,
        }
    }

    /// For people.
    pub(crate) fn noun(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::List => "list",
            Self::Hash => "hash",
            Self::Set => "set",
            Self::SortedSet => "sorted set",
            Self::Stream => "stream",
            Self::Other => "value of a module",
        }
    }

    /// How `TYPE` names it; modules' types have names of their own.
    pub(crate) fn name(self) -> Option<&'static [u8]> {
        Some(match self {
            Self::String => b"string",
            Self::List => b"list",
            Self::Hash => b"hash",
            Self::Set => b"set",
            Self::SortedSet => b"zset",
            Self::Stream => b"stream",
            Self::Other => return None,
        })
    }

    /// The type that `TYPE` names.
    pub(crate) fn of_name(name: &[u8]) -> Self {
        match name {
            b"string" => Self::String,
            b"list" => Self::List,
            b"hash" => Self::Hash,
            b"set" => Self::Set,
            b"zset" => Self::SortedSet,
            b"stream" => Self::Stream,
            _ => Self::Other,
        }
    }
}

/// How many keys there are of each type.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PerType {
    /// Strings.
    pub string: u64,
    /// Lists.
    pub list: u64,
    /// Hashes.
    pub hash: u64,
    /// Sets.
    pub set: u64,
    /// Sorted sets.
    pub zset: u64,
    /// Streams.
    pub stream: u64,
    /// Values of modules.
    pub other: u64,
}

impl PerType {
    fn of(&mut self, kind: Kind) -> &mut u64 {
        match kind {
            Kind::String => &mut self.string,
            Kind::List => &mut self.list,
            Kind::Hash => &mut self.hash,
            Kind::Set => &mut self.set,
            Kind::SortedSet => &mut self.zset,
            Kind::Stream => &mut self.stream,
            Kind::Other => &mut self.other,
        }
    }

    /// Counts one key.
    pub(crate) fn add(&mut self, kind: Kind) {
        *self.of(kind) += 1;
    }

    /// These keys and those.
    pub(crate) fn plus(&self, other: &Self) -> Self {
        Self {
            string: self.string + other.string,
            list: self.list + other.list,
            hash: self.hash + other.hash,
            set: self.set + other.set,
            zset: self.zset + other.zset,
            stream: self.stream + other.stream,
            other: self.other + other.other,
        }
    }

    /// These keys without those.
    pub(crate) fn less(&self, other: &Self) -> Self {
        Self {
            string: self.string.saturating_sub(other.string),
            list: self.list.saturating_sub(other.list),
            hash: self.hash.saturating_sub(other.hash),
            set: self.set.saturating_sub(other.set),
            zset: self.zset.saturating_sub(other.zset),
            stream: self.stream.saturating_sub(other.stream),
            other: self.other.saturating_sub(other.other),
        }
    }

    /// Keys of all types.
    pub(crate) fn total(&self) -> u64 {
        self.string + self.list + self.hash + self.set + self.zset + self.stream + self.other
    }
}

/// A number with commas between thousands, for people.
pub(crate) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number of keys, for people: `1 key`, `12,345 keys`.
pub(crate) fn so_many_keys(number: u64) -> String {
    format!("{} {}", thousands(number), if number == 1 { "key" } else { "keys" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_set_apart() {
        for (number, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (12_345_678, "12,345,678")] {
            assert_eq!(thousands(number), text);
        }
        assert_eq!([0, 1, 2000].map(so_many_keys), ["0 keys", "1 key", "2,000 keys"]);
    }
}
