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
use crate::redis::stream::statement::{Act, Statement};
use crate::redis::wire::expiry;
use crate::redis::wire::facts;
use crate::redis::wire::refusal;
use crate::redis::wire::reply::Reply;
use crate::redis::wire::resp::show;
use crate::redis::write::fleet::Fleet;
use crate::redis::write::old;
use crate::redis::write::parts::Group;
use crate::redis::write::refused::Refusals;
use crate::redis::write::replies::Pending;
use crate::redis::write::temporary::Temporary;
use crate::redis::write::together::Together;

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
    pub(super) database: u32,
    pub(super) emptied: HashSet<u32>,
    pub(super) flushed: bool,
    pub(super) group: Option<Group>,
    pub(super) temporary: Temporary,
    pub(super) together: Together,
    /// In a dry run, keys that would have been written, to be looked at.
    pub(crate) would_write: Vec<(Bytes, Kind)>,
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
        let cluster = fleet.is_cluster();
        let fleet = Some(fleet).filter(|_| !dry_run);
        Ok(Self { old, cluster, fleet, ..Self::begun(clock, on_conflict, before) })
    }

    /// A dry run that knows no server: none of its keys has expired.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn without_server() -> Self {
        Self::begun((0, Instant::now()), OnConflict::default(), Before::default())
    }

    fn begun(clock: (u64, Instant), on_conflict: OnConflict, before: Before) -> Self {
        Self {
            old: false,
            cluster: false,
            fleet: None,
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
            together: Together::new(),
            would_write: Vec::new(),
            built: None,
            spoiled: false,
            sending: None,
            clock,
            remembered: Remembered::default(),
            last: None,
            done: Done::default(),
        }
    }

    /// The server's clock, in milliseconds.
    pub(crate) fn now(&self) -> u64 {
        self.clock.0 + self.clock.1.elapsed().as_millis() as u64
    }

    /// Carries out one command of the stream.
    ///
    /// # Errors
    /// The server refused a command before it, or the connection is lost.
    pub(crate) async fn carry_out(&mut self, statement: Statement) -> Result<(), Failure> {
        let Statement { offset, act } = statement;
        match act {
            Act::Select(index) => self.select(index).await,
            Act::Set { key, value, expiry } => self.set(key, value, expiry, offset).await,
            Act::Restore { key, payload, expiry, hint } => self.restore(key, payload, expiry, hint, offset).await,
            Act::Begin { key } => self.begin_key(key, offset, true).await,
            Act::Part(part) => self.part(part, offset).await,
            Act::Expire { key, when } => self.expire(key, when, offset).await,
            Act::ExpireFields { key, when, fields } => self.expire_fields(key, when, fields, offset).await,
            Act::Functions { code, all } => self.functions(&code, all, offset).await,
        }
    }

    async fn select(&mut self, index: u32) -> Result<(), Failure> {
        self.close_key().await?;
        self.settle().await?;
        self.done_with_temporary().await?;
        self.last = None;
        self.database = index;
        if self.cluster {
            self.has_databases(&[index]).await?;
            self.empty().await?;
            return self.sweep().await;
        }
        // The answer has to be there before anything else is sent: after a refusal, the next keys would go into the
        // database that was selected before.
        self.at_once(&[b"SELECT", index.to_string().as_bytes()], format!("selecting database {index}")).await?;
        self.empty().await?;
        self.sweep().await
    }

    /// Refuses databases that the server cannot have, before anything is written or emptied: a cluster has only the first, and
    /// another server those up to its `databases`.
    ///
    /// # Errors
    /// One of these.
    pub(crate) async fn has_databases(&mut self, wanted: &[u32]) -> Result<(), Failure> {
        let others: Vec<String> = wanted.iter().filter(|index| **index != 0).map(u32::to_string).collect();
        if self.cluster && !others.is_empty() {
            return Err(Failure::rejected(format!(
                "a cluster has no database but 0, and the stream has keys of {}",
                others.join(", ")
            ))
            .with_help(
                "dump the databases one by one, or map them to database 0 where their keys are different ones",
            ));
        }
        match (&mut self.fleet, wanted.iter().max()) {
            (Some(fleet), Some(highest)) if !self.cluster => fleet.has_database(*highest).await,
            _ => Ok(()),
        }
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
}

/// What is being done with a key, for messages.
pub(super) fn at(key: &[u8], offset: u64) -> String {
    format!("writing the key {} (at byte {offset} of the stream)", show(key))
}
