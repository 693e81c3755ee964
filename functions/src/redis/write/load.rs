//! Commands of a stream, carried out on a server: pipelined, with conflicts decided by the server and replies counted.
//!
//! Takes commands in the stream's order. Gives what became of the keys. Always holds: only commands that are known to
//! write one key (or a library of functions) are sent, each on its own terms: without `replace` a `SET` carries `NX` and
//! a `RESTORE` no `REPLACE`, so a key that is already there is never touched, however it got there; after a `SELECT`
//! nothing is sent until it is answered.

use std::collections::{HashSet, VecDeque};
use std::time::Instant;

use aquifer_engine::failure::Failure;
use bytes::Bytes;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::redis::keys::remembered::Remembered;
use crate::redis::keys::tally::{Kind, PerType};
use crate::redis::stream::census::part;
use crate::redis::stream::parser::Command;
use crate::redis::stream::wrong::{refuse_reserved, refused, wrong};
use crate::redis::wire::expiry;
use crate::redis::wire::facts;
use crate::redis::wire::refusal;
use crate::redis::wire::reply::Reply;
use crate::redis::wire::resp::{self, show};
use crate::redis::write::fleet::Fleet;
use crate::redis::write::old;
use crate::redis::write::parts::{Group, counted};
use crate::redis::write::refused::Refusals;
use crate::redis::write::replies::{Pending, What};
use crate::redis::write::temporary::Temporary;

/// What to do with a key that is already there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnConflict {
    /// End the restore with a failure, leaving the key as it is.
    #[default]
    Fail,
    /// Leave the key as it is, and go on.
    Skip,
    /// Overwrite the key, with its expiry.
    Replace,
}

/// What to do with what the server holds, before the first key is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Before {
    /// Nothing.
    #[default]
    Keep,
    /// Empty each database that the stream has, when its turn comes.
    FlushDb,
    /// Empty all databases, and remove all functions.
    FlushAll,
}

/// What became of the keys, and what the stream was found to hold.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Done {
    /// Keys that were written.
    pub(crate) written: PerType,
    /// Keys that were left as they were.
    pub(crate) skipped: u64,
    /// Keys whose expiry had passed.
    pub(crate) expired: u64,
    /// Keys that the stream held twice, which `SCAN` may cause; the first one stands.
    pub(crate) repeated: u64,
    /// Libraries loaded one by one.
    pub(crate) libraries: u64,
    /// A stream had all libraries in one `FUNCTION RESTORE`, and they were loaded.
    pub(crate) functions: bool,
}

/// Loading under way.
#[derive(Debug)]
pub(crate) struct Loader {
    /// `None` in a dry run.
    pub(super) fleet: Option<Fleet>,
    cluster: bool,
    /// The server does not know all options of `SET`.
    pub(super) old: bool,
    pub(super) on_conflict: OnConflict,
    /// What to do with functions that are already there.
    pub(crate) on_functions: OnConflict,
    /// Where the restore goes on at refusals: those so far.
    pub(crate) refusals: Option<Refusals>,
    pub(super) before: Before,
    /// Commands that a node of a cluster sent elsewhere, in their order.
    pub(super) redirected: VecDeque<Pending>,
    database: u32,
    pub(super) emptied: HashSet<u32>,
    pub(super) flushed: bool,
    pub(super) group: Option<Group>,
    pub(super) temporary: Temporary,
    /// How many elements the key that is being built must have by the server's answers; `None` where that cannot be told.
    pub(super) built: Option<u64>,
    /// A part of the key that is being built was refused.
    pub(super) spoiled: bool,
    /// The server to which a long command is sent in part, so that nothing but its rest may follow.
    pub(super) sending: Option<usize>,
    /// The server's clock in milliseconds at an instant of ours.
    clock: (u64, Instant),
    pub(super) remembered: Remembered,
    /// The key that was written last, and whether it was left as it was.
    pub(super) last: Option<(Bytes, bool)>,
    pub(crate) done: Done,
}

impl Loader {
    /// Begins with connections of which nothing was selected yet.
    ///
    /// # Errors
    /// The server does not say what time it is.
    pub(crate) async fn new(
        mut fleet: Fleet,
        on_conflict: OnConflict,
        before: Before,
        dry_run: bool,
    ) -> Result<Self, Failure> {
        let Some(first) = fleet.nodes.first_mut() else { return Err(Failure::internal("a restore into no server")) };
        first.connection.push(&[b"TIME"]);
        first.connection.flush().await?;
        let clock = (expiry::time(&mut first.connection).await?, Instant::now());
        let old = !dry_run && old::lacks_pxat(&mut fleet).await?;
        Ok(Self {
            old,
            cluster: fleet.is_cluster(),
            fleet: Some(fleet).filter(|_| !dry_run),
            on_conflict,
            on_functions: on_conflict,
            refusals: None,
            before,
            redirected: VecDeque::new(),
            database: 0,
            emptied: HashSet::new(),
            flushed: false,
            group: None,
            temporary: Temporary::new(),
            built: None,
            spoiled: false,
            sending: None,
            clock,
            remembered: Remembered::default(),
            last: None,
            done: Done::default(),
        })
    }

    /// The server's clock, in milliseconds.
    pub(crate) fn now(&self) -> u64 {
        self.clock.0 + self.clock.1.elapsed().as_millis() as u64
    }

    /// True where this moment, in milliseconds of Unix time, has passed on the server.
    pub(super) fn has_passed(&self, at: u64) -> bool {
        at <= self.now()
    }

    /// Carries out one command of the stream.
    ///
    /// # Errors
    /// The command is none that a dump may hold, the server refused one before it, or the connection is lost.
    pub(crate) async fn command(&mut self, command: &Command) -> Result<(), Failure> {
        let name = command.arg(0).to_ascii_uppercase();
        match (&name[..], command.len()) {
            (b"SELECT", 2) => self.select(command).await,
            (b"SET", 3..) => self.set(command).await,
            (b"RESTORE", 4..) => self.restore(command).await,
            (b"DEL", 2) => self.begin_key(command.bytes(1), command.offset, true).await,
            (b"PEXPIREAT" | b"EXPIREAT" | b"PEXPIRE" | b"EXPIRE", 3) => self.expire(command, &name).await,
            (b"HPEXPIREAT" | b"HEXPIREAT" | b"HPEXPIRE" | b"HEXPIRE", 6..) => self.expire_fields(command).await,
            (b"FUNCTION", 3..=4) => {
                let args: Vec<&[u8]> = (0..command.len()).map(|place| command.arg(place)).collect();
                self.function(&args, command.offset).await
            }
            (_, 3..) => match part(&name, command.arg(1)) {
                Some((kind, place)) => {
                    let key = command.bytes(place);
                    match self.begin_part(key.clone(), kind, command.offset).await? {
                        Some(target) => self.send_to(command, place, &target, key, counted(command, kind)).await,
                        None => Ok(()),
                    }
                }
                None => Err(refused(command.offset, &name)),
            },
            _ => Err(refused(command.offset, &name)),
        }
    }

    async fn select(&mut self, command: &Command) -> Result<(), Failure> {
        let Some(index) = resp::number(command.arg(1)).and_then(|index| u32::try_from(index).ok()) else {
            return Err(wrong(command.offset, format_args!("{} is no database's number", show(command.arg(1)))));
        };
        self.close_key().await?;
        self.settle().await?;
        self.done_with_temporary().await?;
        self.last = None;
        self.database = index;
        if self.cluster {
            self.has_databases(&[index])?;
            self.empty().await?;
            return self.sweep().await;
        }
        // The answer has to be there before anything else is sent: after a refusal, the next keys would go into the
        // database that was selected before.
        self.at_once(&[b"SELECT", index.to_string().as_bytes()], format!("selecting database {index}")).await?;
        self.empty().await?;
        self.sweep().await
    }

    /// Refuses databases that the server cannot have: a cluster has only the first.
    ///
    /// # Errors
    /// One of these.
    pub(crate) fn has_databases(&self, wanted: &[u32]) -> Result<(), Failure> {
        let others: Vec<String> = wanted.iter().filter(|index| **index != 0).map(u32::to_string).collect();
        if !self.cluster || others.is_empty() {
            return Ok(());
        }
        Err(Failure::rejected(format!(
            "a cluster has no database but 0, and the stream has keys of {}",
            others.join(", ")
        ))
        .with_help("dump the databases one by one, or map them to database 0 where their keys are different ones"))
    }

    /// Empties what is to be emptied before the first key of a database, or before the functions.
    pub(super) async fn empty(&mut self) -> Result<(), Failure> {
        match self.before {
            Before::FlushAll if !self.flushed => {
                self.flushed = true;
                self.at_once(&[b"FLUSHALL", b"ASYNC"], "emptying all databases".to_owned()).await?;
                for node in self.fleet.iter_mut().flat_map(|fleet| &mut fleet.nodes) {
                    match node.connection.ask(&[b"FUNCTION", b"FLUSH", b"ASYNC"]).await? {
                        // Before 7.0 there are none.
                        Reply::Error(error)
                            if refusal::is_unknown(&error) && !facts::is_new(&mut node.connection).await? => {}
                        reply => node.connection.accepted(reply, "removing all functions").map(drop)?,
                    }
                }
                Ok(())
            }
            Before::FlushDb if self.emptied.insert(self.database) => {
                let doing = format!("emptying database {}", self.database);
                self.at_once(&[b"FLUSHDB", b"ASYNC"], doing).await
            }
            _ => Ok(()),
        }
    }

    /// Begins what a sound head stands before: all is emptied, if so told, also where the stream has no keys at all.
    ///
    /// # Errors
    /// The server refuses.
    pub(crate) async fn begin(&mut self) -> Result<(), Failure> {
        if self.before == Before::FlushAll { self.empty().await } else { Ok(()) }
    }

    /// Ends a stream that was whole. Everything must be answered.
    ///
    /// # Errors
    /// The server refuses, has thrown keys away meanwhile, or the connection is lost.
    pub(crate) async fn finish(&mut self) -> Result<(), Failure> {
        self.done_with_temporary().await?;
        if let Some(failure) = self.refusals.as_ref().and_then(Refusals::failure) {
            return Err(failure);
        }
        match &mut self.fleet {
            Some(fleet) => fleet.hold_together().await,
            None => Ok(()),
        }
    }

    /// Sends a command to every server and waits until it and all before it are answered.
    async fn at_once(&mut self, args: &[&[u8]], doing: String) -> Result<(), Failure> {
        self.settle().await?;
        for node in self.fleet.iter_mut().flat_map(|fleet| &mut fleet.nodes) {
            let reply = node.connection.ask(args).await?;
            node.connection.accepted(reply, &doing)?;
        }
        Ok(())
    }

    async fn set(&mut self, command: &Command) -> Result<(), Failure> {
        let key = command.bytes(1);
        let mut expiry = None;
        let mut at = 3;
        while at < command.len() {
            let word = command.arg(at).to_ascii_uppercase();
            let number = resp::number(command.arg(at + 1)).and_then(|number| u64::try_from(number).ok());
            expiry = match (&word[..], number, expiry) {
                (b"PXAT", Some(number), None) => Some(number),
                (b"EXAT", Some(number), None) => Some(number.saturating_mul(1000)),
                (b"PX", Some(number), None) => Some(self.now().saturating_add(number)),
                (b"EX", Some(number), None) => Some(self.now().saturating_add(number.saturating_mul(1000))),
                _ => return Err(wrong(command.offset, format_args!("`SET` with {}", show(command.arg(at))))),
            };
            at += 2;
        }
        let Some(what) = self.begin_value(&key, Kind::String, expiry, command.offset).await? else { return Ok(()) };
        if let Some(at) = expiry.filter(|_| self.old) {
            let replace = (self.on_conflict == OnConflict::Replace).then_some(&b"REPLACE"[..]);
            let (at, payload) = (at.to_string(), old::payload(command.arg(2)));
            let args = [&b"RESTORE"[..], &key, at.as_bytes(), &payload, b"ABSTTL"];
            let count = 5 + u64::from(replace.is_some());
            return self.send(count, args.into_iter().chain(replace), key.clone(), command.offset, what).await;
        }
        let nx = (self.on_conflict != OnConflict::Replace).then_some(&b"NX"[..]);
        let count = command.len() as u64 + u64::from(nx.is_some());
        self.send(count, command.args().chain(nx), key, command.offset, what).await
    }

    async fn restore(&mut self, command: &Command) -> Result<(), Failure> {
        let (key, ttl, payload) = (command.bytes(1), command.arg(2), command.arg(3));
        let Some(ttl) = resp::number(ttl).and_then(|ttl| u64::try_from(ttl).ok()) else {
            return Err(wrong(command.offset, format_args!("{} is no expiry", show(ttl))));
        };
        let (mut absolute, mut rest) = (false, Vec::new());
        let mut at = 4;
        while at < command.len() {
            match &command.arg(at).to_ascii_uppercase()[..] {
                b"REPLACE" => {}
                b"ABSTTL" => absolute = true,
                word @ (b"IDLETIME" | b"FREQ") if at + 1 < command.len() => {
                    rest.push(word.to_vec());
                    at += 1;
                    rest.push(command.arg(at).to_vec());
                }
                word => return Err(wrong(command.offset, format_args!("`RESTORE` with {}", show(word)))),
            }
            at += 1;
        }
        let kind = Kind::of_payload(payload.first().copied().unwrap_or(u8::MAX));
        let expiry = (absolute && ttl > 0).then_some(ttl);
        let Some(what) = self.begin_value(&key, kind, expiry, command.offset).await? else { return Ok(()) };
        let replace = self.on_conflict == OnConflict::Replace;
        let mut args: Vec<&[u8]> = (0..4).map(|place| command.arg(place)).collect();
        args.extend(absolute.then_some(&b"ABSTTL"[..]));
        args.extend(replace.then_some(&b"REPLACE"[..]));
        args.extend(rest.iter().map(|arg| &arg[..]));
        self.send(args.len() as u64, args.into_iter(), key, command.offset, what).await
    }

    /// Counts a whole key; `None` where its expiry has passed, so that there is nothing to write.
    pub(super) async fn begin_value(
        &mut self,
        key: &Bytes,
        kind: Kind,
        expiry: Option<u64>,
        offset: u64,
    ) -> Result<Option<What>, Failure> {
        refuse_reserved(key, offset)?;
        // A `DEL` just before begins this very key, so it is not met twice.
        let begun = self.group.as_ref().and_then(|group| group.begins(key));
        self.close_key().await?;
        self.first_write().await?;
        self.spoiled = false;
        if expiry.is_some_and(|at| self.has_passed(at)) {
            self.done.expired += 1;
            self.last = Some((key.clone(), true));
            // The key does not exist any more where it came from, so `replace` must not leave an older one behind.
            if self.on_conflict == OnConflict::Replace {
                self.remove(key.clone(), key.clone(), offset).await?;
            }
            return Ok(None);
        }
        let repeated = begun.unwrap_or_else(|| self.remember(key));
        self.last = Some((key.clone(), false));
        Ok(Some(What::Value { kind, repeated, expired: false }))
    }

    /// A stream without any `SELECT` writes into database 0.
    pub(super) async fn first_write(&mut self) -> Result<(), Failure> {
        if self.before == Before::Keep { Ok(()) } else { self.empty().await }
    }

    /// Remembers a key; true where the stream had it before. With `replace` it does not matter.
    pub(super) fn remember(&mut self, key: &[u8]) -> bool {
        if self.on_conflict == OnConflict::Replace {
            return false;
        }
        self.remembered.again(key, self.database)
    }

    /// Removes what stands under a name, on behalf of a key.
    pub(super) async fn remove(&mut self, name: Bytes, key: Bytes, offset: u64) -> Result<(), Failure> {
        // `DEL` of a big value would keep the server from answering others.
        let args = [&b"UNLINK"[..], &name];
        self.send(2, args.into_iter(), key, offset, What::Plain).await
    }

    /// Sends a command of so many arguments to the server that has the key.
    pub(super) async fn send<'a>(
        &mut self,
        count: u64,
        args: impl Iterator<Item = &'a [u8]>,
        key: Bytes,
        offset: u64,
        what: What,
    ) -> Result<(), Failure> {
        let Some(fleet) = &mut self.fleet else { return self.count(what) };
        let at = fleet.route(&key);
        let (size, again) = fleet.write(at, count, args);
        self.sent(at, Pending { key, offset, size, again, what }).await
    }

    /// Sends a command with another key at this place.
    pub(super) async fn send_to(
        &mut self,
        command: &Command,
        place: usize,
        target: &[u8],
        key: Bytes,
        what: What,
    ) -> Result<(), Failure> {
        let args = command.args().enumerate().map(|(at, arg)| if at == place { target } else { arg });
        self.send(command.len() as u64, args, key, command.offset, what).await
    }
}

/// What is being done with a key, for messages.
pub(super) fn at(key: &[u8], offset: u64) -> String {
    format!("writing the key {} (at byte {offset} of the stream)", show(key))
}
