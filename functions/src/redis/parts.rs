//! Keys of a stream that are written by several commands, and expiries that stand in commands of their own.
//!
//! Takes such commands in the stream's order. Gives the server those that are to be carried out. Always holds: without
//! `replace`, the first command of a key is sent only after the server said that the key does not exist; a key that is to
//! be left as it is gets none of its commands, its expiry included.

use aquifer_engine::failure::Failure;
use bytes::Bytes;

use super::connection::Reply;
use super::load::{Loader, OnConflict, at, wrong};
use super::parser::Command;
use super::replies::What;
use super::resp::{self, show};
use super::tally::Kind;

/// A key that is written by several commands.
#[derive(Debug)]
pub(super) struct Group {
    key: Bytes,
    /// `None` until the first part.
    kind: Option<Kind>,
    skipping: bool,
    repeated: bool,
    expired: bool,
}

impl Loader {
    /// Begins a key that is written by several commands: `own` where the stream says so by a `DEL`.
    pub(super) async fn begin_key(&mut self, key: Bytes, offset: u64, own: bool) -> Result<(), Failure> {
        if let Some(group) = self.group.as_mut().filter(|group| group.key == key) {
            // What was written so far is taken back; it is begun again, or has gone.
            group.kind = None;
            return if group.skipping { Ok(()) } else { self.remove(key, offset).await };
        }
        self.close_key().await?;
        self.first_write().await?;
        let (mut skipping, mut repeated) = (false, false);
        if self.on_conflict == OnConflict::Replace {
            if own {
                self.remove(key.clone(), offset).await?;
            }
        } else {
            let before = self.remember(&key);
            self.settle(0).await?;
            if let Some(connection) = &mut self.connection {
                let reply = connection.ask(&[b"EXISTS", &key]).await?;
                skipping = connection.accepted(reply, at(&key, offset))? != Reply::Integer(0);
            }
            repeated = skipping && before;
            if skipping && !before && self.on_conflict == OnConflict::Fail {
                return Err(self.conflict(&key, offset));
            }
        }
        self.last = Some((key.clone(), skipping));
        self.group = Some(Group { key, kind: None, skipping, repeated, expired: false });
        Ok(())
    }

    /// Goes on with a key; false where it is to be left as it is.
    pub(super) async fn begin_part(&mut self, key: Bytes, kind: Kind, offset: u64) -> Result<bool, Failure> {
        if self.group.as_ref().is_none_or(|group| group.key != key) {
            self.begin_key(key, offset, false).await?;
        }
        Ok(self.group.as_mut().is_some_and(|group| {
            group.kind = Some(kind);
            !group.skipping
        }))
    }

    /// Counts the key that was being written by several commands.
    pub(crate) async fn close_key(&mut self) -> Result<(), Failure> {
        let Some(Group { kind: Some(kind), skipping, repeated, expired, .. }) = self.group.take() else {
            return Ok(());
        };
        self.done.in_stream.add(kind);
        match (skipping, repeated, expired) {
            (true, true, _) => self.done.repeated += 1,
            (true, false, _) => self.done.skipped += 1,
            (false, _, true) => self.done.expired += 1,
            (false, _, false) => self.done.written.add(kind),
        }
        Ok(())
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
        match &mut self.group {
            Some(group) if group.key == key => {
                group.expired |= passed;
                if group.skipping {
                    return Ok(());
                }
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
        self.send(command.raw(), key, command.offset, What::Plain).await
    }
}

/// The type that a command adds to, and the place of its key.
pub(super) fn part(name: &[u8], first: &[u8]) -> Option<(Kind, usize)> {
    Some(match name {
        b"RPUSH" => (Kind::List, 1),
        b"SADD" => (Kind::Set, 1),
        b"HSET" | b"HMSET" => (Kind::Hash, 1),
        b"ZADD" => (Kind::SortedSet, 1),
        b"XADD" | b"XCLAIM" | b"XSETID" => (Kind::Stream, 1),
        b"XGROUP" => match &first.to_ascii_uppercase()[..] {
            b"CREATE" | b"CREATECONSUMER" | b"SETID" => (Kind::Stream, 2),
            _ => return None,
        },
        _ => return None,
    })
}
