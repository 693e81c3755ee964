//! What a stream holds, counted as it comes: what its trailer is held to.
//!
//! Takes the commands of a stream, all of them, whatever becomes of them. Gives counts, and which key a command belongs
//! to. Always holds: a key that is written by several commands counts once, as the type of its last parts, and not at all
//! where a `DEL` took all of it back.

use bytes::Bytes;

use crate::redis::keys::tally::{Kind, PerType};
use crate::redis::stream::parser::Command;
use crate::redis::wire::resp;

/// What a command does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Selects a database.
    Select(u32),
    /// Writes the whole value of the key that is its first argument.
    Value(Kind),
    /// Begins a key of several commands, or takes back what was written of it.
    Begin,
    /// Writes a part of a key's value; the place of the key.
    Part(Kind, usize),
    /// Sets the expiry of the key.
    Expire,
    /// Sets the expiry of fields of the key, a hash.
    FieldExpire,
    /// Loads one library of functions, or several at once.
    Functions {
        /// Just one.
        one: bool,
    },
    /// Anything else.
    Other,
}

impl Role {
    /// What a whole command does.
    pub(crate) fn of(command: &Command) -> Self {
        let name = command.arg(0).to_ascii_uppercase();
        match (&name[..], command.len()) {
            (b"SELECT", 2) => resp::number(command.arg(1))
                .and_then(|index| u32::try_from(index).ok())
                .map_or(Self::Other, Self::Select),
            (b"RESTORE", 4..) => Self::Value(Kind::of_payload(command.arg(3).first().copied().unwrap_or(u8::MAX))),
            (b"DEL", 2) => Self::Begin,
            (_, 3..) => Self::named(&name, command.arg(1)),
            _ => Self::Other,
        }
    }

    /// What a command of this name does that is not told by its other arguments.
    pub(crate) fn named(name: &[u8], first: &[u8]) -> Self {
        match name {
            b"SET" => Self::Value(Kind::String),
            b"PEXPIREAT" | b"EXPIREAT" | b"PEXPIRE" | b"EXPIRE" => Self::Expire,
            b"HPEXPIREAT" | b"HEXPIREAT" | b"HPEXPIRE" | b"HEXPIRE" => Self::FieldExpire,
            b"FUNCTION" => Self::Functions { one: first.eq_ignore_ascii_case(b"LOAD") },
            _ => part(name, first).map_or(Self::Other, |(kind, place)| Self::Part(kind, place)),
        }
    }
}

/// What a stream was found to hold.
#[derive(Debug, Clone, Default)]
pub(crate) struct Census {
    /// Keys, by type.
    pub(crate) keys: PerType,
    /// Commands.
    pub(crate) commands: u64,
    /// Libraries of functions that stand there one by one.
    pub(crate) libraries: u64,
    /// The key that is being written by several commands, and its type as far as it is known.
    open: Option<(Bytes, Option<Kind>)>,
}

impl Census {
    /// Counts a command; `key` is the one that it belongs to. True where it is the first part of a key.
    pub(crate) fn count(&mut self, role: Role, key: impl FnOnce() -> Bytes) -> bool {
        self.commands += 1;
        match role {
            Role::Value(kind) => {
                self.close();
                self.keys.add(kind);
            }
            Role::Begin => {
                self.enter(key(), None);
            }
            Role::Part(kind, _) => return self.enter(key(), Some(kind)),
            Role::Functions { one } => {
                self.close();
                self.libraries += u64::from(one);
            }
            Role::Select(_) => self.close(),
            Role::Expire | Role::FieldExpire | Role::Other => {}
        }
        false
    }

    fn enter(&mut self, key: Bytes, kind: Option<Kind>) -> bool {
        let same = self.open.as_ref().filter(|(open, _)| *open == key);
        let first = same.is_none_or(|(_, known)| known.is_none());
        if same.is_none() {
            self.close();
        }
        self.open = Some((key, kind));
        first
    }

    /// Counts the key that was being written by several commands.
    pub(crate) fn close(&mut self) {
        if let Some((_, Some(kind))) = self.open.take() {
            self.keys.add(kind);
        }
    }
}

/// The type that a command adds to, and the place of its key.
pub(crate) fn part(name: &[u8], first: &[u8]) -> Option<(Kind, usize)> {
    Some(match name {
        b"RPUSH" => (Kind::List, 1),
        b"SADD" => (Kind::Set, 1),
        b"HSET" | b"HMSET" => (Kind::Hash, 1),
        b"APPEND" => (Kind::String, 1),
        b"ZADD" => (Kind::SortedSet, 1),
        b"XADD" | b"XCLAIM" | b"XSETID" => (Kind::Stream, 1),
        b"XGROUP" => match &first.to_ascii_uppercase()[..] {
            b"CREATE" | b"CREATECONSUMER" | b"SETID" => (Kind::Stream, 2),
            _ => return None,
        },
        _ => return None,
    })
}
