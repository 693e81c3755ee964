//! Reads a whole Redis server: every key of every database, its value, its expiry, and the functions.
//!
//! Takes a server's address. Gives a stream of RESP commands with a head and a trailer, as described in
//! `docs/reference/redis-stream.md`; `redis-restore` and `redis-cli --pipe` load it. Always holds: success means that
//! every key that was there from beginning to end is in the stream, with an expiry if it has one; any key that the server
//! would not show fails the step. Read by replication, all of it is of one moment. Read by scan, it is not: what is written
//! to the server meanwhile may or may not be in the stream, but each small value is whole and of one moment.

use std::collections::BTreeSet;

use aquifer_engine::failure::Failure;
use aquifer_engine::function::{Call, Function, ParamError};
use aquifer_engine::ports::Source;
use aquifer_engine::stream::{Accepts, Produces, Streams};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::rdb::copy::Options;
use crate::redis::keys::tally::so_many_keys;
use crate::redis::read::libraries;
use crate::redis::read::replicated::Arriving;
use crate::redis::read::scan::{Dump, How};
use crate::redis::read::shards::{self, Reading};
use crate::redis::read::which::which_databases;
use crate::redis::read::written::Written;
use crate::redis::stream::form::{ClusterHead, Form, StreamHead, stream_type};
use crate::redis::topology::cluster::Cluster;
use crate::redis::topology::servers::{self, Servers};
use crate::redis::wire::connection::Connection;
use crate::redis::wire::facts::Facts;
use crate::redis::wire::role::Role;
use crate::redis::wire::target::{Target, with_server};
use crate::shared::yes;

mod check;

pub use crate::rdb::copy::ValueForm;
pub use crate::redis::keys::filter::{Keep, TypeName};
pub use crate::redis::keys::tally::PerType;
pub use crate::redis::read::pace::Impact;
pub use crate::redis::read::sorted::Order;
pub use crate::redis::wire::target::{Role as ReadRole, SentinelLogin};
pub use crate::redis::wire::tls::Tls;

/// `redis-dump`.
#[derive(Debug, Clone, Copy)]
pub struct RedisDump;

with_server! {
    /// Its params.
    pub struct RedisDumpParams {
        /// The server: `redis://host:6379`, `rediss://host:6379` for TLS, `redis+unix:///path/of/the.sock`; may have a user and
        /// a password in front of the host, and one database behind it (then only that is read, unless `databases` says more).
        /// A node of a cluster stands for the whole cluster, and `redis+cluster://host:7000,host:7001` names several;
        /// `redis+sentinel://host:26379,host:26379/NAME` asks sentinels (`rediss+…` with TLS). A cluster is read by scan.
        url,
        /// The databases to read; all that hold keys unless said.
        #[serde(default)]
        pub databases: Option<Vec<u32>>,
        /// Whether to read the server's functions (Redis 7.0) too; true unless said.
        #[serde(default = "yes")]
        pub functions: bool,
        /// How to read: `replication` (all of one moment: the server sends what a new replica gets, made by a process that it
        /// forks; needs the rights to `PSYNC` and `REPLCONF`), `scan` (key by key, while the server goes on), or `auto` (unless
        /// said): by replication, or by scan, with a warning, where the server does not do that.
        #[serde(default)]
        pub source: SourceKind,
        /// With replication, whether the server may write what it sends to its own disk first; false unless said. Without its disk it
        /// first waits for other replicas (`repl-diskless-sync-delay`, 5 seconds unless changed). With it there is no wait, but the
        /// disk needs room for the data; a server that runs out of it may refuse all writes (`MISCONF`). A server whose
        /// `repl-diskless-sync` is off (before Redis 7.0 it is unless changed) uses its disk in any case.
        #[serde(default)]
        pub server_disk: bool,
        /// Which server to read: the `master`, or a `replica`, which spares the master: of those of a single server the one that is
        /// the least behind; where `url` is a replica's, that one; never one that has lost its master. Unless said, a single server is
        /// read whatever it is; of a cluster's shards, and where sentinels are asked, a replica that has what its master has, else
        /// the master.
        #[serde(default)]
        pub role: Option<ReadRole>,
        /// Of a cluster, only this shard: 1 has the lowest slot. For one job for each shard; `shards` among the outputs is how many
        /// there are. The functions are in the stream of shard 1.
        #[serde(default)]
        pub shard: Option<u32>,
        /// How many shards the cluster must have: the step fails where it has another number. Beside `shard`, so that the jobs for each
        /// shard fail once there are more shards than jobs; else the keys of those would be in no dump.
        #[serde(default)]
        pub shards: Option<u32>,
        /// With `shard` and `shards`, whether this stream is to be put behind the one of the shard before it (`restic-join`): it is
        /// restored, verified and compared only together with those of all the other shards, in order; false unless said.
        #[serde(default)]
        pub joined: bool,
        /// How much others may notice of a scan: `gentle`, `normal` (unless said) or `full`.
        #[serde(default)]
        pub impact: Option<Impact>,
        /// In which order keys are written: `server` (unless said; as the server shows them, which is quick, and the same until it
        /// restarts), or `name` (by the bytes of their names: the same on whichever server, with neighbours side by side, so that a
        /// repository finds them again after a restart and where keys were added). By name they are read by scan, and all names
        /// are shown once more for each 16 MiB or million of them; of a cluster, each shard is in order. Hashes and sets that the
        /// server keeps in hash tables have its own order inside.
        #[serde(default)]
        pub order: Order,
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

/// How to read a server.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SourceKind {
    /// By replication where the server does that, else by scan.
    #[default]
    Auto,
    /// By replication.
    Replication,
    /// By scan.
    Scan,
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
    /// Pending entries of streams that no command can make again, because the entries themselves were deleted.
    pub lost_pending: u64,
    /// Of a scan: big hashes, sets and sorted sets that were written to each time they were read, so that parts of several moments
    /// may stand in them. What was there all the time is there.
    pub unsteady: u64,
    /// Libraries of functions that were written.
    pub functions: u64,
    /// Bytes of the stream.
    pub bytes: u64,
    /// How many shards the cluster has; null for a single server.
    pub shards: Option<u32>,
    /// Of a cluster: a digest of who has which slots since when. Streams of single shards make up a whole only where it is the
    /// same in all of them; null for a single server.
    pub layout: Option<String>,
    /// The server's version; of a cluster, that of the first shard's master.
    pub server_version: String,
    /// How the server was read: `replication` or `scan`.
    pub source: &'static str,
    /// What the keys have in common: `point-in-time` where all are of one moment, `per-key` where only each is.
    pub consistency: &'static str,
    /// What the server that was read is to others: `master` or `replica`; `shards` for a cluster.
    pub role: &'static str,
    /// With replication: the history of writes (`master_replid`) in which that moment is; null where the server does not say.
    pub replication_id: Option<String>,
    /// With replication: the moment, as an offset in that history; else null.
    pub replication_offset: Option<u64>,
    /// With replication: whether the server wrote what it sent to its disk first; else false.
    pub server_disk: bool,
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
        check::check(params)
    }

    async fn run(&self, params: RedisDumpParams, ports: Source, call: &Call) -> Result<RedisDumpOutputs, Failure> {
        let target = params.server().checked()?;
        let (target, mut connection) = match servers::to_read(&target, params.role, call).await? {
            Servers::One { connection, target, .. } => (*target, connection),
            Servers::Cluster(cluster) => return whole_cluster(&params, *cluster, ports, call).await,
        };
        if params.shard.is_some() || params.shards.is_some() {
            return Err(Failure::rejected(format!("`{}` is no cluster's node, so it has no shards", target.shown()))
                .with_help("leave `shard` and `shards` out"));
        }
        let role = Role::ask(&mut connection).await?;
        let facts = Facts::ask(&mut connection).await?;
        if params.source != SourceKind::Scan && params.order == Order::Server {
            match Arriving::begin(connection, params.server_disk).await? {
                Ok(arriving) => return replicated(arriving, &params, ports, &target, &facts, &role, call).await,
                Err(failure) if params.source == SourceKind::Replication => return Err(failure),
                Err(failure) => call.warn(format!(
                    "read by scan, so that not all is of one moment, for {}; `source: scan` says that this is meant",
                    failure.message
                )),
            }
            connection = Connection::open(&target, call).await?;
        }
        if role.is_lost() {
            call.warn("this replica has lost its master: what it holds may be old");
        }
        scanned(connection, &params, ports, &target, facts, &role, call).await
    }
}

async fn replicated(
    arriving: Arriving,
    params: &RedisDumpParams,
    ports: Source,
    target: &Target,
    facts: &Facts,
    role: &Role,
    call: &Call,
) -> Result<RedisDumpOutputs, Failure> {
    let listed = which_databases(params.databases.clone(), target.address.database, facts, call);
    // Else all that there are: one that has got its first key since the server was asked is read too.
    let only = params.databases.is_some() || target.address.database.is_some();
    let options = Options {
        databases: only.then(|| listed.clone()),
        no_functions: !params.functions,
        no_hints: !params.hints,
        form: params.form,
        keep: params.how()?.filter,
    };
    let head = StreamHead::new(facts, "replication", "point-in-time", role.name(), listed.clone());
    let done = arriving.write(ports.stdout, &head, &options, call).await?;
    let copied = done.copied;
    call.note(so_many_keys(copied.types.total()));
    let databases: BTreeSet<u32> = copied.databases.into_keys().chain(listed).collect();
    Ok(RedisDumpOutputs {
        keys: copied.types.total(),
        per_type: copied.types,
        databases: databases.into_iter().collect(),
        expires: copied.expires,
        vanished: 0,
        left_out: copied.left_out,
        lost_pending: copied.lost_pending,
        unsteady: 0,
        functions: copied.functions,
        bytes: done.bytes,
        shards: None,
        layout: None,
        server_version: facts.version.clone(),
        source: "replication",
        consistency: "point-in-time",
        role: role.name(),
        replication_offset: done.moment.as_ref().map(|moment| moment.offset),
        replication_id: done.moment.map(|moment| moment.id),
        server_disk: done.from_disk,
    })
}

async fn scanned(
    connection: Connection,
    params: &RedisDumpParams,
    ports: Source,
    target: &Target,
    facts: Facts,
    role: &Role,
    call: &Call,
) -> Result<RedisDumpOutputs, Failure> {
    let mut connection = connection;
    let databases = which_databases(params.databases.clone(), target.address.database, &facts, call);
    let head = StreamHead::new(&facts, "scan", "per-key", role.name(), databases.clone());
    let mut form = Form::begin(ports.stdout, &head)?;
    let functions = if params.functions { libraries::write(&mut connection, &mut form, &facts).await? } else { 0 };
    let server_version = facts.version.clone();
    let mut dump = Dump::new(connection, form, facts, &params.how()?, target, call).await?;
    for index in &databases {
        let text = index.to_string();
        let reply = dump.connection.ask(&[b"SELECT", text.as_bytes()]).await?;
        dump.connection.accepted(reply, format_args!("selecting database {index}"))?;
        dump.form.command(&[b"SELECT", text.as_bytes()]);
        dump.database(*index).await?;
    }
    dump.facts.still(&mut dump.connection).await?;
    let scanned = Scanned { functions, databases, shards: None, layout: None, server_version, role: role.name() };
    end(dump.form, dump.written, scanned, call).await
}

async fn whole_cluster(
    params: &RedisDumpParams,
    cluster: Cluster,
    ports: Source,
    call: &Call,
) -> Result<RedisDumpOutputs, Failure> {
    if params.databases.as_ref().is_some_and(|databases| databases.iter().any(|index| *index != 0)) {
        return Err(Failure::rejected("a cluster has no database but 0").with_help("leave `databases` out"));
    }
    if params.source == SourceKind::Replication {
        return Err(Failure::rejected("a cluster is read by scan only").with_help("leave `source` out"));
    }
    let reading = Reading::begin(cluster, params.role, params.shard, call).await?;
    if let Some(expected) = params.shards.filter(|expected| *expected != reading.all) {
        return Err(Failure::rejected(format!("the cluster has {} shards, and `shards` says {expected}", reading.all))
            .with_help("make a job for each shard that there is, and say their number in each; one dump without `shard` reads all of them"));
    }
    let first = reading.shards.first().ok_or_else(|| Failure::internal("a cluster without any shard"))?;
    let (mut connection, _) = reading.cluster.open(first, call).await?;
    let facts = Facts::ask(&mut connection).await?;
    let mut head = StreamHead::new(&facts, "scan", "per-key", "shards", vec![0]);
    let layout = reading.layout();
    let loaded = if params.functions { Some(libraries::functions(&mut connection, &facts).await?) } else { None };
    head.cluster = Some(ClusterHead {
        shards: reading.all,
        shard: params.shard,
        joined: params.joined,
        layout: params.joined.then(|| layout.clone()),
        functions: loaded.filter(|_| params.joined).map(|loaded| format!("{:032x}", loaded.sum)),
    });
    let mut form = Form::begin(ports.stdout, &head)?;
    // Every master has all of them; of streams that are restored side by side, one is enough.
    let wanted = params.functions && params.shard.is_none_or(|number| number == 1);
    let functions = if wanted { libraries::write(&mut connection, &mut form, &facts).await? } else { 0 };
    let compared = loaded.filter(|_| wanted);
    form.command(&[b"SELECT", b"0"]);
    let written = shards::dump(&reading, &mut form, &params.how()?, compared, call).await?;
    reading.still(call).await?;
    let (databases, shards, server_version) = (vec![0], Some(reading.all), facts.version);
    let layout = Some(layout);
    end(form, written, Scanned { functions, databases, shards, layout, server_version, role: "shards" }, call).await
}

/// What is known beside the keys once all were scanned.
struct Scanned {
    functions: u64,
    databases: Vec<u32>,
    shards: Option<u32>,
    layout: Option<String>,
    server_version: String,
    role: &'static str,
}

async fn end(form: Form, written: Written, scanned: Scanned, call: &Call) -> Result<RedisDumpOutputs, Failure> {
    written.say(call);
    let bytes = form.finish(written.types, scanned.functions).await?;
    call.note(so_many_keys(written.types.total()));
    Ok(RedisDumpOutputs {
        keys: written.types.total(),
        per_type: written.types,
        databases: scanned.databases,
        expires: written.expires,
        vanished: written.vanished,
        left_out: written.left_out,
        lost_pending: written.lost_pending,
        unsteady: written.unsteady,
        functions: scanned.functions,
        bytes,
        shards: scanned.shards,
        layout: scanned.layout,
        server_version: scanned.server_version,
        source: "scan",
        consistency: "per-key",
        role: scanned.role,
        replication_id: None,
        replication_offset: None,
        server_disk: false,
    })
}

impl RedisDumpParams {
    fn how(&self) -> Result<How, Failure> {
        let filter = self.filter.filter("filter")?;
        Ok(How {
            impact: self.impact.unwrap_or_default(),
            filter,
            form: self.form,
            hints: self.hints,
            order: self.order,
        })
    }
}
