//! What a server answers to the commands of a stream, and how many may be unanswered.
//!
//! Takes replies in the order in which commands were sent. Gives counts, or the failure that the first refusal amounts to.
//! Always holds: what was sent to one server is answered in its order; what a cluster sent elsewhere is sent again in the
//! order in which it was meant, once nothing else is unanswered, so that no two commands of a key change places.

use std::collections::BTreeMap;
use std::time::Duration;

use aquifer_engine::failure::{Failure, FailureKind};
use bytes::Bytes;

use crate::redis::keys::tally::{Kind, so_many_keys, thousands};
use crate::redis::wire::refusal;
use crate::redis::wire::reply::Reply;
use crate::redis::wire::resp::show;
use crate::redis::write::fleet::{Fleet, Full};
use crate::redis::write::load::{self, Loader, OnConflict, at};
use crate::redis::write::routes::redirect;
use crate::redis::write::together::Held;

/// How long a restore that failed waits for the answers that are still to come.
const LAST_WORDS: Duration = Duration::from_secs(10);

/// A command that is unanswered.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) key: Bytes,
    pub(super) offset: u64,
    pub(super) size: usize,
    /// The command, where it may have to be sent once more.
    pub(super) again: Option<Bytes>,
    pub(super) what: What,
    /// The keys of [`What::Strings`].
    pub(super) held: Vec<Held>,
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
    /// Several strings.
    Strings,
    /// Expiries of fields.
    Fields,
    /// Functions; those on the other masters of a cluster do not count.
    Functions { all: bool, counts: bool },
    /// Nothing: the next command is to be taken though its slot is on its way.
    Asking,
}

impl Loader {
    /// Counts what was written, or would have been.
    pub(super) fn count(&mut self, what: What) -> Result<(), Failure> {
        match what {
            What::Plain
            | What::Asking
            | What::Strings
            | What::Fields
            | What::Part { .. }
            | What::Functions { counts: false, .. } => {}
            What::Value { expired: true, .. } => self.done.expired += 1,
            What::Value { kind, .. } => self.done.written.add(kind),
            What::Functions { all: true, .. } => self.done.functions = true,
            What::Functions { all: false, .. } => self.done.libraries += 1,
        }
        Ok(())
    }

    /// Counts a command of a dry run.
    pub(super) fn carried_out_dry(&mut self, key: Bytes, what: What) -> Result<(), Failure> {
        match what {
            What::Value { repeated: true, expired: false, .. } => self.counted_again(),
            What::Value { kind, expired: false, .. } => self.would_write.push((key, kind)),
            _ => {}
        }
        if matches!(what, What::Value { repeated: true, expired: false, .. }) { Ok(()) } else { self.count(what) }
    }

    /// Counts a key that the stream had before, which stands.
    pub(super) fn counted_again(&mut self) {
        match self.on_conflict {
            OnConflict::Fail => self.done.repeated += 1,
            OnConflict::Skip | OnConflict::Replace => self.done.skipped += 1,
        }
    }

    /// Keeps in mind that an answer is to come, and waits for some of them where there are many.
    pub(super) async fn sent(&mut self, at: usize, pending: Pending) -> Result<(), Failure> {
        let Some(fleet) = &mut self.fleet else { return Ok(()) };
        match fleet.expect(at, pending) {
            Full::No => fleet.nodes[at].connection.send_some().await,
            Full::This => {
                // The others have work, too, while this one is waited for.
                fleet.flush().await?;
                let half = fleet.nodes[at].pending.len() / 2;
                self.settle_one(at, half).await
            }
            Full::All => {
                fleet.flush().await?;
                for at in 0..fleet.nodes.len() {
                    let half = self.fleet.as_ref().map_or(0, |fleet| fleet.nodes[at].pending.len() / 2);
                    self.settle_one(at, half).await?;
                }
                Ok(())
            }
        }
    }

    /// Reads all answers that are still to come.
    ///
    /// # Errors
    /// The server refused a command, or the connection is lost.
    pub(crate) async fn settle(&mut self) -> Result<(), Failure> {
        self.send_together().await?;
        let Some(fleet) = &mut self.fleet else { return Ok(()) };
        fleet.flush().await?;
        for at in 0..fleet.nodes.len() {
            self.settle_one(at, 0).await?;
        }
        Ok(())
    }

    /// Reads answers of one server until at most so many are still to come.
    async fn settle_one(&mut self, at: usize, down_to: usize) -> Result<(), Failure> {
        self.read_answers(at, down_to).await?;
        while self.send_singles() {
            self.read_answers(at, down_to).await?;
        }
        if self.redirected.is_empty() {
            return Ok(());
        }
        let servers = self.fleet.as_ref().map_or(0, |fleet| fleet.nodes.len());
        for at in 0..servers {
            self.read_answers(at, 0).await?;
        }
        while let Some(mut pending) = self.redirected.pop_front() {
            let (Some(command), Some(fleet)) = (pending.again.take(), &mut self.fleet) else { continue };
            let reply = fleet.again(&pending.key, &command).await?;
            self.account(pending, reply)?;
        }
        Ok(())
    }

    async fn read_answers(&mut self, at: usize, down_to: usize) -> Result<(), Failure> {
        if let Some(fleet) = &mut self.fleet {
            fleet.nodes[at].connection.flush().await?;
        }
        while let Some(before) =
            self.fleet.as_ref().map(|fleet| fleet.nodes[at].pending.len()).filter(|left| *left > down_to)
        {
            if let Err(failure) = self.answer(at).await {
                // Where no answer was read at all, there are no others either.
                let read = self.fleet.as_ref().is_some_and(|fleet| fleet.nodes[at].pending.len() < before);
                return Err(if read { self.others(failure).await } else { failure });
            }
        }
        Ok(())
    }

    async fn answer(&mut self, at: usize) -> Result<(), Failure> {
        let Some(fleet) = &mut self.fleet else { return Ok(()) };
        let reply = fleet.nodes[at].connection.reply().await?;
        let Some(pending) = fleet.nodes[at].answered() else { return Ok(()) };
        if fleet.is_cluster() && pending.again.is_some() && redirect(std::slice::from_ref(&reply)).is_some() {
            self.redirected.push_back(pending);
            return Ok(());
        }
        let carried_out = !matches!(reply, Reply::Error(_));
        if carried_out && self.redirected.iter().any(|earlier| earlier.key == pending.key) {
            // The earlier command will be sent again, and come too late.
            return Err(Failure::unavailable(format!(
                "{}: the cluster put a command off and carried out a later one of the same key",
                load::at(&pending.key, pending.offset)
            ))
            .with_help("restore again once the cluster has come to rest, with `onConflict: replace`"));
        }
        self.account(pending, reply)
    }

    /// What an answer means.
    fn account(&mut self, pending: Pending, reply: Reply) -> Result<(), Failure> {
        match (pending.what, reply) {
            (What::Strings, reply) => {
                self.answered_together(pending.held, &reply);
                Ok(())
            }
            (What::Plain, Reply::Error(error)) => self.refused(&pending, &error),
            (What::Plain, _) => Ok(()),
            (What::Part { kind: Kind::Stream, elements }, reply) if !matches!(reply, Reply::Error(_) | Reply::Nil) => {
                self.built = self.built.zip(elements).map(|(built, added)| built + added);
                Ok(())
            }
            (What::Fields, Reply::Array(codes)) if codes.contains(&Reply::Integer(-2)) => {
                let what = format!("{}: a field that is to expire is not there", at(&pending.key, pending.offset));
                self.refuse("LOST", Failure::rejected(what), true)
            }
            (What::Part { kind, elements }, Reply::Integer(added)) => {
                // `RPUSH` and `APPEND` answer with the length, the others with how many were new.
                let added = if matches!(kind, Kind::List | Kind::String) {
                    elements
                } else {
                    elements.map(|_| added.unsigned_abs())
                };
                self.built = self.built.zip(added).map(|(built, added)| built + added);
                Ok(())
            }
            (What::Value { expired: true, .. }, Reply::Nil) => self.count(pending.what),
            (What::Value { repeated, .. }, Reply::Nil) => self.there(&pending, repeated),
            (What::Value { repeated, .. }, Reply::Error(error)) if error.starts_with("BUSYKEY") => {
                self.there(&pending, repeated)
            }
            (What::Functions { .. }, Reply::Error(error))
                if self.on_functions == OnConflict::Skip && error.contains("already exists") =>
            {
                self.done.skipped += 1;
                Ok(())
            }
            (What::Functions { .. }, Reply::Error(error)) => {
                let failure =
                    refusal::failure(&error, format_args!("loading the functions at byte {}", pending.offset));
                let failure = if error.contains("already exists") {
                    failure.with_help("FLUSHALL keeps functions: FUNCTION FLUSH removes them; or choose `functions: skip`, `replace` or `leave`")
                } else {
                    failure
                };
                self.refuse(refusal::word(&error), failure, false)
            }
            (_, Reply::Error(error)) => self.refused(&pending, &error),
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
            OnConflict::Fail => return self.refuse("BUSYKEY", self.conflict(&pending.key, pending.offset), false),
            OnConflict::Skip | OnConflict::Replace => self.done.skipped += 1,
        }
        Ok(())
    }

    /// A command was refused.
    fn refused(&mut self, pending: &Pending, error: &str) -> Result<(), Failure> {
        let failure = refusal::failure(error, at(&pending.key, pending.offset));
        let failure = if pending.what == What::Fields && refusal::is_unknown(error) {
            failure.with_help("this server's hashes have no fields that expire (Redis 7.4, Valkey 9): restore with `expiry: dropFields`, which keeps the expiries of keys (`drop` takes those, too), or into a newer one")
        } else {
            failure
        };
        if let (What::Value { .. }, Some((last, skipped))) = (pending.what, &mut self.last) {
            // An expiry that follows is none of what stands there from before.
            *skipped |= *last == pending.key;
        }
        let part = matches!(pending.what, What::Plain | What::Part { .. } | What::Fields);
        self.refuse(refusal::word(error), failure, part)
    }

    /// Counts a refusal where the restore goes on. `part`: of a key that takes several commands, which counts once.
    pub(super) fn refuse(&mut self, word: &str, failure: Failure, part: bool) -> Result<(), Failure> {
        let Some(refusals) = self.refusals.as_mut().filter(|_| !refusal::concerns_all(word)) else {
            return Err(failure);
        };
        if !part || !self.spoiled {
            refusals.add(word, failure);
        }
        self.spoiled |= part;
        Ok(())
    }

    pub(super) fn conflict(&self, key: &[u8], offset: u64) -> Failure {
        let failure = Failure::rejected(format!("{}: the server already has it", at(key, offset)));
        if self.remembered.is_full() {
            failure.with_help("choose `onConflict: skip` or `replace`; in a stream of so many keys it may also be one that stands there twice, which `SCAN` can cause and both choices take")
        } else {
            failure.with_help("restore into an empty server, or choose `onConflict: skip` or `replace`")
        }
    }

    /// Adds what was done so far to a failure, once as much of it is known as can be known soon, and takes away what was
    /// not completed.
    pub(crate) async fn after(&mut self, mut failure: Failure) -> Failure {
        let before = self.fleet.as_ref().map_or(0, Fleet::unanswered);
        let settled = tokio::time::timeout(LAST_WORDS, self.settle()).await;
        let under_way = self.fleet.as_ref().map_or(0, Fleet::unanswered);
        // A connection that was lost says nothing new.
        if let Ok(Err(other)) = settled
            && before > 0
            && under_way == 0
        {
            failure.causes.push(other.message);
        }
        if let Some(refusals) = &self.refusals {
            failure.causes.extend(refusals.lines());
        }
        let under_way = under_way + self.redirected.len();
        if under_way == 0 && self.sending.is_none() {
            // Where this fails too, the next restore does it.
            drop(tokio::time::timeout(LAST_WORDS, self.done_with_temporary()).await);
        }
        let written = self.done.written.total();
        let keys = so_many_keys(written);
        let are = if written == 1 { "is" } else { "are" };
        // Where the server cannot be asked any more, nothing is known of it.
        let evicted = match &mut self.fleet {
            Some(fleet) if under_way == 0 && self.sending.is_none() => {
                tokio::time::timeout(LAST_WORDS, fleet.evicted()).await.ok().and_then(Result::ok).unwrap_or(0)
            }
            _ => 0,
        };
        let mut state = match (&self.fleet, under_way, written, evicted) {
            (None, ..) => "nothing was written (`dryRun`)".to_owned(),
            (_, 0, 0, _) => "no key had been written".to_owned(),
            (_, 0, _, 0) => format!("{keys} had been written and {are} still there"),
            (_, 0, ..) => {
                format!("{keys} had been written, and not all of that is still there ({} evicted)", thousands(evicted))
            }
            (_, 1, ..) => format!("at least {keys} had been written and {are} still there (1 command was unanswered)"),
            _ => {
                format!("at least {keys} had been written and {are} still there ({under_way} commands were unanswered)")
            }
        };
        if let (Some(_), Some(group)) = (&self.fleet, &self.group)
            && let Some(target) = &group.target
        {
            let how = if *target == group.key { "in part" } else { "under its temporary name only" };
            state = format!("{state}; the key {} was written {how}", show(&group.key));
        }
        if self.fleet.is_some() && (self.flushed || !self.emptied.is_empty()) {
            state += "; what was there before had been emptied";
        }
        // Of a step that was stopped the reason is another one's: what it leaves behind is its own.
        if failure.kind == FailureKind::Cancelled {
            failure.causes.push(state);
            return failure;
        }
        Failure { message: format!("{}; {state}", failure.message), ..failure }
    }

    /// Reads what the server says to the commands that were under way when one was refused, and adds it to the failure.
    async fn others(&mut self, mut failure: Failure) -> Failure {
        let mut kinds: BTreeMap<String, (u64, String)> = BTreeMap::new();
        let servers = self.fleet.as_ref().map_or(0, |fleet| fleet.nodes.len());
        for at in 0..servers {
            while let Some(left) =
                self.fleet.as_ref().map(|fleet| fleet.nodes[at].pending.len()).filter(|left| *left > 0)
            {
                if let Err(other) = self.answer(at).await {
                    if self.fleet.as_ref().is_some_and(|fleet| fleet.nodes[at].pending.len() == left) {
                        break;
                    }
                    kinds.entry(other.kind.to_string()).or_insert((0, other.message)).0 += 1;
                }
            }
        }
        failure.causes.extend(kinds.into_values().map(|(count, first)| match count {
            1 => format!("one more command under way: {first}"),
            count => format!("{count} more commands under way; the first: {first}"),
        }));
        failure
    }
}
