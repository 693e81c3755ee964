//! Compares two Redis servers, or a dump with a server, key by key: what proves a migration, and tells what is missing where
//! a digest only differs.
//!
//! Takes two servers or clusters, or one and a stream. Gives what differs: counts, and some examples. Always holds: a key counts as different only after it
//! was looked at twice, since servers may be live; whatever their sizes, memory is bounded; in success nothing differs,
//! unless `differences: report` says that this is for the reader to judge.

use std::collections::{BTreeMap, BTreeSet};

use aquifer_engine::failure::Failure;
use aquifer_engine::function::{Call, Function, ParamError};
use aquifer_engine::pipe::Reader;
use aquifer_engine::ports::Probe;
use aquifer_engine::stream::{Accepts, Produces, Streams};
use bytes::Bytes;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::redis::hash::contents::Contents;
use crate::redis::hash::diff::servers::Servers;
use crate::redis::hash::diff::side::Side;
use crate::redis::hash::diff::stream::Streamed;
use crate::redis::hash::diff::{Found, Rules};
use crate::redis::hash::elements::Measure;
use crate::redis::hash::streams::Counters;
use crate::redis::keys::databases::Databases;
use crate::redis::keys::tally::thousands;
use crate::redis::read::shards::Reading;
use crate::redis::stream::form::stream_type;
use crate::redis::topology::servers;
use crate::redis::wire::target::{Target, with_server};
use crate::shared::yes;
use crate::units::Period;

pub use crate::redis::hash::diff::{Differences, Example};
pub use crate::redis::keys::digest::ExpiryIn;
use crate::redis::keys::filter::Keep;
pub use crate::redis::keys::lifetimes::ExpiryRule;
pub use crate::redis::keys::tally::PerType;
pub use crate::redis::read::pace::Impact;
pub use crate::redis::wire::target::{Role, SentinelLogin};
pub use crate::redis::wire::tls::Tls;

/// The most examples.
const MOST_EXAMPLES: usize = 1000;

/// How far apart expiries may be where a server does not tell them to the millisecond.
const INEXACT: u64 = 10;

/// `redis-diff`.
#[derive(Debug, Clone, Copy)]
pub struct RedisDiff;

with_server! {
    /// A server that is compared.
    pub struct Compared {
        /// The server: `redis://host:6379`, `rediss://host:6379` for TLS, `redis+unix:///path/of/the.sock`; may have a user and
        /// a password in front of the host, and one database behind it (then only that is compared).
        /// A node of a cluster stands for the whole cluster, and `redis+cluster://host:7000,host:7001` names several;
        /// `redis+sentinel://host:26379,host:26379/NAME` asks sentinels (`rediss+…` with TLS).
        url,
        /// Whether the `master` or a `replica` is read, of a cluster's shards too. Unless said, a single server is read whatever
        /// it is; of a cluster's shards, and where sentinels are asked, a replica that has what its master has, else the master.
        #[serde(default)]
        pub role: Option<Role>,
        /// How much others may notice of the reading: `gentle`, `normal` (unless said) or `full`.
        #[serde(default)]
        pub impact: Impact,
    }
}

/// Its params.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RedisDiffParams {
    /// The first server; without it, the stream on stdin is what the right server is compared with.
    #[serde(default)]
    pub left: Option<Compared>,
    /// The server that it is compared with.
    pub right: Compared,
    /// Which keys to compare; all of them unless said.
    #[serde(default)]
    pub filter: Keep,
    /// Which databases of the left side to compare; all that hold keys on either side unless said.
    #[serde(default)]
    pub databases: Option<Vec<u32>>,
    /// With which database of the right server each database of the left one is compared: `{"0": 3}`. One that is not named is
    /// compared with the one of its own number.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, u32>")]
    pub database_map: BTreeMap<u32, u32>,
    /// How expiries count: `exact` (unless said), `presence` or `ignore`.
    #[serde(default)]
    pub expiry: ExpiryIn,
    /// With a stream: the `expiry` with which it was restored into the right server (`keep` unless said), as `redis-restore` gives it
    /// among its outputs: keys that have expired since the dump, and were brought back, are compared too then.
    #[serde(default)]
    pub restored_with: ExpiryRule,
    /// How far apart expiries may be with `exact`; not at all unless said, or 10 ms where a server is older than 7.0 and does
    /// not tell them exactly.
    #[serde(default)]
    pub tolerance: Option<Period>,
    /// Whether the servers' functions (Redis 7.0) are compared too; true unless said.
    #[serde(default = "yes")]
    pub functions: bool,
    /// What differences mean: `fail` (unless said) or `report`.
    #[serde(default)]
    pub differences: OnDifferences,
    /// Whether to refuse a stream that has no head and trailer; true unless said.
    #[serde(default = "yes")]
    pub require_trailer: bool,
    /// How many keys that differ are told by name, at most 1000; 20 unless said.
    #[serde(default = "twenty")]
    pub examples: usize,
}

/// What differences mean.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnDifferences {
    /// The step fails.
    #[default]
    Fail,
    /// The step succeeds, and its outputs say what differs.
    Report,
}

fn twenty() -> usize {
    20
}

/// What it gives to later steps.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RedisDiffOutputs {
    /// Whether nothing differs.
    pub equal: bool,
    /// Keys that are on both sides.
    pub compared: u64,
    /// Keys that are on both sides, by the left side's type.
    pub per_type: PerType,
    /// Keys of the stream that have expired, and were not looked for.
    pub expired: u64,
    /// What differs.
    pub differences: Differences,
    /// Some of the keys that differ.
    pub examples: Vec<Example>,
}

impl Function for RedisDiff {
    const NAME: &'static str = "redis-diff";
    const SUMMARY: &'static str =
        "Compare two Redis servers, or a dump and a server, key by key, and say what differs.";
    const REPEAT: &'static str = "Compares them as they are then.";
    type Params = RedisDiffParams;
    type Ports = Probe;
    type Outputs = RedisDiffOutputs;

    fn streams(_: Option<&RedisDiffParams>) -> Streams {
        Streams { stdin: Accepts::Only(stream_type()), stdout: Produces::Same }
    }

    fn check(params: &RedisDiffParams) -> Result<(), ParamError> {
        let left = params.left.as_ref().map(|left| at("left", left.server().target())).transpose()?;
        let left = left.map(|target| target.address.database);
        let right = at("right", params.right.server().target())?.address.database;
        params.filter.filter("filter")?;
        Databases::new(params.databases.as_deref(), &params.database_map, false)?;
        if params.examples > MOST_EXAMPLES {
            return Err(ParamError::new("examples", format!("`{}` is more than {MOST_EXAMPLES}", params.examples)));
        }
        if params.tolerance.is_some() && params.expiry != ExpiryIn::Exact {
            return Err(ParamError::new("tolerance", "only expiries that count exactly have one")
                .with_help("leave it out, or say `expiry: exact`"));
        }
        params.restored_with.check()?;
        if params.restored_with != ExpiryRule::Keep {
            if params.left.is_some() {
                return Err(ParamError::new("restoredWith", "two servers are compared, and no stream was restored")
                    .with_help("leave it out"));
            }
            if params.expiry == ExpiryIn::Exact {
                return Err(ParamError::new(
                    "expiry",
                    "`restoredWith` says that the moments are not the stream's any more",
                )
                .with_help("say `expiry: presence`, or `ignore` where they were dropped"));
            }
        }
        if !params.require_trailer && params.left.is_some() {
            return Err(ParamError::new("requireTrailer", "two servers are compared, and no stream is read")
                .with_help("leave it out"));
        }
        match (left, right) {
            (None, Some(_)) => Err(ParamError::new(
                "right.url",
                "each key of a stream is in the database that it came from, so the url may not name one",
            )
            .with_help("say `databases` and `databaseMap`")),
            (None | Some(None), None) => Ok(()),
            (Some(None), Some(_)) => Err(ParamError::new("left.url", "it names no database, and `right.url` does")),
            _ if params.databases.is_some() || !params.database_map.is_empty() => {
                Err(ParamError::new("left.url", "it names a database, and `databases` or `databaseMap` does so too"))
            }
            _ => Ok(()),
        }
    }

    async fn run(&self, params: RedisDiffParams, ports: Probe, call: &Call) -> Result<RedisDiffOutputs, Failure> {
        let found = match (&params.left, ports.stdin) {
            (Some(left), None) => servers(&params, left, call).await?,
            (None, Some(stdin)) => streamed(&params, stdin, call).await?,
            (Some(_), Some(_)) => {
                return Err(Failure::config("`left`: the step reads a stream, and that is the left side")
                    .with_help("leave `left` or `stdin` out"));
            }
            (None, None) => {
                return Err(Failure::config("`left`: there is nothing to compare the right server with")
                    .with_help("name a server in `left`, or give the step the dump as its `stdin`"));
            }
        };
        call.note(format!("{} keys are on both sides", thousands(found.both.total())));
        if found.differences.total() > 0 && params.differences == OnDifferences::Fail {
            let mut failure = Failure::rejected(format!("the keyspaces differ: {}", found.differences.text()))
                .with_help("with `differences: report` the step succeeds and its outputs say what differs");
            failure.causes = found.examples.iter().map(Example::text).collect();
            return Err(failure);
        }
        Ok(RedisDiffOutputs {
            equal: found.differences.total() == 0,
            compared: found.both.total(),
            per_type: found.both,
            expired: found.expired,
            differences: found.differences,
            examples: found.examples,
        })
    }
}

impl RedisDiffParams {
    fn rules(&self, exact: bool, old: bool) -> Result<Rules, Failure> {
        Ok(Rules {
            filter: self.filter.filter("filter")?,
            expiry: self.expiry,
            tolerance: match self.tolerance {
                Some(period) => u64::try_from(period.0.as_millis()).unwrap_or(u64::MAX),
                None if exact => 0,
                None => INEXACT,
            },
            counters: if old { Counters::Old } else { Counters::All },
            examples: self.examples,
        })
    }

    fn databases(&self) -> Result<Databases, Failure> {
        Ok(Databases::new(self.databases.as_deref(), &self.database_map, false)?)
    }
}

/// Compares two servers.
async fn servers(params: &RedisDiffParams, from: &Compared, call: &Call) -> Result<Found, Failure> {
    let (left, right) = (from.server().checked()?, params.right.server().checked()?);
    let in_urls = left.address.database.map(|index| (index, right.address.database.unwrap_or(index)));
    let (left, right) = (side(&left, from, call).await?, side(&right, &params.right, call).await?);
    let exact = left.is_exact() && right.is_exact();
    let rules = params.rules(exact, !left.counts_entries() || !right.counts_entries())?;
    let databases = params.databases()?;
    let pairs = match in_urls {
        Some(pair) => BTreeSet::from([pair]),
        None => pairs(&databases, params, &left, &right, call),
    };
    for (here, there) in &pairs {
        left.may_have(*here)?;
        right.may_have(*there)?;
    }
    let mut servers = Servers::new(left, right, &rules, call);
    for (left, right) in pairs {
        servers.databases(left, right).await?;
    }
    let Servers { mut left, mut right, mut found, .. } = servers;
    if params.functions {
        found.differences.different_functions = libraries(&left.functions().await?, &right.functions().await?);
    }
    left.still(call).await?;
    right.still(call).await?;
    Ok(found)
}

/// Compares a stream with a server.
async fn streamed(params: &RedisDiffParams, stdin: Reader, call: &Call) -> Result<Found, Failure> {
    let right = side(&params.right.server().checked()?, &params.right, call).await?;
    let rules = params.rules(right.is_exact(), !right.counts_entries())?;
    let measure = Measure { counters: rules.counters, expiry: rules.expiry };
    let mut contents = Contents::new(stdin, measure, params.require_trailer);
    contents.adapts = true;
    let mut streamed = Streamed::new(right, &rules, params.databases()?, call).await?;
    streamed.moved(params.restored_with)?;
    streamed.read(&mut contents).await?;
    streamed.walk().await?;
    let Streamed { mut right, mut found, libraries: here, .. } = streamed;
    if found.expired > 0 {
        call.info(format!("{} keys of the stream have expired since, and are not looked for", found.expired));
    }
    if params.functions {
        found.differences.different_functions = libraries(&here, &right.functions().await?);
    }
    right.still(call).await?;
    Ok(found)
}

/// How many libraries are not the same.
fn libraries(here: &BTreeMap<Bytes, u128>, there: &BTreeMap<Bytes, u128>) -> u64 {
    let names: BTreeSet<_> = here.keys().chain(there.keys()).collect();
    names.iter().filter(|name| here.get(**name) != there.get(**name)).count() as u64
}

/// An error in the params of one of the two servers.
fn at(side: &str, target: Result<Target, ParamError>) -> Result<Target, ParamError> {
    target.map_err(|error| ParamError { path: format!("{side}.{}", error.path), ..error })
}

async fn side(target: &Target, compared: &Compared, call: &Call) -> Result<Side, Failure> {
    match servers::to_read(target, compared.role, call).await? {
        servers::Servers::One { connection, target, .. } => {
            Side::single(connection, &target, compared.impact, call).await
        }
        servers::Servers::Cluster(cluster) => {
            let reading = Reading::begin(*cluster, compared.role, None, call).await?;
            Side::cluster(reading, compared.impact, call).await
        }
    }
}

/// Which database is compared with which: those that are listed, or all that hold keys on either side.
fn pairs(
    databases: &Databases,
    params: &RedisDiffParams,
    left: &Side,
    right: &Side,
    call: &Call,
) -> BTreeSet<(u32, u32)> {
    let pair = |index: u32| (index, databases.place(index));
    if let Some(listed) = &params.databases {
        return listed.iter().map(|index| pair(*index)).collect();
    }
    let mut pairs: BTreeSet<_> = left.databases().into_iter().map(pair).collect();
    let mut alone = Vec::new();
    for there in right.databases() {
        match databases.source(there) {
            Some(index) => {
                pairs.insert(pair(index));
            }
            None => alone.push(there.to_string()),
        }
    }
    if !alone.is_empty() {
        call.warn(format!(
            "by `databaseMap` nothing is compared with these databases of the right server, which hold keys: {}",
            alone.join(", ")
        ));
    }
    pairs
}
