//! What a server answers to the commands of a stream, and how many may be unanswered.
//!
//! Takes replies in the order in which commands were sent. Gives counts, or the failure that the first refusal amounts to.
//! Always holds: no more than [`MOST_BYTES`] and [`MOST_COMMANDS`] are unanswered, a single longer command aside.

use std::collections::BTreeMap;
use std::time::Duration;

use aquifer_engine::failure::Failure;
use bytes::Bytes;

use super::connection::Reply;
use super::load::{Loader, MOST_REMEMBERED, OnConflict, at};
use super::refusal;
use super::resp::show;
use super::tally::{Kind, thousands};

/// Commands that are unanswered at most.
const MOST_COMMANDS: usize = 4096;

/// Bytes of commands that are unanswered at most, a single longer command aside.
const MOST_BYTES: usize = 1 << 20;

/// How long a restore that failed waits for the answers that are still to come.
const LAST_WORDS: Duration = Duration::from_secs(10);

/// A command that is unanswered.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) key: Bytes,
    pub(super) offset: u64,
    pub(super) size: usize,
    pub(super) what: What,
}

/// What a reply will mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    /// Nothing but that it went well.
    Plain,
    /// So many elements of a key that is written by several commands, if that is known.
    Part { kind: Kind, elements: Option<u64> },
    /// A key with its whole value.
    Value { kind: Kind, repeated: bool, expired: bool },
    /// Functions.
    Functions { all: bool },
}

impl Loader {
    /// Counts what was written, or would have been.
    pub(super) fn count(&mut self, what: What) -> Result<(), Failure> {
        match what {
            What::Plain | What::Part { .. } => {}
            What::Value { expired: true, .. } => self.done.expired += 1,
            What::Value { kind, .. } => self.done.written.add(kind),
            What::Functions { all: true } => self.done.functions = true,
            What::Functions { all: false } => self.done.libraries += 1,
        }
        Ok(())
    }

    /// Keeps in mind that an answer is to come, and waits for some of them where there are many.
    pub(super) async fn sent(&mut self, pending: Pending) -> Result<(), Failure> {
        self.unanswered += pending.size;
        self.pending.push_back(pending);
        if self.pending.len() >= MOST_COMMANDS || self.unanswered >= MOST_BYTES {
            return self.settle(self.pending.len() / 2).await;
        }
        match &mut self.connection {
            Some(connection) => connection.send_some().await,
            None => Ok(()),
        }
    }

    /// Reads answers until at most so many are still to come.
    ///
    /// # Errors
    /// The server refused a command, or the connection is lost.
    pub(crate) async fn settle(&mut self, down_to: usize) -> Result<(), Failure> {
        let Some(connection) = &mut self.connection else { return Ok(()) };
        connection.flush().await?;
        while self.pending.len() > down_to {
            let before = self.pending.len();
            if let Err(failure) = self.answer().await {
                // Where no answer was read at all, there are no others either.
                return Err(if self.pending.len() < before { self.others(failure).await } else { failure });
            }
        }
        Ok(())
    }

    async fn answer(&mut self) -> Result<(), Failure> {
        let Some(connection) = &mut self.connection else { return Ok(()) };
        let reply = connection.reply().await?;
        let Some(pending) = self.pending.pop_front() else { return Ok(()) };
        self.unanswered -= pending.size;
        match (pending.what, reply) {
            (What::Plain, Reply::Error(error)) => Err(refusal::failure(&error, at(&pending.key, pending.offset))),
            (What::Plain, _) => Ok(()),
            (What::Part { kind, elements }, Reply::Integer(added)) => {
                // `RPUSH` and `APPEND` answer with the length, the others with how many were new.
                let added = if matches!(kind, Kind::List | Kind::String) { elements } else { elements.map(|_| added.unsigned_abs()) };
                self.built = self.built.zip(added).map(|(built, added)| built + added);
                Ok(())
            }
            (What::Value { repeated, .. }, Reply::Nil) => self.there(&pending, repeated),
            (What::Value { repeated, .. }, Reply::Error(error)) if error.starts_with("BUSYKEY") => {
                self.there(&pending, repeated)
            }
            (What::Functions { .. }, Reply::Error(error))
                if self.on_conflict == OnConflict::Skip && error.contains("already exists") =>
            {
                self.done.skipped += 1;
                Ok(())
            }
            (What::Functions { .. }, Reply::Error(error)) => {
                let failure =
                    refusal::failure(&error, format_args!("loading the functions at byte {}", pending.offset));
                Err(if error.to_string().contains("already exists") {
                    failure.with_help("FLUSHALL keeps functions: FUNCTION FLUSH removes them; or choose `onConflict: skip` or `replace`")
                } else {
                    failure
                })
            }
            (_, Reply::Error(error)) => Err(refusal::failure(&error, at(&pending.key, pending.offset))),
            (What::Part { .. }, _) => {
                self.built = None;
                Ok(())
            }
            (what, _) => self.count(what),
        }
    }

    /// A key was already there.
    fn there(&mut self, pending: &Pending, repeated: bool) -> Result<(), Failure> {
        if let Some((last, skipped)) = &mut self.last {
            *skipped |= *last == pending.key;
        }
        match self.on_conflict {
            OnConflict::Fail if repeated => self.done.repeated += 1,
            OnConflict::Fail => return Err(self.conflict(&pending.key, pending.offset)),
            OnConflict::Skip | OnConflict::Replace => self.done.skipped += 1,
        }
        Ok(())
    }

    pub(super) fn conflict(&self, key: &[u8], offset: u64) -> Failure {
        let failure = Failure::rejected(format!("{}: the server already has it", at(key, offset)));
        if self.remembered.len() >= MOST_REMEMBERED {
            failure.with_help("choose `onConflict: skip` or `replace`; in a stream of so many keys it may also be one that stands there twice, which `SCAN` can cause and both choices take")
        } else {
            failure.with_help("restore into an empty server, or choose `onConflict: skip` or `replace`")
        }
    }

    /// Adds what was done so far to a failure, once as much of it is known as can be known soon, and takes away what was
    /// not completed.
    pub(crate) async fn after(&mut self, mut failure: Failure) -> Failure {
        let before = self.pending.len();
        let settled = tokio::time::timeout(LAST_WORDS, self.settle(0)).await;
        // A connection that was lost says nothing new.
        if let Ok(Err(other)) = settled
            && before > 0
            && self.pending.is_empty()
        {
            failure.causes.push(other.message);
        }
        let under_way = self.pending.len();
        if under_way == 0 && !self.half_sent {
            // Where this fails too, the next restore does it.
            drop(tokio::time::timeout(LAST_WORDS, self.done_with_temporary()).await);
        }
        let keys = thousands(self.done.written.total());
        let mut state = match (&self.connection, under_way, &keys[..]) {
            (None, ..) => "nothing was written (`dryRun`)".to_owned(),
            (_, 0, "0") => "no key had been written".to_owned(),
            (_, 0, _) => format!("{keys} keys had been written and are still there"),
            _ => format!(
                "at least {keys} keys had been written and are still there ({under_way} commands were unanswered)"
            ),
        };
        if let (Some(_), Some(group)) = (&self.connection, &self.group)
            && let Some(target) = &group.target
        {
            let how = if *target == group.key { "in part" } else { "under its temporary name only" };
            state = format!("{state}; the key {} was written {how}", show(&group.key));
        }
        if self.connection.is_some() && (self.flushed || !self.emptied.is_empty()) {
            state += "; what was there before had been emptied";
        }
        Failure { message: format!("{}; {state}", failure.message), ..failure }
    }

    /// Reads what the server says to the commands that were under way when one was refused, and adds it to the failure.
    async fn others(&mut self, mut failure: Failure) -> Failure {
        let mut kinds: BTreeMap<String, (u64, String)> = BTreeMap::new();
        while !self.pending.is_empty() {
            let left = self.pending.len();
            if let Err(other) = self.answer().await {
                if self.pending.len() == left {
                    break;
                }
                kinds.entry(other.kind.to_string()).or_insert((0, other.message)).0 += 1;
            }
        }
        failure.causes.extend(kinds.into_values().map(|(count, first)| match count {
            1 => format!("one more command under way: {first}"),
            count => format!("{count} more commands under way; the first: {first}"),
        }));
        failure
    }
}
