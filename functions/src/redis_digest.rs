//! Computes the digest of a keyspace: what proves that a restore brought everything back.
//!
//! Takes a server's address. Gives 32 hexadecimal digits for all of it and for each database. Always holds: the digest
//! depends on the keys, their types, values and expiries (those of single hash fields too), on streams' groups, consumers and
//! pending entries, and on the functions' code; not on the order of anything unordered, on encodings or on what only newer
//! servers know of a stream. A server that is written to meanwhile has no digest: what comes out then is that of no moment,
//! and nothing says so.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use aquifer_engine::failure::Failure;
use aquifer_engine::function::{Call, Function, ParamError};
use aquifer_engine::ports::Action;
use aquifer_engine::stream::Streams;
use bytes::Bytes;
use schemars::JsonSchema;
use serde::Serialize;

use crate::redis::chunks::Parts;
use crate::redis::connection::{Connection, Reply};
use crate::redis::digest::{self, Sum, Value};
use crate::redis::digest_stream;
use crate::redis::expiry::{self, Expiry};
use crate::redis::facts::{Clock, Facts};
use crate::redis::fields::{self, Names};
use crate::redis::pace::Pace;
use crate::redis::scan::{BIG, LONG, reading};
use crate::redis::tally::{Kind, thousands};
use crate::redis::target::with_server;
use crate::redis::temporary::is_reserved;
use crate::redis::values;
use crate::redis::work;
use crate::redis_dump;

pub use crate::redis::digest::ExpiryIn;
pub use crate::redis::pace::Impact;
pub use crate::redis::tally::PerType;
pub use crate::redis::tls::Tls;

/// How often progress is noted.
const NOTE_EVERY: Duration = Duration::from_millis(250);

/// How often a database is read where a scan showed keys twice.
const ATTEMPTS: u32 = 3;

/// More fields than any hash has that is read at once.
const ALL_FIELDS: u64 = 1 << 20;

/// `redis-digest`.
#[derive(Debug, Clone, Copy)]
pub struct RedisDigest;

with_server! {
    /// Its params.
    pub struct RedisDigestParams {
        /// The server: `redis://host:6379`, `rediss://host:6379` for TLS, `redis+unix:///path/of/the.sock`; may have a user and
        /// a password in front of the host, and one database behind it (then only that is read, unless `databases` says more).
        url,
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

fn yes() -> bool {
    true
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
        let mut connection = Connection::open(&target, call).await?;
        let facts = Facts::ask(&mut connection).await?;
        let databases = redis_dump::databases(params.databases, target.address.database, &facts, call);
        let functions = if params.functions { digest::functions(&mut connection).await? } else { Sum::default() };
        let mut reading = Reading {
            connection,
            clock: facts.clock,
            field_expiry: facts.field_expiry,
            pace: Pace::new(params.impact, &target, call),
            expiry: params.expiry,
            call,
            noted: Instant::now(),
            before: 0,
        };
        let (mut sums, mut per_type) = (Vec::new(), PerType::default());
        for index in databases {
            let (sum, types) = reading.database(index).await?;
            sums.push((index, sum));
            per_type = per_type.plus(&types);
            reading.before = per_type.total();
        }
        facts.still(&mut reading.connection).await?;
        Ok(RedisDigestOutputs {
            digest: digest::hex(digest::all(&sums, functions)),
            databases: sums
                .iter()
                .filter(|(_, sum)| sum.count > 0)
                .map(|(index, sum)| (*index, digest::hex(digest::Hasher::default().sum(*sum).finish())))
                .collect(),
            keys: per_type.total(),
            per_type,
            functions: functions.count,
            server_version: facts.version,
        })
    }
}

/// A keyspace being read.
struct Reading<'a> {
    connection: Connection,
    clock: Clock,
    /// Fields of hashes may have an expiry of their own.
    field_expiry: bool,
    pace: Pace,
    expiry: ExpiryIn,
    call: &'a Call,
    noted: Instant,
    /// Keys of the databases before.
    before: u64,
}

/// A key of which everything but the value is known.
struct Found {
    key: Bytes,
    kind: Kind,
    expiry: Expiry,
    size: u64,
}

impl Reading<'_> {
    async fn database(&mut self, index: u32) -> Result<(Sum, PerType), Failure> {
        let reply = self.connection.ask(&[b"SELECT", index.to_string().as_bytes()]).await?;
        self.connection.accepted(reply, format_args!("selecting database {index}"))?;
        for _ in 0..ATTEMPTS {
            let (sum, types, found) = self.pass(index).await?;
            // `SCAN` shows each key, and some of them twice where the server's table has shrunk meanwhile.
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

    /// Reads a database once; gives how many keys it showed, too.
    async fn pass(&mut self, index: u32) -> Result<(Sum, PerType, u64), Failure> {
        let (mut sum, mut types, mut shown) = (Sum::default(), PerType::default(), 0);
        let (mut cursor, mut count) = (Bytes::from_static(b"0"), 16usize);
        loop {
            self.pace.rest(self.call).await?;
            let now = count.min(self.pace.fit(work::SCANNED + work::TYPE + work::SIZE + work::EXPIRY));
            self.pace.asked(now as u64 * work::SCANNED);
            let text = now.to_string();
            let reply = self.connection.ask(&[b"SCAN", &cursor, b"COUNT", text.as_bytes()]).await?;
            let reply = self.connection.accepted(reply, format_args!("scanning database {index}"))?;
            let Some([Reply::Bulk(next), Reply::Array(keys)]) =
                reply.items().and_then(|items| <[Reply; 2]>::try_from(items).ok())
            else {
                return Err(self.connection.unexpected("`SCAN`", &"something else"));
            };
            shown += keys.len() as u64;
            let keys: Vec<Bytes> =
                keys.iter().filter_map(Reply::bytes).filter(|key| !is_reserved(key)).cloned().collect();
            let bytes: usize = keys.iter().map(Bytes::len).sum();
            count = if bytes > 128 << 10 { (count / 2).max(1) } else { (count * 4).min(512) };
            for (hash, kind) in self.page(keys).await? {
                sum.add(hash);
                types.add(kind);
            }
            if self.noted.elapsed() >= NOTE_EVERY {
                self.noted = Instant::now();
                self.call.note(format!("{} keys", thousands(self.before + types.total())));
            }
            if &next[..] == b"0" {
                return Ok((sum, types, shown));
            }
            cursor = next;
        }
    }

    /// The hashes and types of these keys; those that are gone are left out.
    async fn page(&mut self, keys: Vec<Bytes>) -> Result<Vec<(u128, Kind)>, Failure> {
        let connection = &mut self.connection;
        for key in &keys {
            connection.push(&[b"TYPE", key]);
            connection.push(&[b"MEMORY", b"USAGE", key]);
            if self.clock == Clock::Left {
                connection.push(&[b"MULTI"]);
                connection.push(&[b"TIME"]);
            }
            expiry::ask_expiry(connection.output(), self.clock, key);
            if self.clock == Clock::Left {
                connection.push(&[b"EXEC"]);
            }
        }
        self.pace.asked(keys.len() as u64 * (work::TYPE + work::SIZE + work::EXPIRY));
        connection.flush().await?;
        let mut found = Vec::with_capacity(keys.len());
        for key in keys {
            let reply = connection.reply().await?;
            let kind = connection.accepted(reply, reading(&key))?;
            let size = connection.reply().await?;
            let size = match connection.accepted(size, reading(&key))? {
                Reply::Integer(size) => size.unsigned_abs(),
                _ => 0,
            };
            let now = match self.clock {
                Clock::At => None,
                Clock::Left => {
                    values::begin(connection, 2, |_| reading(&key)).await?;
                    Some(expiry::time(connection).await?)
                }
            };
            let expiry = expiry::read_expiry(connection, &key, now).await?;
            if expiry != Expiry::Gone {
                let kind = Kind::of_name(kind.bytes().map_or(&b""[..], |name| name));
                found.push(Found { key, kind, expiry, size });
            }
        }
        let mut hashes = Vec::with_capacity(found.len());
        // Several small values at once, but never more than one request's work.
        let mut rest = &found[..];
        while !rest.is_empty() {
            self.pace.rest(self.call).await?;
            let (mut work, most) = (0, self.pace.request());
            let some = rest.iter().take_while(|found| {
                let first = work == 0;
                work += if self.is_small(found) { work::dumped(found.size) } else { 1 };
                work <= most || first
            });
            let (now, later) = rest.split_at(some.count());
            self.pace.asked(work);
            self.small(now, &mut hashes).await?;
            rest = later;
        }
        for found in &found {
            if !self.is_small(found) {
                let value = self.big(found).await?;
                self.add(found, value, &mut hashes);
            }
        }
        Ok(hashes)
    }

    fn is_small(&self, found: &Found) -> bool {
        match found.kind {
            Kind::Other => true,
            Kind::String => found.size <= LONG,
            Kind::Stream => false,
            _ => found.size <= BIG,
        }
    }

    fn has_fields(&self, found: &Found) -> bool {
        self.field_expiry && found.kind == Kind::Hash
    }

    fn add(&self, found: &Found, value: Value, hashes: &mut Vec<(u128, Kind)>) {
        if let Value::Is(value) = value {
            hashes.push((digest::key(&found.key, found.kind, value, found.expiry, self.expiry), found.kind));
        }
    }

    /// Reads those of these values that are small.
    async fn small(&mut self, all: &[Found], hashes: &mut Vec<(u128, Kind)>) -> Result<(), Failure> {
        let all: Vec<&Found> = all.iter().filter(|found| self.is_small(found)).collect();
        for found in &all {
            if self.has_fields(found) {
                fields::ask_names(self.connection.output(), &found.key, b"0", ALL_FIELDS);
            } else {
                digest::ask(&mut self.connection, found.kind, &found.key);
            }
        }
        self.connection.flush().await?;
        let mut hashes_of_fields: Vec<(&Found, Names)> = Vec::new();
        for found in all {
            if self.has_fields(found) {
                if let Some(names) = fields::read_names(&mut self.connection, &found.key).await? {
                    hashes_of_fields.push((found, names));
                }
            } else {
                let value = digest::answer(&mut self.connection, found.kind, &found.key).await?;
                self.add(found, value, hashes);
            }
        }
        for (found, names) in hashes_of_fields {
            let how = (ALL_FIELDS, self.clock, self.expiry);
            let value =
                digest::fields_in(&mut self.connection, &found.key, names, how, (&mut self.pace, self.call)).await?;
            self.add(found, value, hashes);
        }
        Ok(())
    }

    async fn big(&mut self, found: &Found) -> Result<Value, Failure> {
        let (connection, pace) = (&mut self.connection, (&mut self.pace, self.call));
        match found.kind {
            Kind::Stream => return digest_stream::stream(connection, &found.key, found.size, pace).await,
            Kind::String => return digest::long_string(connection, &found.key, pace).await,
            _ => {}
        }
        match Parts::of(connection, &found.key, found.kind, found.size, self.clock).await? {
            Some(parts) if found.kind == Kind::Hash && self.field_expiry => {
                let Some(names) = fields::names(connection, &found.key, b"0", parts.count).await? else {
                    return Ok(Value::Gone);
                };
                let how = (parts.count, self.clock, self.expiry);
                digest::fields_in(connection, &found.key, names, how, pace).await
            }
            Some(parts) => digest::big(connection, &parts, pace).await,
            None => Ok(Value::Gone),
        }
    }
}
