//! Computes the digest of a keyspace: what proves that a restore brought everything back.
//!
//! Takes a server's address. Gives 32 hexadecimal digits for all of it and for each database. Always holds: the digest
//! depends on the keys, their types, values and expiries (those of hash fields too), on streams' groups, consumers and pending entries, and on the
//! functions' code; not on the order of anything unordered, on encodings, or on what only newer servers know. A server that is
//! written to meanwhile has no digest: what comes out then is that of no moment, and nothing says so.

use std::collections::BTreeMap;
use std::time::Instant;

use aquifer_engine::failure::Failure;
use aquifer_engine::function::{Call, Function, ParamError};
use aquifer_engine::ports::Action;
use aquifer_engine::stream::Streams;
use schemars::JsonSchema;
use serde::Serialize;

use crate::redis::hash::hashes::{self, Glance, Walk};
use crate::redis::hash::streams::Counters;
use crate::redis::keys::digest::{self, Sum};
use crate::redis::keys::remembered::Remembered;
use crate::redis::keys::tally::so_many_keys;
use crate::redis::read::libraries;
use crate::redis::read::pace::Pace;
use crate::redis::read::shards;
use crate::redis::read::which::which_databases;
use crate::redis::topology::cluster::Cluster;
use crate::redis::topology::servers::{self, Servers};
use crate::redis::wire::connection::Connection;
use crate::redis::wire::facts::Facts;
use crate::redis::wire::reply::Reply;
use crate::redis::wire::target::with_server;
use crate::shared::{NOTE_EVERY, yes};

pub use crate::redis::keys::digest::ExpiryIn;
pub use crate::redis::keys::tally::PerType;
pub use crate::redis::read::pace::Impact;
pub use crate::redis::wire::target::{Role, SentinelLogin};
pub use crate::redis::wire::tls::Tls;

/// How often a database is read where a scan showed keys twice.
const ATTEMPTS: u32 = 3;

/// `redis-digest`.
#[derive(Debug, Clone, Copy)]
pub struct RedisDigest;

with_server! {
    /// Its params.
    pub struct RedisDigestParams {
        /// The server: `redis://host:6379`, `rediss://host:6379` for TLS, `redis+unix:///path/of/the.sock`; may have a user and
        /// a password in front of the host, and one database behind it (then only that is read, unless `databases` says more).
        /// A node of a cluster stands for the whole cluster, and `redis+cluster://host:7000,host:7001` names several;
        /// `redis+sentinel://host:26379,host:26379/NAME` asks sentinels (`rediss+…` with TLS).
        url,
        /// Whether the `master` or a `replica` is read, of a cluster's shards too. Unless said, a single server is read whatever
        /// it is; of a cluster's shards, and where sentinels are asked, a replica that has what its master has, else the master.
        #[serde(default)]
        pub role: Option<Role>,
        /// The databases to read; all that hold keys unless said.
        #[serde(default)]
        pub databases: Option<Vec<u32>>,
        /// How expiries count: `exact` to the millisecond (unless said), `presence`, or `ignore`.
        #[serde(default)]
        pub expiry: ExpiryIn,
        /// Whether the server's functions (Redis 7.0) count too; true unless said.
        #[serde(default = "yes")]
        pub functions: bool,
        /// How much others may notice of the reading: `gentle`, `normal` (unless said) or `full`.
        #[serde(default)]
        pub impact: Impact,
    }
}

/// What it gives to later steps.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RedisDigestOutputs {
    /// The digest of all that was read, in 32 hexadecimal digits.
    pub digest: String,
    /// The digest of each database that holds keys, without its number: two databases with the same keys have the same.
    pub databases: BTreeMap<u32, String>,
    /// Keys.
    pub keys: u64,
    /// Keys by type.
    pub per_type: PerType,
    /// Libraries of functions.
    pub functions: u64,
    /// The server's version.
    pub server_version: String,
}

impl Function for RedisDigest {
    const NAME: &'static str = "redis-digest";
    const SUMMARY: &'static str = "Compute the order-independent digest of a Redis keyspace.";
    const REPEAT: &'static str = "Gives the same digest again for the same keyspace.";
    type Params = RedisDigestParams;
    type Ports = Action;
    type Outputs = RedisDigestOutputs;

    fn streams(_: Option<&RedisDigestParams>) -> Streams {
        Streams::ANY
    }

    fn check(params: &RedisDigestParams) -> Result<(), ParamError> {
        if params.databases.as_ref().is_some_and(Vec::is_empty) {
            return Err(ParamError::new("databases", "the list is empty").with_help("leave it out to read all of them"));
        }
        params.server().target().map(drop)
    }

    async fn run(&self, params: RedisDigestParams, _: Action, call: &Call) -> Result<RedisDigestOutputs, Failure> {
        let target = params.server().checked()?;
        let (mut connection, target) = match servers::to_read(&target, params.role, call).await? {
            Servers::One { connection, target, .. } => (connection, target),
            Servers::Cluster(cluster) => return whole_cluster(params, *cluster, call).await,
        };
        let facts = Facts::ask(&mut connection).await?;
        let databases = which_databases(params.databases, target.address.database, &facts, call);
        let functions =
            if params.functions { libraries::functions(&mut connection, &facts).await? } else { Sum::default() };
        let pace = Pace::new(params.impact, &target, call);
        let mut reading = Reading::new(connection, &facts, params.expiry, pace, call);
        let (mut sums, mut per_type) = (Vec::new(), PerType::default());
        for index in databases {
            let reply = reading.connection.ask(&[b"SELECT", index.to_string().as_bytes()]).await?;
            reading.connection.accepted(reply, format_args!("selecting database {index}"))?;
            let (sum, types) = reading.database(index).await?;
            sums.push((index, sum));
            per_type = per_type.plus(&types);
            reading.before = per_type.total();
        }
        facts.still(&mut reading.connection).await?;
        Ok(outputs(&sums, functions, per_type, facts.version))
    }
}

/// Reads the shards of a cluster one after the other: their sums are those of the one server that has all keys.
async fn whole_cluster(
    params: RedisDigestParams,
    cluster: Cluster,
    call: &Call,
) -> Result<RedisDigestOutputs, Failure> {
    if params.databases.as_ref().is_some_and(|databases| databases.iter().any(|index| *index != 0)) {
        return Err(Failure::rejected("a cluster has no database but 0").with_help("leave `databases` out"));
    }
    let whole = shards::Reading::begin(cluster, params.role, None, call).await?;
    let (mut sum, mut per_type) = (Sum::default(), PerType::default());
    let (mut functions, mut version) = (None, String::new());
    for shard in &whole.shards {
        let (mut connection, target) = whole.open(shard, call).await?;
        let facts = Facts::ask(&mut connection).await?;
        facts.only_first_database(connection.server())?;
        if params.functions {
            let found = libraries::functions(&mut connection, &facts).await?;
            if *functions.get_or_insert(found) != found {
                return Err(libraries::mixed());
            }
        }
        let pace = Pace::new(params.impact, &target, call);
        let mut reading = Reading::new(connection, &facts, params.expiry, pace, call);
        reading.before = per_type.total();
        let (found, types) = reading.database(0).await?;
        facts.still(&mut reading.connection).await?;
        sum = Sum { sum: sum.sum.wrapping_add(found.sum), count: sum.count + found.count };
        per_type = per_type.plus(&types);
        if version.is_empty() {
            version = facts.version;
        }
    }
    whole.still(call).await?;
    Ok(outputs(&[(0, sum)], functions.unwrap_or_default(), per_type, version))
}

fn outputs(sums: &[(u32, Sum)], functions: Sum, per_type: PerType, server_version: String) -> RedisDigestOutputs {
    RedisDigestOutputs {
        digest: digest::hex(digest::all(sums, functions)),
        databases: sums
            .iter()
            .filter(|(_, sum)| sum.count > 0)
            .map(|(index, sum)| (*index, digest::hex(digest::Hasher::default().sum(*sum).finish())))
            .collect(),
        keys: per_type.total(),
        per_type,
        functions: functions.count,
        server_version,
    }
}

/// A keyspace being read.
struct Reading<'a> {
    connection: Connection,
    glance: Glance,
    expiry: ExpiryIn,
    pace: Pace,
    call: &'a Call,
    noted: Instant,
    /// Keys of the databases before.
    before: u64,
}

impl<'a> Reading<'a> {
    fn new(connection: Connection, facts: &Facts, expiry: ExpiryIn, pace: Pace, call: &'a Call) -> Self {
        let (clock, field_expiry) = (facts.clock, facts.field_expiry);
        let glance = Glance { clock, field_expiry, counters: Counters::Old, expiry };
        Self { connection, glance, expiry, pace, call, noted: Instant::now(), before: 0 }
    }

    /// Reads the database that is selected.
    async fn database(&mut self, index: u32) -> Result<(Sum, PerType), Failure> {
        for _ in 0..ATTEMPTS {
            let (sum, types, found) = self.pass(index).await?;
            let Some(found) = found else { return Ok((sum, types)) };
            // Some of the keys that are not remembered may have been shown twice.
            match self.connection.ask(&[b"DBSIZE"]).await? {
                Reply::Integer(size) if found > size.unsigned_abs() => {}
                reply => {
                    self.connection.accepted(reply, "asking `DBSIZE`")?;
                    return Ok((sum, types));
                }
            }
        }
        Err(Failure::unavailable(format!("database {index} shows more keys than it has, again and again"))
            .with_help("it is being changed while it is read; the digest is for servers that nobody writes to"))
    }

    /// Reads a database once; gives how many keys it showed, too, where some of them may have been shown twice. `SCAN` shows each
    /// key, and some of them twice where the server's table has shrunk meanwhile.
    async fn pass(&mut self, index: u32) -> Result<(Sum, PerType, Option<u64>), Failure> {
        let (mut sum, mut types) = (Sum::default(), PerType::default());
        let (mut walk, mut seen, mut twice) = (Walk::new(), Remembered::default(), 0);
        while let Some(mut keys) = walk.next(&mut self.connection, None, &mut self.pace).await? {
            let shown = keys.len();
            keys.retain(|key| !seen.again(key, index));
            twice += (shown - keys.len()) as u64;
            let hashes = hashes::page(&mut self.connection, self.glance, &mut self.pace, &keys).await?;
            for (key, found) in keys.iter().zip(hashes) {
                let Some(found) = found else { continue };
                sum.add(digest::key(key, found.kind, found.value, found.expiry, self.expiry));
                types.add(found.kind);
            }
            if self.noted.elapsed() >= NOTE_EVERY {
                self.noted = Instant::now();
                self.call.note(so_many_keys(self.before + types.total()));
            }
        }
        Ok((sum, types, seen.is_full().then_some(walk.shown - twice)))
    }
}
