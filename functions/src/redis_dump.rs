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
use serde::{Deserialize, Serialize};

use crate::redis::address::Found;
use crate::redis::cluster::Cluster;
use crate::redis::connection::Connection;
use crate::redis::digest;
use crate::redis::facts::Facts;
use crate::redis::form::{ClusterHead, Form, StreamHead, stream_type};
use crate::redis::libraries;
use crate::redis::scan::{Dump, Limits, Written};
use crate::redis::shards::{self, Reading};
use crate::redis::tally::thousands;
use crate::redis::target::{Target, with_server};
use crate::redis::topology::{self, Servers};
use crate::units::Size;

pub use crate::redis::tally::PerType;
pub use crate::redis::target::{Role, SentinelLogin};
pub use crate::redis::tls::Tls;

/// `redis-dump`.
#[derive(Debug, Clone, Copy)]
pub struct RedisDump;

with_server! {
    /// Its params.
    pub struct RedisDumpParams {
        /// The server: `redis://host:6379`, `rediss://host:6379` for TLS, `redis+unix:///path/of/the.sock`; may have a user and
        /// a password in front of the host, and one database behind it (then only that is read, unless `databases` says more).
        /// A node of a cluster stands for the whole cluster, and `redis+cluster://host:7000,host:7001` names several;
        /// `redis+sentinel://host:26379,host:26379/NAME` asks sentinels (`rediss+…` with TLS).
        url,
        /// Whether the `master` or a `replica` is read, of a cluster's shards too. Unless said, a single server is read whatever
        /// it is; of a cluster's shards, and where sentinels are asked, a replica that has a link to its master, else the master.
        #[serde(default)]
        pub role: Option<Role>,
        /// Of a cluster, only this shard: 1 has the lowest slot. For one job for each shard; `shards` among the outputs is how many
        /// there are. The functions are in the stream of shard 1.
        #[serde(default)]
        pub shard: Option<u32>,
        /// The databases to read; all that hold keys unless said.
        #[serde(default)]
        pub databases: Option<Vec<u32>>,
        /// Whether to read the server's functions (Redis 7.0) too; true unless said.
        #[serde(default = "yes")]
        pub functions: bool,
        /// How much to ask of the server at once.
        #[serde(default)]
        pub batch: BatchParams,
    }
}

/// How much to ask of the server at once: more is faster, less leaves it more time for others.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct BatchParams {
    /// Keys in one request, 1 to 10000; 256 unless said.
    pub keys: u32,
    /// Bytes of values in one request; `512KiB` unless said. A value that is bigger makes a request of its own.
    pub bytes: Size,
}

impl Default for BatchParams {
    fn default() -> Self {
        Self { keys: 256, bytes: Size(512 << 10) }
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
    /// Libraries of functions that were written.
    pub functions: u64,
    /// Bytes of the stream.
    pub bytes: u64,
    /// How many shards the cluster has; null for a single server.
    pub shards: Option<u32>,
    /// The server's version; of a cluster, that of the first shard's master.
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
        let target = params.server().target()?;
        if params.shard.is_some() && matches!(target.address.found, Found::Sentinels(_)) {
            return Err(ParamError::new("shard", "what sentinels watch has no shards"));
        }
        if params.shard == Some(0) {
            return Err(ParamError::new("shard", "the first shard is 1"));
        }
        if !(1..=10_000).contains(&params.batch.keys) {
            return Err(ParamError::new("batch.keys", format!("`{}` is not from 1 to 10000", params.batch.keys)));
        }
        if params.batch.bytes.0 == 0 {
            return Err(ParamError::new("batch.bytes", "a request of no bytes reads nothing"));
        }
        if params.databases.as_ref().is_some_and(Vec::is_empty) {
            return Err(ParamError::new("databases", "the list is empty").with_help("leave it out to read all of them"));
        }
        Ok(())
    }

    async fn run(&self, params: RedisDumpParams, ports: Source, call: &Call) -> Result<RedisDumpOutputs, Failure> {
        let target = params.server().checked()?;
        match topology::to_read(&target, params.role, call).await? {
            Servers::One { connection, .. } => single(params, &target, connection, ports, call).await,
            Servers::Cluster(cluster) => whole_cluster(params, cluster, ports, call).await,
        }
    }
}

impl RedisDumpParams {
    fn limits(&self) -> Limits {
        Limits { keys: self.batch.keys as usize, bytes: self.batch.bytes.0 }
    }
}

async fn single(
    params: RedisDumpParams,
    target: &Target,
    mut connection: Connection,
    ports: Source,
    call: &Call,
) -> Result<RedisDumpOutputs, Failure> {
    if params.shard.is_some() {
        return Err(Failure::rejected(format!("`{}` is no cluster's node, so it has no shards", connection.server()))
            .with_help("leave `shard` out"));
    }
    let facts = Facts::ask(&mut connection).await?;
    let limits = params.limits();
    let databases = databases(params.databases, target.address.database, &facts, call);
    let (redis, source) = (facts.version.clone(), "scan".to_owned());
    let head = StreamHead { redis, source, databases: databases.clone(), cluster: None };
    let mut form = Form::begin(ports.stdout, &head)?;
    let functions = if params.functions { libraries::write(&mut connection, &mut form, &facts).await? } else { 0 };
    let server_version = facts.version.clone();
    let (written, noted) = (Written::default(), Instant::now());
    let mut dump = Dump { connection, form, facts, limits, call, written, noted };
    for index in &databases {
        let text = index.to_string();
        let reply = dump.connection.ask(&[b"SELECT", text.as_bytes()]).await?;
        dump.connection.accepted(reply, format_args!("selecting database {index}"))?;
        dump.form.command(&[b"SELECT", text.as_bytes()]);
        dump.database(*index).await?;
    }
    dump.facts.still(&mut dump.connection).await?;
    end(dump.form, dump.written, functions, databases, None, server_version, call).await
}

async fn whole_cluster(
    params: RedisDumpParams,
    cluster: Cluster,
    ports: Source,
    call: &Call,
) -> Result<RedisDumpOutputs, Failure> {
    if params.databases.as_ref().is_some_and(|databases| databases.iter().any(|index| *index != 0)) {
        return Err(Failure::rejected("a cluster has no database but 0").with_help("leave `databases` out"));
    }
    let reading = Reading::begin(cluster, params.role, params.shard, call).await?;
    let first = reading.shards.first().ok_or_else(|| Failure::internal("a cluster without any shard"))?;
    let (mut connection, _) = reading.cluster.open(first, call).await?;
    let facts = Facts::ask(&mut connection).await?;
    let server_version = facts.version.clone();
    let head = StreamHead {
        redis: facts.version.clone(),
        source: "scan".to_owned(),
        databases: vec![0],
        cluster: Some(ClusterHead { shards: reading.all, shard: params.shard }),
    };
    let mut form = Form::begin(ports.stdout, &head)?;
    // Every master has all of them; of streams that are restored side by side, one is enough.
    let wanted = params.functions && params.shard.is_none_or(|number| number == 1);
    let functions = if wanted { libraries::write(&mut connection, &mut form, &facts).await? } else { 0 };
    let compared = if wanted { Some(digest::functions(&mut connection, &facts).await?) } else { None };
    form.command(&[b"SELECT", b"0"]);
    let written = shards::dump(&reading, &mut form, params.limits(), compared, call).await?;
    reading.still(call).await?;
    end(form, written, functions, vec![0], Some(reading.all), server_version, call).await
}

async fn end(
    form: Form,
    written: Written,
    functions: u64,
    databases: Vec<u32>,
    shards: Option<u32>,
    server_version: String,
    call: &Call,
) -> Result<RedisDumpOutputs, Failure> {
    if written.reserved > 0 {
        call.warn("the temporary key of a restore is left out (`aquifer:restore:…`): a restore into this server is under way, or did not end; the next one removes it");
    }
    let bytes = form.finish(written.types, functions).await?;
    call.note(format!("{} keys", thousands(written.types.total())));
    Ok(RedisDumpOutputs {
        keys: written.types.total(),
        per_type: written.types,
        databases,
        expires: written.expires,
        vanished: written.vanished,
        functions,
        bytes,
        shards,
        server_version,
    })
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
