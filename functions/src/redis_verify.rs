//! Reads a dump without any server: is it whole, what is in it, and which digest has the keyspace that it holds.
//!
//! Takes a stream with a head and a trailer. Gives counts and the digest that `redis-digest` gives for the server that was
//! dumped, as it was then. Always holds: success means that the stream was whole and that every value in it could be taken
//! apart; no value is held whole.

use std::collections::BTreeMap;
use std::time::Instant;

use aquifer_engine::failure::Failure;
use aquifer_engine::function::{Call, Function, ParamError};
use aquifer_engine::ports::Sink;
use aquifer_engine::stream::{Accepts, Produces, Streams};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::redis::hash::contents::{Contents, Item};
use crate::redis::hash::elements::Measure;
use crate::redis::hash::streams::Counters;
use crate::redis::keys::digest::{self, Sum};
use crate::redis::keys::remembered::{MOST_REMEMBERED, Remembered};
use crate::redis::keys::tally::{so_many_keys, thousands};
use crate::redis::stream::form::stream_type;
use crate::shared::{NOTE_EVERY, yes};

pub use crate::redis::keys::digest::ExpiryIn;
pub use crate::redis::keys::tally::PerType;

/// `redis-verify`.
#[derive(Debug, Clone, Copy)]
pub struct RedisVerify;

/// Its params.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RedisVerifyParams {
    /// How expiries count in the digest: `exact` to the millisecond (unless said), `presence`, or `ignore`.
    #[serde(default)]
    pub expiry: ExpiryIn,
    /// Whether functions count in the digest too; true unless said.
    #[serde(default = "yes")]
    pub functions: bool,
    /// Whether to refuse a stream that has no head and trailer (true unless said): without them nobody can tell whether it is
    /// whole.
    #[serde(default = "yes")]
    pub require_trailer: bool,
}

/// What it gives to later steps.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RedisVerifyOutputs {
    /// The digest of all that the stream holds, in 32 hexadecimal digits.
    pub digest: String,
    /// The digest of each database that holds keys, without its number.
    pub databases: BTreeMap<u32, String>,
    /// Keys.
    pub keys: u64,
    /// Keys by type.
    pub per_type: PerType,
    /// Keys that stand in the stream a second time; the first one counts, as it does for `redis-restore`.
    pub repeated: u64,
    /// Libraries of functions.
    pub functions: u64,
    /// Commands of the stream.
    pub commands: u64,
    /// Bytes of the stream.
    pub bytes: u64,
}

impl Function for RedisVerify {
    const NAME: &'static str = "redis-verify";
    const SUMMARY: &'static str = "Check a dump and compute its digest, without any server.";
    const REPEAT: &'static str = "Gives the same digest again for the same dump.";
    type Params = RedisVerifyParams;
    type Ports = Sink;
    type Outputs = RedisVerifyOutputs;

    fn streams(_: Option<&RedisVerifyParams>) -> Streams {
        Streams { stdin: Accepts::Only(stream_type()), stdout: Produces::Same }
    }

    fn check(_: &RedisVerifyParams) -> Result<(), ParamError> {
        Ok(())
    }

    async fn run(&self, params: RedisVerifyParams, ports: Sink, call: &Call) -> Result<RedisVerifyOutputs, Failure> {
        // The same as `redis-digest` counts, which is the same on servers of all versions.
        let measure = Measure { counters: Counters::Old, expiry: params.expiry };
        let mut contents = Contents::new(ports.stdin, measure, params.require_trailer);
        let mut noted = Instant::now();
        let found = Found::in_all(&mut contents, params.expiry, |keys| {
            if noted.elapsed() >= NOTE_EVERY {
                noted = Instant::now();
                call.note(so_many_keys(keys));
            }
        })
        .await?;
        call.note(so_many_keys(found.per_type.total()));
        if found.seen.is_full() && contents.repeats {
            call.warn(format!(
                "a dump by scan may hold a key twice, and only the first {} keys are remembered: where the digest differs from a server's, compare them with `redis-diff`",
                thousands(MOST_REMEMBERED as u64)
            ));
        }
        Ok(RedisVerifyOutputs {
            digest: found.digest(params.functions),
            databases: found
                .sums
                .iter()
                .map(|(index, sum)| (*index, digest::hex(digest::Hasher::default().sum(*sum).finish())))
                .collect(),
            keys: found.per_type.total(),
            per_type: found.per_type,
            repeated: found.repeated,
            functions: found.functions.count,
            commands: contents.stream.commands(),
            bytes: contents.stream.parser.offset(),
        })
    }
}

/// What a stream was found to hold.
#[derive(Default)]
pub(crate) struct Found {
    sums: BTreeMap<u32, Sum>,
    functions: Sum,
    pub(crate) per_type: PerType,
    repeated: u64,
    seen: Remembered,
}

impl Found {
    /// Reads a stream to its end; tells from time to time how many keys there were.
    ///
    /// # Errors
    /// The stream is damaged, cut off, or holds what cannot be told.
    pub(crate) async fn in_all(
        contents: &mut Contents,
        expiry: ExpiryIn,
        mut progress: impl FnMut(u64),
    ) -> Result<Self, Failure> {
        let (mut all, mut database) = (Self::default(), 0);
        while let Some(item) = contents.next().await? {
            match item {
                Item::Database(index) => database = index,
                Item::Library(_, hash) => all.functions.add(hash),
                Item::Key(key, _) if all.seen.again(&key, database) => all.repeated += 1,
                Item::Key(key, found) => {
                    all.per_type.add(found.kind);
                    let hash = digest::key(&key, found.kind, found.value, found.expiry, expiry);
                    all.sums.entry(database).or_default().add(hash);
                }
            }
            progress(all.per_type.total());
        }
        Ok(all)
    }

    /// The digest of all of it, in hexadecimal digits.
    pub(crate) fn digest(&self, functions: bool) -> String {
        let counted = if functions { self.functions } else { Sum::default() };
        let all: Vec<(u32, Sum)> = self.sums.iter().map(|(index, sum)| (*index, *sum)).collect();
        digest::hex(digest::all(&all, counted))
    }
}
