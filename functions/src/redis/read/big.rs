//! Keys that are read one by one: those that come in parts, and those that were something else than was thought.
//!
//! Takes a key. Gives `DEL`, then the commands of its parts, then `PEXPIREAT` where it has an expiry; or one command, where the
//! value is small or nobody can take it apart. Always holds: nothing is written with another value's expiry; a key that changes
//! while it is read, so that what was read is no value that it had, is read again from the start behind another `DEL`, and after
//! [`ATTEMPTS`] of these at one go. Not so hashes, sets and sorted sets that somebody writes to again and again: they are
//! [watched](crate::redis::read::guard), read again [`GUARDED`] times, and then taken as `HSCAN` and its like give them: what was there
//! all the time is there once, what was added or removed meanwhile may or may not be.

use aquifer_engine::failure::Failure;
use bytes::Bytes;

use crate::rdb::copy::ValueForm;
use crate::redis::keys::tally::Kind;
use crate::redis::read::chunks::{self, Parts};
use crate::redis::read::scan::{Dump, LONG};
use crate::redis::read::values::{self, Batch, Expiries, How, Wanted, Way};
use crate::redis::read::written::NAMED;
use crate::redis::wire::expiry::Expiry;
use crate::redis::wire::refusal::reading;
use crate::redis::wire::reply::Reply;

/// How often a key is begun before it is read at one go.
pub(super) const ATTEMPTS: u32 = 3;

/// How often a hash, set or sorted set that changed while it was read is begun again, until it is taken as it comes.
pub(super) const GUARDED: u32 = 2;

/// How often a key may turn out to be something else.
const TURNS: u32 = 10;

/// How reading a key in parts ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Attempt {
    Done(Expiry),
    Gone,
    Changed,
    /// It was written to, and is worth another attempt.
    Touched,
}

impl Dump<'_> {
    /// Reads one key, whatever it is. Nothing may be under way.
    ///
    /// # Errors
    /// The server refuses, the connection is lost, or nobody reads any more.
    pub(crate) async fn whole(&mut self, key: &Bytes) -> Result<(), Failure> {
        for _ in 0..TURNS {
            self.pace.rest().await?;
            self.connection.push(&[b"TYPE", key]);
            let kind = self.connection.ask(&[b"MEMORY", b"USAGE", key]).await?;
            let size = self.connection.reply().await?;
            let kind = self.connection.accepted(kind, reading(key))?;
            let size = match self.connection.accepted(size, reading(key))? {
                Reply::Integer(size) => size.unsigned_abs(),
                _ => 0,
            };
            let kind = match kind.bytes().map_or(&b""[..], |name| name) {
                b"none" => {
                    self.written.vanished += 1;
                    return Ok(());
                }
                name => Kind::of_name(name),
            };
            if !self.filter.kind(kind) {
                self.written.left_out += 1;
                return Ok(());
            }
            let done = match kind {
                Kind::Other if self.way.form == ValueForm::Logical => return Err(no_commands(key)),
                Kind::Other => self.at_one_go(key, How::Dump { known: true }, size).await?,
                Kind::String if size <= LONG => self.at_one_go(key, How::Get, size).await?,
                _ => self.in_parts(key, kind, size).await?,
            };
            if done {
                return Ok(());
            }
        }
        Err(Failure::unavailable(format!("{}: it changes its type again and again", reading(key)))
            .with_help("try again when whoever writes it is done"))
    }

    /// Reads one key by one command; false where it turned out to be something else.
    pub(super) async fn at_one_go(&mut self, key: &Bytes, how: How, size: u64) -> Result<bool, Failure> {
        let way = Way { hints: self.way.hints.filter(|_| how != How::Get), ..self.way };
        let mut batch = Batch::new(Expiries::Asked(self.facts.clock), way);
        batch.add(Wanted { place: 0, key: key.clone(), how }, size);
        batch.ask(self.connection.output());
        self.pace.asked(batch.work);
        self.connection.flush().await?;
        let again = batch.read(&mut self.connection, &mut self.form, &mut self.written).await?;
        Ok(again.other.is_empty() && again.strings.is_empty())
    }

    /// Reads one key in parts; false where it turned out to be something else.
    async fn in_parts(&mut self, key: &Bytes, kind: Kind, size: u64) -> Result<bool, Failure> {
        let mut parts = None;
        if !matches!(kind, Kind::String | Kind::Stream) {
            let clock = self.facts.clock;
            parts = Parts::of(&mut self.connection, key, kind, size, clock).await?;
            if parts.is_none() {
                return Ok(false);
            }
        }
        let scanned = matches!(kind, Kind::Hash | Kind::Set | Kind::SortedSet);
        let (mut changed, mut touched) = (0, 0);
        // Once: one that changes all the time is scanned, which changes do not disturb.
        let mut ranked = kind == Kind::SortedSet;
        while changed < ATTEMPTS {
            self.form.command(&[b"DEL", key]);
            let ranked = std::mem::take(&mut ranked);
            let guarded = scanned && !ranked && self.guard(key).await?;
            self.again_if_touched = guarded && touched < GUARDED;
            let attempt = match (&parts, kind) {
                (Some(parts), Kind::List) => self.list(parts).await?,
                (Some(parts), Kind::SortedSet) if ranked => self.ranked(parts).await?,
                (Some(parts), Kind::Hash) if self.facts.field_expiry => self.fields(parts).await?,
                (Some(parts), _) => self.scanned(parts).await?,
                (None, Kind::Stream) => self.stream(key, size).await?,
                (None, _) => self.pieces(key).await?,
            };
            match attempt {
                Attempt::Done(expiry) => {
                    if scanned && !ranked && !(guarded && self.held(key).await?) {
                        if self.again_if_touched {
                            touched += 1;
                            continue;
                        }
                        self.unsteady(key, guarded);
                    }
                    self.ended(key, kind, expiry);
                    return Ok(true);
                }
                Attempt::Gone => {
                    self.form.command(&[b"DEL", key]);
                    self.written.vanished += 1;
                    return Ok(true);
                }
                Attempt::Changed if ranked => touched += 1,
                Attempt::Changed => changed += 1,
                Attempt::Touched => touched += 1,
            }
        }
        self.form.command(&[b"DEL", key]);
        if self.written.at_once.len() < NAMED {
            self.written.at_once.push(key.clone());
        }
        let fields = kind == Kind::Hash && self.facts.field_expiry;
        let Some(parts) = parts.filter(|_| !fields) else {
            let how = if kind == Kind::String { How::Get } else { How::Dump { known: true } };
            return self.at_one_go(key, how, size).await;
        };
        self.again_if_touched = false;
        // All in one reply rather than by `DUMP`, whose payload may be longer than a command can be.
        let parts = Parts { count: parts.length.saturating_mul(2).saturating_add(1 << 20), ..parts };
        match self.scanned(&parts).await? {
            Attempt::Done(expiry) => {
                self.ended(key, kind, expiry);
                Ok(true)
            }
            Attempt::Gone | Attempt::Changed | Attempt::Touched => Ok(false),
        }
    }

    /// Counts a key that may have parts of several moments.
    fn unsteady(&mut self, key: &Bytes, guarded: bool) {
        let written = &mut self.written;
        if !guarded {
            written.unguarded = self.guards.refused.clone();
        }
        written.unsteady += 1;
        if written.unsteady_keys.len() < NAMED {
            written.unsteady_keys.push(key.clone());
        }
    }

    fn ended(&mut self, key: &[u8], kind: Kind, expiry: Expiry) {
        if let Expiry::At(at) = expiry {
            self.form.command(&[b"PEXPIREAT", key, at.to_string().as_bytes()]);
        }
        self.count(kind, expiry != Expiry::Never);
    }

    /// Reads the elements chunk by chunk, each with the expiry of its moment.
    async fn scanned(&mut self, parts: &Parts) -> Result<Attempt, Failure> {
        let (work, mut elements) = (parts.work(), 0);
        let mut first = None;
        let mut at = Bytes::from_static(b"0");
        let mut is_asked = false;
        loop {
            if !is_asked {
                self.pace.rest().await?;
                parts.ask(self.connection.output(), &at);
                self.pace.asked(work);
                self.connection.flush().await?;
            }
            let Some(head) = parts.head(&mut self.connection, &at).await? else { return Ok(Attempt::Changed) };
            let changed = !head.expiry.is_as(*first.get_or_insert(head.expiry), parts.clock);
            let touched = self.touched().await?;
            if changed || touched || head.expiry == Expiry::Gone {
                for _ in 0..head.replies {
                    self.connection.skip_reply().await?;
                }
                return Ok(match head.expiry {
                    Expiry::Gone if !changed => Attempt::Gone,
                    _ if touched => Attempt::Touched,
                    _ => Attempt::Changed,
                });
            }
            // The server looks for the next chunk while this one is worked on.
            is_asked = false;
            if let Some(next) = &head.next
                && self.pace.allows(work)
            {
                parts.ask(self.connection.output(), next);
                self.pace.asked(work);
                self.connection.flush().await?;
                is_asked = true;
            }
            elements += head.replies;
            chunks::write(&mut self.connection, &mut self.form, parts, head.replies).await?;
            self.note();
            match head.next {
                Some(next) => at = next,
                // A key that is there has parts, so none at all means that they all went meanwhile.
                None if elements == 0 => return Ok(Attempt::Changed),
                None => return Ok(Attempt::Done(head.expiry)),
            }
        }
    }

    /// Begins to watch a key: [`Dump::unchanged`] will tell whether anything about it has changed since.
    pub(super) async fn watch(&mut self, key: &[u8]) -> Result<(), Failure> {
        let reply = self.connection.ask(&[b"WATCH", key]).await?;
        self.connection.accepted(reply, reading(key)).map(drop)
    }

    /// Ends watching; gives the key's expiry where nothing about it has changed.
    pub(super) async fn unchanged(&mut self, key: &[u8]) -> Result<Option<Expiry>, Failure> {
        let clock = self.facts.clock;
        self.connection.push(&[b"MULTI"]);
        crate::redis::wire::expiry::ask_timed(self.connection.output(), clock, key);
        self.connection.push(&[b"EXEC"]);
        self.connection.flush().await?;
        let requests = crate::redis::wire::expiry::timed(clock);
        if !values::begin_watched(&mut self.connection, requests, |_| reading(key)).await? {
            return Ok(None);
        }
        crate::redis::wire::expiry::read_timed(&mut self.connection, clock, key).await.map(Some)
    }
}

/// A module's value, where plain commands are asked for.
pub(crate) fn no_commands(key: &[u8]) -> Failure {
    Failure::rejected(format!("{}: it is a module's value, and there are no plain commands for it", reading(key)))
        .with_help("say `form: native`, or leave it out by a filter (`types`)")
}
