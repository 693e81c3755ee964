//! Writes a dump into a Redis server.
//!
//! Takes a stream of RESP commands with a head and a trailer, as described in `docs/reference/redis-stream.md`. Gives
//! counts. Always holds: success means that the stream was whole (its length, checksum and counts are those that its
//! trailer promises) and that the server confirmed every command. A stream that is cut off or damaged fails the step; it
//! can only be recognised at its end, so what came before has been written by then, and the message says how much.

use std::time::{Duration, Instant};

use aquifer_engine::failure::Failure;
use aquifer_engine::function::{Call, Function, ParamError};
use aquifer_engine::ports::Sink;
use aquifer_engine::stream::{Accepts, Produces, Streams};
use schemars::JsonSchema;
use serde::Serialize;

use crate::redis::fleet::Fleet;
use crate::redis::form::{HEAD, StreamHead, TRAILER, Trailer, VERSION, stream_type};
use crate::redis::load::Loader;
use crate::redis::parser::{Command, Next, Parser};
use crate::redis::tally::thousands;
use crate::redis::target::with_server;
use crate::redis::topology::{self, Servers};

pub use crate::redis::load::{Before, OnConflict};
pub use crate::redis::tally::PerType;
pub use crate::redis::target::SentinelLogin;
pub use crate::redis::tls::Tls;

/// How often progress is noted.
const NOTE_EVERY: Duration = Duration::from_millis(250);

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
        /// What to do with a key that is already there: `fail` (unless said), `skip` or `replace`. The same for functions.
        #[serde(default)]
        pub on_conflict: OnConflict,
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
        /// Whether to only connect, read and check the stream, and write nothing; whether keys are already there is not looked at.
        #[serde(default)]
        pub dry_run: bool,
    }
}

fn yes() -> bool {
    true
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
        let (fleet, watch) = match topology::to_write(&target, call).await? {
            Servers::One { connection, watch } => (Fleet::single(connection).await?, watch),
            Servers::Cluster(cluster) => (Fleet::cluster(cluster, call).await?, None),
        };
        let mut loader = Loader::new(fleet, params.on_conflict, params.before, params.dry_run).await?;
        let mut parser = Parser::new(ports.stdin);
        let mut read = read(&mut parser, &mut loader, params.require_trailer, call).await;
        if let (Ok(_), Some(watch)) = (&read, watch.filter(|_| !params.dry_run)) {
            read = watch.still(call).await.and(read);
        }
        let trailer = match read {
            Ok(trailer) => trailer,
            Err(failure) => return Err(loader.after(failure).await),
        };
        let done = loader.done;
        call.note(format!("{} keys", thousands(done.written.total())));
        let libraries = if done.functions { trailer.as_ref().map_or(0, |trailer| trailer.functions) } else { 0 };
        Ok(RedisRestoreOutputs {
            keys: done.written.total(),
            per_type: done.written,
            skipped: done.skipped,
            expired: done.expired,
            repeated: done.repeated,
            functions: libraries + done.libraries,
            commands: done.commands,
            bytes: parser.offset(),
            stream_version: trailer.map(|_| VERSION),
        })
    }
}

/// Reads the stream to its end; gives its trailer, unless it never had a head.
async fn read(
    parser: &mut Parser,
    loader: &mut Loader,
    require_trailer: bool,
    call: &Call,
) -> Result<Option<Trailer>, Failure> {
    let mut noted = Instant::now();
    let (mut headed, mut trailer) = (false, None);
    loop {
        let next = parser.next().await?;
        let offset = match &next {
            Next::Command(command) => command.offset,
            Next::Large(large) => large.offset,
            Next::End => break,
        };
        if trailer.is_some() {
            return Err(Failure::corrupt(format!("at byte {offset} of the stream: there is more behind the trailer"))
                .with_help("two dumps in one stream are no dump; restore them one by one"));
        }
        if offset == 0 {
            let head = match &next {
                Next::Command(command) => head(command)?,
                _ => None,
            };
            headed = head.is_some();
            if !headed && require_trailer {
                return Err(Failure::corrupt("at byte 0 of the stream: it does not begin with the head of a dump")
                    .with_help("without head and trailer nobody can tell whether a stream is whole; to restore one all the same, say `requireTrailer: false`"));
            }
            if let Some(head) = head {
                loader.has_databases(&head.databases)?;
                loader.begin().await?;
            }
        }
        match next {
            Next::Command(command) if command.arg(0).eq_ignore_ascii_case(b"ECHO") => {
                if offset > 0
                    && headed
                    && let Some(text) = said(&command, TRAILER)?
                {
                    loader.close_key().await?;
                    trailer = Some(promised(&text, offset, parser, loader)?);
                }
            }
            Next::Command(command) => loader.command(&command).await?,
            Next::Large(large) => loader.large(large, parser).await?,
            Next::End => break,
        }
        loader.done.commands += 1;
        if noted.elapsed() >= NOTE_EVERY {
            noted = Instant::now();
            call.note(format!("{} keys", thousands(loader.done.written.total())));
        }
    }
    if parser.offset() == 0 {
        return Err(Failure::corrupt(
            "at byte 0 of the stream: it is empty, and even the dump of an empty server is not",
        ));
    }
    if headed && trailer.is_none() {
        // Nobody can tell whether the key that was being written is complete: it does not get its name.
        return Err(Failure::corrupt(format!(
            "the stream is cut off: it ends at byte {} without its trailer",
            parser.offset()
        ))
        .with_help("take another copy of the dump; this one is not whole"));
    }
    loader.close_key().await?;
    loader.settle().await?;
    loader.finish().await?;
    Ok(trailer)
}

/// What is said behind the beginning of a head or trailer, if it is one.
fn said(command: &Command, begin: &str) -> Result<Option<String>, Failure> {
    let Some(rest) = command.arg(1).strip_prefix(begin.as_bytes()).filter(|_| command.len() == 2) else {
        return Ok(None);
    };
    let text = String::from_utf8_lossy(rest);
    let (version, json) = text.split_once(' ').unwrap_or((&text, ""));
    match version.parse::<u32>() {
        Ok(version) if version == VERSION => Ok(Some(json.to_owned())),
        Ok(version) => Err(Failure::rejected(format!(
            "at byte {} of the stream: its form has version {version}, and this program reads version {VERSION}",
            command.offset
        ))
        .with_help("restore it with the version of aquifer that wrote it, or a newer one")),
        Err(_) => Err(damaged(command.offset)),
    }
}

fn damaged(offset: u64) -> Failure {
    Failure::corrupt(format!("at byte {offset} of the stream: the head or trailer is damaged"))
        .with_help("take another copy of the dump; this one is not whole")
}

/// The head of a stream, if it begins with one.
fn head(command: &Command) -> Result<Option<StreamHead>, Failure> {
    if !command.arg(0).eq_ignore_ascii_case(b"ECHO") {
        return Ok(None);
    }
    let Some(json) = said(command, HEAD)? else { return Ok(None) };
    serde_json::from_str(&json).map(Some).map_err(|_| damaged(command.offset))
}

/// Holds the stream to what its trailer promises.
fn promised(json: &str, offset: u64, parser: &Parser, loader: &Loader) -> Result<Trailer, Failure> {
    let trailer: Trailer = serde_json::from_str(json).map_err(|_| damaged(offset))?;
    let checksum = format!("{:016x}", parser.checksum());
    let differs = |what: &str, promised: &str, found: &str| {
        Err(Failure::corrupt(format!(
            "the stream is damaged: its trailer promises {what} {promised}, and it has {found}"
        ))
        .with_help("take another copy of the dump; this one is not what was written"))
    };
    if trailer.bytes != offset {
        return differs("bytes:", &trailer.bytes.to_string(), &offset.to_string());
    }
    if trailer.xxh3 != checksum {
        return differs("the checksum", &trailer.xxh3, &checksum);
    }
    if trailer.commands != loader.done.commands {
        return differs("commands:", &trailer.commands.to_string(), &loader.done.commands.to_string());
    }
    // `FUNCTION RESTORE` does not say how many it holds; only the program that wrote the trailer knew.
    let libraries = loader.done.libraries_in_stream;
    if libraries > 0 && trailer.functions != libraries {
        return differs("libraries of functions:", &trailer.functions.to_string(), &libraries.to_string());
    }
    if trailer.types != loader.done.in_stream || trailer.keys != trailer.types.total() {
        return differs("keys:", &format!("{:?}", trailer.types), &format!("{:?}", loader.done.in_stream));
    }
    Ok(trailer)
}
