//! Turns an RDB file into a dump.
//!
//! Takes an RDB of any server and age: a `dump.rdb`, or what `redis-cli --rdb` wrote. Gives the stream that `redis-dump`
//! gives, as described in `docs/reference/redis-stream.md`. Always holds: success means that the file was read up to its end
//! mark, that its checksum fits (where it has one) and that nothing follows; what the file has and the stream has not is
//! counted or said; memory stays bounded whatever the file holds.

use std::collections::BTreeMap;

use aquifer_engine::failure::Failure;
use aquifer_engine::function::{Call, Function, ParamError};
use aquifer_engine::ports::Transform;
use aquifer_engine::stream::{Accepts, Produces, Streams};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::rdb::copy::{Options, copy};
use crate::rdb::reader::Rdb;
use crate::rdb::said::say;
use crate::redis::keys::tally::so_many_keys;
use crate::redis::stream::form::{Form, StreamHead, stream_type};
use crate::shared::yes;

pub use crate::rdb::copy::ValueForm;
pub use crate::redis::keys::filter::{Keep, TypeName};
pub use crate::redis::keys::tally::PerType;

/// `rdb-read`.
#[derive(Debug, Clone, Copy)]
pub struct RdbRead;

/// Its params.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RdbReadParams {
    /// How values are written: `native` (the fastest mix) unless said, or `logical` (plain commands only, for servers that are
    /// older than the one that wrote the file or of another make).
    #[serde(default)]
    pub form: ValueForm,
    /// The databases to read; all of them unless said.
    #[serde(default)]
    pub databases: Option<Vec<u32>>,
    /// Which keys to read; all of them unless said.
    #[serde(default)]
    pub filter: Keep,
    /// Whether to read the libraries of functions too; true unless said.
    #[serde(default = "yes")]
    pub functions: bool,
    /// Whether to keep when keys were last used or how often, where the file says so and `RESTORE` can take it along; true
    /// unless said or `form` is `logical`. It differs from file to file, so that unchanged data is not the same bytes.
    #[serde(default)]
    pub hints: Option<bool>,
}

/// What it gives to later steps.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RdbReadOutputs {
    /// Keys that were written.
    pub keys: u64,
    /// Keys that were written, by type.
    pub per_type: PerType,
    /// Keys that were written, by database.
    pub databases: BTreeMap<u32, u64>,
    /// Keys that were written with an expiry, passed or not.
    pub expires: u64,
    /// Keys that the params leave out.
    pub left_out: u64,
    /// Keys without elements, which a server drops when it loads them.
    pub empty: u64,
    /// Libraries of functions that were written.
    pub functions: u64,
    /// What modules keep beside the keys: it is left out.
    pub module_data: u64,
    /// Pending entries of streams that plain commands cannot make again, because their entry was deleted.
    pub lost_pending: u64,
    /// Bytes of the stream.
    pub bytes: u64,
    /// The version of the file's format.
    pub rdb_version: u32,
    /// The version of the server that wrote it, where it says so.
    pub server_version: Option<String>,
}

impl Function for RdbRead {
    const NAME: &'static str = "rdb-read";
    const SUMMARY: &'static str = "Turn an RDB file into a dump that `redis-restore` takes.";
    const REPEAT: &'static str = "Gives the same bytes again for the same file.";
    type Params = RdbReadParams;
    type Ports = Transform;
    type Outputs = RdbReadOutputs;

    fn streams(_: Option<&RdbReadParams>) -> Streams {
        Streams { stdin: Accepts::Any, stdout: Produces::Exactly(stream_type()) }
    }

    fn check(params: &RdbReadParams) -> Result<(), ParamError> {
        if params.databases.as_ref().is_some_and(Vec::is_empty) {
            return Err(ParamError::new("databases", "the list is empty").with_help("leave it out to read all of them"));
        }
        if params.hints == Some(true) && params.form == ValueForm::Logical {
            return Err(
                ParamError::new("hints", "plain commands have no place for them").with_help("say `form: native`")
            );
        }
        params.filter.filter("filter").map(drop)
    }

    async fn run(&self, params: RdbReadParams, ports: Transform, call: &Call) -> Result<RdbReadOutputs, Failure> {
        let keep = params.filter.filter("filter")?;
        let options = Options {
            form: params.form,
            databases: params.databases,
            keep,
            no_functions: !params.functions,
            no_hints: params.hints == Some(false),
        };
        let mut rdb = Rdb::begin(ports.stdin).await?;
        let head = StreamHead {
            redis: rdb.about.server.clone().unwrap_or_default(),
            source: "rdb".to_owned(),
            consistency: "point-in-time".to_owned(),
            role: String::new(),
            databases: Vec::new(),
            cluster: None,
        };
        let mut form = Form::begin(ports.stdout, &head)?;
        let copied = copy(&mut rdb, &mut form, &options, Some(call)).await?;
        rdb.nothing_follows().await?;
        say(&copied, rdb.passed_over, call);
        let bytes = form.finish(copied.types, copied.functions).await?;
        call.note(so_many_keys(copied.types.total()));
        Ok(RdbReadOutputs {
            keys: copied.types.total(),
            per_type: copied.types,
            databases: copied.databases,
            expires: copied.expires,
            left_out: copied.left_out,
            empty: copied.empty,
            functions: copied.functions,
            module_data: rdb.passed_over.module_aux + rdb.passed_over.key_meta,
            lost_pending: copied.lost_pending,
            bytes,
            rdb_version: rdb.about.version,
            server_version: rdb.about.server,
        })
    }
}
