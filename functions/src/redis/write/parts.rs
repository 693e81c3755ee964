//! Keys of a stream that are written by several commands, and expiries that stand in commands of their own.
//!
//! Takes such commands in the stream's order. Gives the server those that are to be carried out. Always holds: such a key
//! is built under a [temporary](crate::redis::write::temporary) name, its expiry included, and gets its own name by one command once it
//! is complete, so nobody ever sees a part of it, and a key that is already there is never touched unless it is to be
//! replaced; a key that is to be left as it is gets none of its commands. The exception is a stream of another program
//! that adds to keys without a `DEL` before, with `replace`: that adds to what is there.

use aquifer_engine::failure::Failure;
use bytes::Bytes;

use crate::redis::keys::tally::Kind;
use crate::redis::stream::statement::Part;
use crate::redis::stream::wrong::refuse_reserved;
use crate::redis::stream::wrong::wrong;
use crate::redis::wire::refusal;
use crate::redis::wire::reply::Reply;
use crate::redis::wire::resp::show;
use crate::redis::write::load::{Loader, OnConflict, at};
use crate::redis::write::replies::What;

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
    pub(super) skipping: bool,
    repeated: bool,
    /// It has an expiry.
    pub(super) timed: bool,
    /// Its expiry has passed.
    pub(super) expired: bool,
    /// How often fields of it were given an expiry.
    pub(super) timed_fields: u64,
    /// Whether it is there could not be asked.
    refused: bool,
}

impl Group {
    /// Whether the key stood in the stream before, where this is no more than its beginning.
    pub(super) fn begins(&self, key: &[u8]) -> Option<bool> {
        (self.kind.is_none() && self.key == key).then_some(self.repeated)
    }
}

/// What became of a key under its own name.
enum Outcome {
    Written,
    Expired,
    Exists,
    Refused,
}

impl Loader {
    /// Adds to the value of a key.
    pub(super) async fn part(&mut self, part: Part, offset: u64) -> Result<(), Failure> {
        let Some(target) = self.begin_part(part.key.clone(), part.kind, offset).await? else { return Ok(()) };
        let what = What::Part { kind: part.kind, elements: part.elements() };
        self.send(part.len() as u64, part.args(&target), part.key.clone(), offset, what).await
    }

    /// Begins a key that is written by several commands: `own` where the stream says so by a `DEL`.
    pub(super) async fn begin_key(&mut self, key: Bytes, offset: u64, own: bool) -> Result<(), Failure> {
        if let Some(group) = self.group.as_mut().filter(|group| group.key == key) {
            // What was written so far is taken back; it is begun again, or has gone.
            (group.kind, group.timed, group.expired, group.timed_fields) = (None, false, false, 0);
            let Some(target) = group.target.clone().filter(|_| !group.skipping) else { return Ok(()) };
            self.settle().await?;
            (self.built, self.spoiled) = (Some(0), false);
            return self.remove(target, key, offset).await;
        }
        refuse_reserved(&key, offset)?;
        self.close_key().await?;
        self.first_write().await?;
        let (mut skipping, mut repeated, mut refused) = (false, false, false);
        if self.on_conflict != OnConflict::Replace {
            let before = self.remember(&key);
            self.settle().await?;
            // Looked at now so that a key that stays is not sent at all; what counts is the answer to `RENAMENX`.
            if let Some(fleet) = &mut self.fleet {
                skipping = match fleet.ask(&key, &[b"EXISTS", &key]).await? {
                    Reply::Error(error) => {
                        let failure = refusal::failure(&error, at(&key, offset));
                        self.refuse(refusal::word(&error), failure, false)?;
                        refused = true;
                        true
                    }
                    reply => reply != Reply::Integer(0),
                };
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
        }
        self.last = Some((key.clone(), skipping));
        let (kind, target, timed, expired, timed_fields) = (None, None, false, false, 0);
        self.group =
            Some(Group { key, offset, kind, own, target, skipping, repeated, timed, expired, timed_fields, refused });
        Ok(())
    }

    /// Goes on with a key; gives the name to write to, or nothing where the key is to be left as it is.
    pub(super) async fn begin_part(&mut self, key: Bytes, kind: Kind, offset: u64) -> Result<Option<Bytes>, Failure> {
        if self.group.as_ref().is_none_or(|group| group.key != key) {
            self.begin_key(key.clone(), offset, false).await?;
        }
        let adds = self.on_conflict == OnConflict::Replace && self.group.as_ref().is_some_and(|group| !group.own);
        let fresh = self.group.as_ref().is_some_and(|group| !group.skipping && group.target.is_none());
        if fresh {
            self.settle().await?;
            (self.built, self.spoiled) = (Some(0), false);
            let target = if adds { key } else { self.temporary(&key).await? };
            if let Some(group) = &mut self.group {
                group.target = Some(target);
            }
        }
        // Only now: a key that had gone when it was dumped is a `DEL` without parts, and meets nothing.
        if let Some(group) = &self.group
            && (group.skipping && !group.repeated && !group.refused && group.kind.is_none())
            && self.on_conflict == OnConflict::Fail
            && self.refusals.is_none()
        {
            return Err(self.conflict(&group.key, group.offset));
        }
        Ok(self.group.as_mut().and_then(|group| {
            group.kind = Some(kind);
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
        let outcome = if group.skipping { Outcome::Exists } else { self.complete(&group).await? };
        match outcome {
            Outcome::Written if self.fleet.is_none() && group.repeated => self.counted_again(),
            Outcome::Written => {
                if self.fleet.is_none() {
                    self.would_write.push((group.key, kind));
                }
                self.done.written.add(kind);
            }
            Outcome::Expired => self.done.expired += 1,
            Outcome::Refused => {}
            Outcome::Exists if group.refused => {}
            Outcome::Exists if group.repeated && self.on_conflict == OnConflict::Fail => self.done.repeated += 1,
            Outcome::Exists if self.on_conflict == OnConflict::Fail => {
                return self.refuse("BUSYKEY", self.conflict(&group.key, group.offset), false);
            }
            Outcome::Exists => self.done.skipped += 1,
        }
        Ok(())
    }

    /// Gives a complete key its own name.
    async fn complete(&mut self, group: &Group) -> Result<Outcome, Failure> {
        let whole = if group.expired { Outcome::Expired } else { Outcome::Written };
        self.settle().await?;
        let target = match &group.target {
            _ if self.spoiled && group.target.as_ref() == Some(&group.key) => return Ok(Outcome::Refused),
            Some(target) if *target != group.key => target,
            _ => return Ok(whole),
        };
        if !self.spoiled {
            self.hold_together(group, target).await?;
        }
        if self.spoiled {
            self.remove(target.clone(), group.key.clone(), group.offset).await?;
            return Ok(Outcome::Refused);
        }
        let Some(fleet) = &mut self.fleet else { return Ok(whole) };
        let (key, writing) = (&group.key, at(&group.key, group.offset));
        let renamed = if self.on_conflict == OnConflict::Replace {
            // `RENAME` alone would free a big older value while others wait.
            let mut replies = fleet.transaction(key, &[&[b"UNLINK", key], &[b"RENAME", target, key]]).await?;
            replies.pop().unwrap_or(Reply::Nil)
        } else {
            fleet.ask(key, &[b"RENAMENX", target, key]).await?
        };
        match renamed {
            Reply::Integer(0) => {
                let target = target.clone();
                self.last = Some((group.key.clone(), true));
                self.remove(target, group.key.clone(), group.offset).await?;
                Ok(Outcome::Exists)
            }
            Reply::Integer(_) | Reply::Simple(_) => Ok(whole),
            Reply::Error(error) if error.contains("no such key") && (group.timed || group.timed_fields > 0) => {
                Ok(Outcome::Expired)
            }
            Reply::Error(error) if error.contains("no such key") => {
                let gone = interfered(&writing, "what was written under a temporary name has gone");
                self.refuse("LOST", gone, false)?;
                Ok(Outcome::Refused)
            }
            Reply::Error(error) => {
                self.refuse(refusal::word(&error), refusal::failure(&error, writing), false)?;
                self.remove(target.clone(), group.key.clone(), group.offset).await?;
                Ok(Outcome::Refused)
            }
            reply => Err(fleet.unexpected(key, "`RENAME`", &reply)),
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
            Some(Kind::Stream) => b"XLEN",
            _ => return Ok(()),
        };
        let (Some(fleet), Some(built)) = (&mut self.fleet, self.built) else { return Ok(()) };
        let writing = at(&group.key, group.offset);
        match fleet.ask(&group.key, &[length, target]).await? {
            Reply::Integer(found) if found.unsigned_abs() == built => Ok(()),
            // Fields that have an expiry go by themselves.
            Reply::Integer(found)
                if (built.saturating_sub(group.timed_fields)..built).contains(&found.unsigned_abs()) =>
            {
                Ok(())
            }
            // Its expiry may have passed; whether it has shows when it is to get its name.
            Reply::Integer(0) if group.timed => Ok(()),
            Reply::Integer(found) => {
                let what = format_args!("of {built} elements under a temporary name {found} are left");
                self.refuse("LOST", interfered(&writing, what), true)
            }
            Reply::Error(error) => self.refuse(refusal::word(&error), refusal::failure(&error, writing), true),
            reply => Err(fleet.unexpected(&group.key, "a question for a length", &reply)),
        }
    }
}

/// Somebody else changed what was being built.
fn interfered(writing: &str, what: impl std::fmt::Display) -> Failure {
    Failure::rejected(format!("{writing}: {what}"))
        .with_help("did the server evict it (`maxmemory-policy`), or was it deleted by somebody?")
}
