//! Writes a dump into a Redis server.
//!
//! Takes a stream of RESP commands with a head and a trailer, as described in `docs/reference/redis-stream.md`. Gives
//! counts. Always holds: success means that the stream was whole (its length, checksum and counts are those that its
//! trailer promises) and that the server confirmed every command. A stream that is cut off or damaged fails the step; it
//! can only be recognised at its end, so what came before has been written by then, and the message says how much.

use std::collections::BTreeMap;
use std::time::Instant;

use aquifer_engine::failure::Failure;
use aquifer_engine::function::{Call, Function, ParamError};
use aquifer_engine::ports::Sink;
use aquifer_engine::stream::{Accepts, Produces, Streams};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::redis::keys::databases::Databases;
use crate::redis::keys::rename::Renames;
use crate::redis::keys::tally::so_many_keys;
use crate::redis::stream::form::{VERSION, stream_type};
use crate::redis::stream::reader::{Said, StreamReader};
use crate::redis::stream::statement::Act;
use crate::redis::topology::sentinel::Watch;
use crate::redis::topology::servers::{self, Servers};
use crate::redis::wire::target::{Target, with_server};
use crate::redis::write::fleet::Fleet;
use crate::redis::write::load::Loader;
use crate::redis::write::look::Look;
use crate::redis::write::refused::Refusals;
use crate::redis::write::rewrite::{Changes, Passed, Rewriter};
use crate::shared::{NOTE_EVERY, yes};

pub use crate::redis::keys::filter::{Keep, TypeName};
pub use crate::redis::keys::lifetimes::ExpiryRule;
pub use crate::redis::keys::rename::RenameRule;
pub use crate::redis::keys::tally::PerType;
pub use crate::redis::wire::target::SentinelLogin;
pub use crate::redis::wire::tls::Tls;
pub use crate::redis::write::load::{Before, OnConflict};

/// `redis-restore`.
#[derive(Debug, Clone, Copy)]
pub struct RedisRestore;

with_server! {
    /// Its params.
    pub struct RedisRestoreParams {
        /// The server: `redis://host:6379`, `rediss://host:6379` for TLS, `redis+unix:///path/of/the.sock`; may have a user and
        /// a password in front of the host. Each key goes into the database that it came from. A node of a cluster stands for
        /// the whole cluster (`redis+cluster://host:7000,host:7001` names several), whatever shape it has; `redis+sentinel://host:26379,host:26379/NAME`
        /// asks sentinels for the master (`rediss+…` with TLS).
        url,
        /// What to do with a key that is already there: `fail` (unless said), `skip` or `replace`.
        #[serde(default)]
        pub on_conflict: OnConflict,
        /// What to do with the stream's functions: `leave` loads none of them; `fail`, `skip` and `replace` say what to do with a
        /// library that is already there. As `onConflict` unless said.
        #[serde(default)]
        pub functions: Option<OnFunctions>,
        /// Which keys to take; all of them unless said.
        #[serde(default)]
        pub filter: Keep,
        /// Which databases of the stream to take; all of them unless said.
        #[serde(default)]
        pub databases: Option<Vec<u32>>,
        /// Which database each database of the stream goes into: `{"0": 3}`. One that is not named stays what it is.
        #[serde(default)]
        #[schemars(with = "BTreeMap<String, u32>")]
        pub database_map: BTreeMap<u32, u32>,
        /// Whether several databases of the stream may go into one; a key that two of them have is a conflict then.
        #[serde(default)]
        pub merge_databases: bool,
        /// New names for keys, by the first rule that fits: `{from: "user:", to: "u:"}` or `{match: "user:*:cart", to: "cart:*"}`.
        /// `filter` looks at the old names. Two keys that would get the same name fail the step.
        #[serde(default)]
        pub rename: Vec<RenameRule>,
        /// What to do with expiries, those of hashes' fields too: `keep` (unless said), `drop`, `dropFields` (only those of hashes'
        /// fields, for a server that has none: before Redis 7.4 and Valkey 9), `{shift: 2h}` (`{shift: -2h}`), or
        /// `{asOf: "2026-11-23T02:00:00Z"}`: each key has as much time left as it had at that moment. Keys whose expiry has
        /// passed then are left out and counted.
        #[serde(default)]
        pub expiry: ExpiryRule,
        /// What to do when the server refuses a key: `stop` (unless said), or `collect`: go on, and fail at the end with how many
        /// were refused of each kind, and the first of them.
        #[serde(default)]
        pub errors: Errors,
        /// What to do with what the server holds: `keep` (unless said), `flush-db` (empty each database that the stream has, when
        /// its turn comes) or `flush-all` (empty all databases and remove all functions, once the stream's head was read).
        #[serde(default)]
        pub before: Before,
        /// Must be true where `before` empties databases.
        #[serde(default)]
        pub confirm_flush: bool,
        /// Whether to refuse a stream that has no head and trailer (true unless said): without them nobody can tell whether it is
        /// whole. A stream with a head needs its trailer in any case.
        #[serde(default = "yes")]
        pub require_trailer: bool,
        /// Whether to only connect, read and check the stream to its end, look which keys are already there, and write nothing.
        #[serde(default)]
        pub dry_run: bool,
    }
}

/// What to do with the functions of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnFunctions {
    /// End the restore where a library is already there.
    Fail,
    /// Leave a library that is already there as it is.
    Skip,
    /// Overwrite a library that is already there.
    Replace,
    /// Load none.
    Leave,
}

/// What to do when the server refuses a key.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Errors {
    /// End the restore.
    #[default]
    Stop,
    /// Go on with the other keys, and fail at the end.
    Collect,
}

/// What it gives to later steps.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RedisRestoreOutputs {
    /// Keys that were written (in a dry run: that would have been).
    pub keys: u64,
    /// Keys that were written, by type.
    pub per_type: PerType,
    /// Keys (and libraries of functions) that were already there and were left as they were.
    pub skipped: u64,
    /// Keys whose expiry had passed.
    pub expired: u64,
    /// Keys that the stream held twice: the first one stands.
    pub repeated: u64,
    /// Keys (and libraries of functions) that `filter`, `databases` or `functions` left out.
    pub left_out: u64,
    /// Keys that were taken under another name.
    pub renamed: u64,
    /// What became of expiries: `keep`, `drop`, or `shift:…ms`, for `restoredWith` of `redis-diff`.
    pub expiry: String,
    /// Keys that the server already has, in a dry run; else nothing.
    pub existing: Option<u64>,
    /// Libraries of functions that were written.
    pub functions: u64,
    /// Commands of the stream.
    pub commands: u64,
    /// Bytes of the stream.
    pub bytes: u64,
    /// The version of the stream's form; null for a stream without a head.
    pub stream_version: Option<u32>,
}

impl Function for RedisRestore {
    const NAME: &'static str = "redis-restore";
    const SUMMARY: &'static str = "Write a dump into a Redis server, each key into its database, with its expiry.";
    const REPEAT: &'static str = "Fails at the first key that is there by then; with `onConflict: replace` it gives the same keyspace, with `skip` it adds what is missing.";
    type Params = RedisRestoreParams;
    type Ports = Sink;
    type Outputs = RedisRestoreOutputs;

    fn streams(_: Option<&RedisRestoreParams>) -> Streams {
        Streams { stdin: Accepts::Only(stream_type()), stdout: Produces::Same }
    }

    fn check(params: &RedisRestoreParams) -> Result<(), ParamError> {
        let target = params.server().target()?;
        if target.address.database.is_some_and(|index| index != 0) {
            return Err(ParamError::new(
                "url",
                "each key goes into the database that it came from, so the url may not name one",
            )
            .with_help("leave the database out of the url"));
        }
        params.changes()?;
        if params.merge_databases && params.database_map.is_empty() {
            return Err(ParamError::new("mergeDatabases", "without `databaseMap` no two databases go into one")
                .with_help("leave it out, or say in `databaseMap` which go where"));
        }
        match (params.before, params.confirm_flush) {
            (Before::Keep, true) => {
                Err(ParamError::new("confirmFlush", "nothing is emptied unless `before` says so")
                    .with_help("leave it out"))
            }
            (Before::FlushDb | Before::FlushAll, false) => {
                Err(ParamError::new("before", "this deletes what the server holds")
                    .with_help("write `confirmFlush: true` beside it if that is what you want"))
            }
            _ => Ok(()),
        }
    }

    async fn run(&self, params: RedisRestoreParams, ports: Sink, call: &Call) -> Result<RedisRestoreOutputs, Failure> {
        let target = params.server().checked()?;
        let (fleet, watch) = reach(&target, call).await?;
        let mut loader = Loader::new(fleet, params.on_conflict, params.before, params.dry_run).await?;
        loader.on_functions = match params.functions {
            None | Some(OnFunctions::Leave) => params.on_conflict,
            Some(OnFunctions::Fail) => OnConflict::Fail,
            Some(OnFunctions::Skip) => OnConflict::Skip,
            Some(OnFunctions::Replace) => OnConflict::Replace,
        };
        loader.refusals = (params.errors == Errors::Collect).then(Refusals::default);
        // The plan has checked them.
        let mut changes = params.changes()?;
        let lifetimes = params.expiry.at(loader.now())?;
        changes.lifetimes = lifetimes;
        let mut restore = Restore {
            look: look(&params, &target, call).await?,
            stream: StreamReader::new(ports.stdin, params.require_trailer),
            rewriter: Rewriter::new(changes),
            loader,
        };
        let mut noted = Instant::now();
        let mut read = restore
            .read(|keys| {
                if noted.elapsed() >= NOTE_EVERY {
                    noted = Instant::now();
                    call.note(so_many_keys(keys));
                }
            })
            .await;
        if let (Ok(()), Some(watch)) = (&read, watch.filter(|_| !params.dry_run)) {
            read = watch.still(call).await;
        }
        if let Err(failure) = read {
            return Err(restore.loader.after(failure).await);
        }
        let Restore { look, stream, rewriter, loader, .. } = restore;
        let mut done = loader.done;
        if let Some(look) = &look {
            match (params.on_conflict, look.conflict()) {
                (OnConflict::Fail, Some(failure)) => return Err(failure),
                (OnConflict::Skip, Some(_)) => {
                    done.written = done.written.less(&look.there);
                    done.skipped += look.there.total();
                }
                _ => {}
            }
        }
        call.note(so_many_keys(done.written.total()));
        let libraries = if done.functions { stream.functions } else { 0 };
        Ok(RedisRestoreOutputs {
            keys: done.written.total(),
            per_type: done.written,
            skipped: done.skipped,
            expired: done.expired,
            repeated: done.repeated,
            left_out: rewriter.left_out.total() + rewriter.functions_left_out,
            renamed: rewriter.renamed,
            expiry: lifetimes.to_string(),
            existing: params.dry_run.then(|| look.map_or(0, |look| look.there.total())),
            functions: libraries + done.libraries,
            commands: stream.commands(),
            bytes: stream.parser.offset(),
            stream_version: stream.is_headed().then_some(VERSION),
        })
    }
}

impl RedisRestoreParams {
    /// What is to be done with the stream, expiries excepted.
    fn changes(&self) -> Result<Changes, ParamError> {
        self.expiry.check()?;
        Ok(Changes {
            filter: self.filter.filter("filter")?,
            databases: Databases::new(self.databases.as_deref(), &self.database_map, self.merge_databases)?,
            renames: Renames::new(&self.rename, "rename")?,
            no_functions: self.functions == Some(OnFunctions::Leave),
            on_conflict: self.on_conflict,
            ..Changes::default()
        })
    }
}

/// Connects to the server, to the master that sentinels name, or to all masters of a cluster.
async fn reach(target: &Target, call: &Call) -> Result<(Fleet, Option<Watch>), Failure> {
    match servers::to_write(target, call).await? {
        Servers::One { connection, watch, .. } => Ok((Fleet::single(connection).await?, watch.map(|watch| *watch))),
        Servers::Cluster(cluster) => Ok((Fleet::cluster(*cluster, call).await?, None)),
    }
}

/// What a dry run looks with; nothing where what is there would be emptied first.
async fn look(params: &RedisRestoreParams, target: &Target, call: &Call) -> Result<Option<Look>, Failure> {
    if params.dry_run && params.before == Before::Keep {
        return Ok(Some(Look::new(reach(target, call).await?.0)));
    }
    Ok(None)
}

/// A restore under way.
struct Restore {
    stream: StreamReader,
    rewriter: Rewriter,
    loader: Loader,
    look: Option<Look>,
}

/// Restores a stream into no server, with all params as they are unless said.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) async fn without_server(stream: StreamReader) -> Result<(), Failure> {
    let (rewriter, loader) = (Rewriter::new(Changes::default()), Loader::without_server());
    Restore { stream, rewriter, loader, look: None }.read(|_| {}).await
}

impl Restore {
    /// Reads the stream to its end; tells from time to time how many keys were written.
    async fn read(&mut self, mut progress: impl FnMut(u64)) -> Result<(), Failure> {
        loop {
            match self.stream.next().await? {
                Said::Head(head) => {
                    let places = self.rewriter.expect(&head.databases)?;
                    self.loader.has_databases(&places).await?;
                    if let (Some(look), Some(highest)) = (&mut self.look, places.iter().max()) {
                        look.has_database(*highest).await?;
                    }
                    self.loader.begin().await?;
                }
                Said::Another(_) => {
                    // It begins with another key; which databases it has, its own commands say.
                    self.rewriter.close();
                    self.loader.close_key().await?;
                    self.look_at_keys().await?;
                }
                Said::Statement(statement) => {
                    let passed = self.rewriter.take(statement).await?;
                    self.carry_out(passed).await?;
                }
                Said::Long(long) => {
                    let passed = self.rewriter.take_long(long, &mut self.stream.parser).await?;
                    self.carry_out(passed).await?;
                }
                Said::End => break,
            }
            progress(self.loader.done.written.total());
        }
        // Only now: of a stream that was cut off nobody can tell whether the key that was being written is complete.
        self.rewriter.close();
        self.loader.close_key().await?;
        self.look_at_keys().await?;
        self.loader.settle().await?;
        self.loader.finish().await?;
        if let Some(look) = &mut self.look {
            look.settle().await?;
        }
        Ok(())
    }

    async fn carry_out(&mut self, passed: Passed) -> Result<(), Failure> {
        for statement in passed.statements {
            let selected = if let Act::Select(index) = statement.act { Some(index) } else { None };
            self.loader.carry_out(statement).await?;
            self.look_at_keys().await?;
            if let (Some(look), Some(index)) = (&mut self.look, selected) {
                look.select(index).await?;
            }
        }
        if let Some(long) = passed.long {
            self.loader.carry_out_long(long, &mut self.stream.parser).await?;
            self.look_at_keys().await?;
        }
        Ok(())
    }

    /// Looks which of the keys that a dry run would have written are there.
    async fn look_at_keys(&mut self) -> Result<(), Failure> {
        for (key, kind) in self.loader.would_write.drain(..) {
            if let Some(look) = &mut self.look {
                look.key(key, kind).await?;
            }
        }
        Ok(())
    }
}
