//! Reads a whole Redis server: every key of every database, its value, its expiry, and the functions.
//!
//! Takes a server's address. Gives a stream of RESP commands with a head and a trailer, as described in
//! `docs/reference/redis-stream.md`; `redis-restore` and `redis-cli --pipe` load it. Always holds: success means that
//! every key that was there from beginning to end is in the stream, with an expiry if it has one; any key that the server
//! would not show fails the step. It is no snapshot of one moment: what is written to the server meanwhile may or may not
//! be in the stream, but each small value is whole and of one moment.

use std::time::Instant;

use aquifer_engine::failure::Failure;
use aquifer_engine::function::{Call, Function, ParamError};
use aquifer_engine::ports::Source;
use aquifer_engine::stream::{Accepts, Produces, Streams};
use schemars::JsonSchema;
use serde::Serialize;

use crate::redis::connection::Connection;
use crate::redis::facts::Facts;
use crate::redis::form::{Form, StreamHead, stream_type};
use crate::redis::hints::Hints;
use crate::redis::libraries;
use crate::redis::pace::Pace;
use crate::redis::scan::{Dump, Written};
use crate::redis::tally::thousands;
use crate::redis::target::with_server;
use crate::redis::values::Way;

pub use crate::rdb::copy::ValueForm;
pub use crate::redis::filter::{Keep, TypeName};
pub use crate::redis::pace::Impact;

pub use crate::redis::tally::PerType;
pub use crate::redis::tls::Tls;

/// `redis-dump`.
#[derive(Debug, Clone, Copy)]
pub struct RedisDump;

with_server! {
    /// Its params.
    pub struct RedisDumpParams {
        /// The server: `redis://host:6379`, `rediss://host:6379` for TLS, `redis+unix:///path/of/the.sock`; may have a user and
        /// a password in front of the host, and one database behind it (then only that is read, unless `databases` says more).
        url,
        /// The databases to read; all that hold keys unless said.
        #[serde(default)]
        pub databases: Option<Vec<u32>>,
        /// Whether to read the server's functions (Redis 7.0) too; true unless said.
        #[serde(default = "yes")]
        pub functions: bool,
        /// How much others may notice of the reading: `gentle`, `normal` (unless said) or `full`.
        #[serde(default)]
        pub impact: Impact,
        /// How values are written: `native` (the fastest mix) unless said, or `logical` (plain commands only, for servers that are
        /// older than this one, or of another make).
        #[serde(default)]
        pub form: ValueForm,
        /// Which keys to read; all of them unless said.
        #[serde(default)]
        pub filter: Keep,
        /// Whether to write how often or how long ago each key was used, which a server with `maxmemory` evicts by; false unless
        /// said, since it changes from dump to dump. Values that are read in parts have no such hint.
        #[serde(default)]
        pub hints: bool,
    }
}

fn yes() -> bool {
    true
}

/// What it gives to later steps.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RedisDumpOutputs {
    /// Keys that were written.
    pub keys: u64,
    /// Keys that were written, by type.
    pub per_type: PerType,
    /// The databases that were read.
    pub databases: Vec<u32>,
    /// Keys that were written with an expiry.
    pub expires: u64,
    /// Keys that were found, and had expired or been deleted before they could be read.
    pub vanished: u64,
    /// Keys that the filter left out; where the server itself filters, as far as it can be told from its count at the beginning.
    pub left_out: u64,
    /// Pending entries of big streams that no command can make again, because the entries themselves were deleted.
    pub lost_pending: u64,
    /// Libraries of functions that were written.
    pub functions: u64,
    /// Bytes of the stream.
    pub bytes: u64,
    /// The server's version.
    pub server_version: String,
}

impl Function for RedisDump {
    const NAME: &'static str = "redis-dump";
    const SUMMARY: &'static str = "Read every key, value, expiry and function of a Redis server.";
    const REPEAT: &'static str = "Reads the server again; an unchanged server gives the same bytes until it restarts.";
    type Params = RedisDumpParams;
    type Ports = Source;
    type Outputs = RedisDumpOutputs;

    fn streams(_: Option<&RedisDumpParams>) -> Streams {
        Streams { stdin: Accepts::Any, stdout: Produces::Exactly(stream_type()) }
    }

    fn check(params: &RedisDumpParams) -> Result<(), ParamError> {
        params.server().target()?;
        params.filter.filter("filter")?;
        if params.hints && params.form == ValueForm::Logical {
            return Err(ParamError::new("hints", "plain commands have no place for them").with_help("say `form: native`"));
        }
        if params.databases.as_ref().is_some_and(Vec::is_empty) {
            return Err(ParamError::new("databases", "the list is empty").with_help("leave it out to read all of them"));
        }
        Ok(())
    }

    async fn run(&self, params: RedisDumpParams, ports: Source, call: &Call) -> Result<RedisDumpOutputs, Failure> {
        let target = params.server().checked()?;
        let mut connection = Connection::open(&target, call).await?;
        let facts = Facts::ask(&mut connection).await?;
        let filter = params.filter.filter("filter").map_err(|error| Failure::config(error.message))?;
        let hints = if params.hints { Some(Hints::of(&mut connection).await?) } else { None };
        let databases = databases(params.databases, target.address.database, &facts, call);
        let head = StreamHead { redis: facts.version.clone(), source: "scan".to_owned(), databases: databases.clone() };
        let mut form = Form::begin(ports.stdout, &head)?;
        let functions = if params.functions { libraries::write(&mut connection, &mut form).await? } else { 0 };
        let server_version = facts.version.clone();
        let mut dump = Dump {
            connection,
            form,
            facts,
            pace: Pace::new(params.impact, &target, call),
            filter,
            way: Way { form: params.form, hints },
            call,
            written: Written::default(),
            noted: Instant::now(),
        };
        for index in &databases {
            let text = index.to_string();
            let reply = dump.connection.ask(&[b"SELECT", text.as_bytes()]).await?;
            dump.connection.accepted(reply, format_args!("selecting database {index}"))?;
            dump.form.command(&[b"SELECT", text.as_bytes()]);
            dump.database(*index).await?;
        }
        dump.facts.still(&mut dump.connection).await?;
        dump.say();
        let written = dump.written;
        let bytes = dump.form.finish(written.types, functions).await?;
        call.note(format!("{} keys", thousands(written.types.total())));
        Ok(RedisDumpOutputs {
            keys: written.types.total(),
            per_type: written.types,
            databases,
            expires: written.expires,
            vanished: written.vanished,
            left_out: written.left_out,
            lost_pending: written.lost_pending,
            functions,
            bytes,
            server_version,
        })
    }
}

/// The databases to read, in order. Says so where others that hold keys are left out because of the url.
pub(crate) fn databases(listed: Option<Vec<u32>>, in_url: Option<u32>, facts: &Facts, call: &Call) -> Vec<u32> {
    if let Some(mut listed) = listed {
        listed.sort_unstable();
        listed.dedup();
        return listed;
    }
    let all: Vec<u32> = facts.databases.iter().map(|database| database.index).collect();
    let Some(only) = in_url else { return all };
    let others: Vec<String> = all.iter().filter(|index| **index != only).map(u32::to_string).collect();
    if !others.is_empty() {
        call.warn(format!(
            "only database {only} is read, as `url` says; those that hold keys and are left out: {}",
            others.join(", ")
        ));
    }
    vec![only]
}
