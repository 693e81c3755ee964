//! What a command of a stream means: the one place that knows which commands a dump may hold.
//!
//! Takes a whole command. Gives a [`Statement`]. Always holds: whatever is done with a stream (counted, changed, written,
//! hashed) is done with the same reading of it; a form whose outcome could not be told without a server (options of `ZADD`,
//! ids that the server makes) is refused with its place. What commands there are is told in
//! `docs/reference/redis-stream.md`.

use aquifer_engine::failure::Failure;
use bytes::Bytes;

use crate::redis::keys::lifetimes::When;
use crate::redis::keys::tally::Kind;
use crate::redis::stream::command::Command;
use crate::redis::stream::entries::{StreamChange, score};
use crate::redis::stream::wrong::{refused, wrong};
use crate::redis::wire::resp::{self, show};

/// A command with its meaning.
#[derive(Debug, Clone)]
pub(crate) struct Statement {
    /// Where in the stream it begins.
    pub(crate) offset: u64,
    pub(crate) act: Act,
}

/// What is done.
#[derive(Debug, Clone)]
pub(crate) enum Act {
    /// The keys that follow are of this database.
    Select(u32),
    /// Begins a key of several commands, or takes back what was written of it (`DEL`).
    Begin { key: Bytes },
    /// A whole string.
    Set { key: Bytes, value: Bytes, expiry: Option<When> },
    /// A whole value, as `DUMP` gives it.
    Restore { key: Bytes, payload: Bytes, expiry: Option<When>, hint: Option<Hint> },
    /// Adds to the value of a key.
    Part(Part),
    /// The expiry of the key that was written just before.
    Expire { key: Bytes, when: When },
    /// The expiry of fields of the hash that was written just before.
    ExpireFields { key: Bytes, when: When, fields: Vec<Bytes> },
    /// A library of functions, or with `all` several of them, as `FUNCTION DUMP` gives them.
    Functions { code: Bytes, all: bool },
}

/// How often or how long ago a key was used: a word and a number of `RESTORE`.
#[derive(Debug, Clone)]
pub(crate) struct Hint {
    pub(crate) word: &'static str,
    pub(crate) number: Bytes,
}

/// A command that adds to the value of a key.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    pub(crate) key: Bytes,
    pub(crate) kind: Kind,
    pub(crate) change: Change,
    command: Command,
    /// Where the key stands in it.
    place: usize,
}

/// What a part adds.
#[derive(Debug, Clone)]
pub(crate) enum Change {
    /// The texts behind the key: elements, members, fields and values in turn, or the rest of a string.
    Texts,
    /// Scores; the texts behind the key are these and the members in turn.
    Scores(Vec<f64>),
    /// Something of a stream.
    Stream(StreamChange),
}

impl Part {
    /// How many arguments the command has, its name counted.
    pub(crate) fn len(&self) -> usize {
        self.command.len()
    }

    /// The command, with another key in place of its own.
    pub(crate) fn args<'a>(&'a self, key: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
        self.command.args().enumerate().map(move |(at, arg)| if at == self.place { key } else { arg })
    }

    /// An argument of the command; empty where it has none there.
    pub(crate) fn arg(&self, place: usize) -> &[u8] {
        self.command.arg(place)
    }

    /// How many elements the key has more by it, if that can be told: what a server's answers are held to.
    pub(crate) fn elements(&self) -> Option<u64> {
        let behind = self.len() as u64 - 2;
        match &self.change {
            Change::Texts if self.kind == Kind::String => Some(self.arg(2).len() as u64),
            Change::Texts => Some(behind),
            Change::Scores(scores) => Some(scores.len() as u64),
            Change::Stream(StreamChange::Entry(_)) => Some(1),
            Change::Stream(StreamChange::Trimmed(_)) => None,
            Change::Stream(_) => Some(0),
        }
    }
}

impl Act {
    /// The key that it is about.
    pub(crate) fn key(&self) -> Option<&Bytes> {
        match self {
            Self::Begin { key }
            | Self::Set { key, .. }
            | Self::Restore { key, .. }
            | Self::Part(Part { key, .. })
            | Self::Expire { key, .. }
            | Self::ExpireFields { key, .. } => Some(key),
            Self::Select(_) | Self::Functions { .. } => None,
        }
    }

    /// The type of a whole value; `None` where it is none.
    pub(crate) fn value(&self) -> Option<Kind> {
        match self {
            Self::Set { .. } => Some(Kind::String),
            Self::Restore { payload, .. } => Some(Kind::of_payload(payload.first().copied().unwrap_or(u8::MAX))),
            _ => None,
        }
    }
}

/// A number of milliseconds, or an id's part.
pub(super) fn count(text: &[u8]) -> Option<u64> {
    resp::number(text).and_then(|number| u64::try_from(number).ok())
}

/// An expiry as an option or a command's name tells it: `PXAT`, `EX`, `PEXPIREAT`, `HEXPIRE`.
fn when(word: &[u8], number: &[u8], offset: u64) -> Result<When, Failure> {
    let Some(number) = count(number) else {
        return Err(wrong(offset, format_args!("{} is no expiry", show(number))));
    };
    let bare = word.strip_prefix(b"H").unwrap_or(word);
    let number = if bare.starts_with(b"P") { number } else { number.saturating_mul(1000) };
    Ok(if bare.ends_with(b"AT") { When::At(number) } else { When::Left(number) })
}

/// The type that a command of this name adds to; streams have further ones.
pub(super) fn adds_to(name: &[u8]) -> Option<Kind> {
    Some(match name {
        b"RPUSH" => Kind::List,
        b"SADD" => Kind::Set,
        b"HSET" | b"HMSET" => Kind::Hash,
        b"APPEND" => Kind::String,
        b"ZADD" => Kind::SortedSet,
        _ => return None,
    })
}

impl Statement {
    /// What a command means.
    ///
    /// # Errors
    /// A dump holds none such.
    pub(crate) fn read(command: Command) -> Result<Self, Failure> {
        let offset = command.offset;
        let name = command.arg(0).to_ascii_uppercase();
        let act = match (&name[..], command.len()) {
            (b"SELECT", 2) => Act::Select(database(&command)?),
            (b"DEL", 2) => Act::Begin { key: command.bytes(1) },
            (b"SET", 3..) => set(&command)?,
            (b"RESTORE", 4..) => restore(&command)?,
            (b"PEXPIREAT" | b"EXPIREAT" | b"PEXPIRE" | b"EXPIRE", 3) => {
                Act::Expire { key: command.bytes(1), when: when(&name, command.arg(2), offset)? }
            }
            (b"HPEXPIREAT" | b"HEXPIREAT" | b"HPEXPIRE" | b"HEXPIRE", 6..) => expire_fields(&command, &name)?,
            (b"FUNCTION", 3..=4) => functions(&command)?,
            (_, 3..) => Act::Part(part(command, &name)?),
            _ => return Err(refused(offset, &name)),
        };
        Ok(Self { offset, act })
    }
}

fn database(command: &Command) -> Result<u32, Failure> {
    count(command.arg(1))
        .and_then(|index| u32::try_from(index).ok())
        .ok_or_else(|| wrong(command.offset, format_args!("{} is no database's number", show(command.arg(1)))))
}

fn set(command: &Command) -> Result<Act, Failure> {
    let expiry = match (command.len(), &command.arg(3).to_ascii_uppercase()[..]) {
        (3, _) => None,
        (5, word @ (b"PXAT" | b"EXAT" | b"PX" | b"EX")) => Some(when(word, command.arg(4), command.offset)?),
        _ => return Err(wrong(command.offset, format_args!("`SET` with {}", show(command.arg(3))))),
    };
    Ok(Act::Set { key: command.bytes(1), value: command.bytes(2), expiry })
}

fn restore(command: &Command) -> Result<Act, Failure> {
    let Some(ttl) = count(command.arg(2)) else {
        return Err(wrong(command.offset, format_args!("{} is no expiry", show(command.arg(2)))));
    };
    let (absolute, hint) = options((4..command.len()).map(|at| command.bytes(at)))
        .map_err(|word| wrong(command.offset, format_args!("`RESTORE` with {}", show(&word))))?;
    let expiry = (ttl > 0).then_some(if absolute { When::At(ttl) } else { When::Left(ttl) });
    Ok(Act::Restore { key: command.bytes(1), payload: command.bytes(3), expiry, hint })
}

/// The options of a `RESTORE`: whether the expiry is a moment, and a hint.
///
/// # Errors
/// One that there is not.
pub(super) fn options(words: impl Iterator<Item = Bytes>) -> Result<(bool, Option<Hint>), Bytes> {
    let (mut absolute, mut replace, mut hint, mut words) = (false, false, None, words);
    while let Some(word) = words.next() {
        match &word.to_ascii_uppercase()[..] {
            b"REPLACE" if !replace => replace = true,
            b"ABSTTL" if !absolute => absolute = true,
            name @ (b"IDLETIME" | b"FREQ") if hint.is_none() => {
                let number = words.next().filter(|number| count(number).is_some()).ok_or(word.clone())?;
                hint = Some(Hint { word: if name == b"FREQ" { "FREQ" } else { "IDLETIME" }, number });
            }
            _ => return Err(word),
        }
    }
    Ok((absolute, hint))
}

fn expire_fields(command: &Command, name: &[u8]) -> Result<Act, Failure> {
    let when = when(name, command.arg(2), command.offset)?;
    let fields = command.len() as u64 - 5;
    if !command.arg(3).eq_ignore_ascii_case(b"FIELDS") || count(command.arg(4)) != Some(fields) {
        return Err(wrong(command.offset, format_args!("{} is no list of fields", show(command.arg(3)))));
    }
    let fields = (5..command.len()).map(|at| command.bytes(at)).collect();
    Ok(Act::ExpireFields { key: command.bytes(1), when, fields })
}

/// What a `FUNCTION` with this second word does.
pub(super) fn functions(command: &Command) -> Result<Act, Failure> {
    let word = command.arg(1).to_ascii_uppercase();
    let (code, all) = match (&word[..], command.len()) {
        (b"LOAD", 3) => (2, false),
        (b"LOAD", 4) if command.arg(2).eq_ignore_ascii_case(b"REPLACE") => (3, false),
        (b"RESTORE", 3..=4) => (2, true),
        _ => return Err(refused(command.offset, b"FUNCTION")),
    };
    Ok(Act::Functions { code: command.bytes(code), all })
}

/// A form that is known, but not how it ends.
pub(super) fn untold(offset: u64, name: &[u8]) -> Failure {
    wrong(offset, format_args!("{} in a form whose outcome cannot be told", show(name)))
        .with_help("`redis-cli --pipe` carries out anything")
}

fn part(command: Command, name: &[u8]) -> Result<Part, Failure> {
    let offset = command.offset;
    let Some(kind) = adds_to(name) else {
        let Some((change, place)) = StreamChange::read(&command, name) else {
            return Err(refused(offset, name));
        };
        let change = Change::Stream(change.ok_or_else(|| untold(offset, name))?);
        return Ok(Part { key: command.bytes(place), kind: Kind::Stream, change, command, place });
    };
    let change = match kind {
        Kind::Hash if command.len() < 4 || command.len() % 2 == 1 => None,
        Kind::String if command.len() > 3 => None,
        Kind::SortedSet if command.len() < 4 || command.len() % 2 == 1 => None,
        Kind::SortedSet => {
            (2..command.len()).step_by(2).map(|at| score(command.arg(at))).collect::<Option<_>>().map(Change::Scores)
        }
        _ => Some(Change::Texts),
    };
    let change = change.ok_or_else(|| untold(offset, name))?;
    Ok(Part { key: command.bytes(1), kind, change, command, place: 1 })
}

#[cfg(test)]
mod tests;
