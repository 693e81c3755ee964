//! Keys of a stream that are written by several commands, and expiries that stand in commands of their own.
//!
//! Takes such commands in the stream's order. Gives the server those that are to be carried out. Always holds: such a key
//! is built under a [temporary](super::temporary) name, its expiry included, and gets its own name by one command once it
//! is complete, so nobody ever sees a part of it, and a key that is already there is never touched unless it is to be
//! replaced; a key that is to be left as it is gets none of its commands. The exception is a stream of another program
//! that adds to keys without a `DEL` before, with `replace`: that adds to what is there.

use aquifer_engine::failure::Failure;
use bytes::{Bytes, BytesMut};

use super::connection::Reply;
use super::load::{Loader, OnConflict, at, refuse_reserved, wrong};
use super::parser::Command;
use super::refusal;
use super::replies::What;
use super::resp::{self, show};
use super::tally::Kind;

/// A key that is written by several commands.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) key: Bytes,
    offset: u64,
    /// `None` until the first part.
    kind: Option<Kind>,
    /// The stream begins it with a `DEL`.
    own: bool,
    /// Where its parts go, once there is one; the key itself where the stream adds to what is there.
    pub(super) target: Option<Bytes>,
    skipping: bool,
    repeated: bool,
    /// It has an expiry.
    timed: bool,
    /// Its expiry has passed.
    expired: bool,
}

/// What became of a key under its own name.
enum Outcome {
    Written,
    Expired,
    Exists,
}

impl Loader {
    /// Begins a key that is written by several commands: `own` where the stream says so by a `DEL`.
    pub(super) async fn begin_key(&mut self, key: Bytes, offset: u64, own: bool) -> Result<(), Failure> {
        if let Some(group) = self.group.as_mut().filter(|group| group.key == key) {
            // What was written so far is taken back; it is begun again, or has gone.
            (group.kind, group.timed, group.expired) = (None, false, false);
            let Some(target) = group.target.clone().filter(|_| !group.skipping) else { return Ok(()) };
            self.settle(0).await?;
            self.built = Some(0);
            return self.remove(target, key, offset).await;
        }
        refuse_reserved(&key, offset)?;
        self.close_key().await?;
        self.first_write().await?;
        let (mut skipping, mut repeated) = (false, false);
        if self.on_conflict != OnConflict::Replace {
            let before = self.remember(&key);
            self.settle(0).await?;
            // Looked at now so that a key that stays is not sent at all; what counts is the answer to `RENAMENX`.
            if let Some(connection) = &mut self.connection {
                let reply = connection.ask(&[b"EXISTS", &key]).await?;
                skipping = connection.accepted(reply, at(&key, offset))? != Reply::Integer(0);
            }
            repeated = before;
            if before && !own {
                // What came first stands, so what comes now would be lost without a word.
                let what =
                    format_args!("more commands of the key {} follow, apart from those that it began with", show(&key));
                return Err(wrong(offset, what).with_help(
                    "all commands of a key have to stand together; `redis-cli --pipe` carries out any stream",
                ));
            }
            if skipping && !before && self.on_conflict == OnConflict::Fail {
                return Err(self.conflict(&key, offset));
            }
        }
        self.last = Some((key.clone(), skipping));
        let (kind, target, timed, expired) = (None, None, false, false);
        self.group = Some(Group { key, offset, kind, own, target, skipping, repeated, timed, expired });
        Ok(())
    }

    /// Goes on with a key; gives the name to write to, or nothing where the key is to be left as it is. What `fades` may take
    /// all of it away.
    pub(super) async fn begin_part(&mut self, key: Bytes, kind: Kind, fades: bool, offset: u64) -> Result<Option<Bytes>, Failure> {
        if self.group.as_ref().is_none_or(|group| group.key != key) {
            self.begin_key(key.clone(), offset, false).await?;
        }
        let adds = self.on_conflict == OnConflict::Replace && self.group.as_ref().is_some_and(|group| !group.own);
        let fresh = self.group.as_ref().is_some_and(|group| !group.skipping && group.target.is_none());
        if fresh {
            self.settle(0).await?;
            self.built = Some(0);
            let target = if adds { key } else { self.temporary().await? };
            if let Some(group) = &mut self.group {
                group.target = Some(target);
            }
        }
        Ok(self.group.as_mut().and_then(|group| {
            group.kind = Some(kind);
            group.timed |= fades;
            group.target.clone().filter(|_| !group.skipping)
        }))
    }

    /// Completes and counts the key that was being written by several commands.
    pub(crate) async fn close_key(&mut self) -> Result<(), Failure> {
        let Some(group) = self.group.take() else { return Ok(()) };
        let Some(kind) = group.kind else {
            // A `DEL` and nothing behind it.
            if group.own && self.on_conflict == OnConflict::Replace {
                self.remove(group.key.clone(), group.key, group.offset).await?;
            }
            return Ok(());
        };
        self.done.in_stream.add(kind);
        let outcome = if group.skipping { Outcome::Exists } else { self.complete(&group).await? };
        match outcome {
            Outcome::Written => self.done.written.add(kind),
            Outcome::Expired => self.done.expired += 1,
            Outcome::Exists if group.repeated && self.on_conflict == OnConflict::Fail => self.done.repeated += 1,
            Outcome::Exists if self.on_conflict == OnConflict::Fail => {
                return Err(self.conflict(&group.key, group.offset));
            }
            Outcome::Exists => self.done.skipped += 1,
        }
        Ok(())
    }

    /// Gives a complete key its own name.
    async fn complete(&mut self, group: &Group) -> Result<Outcome, Failure> {
        let whole = if group.expired { Outcome::Expired } else { Outcome::Written };
        let target = match &group.target {
            Some(target) if *target != group.key => target,
            _ => return Ok(whole),
        };
        self.settle(0).await?;
        self.hold_together(group, target).await?;
        let Some(connection) = &mut self.connection else { return Ok(whole) };
        let (key, writing) = (&group.key, at(&group.key, group.offset));
        let renamed = if self.on_conflict == OnConflict::Replace {
            // `RENAME` alone would free a big older value while others wait.
            connection.push(&[b"MULTI"]);
            connection.push(&[b"UNLINK", key]);
            connection.push(&[b"RENAME", target, key]);
            connection.push(&[b"EXEC"]);
            connection.flush().await?;
            for _ in 0..3 {
                let queued = connection.reply().await?;
                connection.accepted(queued, &writing)?;
            }
            let replies = connection.reply().await?;
            let mut replies = connection.accepted(replies, &writing)?.items().unwrap_or_default();
            replies.pop().unwrap_or(Reply::Nil)
        } else {
            connection.ask(&[b"RENAMENX", target, key]).await?
        };
        match renamed {
            Reply::Integer(0) => {
                let target = target.clone();
                self.last = Some((group.key.clone(), true));
                self.remove(target, group.key.clone(), group.offset).await?;
                Ok(Outcome::Exists)
            }
            Reply::Integer(_) | Reply::Simple(_) => Ok(whole),
            Reply::Error(error) if error.contains("no such key") && group.timed => Ok(Outcome::Expired),
            Reply::Error(error) if error.contains("no such key") => {
                Err(interfered(&writing, "what was written under a temporary name has gone"))
            }
            Reply::Error(error) => Err(refusal::failure(&error, writing)),
            reply => Err(connection.unexpected("`RENAME`", &reply)),
        }
    }

    /// Holds what stands under the temporary name to what the server said when it was written: it may have been evicted
    /// between two parts.
    async fn hold_together(&mut self, group: &Group, target: &[u8]) -> Result<(), Failure> {
        let length: &[u8] = match group.kind {
            Some(Kind::List) => b"LLEN",
            Some(Kind::Hash) => b"HLEN",
            Some(Kind::Set) => b"SCARD",
            Some(Kind::SortedSet) => b"ZCARD",
            Some(Kind::String) => b"STRLEN",
            _ => return Ok(()),
        };
        let (Some(connection), Some(built)) = (&mut self.connection, self.built) else { return Ok(()) };
        let writing = at(&group.key, group.offset);
        match connection.ask(&[length, target]).await? {
            Reply::Integer(found) if found.unsigned_abs() == built => Ok(()),
            // Its expiry may have passed; whether it has shows when it is to get its name.
            Reply::Integer(0) if group.timed => Ok(()),
            Reply::Integer(found) => {
                Err(interfered(&writing, format_args!("of {built} elements under a temporary name {found} are left")))
            }
            reply => connection.accepted(reply, writing).map(drop),
        }
    }

    /// Sets the expiry of the key that was written just before.
    ///
    /// # Errors
    /// It is the expiry of another key, or the server refused a command before it.
    pub(super) async fn expire(&mut self, command: &Command, name: &[u8]) -> Result<(), Failure> {
        let key = command.bytes(1);
        let Some(number) = resp::number(command.arg(2)).and_then(|number| u64::try_from(number).ok()) else {
            return Err(wrong(command.offset, format_args!("{} is no expiry", show(command.arg(2)))));
        };
        let passed = match name {
            b"PEXPIREAT" => self.has_passed(number),
            b"EXPIREAT" => self.has_passed(number.saturating_mul(1000)),
            _ => number == 0,
        };
        let mut target = key.clone();
        match &mut self.group {
            Some(group) if group.key == key => {
                group.timed = true;
                group.expired |= passed;
                if group.skipping {
                    return Ok(());
                }
                target = group.target.clone().unwrap_or(target);
            }
            _ => {
                // Whether the key before was left as it was is known once everything is answered.
                self.settle(0).await?;
                match &self.last {
                    Some((last, skipped)) if *last == key => {
                        if *skipped {
                            return Ok(());
                        }
                    }
                    _ if self.on_conflict == OnConflict::Replace => {}
                    _ => {
                        return Err(wrong(
                            command.offset,
                            format_args!("an expiry for the key {}, which was not written just before", show(&key)),
                        )
                        .with_help("such a stream can only be restored with `onConflict: replace`"));
                    }
                }
            }
        }
        self.send(&renamed(command, 1, &target), key, command.offset, What::Plain).await
    }
}

/// Somebody else changed what was being built.
fn interfered(writing: &str, what: impl std::fmt::Display) -> Failure {
    Failure::rejected(format!("{writing}: {what}"))
        .with_help("did the server evict it (`maxmemory-policy`), or was it deleted by somebody?")
}

/// True where a part sets the expiry of fields: the answer says nothing of how many a hash has, and where the expiry has
/// passed the server takes the fields away.
pub(super) fn is_field_expiry(name: &[u8]) -> bool {
    name == b"HPEXPIREAT"
}

/// What the answer to a part will mean.
pub(super) fn counted(command: &Command, kind: Kind) -> What {
    let elements = match kind {
        // With an option such as `CH` the answer to `ZADD` counts something else.
        Kind::SortedSet if command.arg(2).first().is_none_or(u8::is_ascii_alphabetic) => None,
        Kind::Hash if is_field_expiry(&command.arg(0).to_ascii_uppercase()) => None,
        Kind::String => Some(command.arg(2).len() as u64),
        _ => Some(command.len() as u64 - 2),
    };
    What::Part { kind, elements }
}

/// A command with another key at this place.
pub(super) fn renamed(command: &Command, place: usize, key: &[u8]) -> BytesMut {
    let mut out = BytesMut::with_capacity(command.raw().len() + key.len());
    resp::arguments(&mut out, command.len() as u64);
    for at in 0..command.len() {
        resp::argument(&mut out, if at == place { key } else { command.arg(at) });
    }
    out
}

/// The type that a command adds to, and the place of its key.
pub(super) fn part(name: &[u8], first: &[u8]) -> Option<(Kind, usize)> {
    Some(match name {
        b"RPUSH" => (Kind::List, 1),
        b"SADD" => (Kind::Set, 1),
        b"HSET" | b"HMSET" | b"HPEXPIREAT" => (Kind::Hash, 1),
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
