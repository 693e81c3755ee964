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
use crate::redis::keys::tally::thousands;
use crate::redis::stream::form::{TRAILER, Trailer, VERSION, stream_type};
use crate::redis::stream::parser::{Command, Next, Parser};
use crate::redis::stream::trailer;
use crate::redis::topology::sentinel::Watch;
use crate::redis::topology::servers::{self, Servers};
use crate::redis::wire::resp;
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
        /// What to do with expiries, those of hashes' fields too: `keep` (unless said), `drop`, `{shift: 2h}` (`{shift: -2h}`), or
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
        changes.lifetimes = params.expiry.at(loader.now())?;
        let mut restore = Restore {
            look: look(&params, &target, call).await?,
            parser: Parser::new(ports.stdin),
            rewriter: Rewriter::new(changes),
            loader,
            call,
            noted: Instant::now(),
        };
        let mut read = restore.read(params.require_trailer).await;
        if let (Ok(_), Some(watch)) = (&read, watch.filter(|_| !params.dry_run)) {
            read = watch.still(call).await.and(read);
        }
        let trailer = match read {
            Ok(trailer) => trailer,
            Err(failure) => return Err(restore.loader.after(failure).await),
        };
        let Restore { look, parser, rewriter, loader, .. } = restore;
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
        call.note(format!("{} keys", thousands(done.written.total())));
        let libraries = if done.functions { trailer.as_ref().map_or(0, |trailer| trailer.functions) } else { 0 };
        Ok(RedisRestoreOutputs {
            keys: done.written.total(),
            per_type: done.written,
            skipped: done.skipped,
            expired: done.expired,
            repeated: done.repeated,
            left_out: rewriter.left_out.total() + rewriter.functions_left_out,
            renamed: rewriter.renamed,
            existing: params.dry_run.then(|| look.map_or(0, |look| look.there.total())),
            functions: libraries + done.libraries,
            commands: rewriter.census.commands,
            bytes: parser.offset(),
            stream_version: trailer.map(|_| VERSION),
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
struct Restore<'c> {
    parser: Parser,
    rewriter: Rewriter,
    loader: Loader,
    look: Option<Look>,
    call: &'c Call,
    noted: Instant,
}

impl Restore<'_> {
    /// Reads the stream to its end; gives its trailer, unless it never had a head.
    async fn read(&mut self, require_trailer: bool) -> Result<Option<Trailer>, Failure> {
        let (mut headed, mut trailer) = (false, None);
        loop {
            let next = self.parser.next().await?;
            let offset = match &next {
                Next::Command(command) => command.offset,
                Next::Large(large) => large.offset,
                Next::End => break,
            };
            if trailer.is_some() {
                return Err(Failure::corrupt(format!(
                    "at byte {offset} of the stream: there is more behind the trailer"
                ))
                .with_help("two dumps in one stream are no dump; restore them one by one"));
            }
            if offset == 0 {
                headed = self.begin(&next, require_trailer).await?;
            }
            match &next {
                Next::Command(command) if command.arg(0).eq_ignore_ascii_case(b"ECHO") => {
                    if offset > 0
                        && headed
                        && let Some(json) = trailer::said(command, TRAILER)?
                    {
                        self.rewriter.close();
                        self.loader.close_key().await?;
                        trailer = Some(trailer::promised(&json, offset, &self.parser, &self.rewriter.census)?);
                    }
                    self.rewriter.census.commands += 1;
                }
                _ => {
                    let passed = self.rewriter.take(next, &mut self.parser).await?;
                    self.carry_out(passed).await?;
                }
            }
            if self.noted.elapsed() >= NOTE_EVERY {
                self.noted = Instant::now();
                self.call.note(format!("{} keys", thousands(self.loader.done.written.total())));
            }
        }
        if self.parser.offset() == 0 {
            return Err(Failure::corrupt(
                "at byte 0 of the stream: it is empty, and even the dump of an empty server is not",
            ));
        }
        if headed && trailer.is_none() {
            // Nobody can tell whether the key that was being written is complete: it does not get its name.
            return Err(Failure::corrupt(format!(
                "the stream is cut off: it ends at byte {} without its trailer",
                self.parser.offset()
            ))
            .with_help("take another copy of the dump; this one is not whole"));
        }
        self.rewriter.close();
        self.loader.close_key().await?;
        self.loader.settle().await?;
        self.loader.finish().await?;
        if let Some(look) = &mut self.look {
            look.settle().await?;
        }
        Ok(trailer)
    }

    /// Looks at what a stream begins with; true where that is a head.
    async fn begin(&mut self, next: &Next, require_trailer: bool) -> Result<bool, Failure> {
        let head = match next {
            Next::Command(command) => trailer::head(command)?,
            _ => None,
        };
        if let Some(head) = &head {
            self.loader.has_databases(&self.rewriter.expect(&head.databases)?)?;
            self.loader.begin().await?;
        } else if require_trailer {
            return Err(Failure::corrupt("at byte 0 of the stream: it does not begin with the head of a dump")
                .with_help("without head and trailer nobody can tell whether a stream is whole; to restore one all the same, say `requireTrailer: false`"));
        }
        Ok(head.is_some())
    }

    async fn carry_out(&mut self, passed: Passed) -> Result<(), Failure> {
        for command in &passed.before {
            self.command(command).await?;
        }
        let expired = self.loader.done.expired;
        match passed.next {
            Some(Next::Command(command)) => self.command(&command).await?,
            Some(Next::Large(large)) => self.loader.large(large, &mut self.parser).await?,
            Some(Next::End) | None => {}
        }
        if let (Some(look), Some((key, kind))) = (&mut self.look, passed.begins)
            && self.loader.done.expired == expired
        {
            look.key(key, kind).await?;
        }
        Ok(())
    }

    async fn command(&mut self, command: &Command) -> Result<(), Failure> {
        self.loader.command(command).await?;
        if let Some(look) = &mut self.look
            && command.arg(0).eq_ignore_ascii_case(b"SELECT")
            && let Some(index) = resp::number(command.arg(1)).and_then(|index| u32::try_from(index).ok())
        {
            look.select(index).await?;
        }
        Ok(())
    }
}
