//! The functions that the cases in `tests/cases` use: typical params, ends and outputs, and nothing behind them, so that
//! a change to a real function changes no case.

use std::collections::BTreeMap;

use aquifer_engine::failure::Failure;
use aquifer_engine::function::{Call, Function, NoOutputs, ParamError};
use aquifer_engine::ports::{Action, Open, Sink, Source, Transform};
use aquifer_engine::registry::Registry;
use aquifer_engine::secret::{Secret, SecretUrl};
use aquifer_engine::stream::{Accepts, Produces, StreamType, Streams};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// All of them.
pub fn registry() -> Registry {
    Registry::new()
        .with(RedisDump)
        .with(RedisRestore)
        .with(ResticPush)
        .with(ResticPull)
        .with(ResticForget)
        .with(Upload)
        .with(aquifer_functions::download::Download)
        .with(Compress)
        .with(Decompress)
        .with(Encrypt)
        .with(MetricsPush)
        .with(Exec)
}

fn resp() -> StreamType {
    "application/vnd.redis.resp".parse().unwrap_or_else(|_| StreamType::unknown())
}

fn reads(stdin: Accepts) -> Streams {
    Streams { stdin, stdout: Produces::Same }
}

fn writes(stdout: Produces) -> Streams {
    Streams { stdin: Accepts::Any, stdout }
}

/// Declares a function that a case plans and nobody runs.
macro_rules! function {
    ($type:ident, $name:literal, $summary:literal, $params:ident, $ports:ident, $outputs:ident, $streams:expr $(, $check:expr)?) => {
        #[doc = $summary]
        pub struct $type;

        impl Function for $type {
            const NAME: &'static str = $name;
            const SUMMARY: &'static str = $summary;
            const REPEAT: &'static str = "Does the same again.";
            type Params = $params;
            type Ports = $ports;
            type Outputs = $outputs;

            fn streams(_: Option<&$params>) -> Streams {
                $streams
            }

            $(fn check(params: &$params) -> Result<(), ParamError> {
                $check(params)
            })?

            async fn run(&self, _: $params, _: $ports, _: &Call) -> Result<$outputs, Failure> {
                Err(Failure::internal("the functions of the cases are planned, and never run"))
            }
        }
    };
}

/// Params of `redis-dump`.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(dead_code, reason = "read by the plan's checks alone")]
pub struct DumpParams {
    /// The server.
    url: SecretUrl,
    /// Which databases; all unless said.
    databases: Option<Vec<u8>>,
    /// How keys are read.
    #[serde(default)]
    mode: Mode,
    /// Leave keys out that begin so.
    exclude: Option<String>,
}

/// How keys are read.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// One after the other.
    #[default]
    Scan,
    /// From a fork.
    Replica,
}

/// Outputs of `redis-dump`.
#[derive(Serialize, JsonSchema)]
pub struct DumpOutputs {
    /// How many keys.
    keys: u64,
}

function!(
    RedisDump,
    "redis-dump",
    "Dumps a server.",
    DumpParams,
    Source,
    DumpOutputs,
    writes(Produces::Exactly(resp()))
);

/// Params of `redis-restore`.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(dead_code, reason = "read by the plan's checks alone")]
pub struct RestoreParams {
    /// The server.
    url: SecretUrl,
    /// Stop at the first error.
    #[serde(default)]
    strict: bool,
}

function!(
    RedisRestore,
    "redis-restore",
    "Loads a dump.",
    RestoreParams,
    Sink,
    DumpOutputs,
    reads(Accepts::Only(resp()))
);

/// Params of `restic-push`.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(dead_code, reason = "read by the plan's checks alone")]
pub struct PushParams {
    /// The repository.
    repository: String,
    /// Its password.
    password: Secret,
    /// The file's name inside the snapshot.
    #[serde(default)]
    filename: Option<String>,
    /// Tags of the snapshot.
    #[serde(default)]
    tags: Vec<String>,
}

fn check_filename(params: &PushParams) -> Result<(), ParamError> {
    match &params.filename {
        Some(name) if name.contains('/') => Err(ParamError::new("filename", format!("`{name}` is a path, not a name"))
            .with_help("leave out everything up to the last `/`")),
        _ => Ok(()),
    }
}

/// Outputs of `restic-push`.
#[derive(Serialize, JsonSchema)]
pub struct PushOutputs {
    /// The snapshot's id.
    snapshot: String,
    /// How much was added.
    bytes: u64,
}

function!(
    ResticPush,
    "restic-push",
    "Stores a stream.",
    PushParams,
    Sink,
    PushOutputs,
    reads(Accepts::Any),
    check_filename
);
function!(ResticPull, "restic-pull", "Reads a stream back.", PushParams, Source, NoOutputs, writes(Produces::Stored));

/// Params of `restic-forget`.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(dead_code, reason = "read by the plan's checks alone")]
pub struct ForgetParams {
    /// The repository.
    repository: String,
    /// Its password.
    password: Secret,
    /// How many snapshots stay.
    keep_last: Option<u32>,
    /// Free the space.
    #[serde(default)]
    prune: bool,
}

function!(ResticForget, "restic-forget", "Removes old snapshots.", ForgetParams, Action, NoOutputs, Streams::ANY);

/// Params of `upload`.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(dead_code, reason = "read by the plan's checks alone")]
pub struct UploadParams {
    /// Where to.
    to: Location,
    /// The object's key.
    key: String,
}

/// A place for objects.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Location {
    /// A bucket.
    S3(Bucket),
    /// A folder.
    Folder(Folder),
}

/// A bucket.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(dead_code, reason = "read by the plan's checks alone")]
pub struct Bucket {
    /// Its name.
    bucket: String,
    /// The secret key.
    secret_key: Option<Secret>,
}

/// A folder.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(dead_code, reason = "read by the plan's checks alone")]
pub struct Folder {
    /// Its path.
    path: String,
}

function!(Upload, "upload", "Stores an object.", UploadParams, Sink, NoOutputs, reads(Accepts::Any));

/// Params of `compress`.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(dead_code, reason = "read by the plan's checks alone")]
pub struct CompressParams {
    /// How hard.
    #[schemars(range(min = 1, max = 22))]
    level: Option<i32>,
}

function!(Compress, "compress", "Compresses.", CompressParams, Transform, NoOutputs, writes(Produces::Adds("zstd")));

/// Params of a function that has none.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NoParams {}

function!(
    Decompress,
    "decompress",
    "Takes compression off.",
    NoParams,
    Transform,
    NoOutputs,
    Streams { stdin: Accepts::Wrapped(vec!["zstd"]), stdout: Produces::TakesOff }
);

/// Params of `encrypt`.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(dead_code, reason = "read by the plan's checks alone")]
pub struct EncryptParams {
    /// Who can read it.
    recipients: Vec<String>,
}

function!(Encrypt, "encrypt", "Encrypts.", EncryptParams, Transform, NoOutputs, writes(Produces::Adds("age")));

/// Params of `metrics-push`.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(dead_code, reason = "read by the plan's checks alone")]
pub struct MetricsParams {
    /// The gateway.
    url: String,
    /// The job.
    job: String,
    /// More labels.
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

function!(MetricsPush, "metrics-push", "Pushes metrics.", MetricsParams, Action, NoOutputs, Streams::ANY);

/// Params of `exec`.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(dead_code, reason = "read by the plan's checks alone")]
pub struct ExecParams {
    /// The program and its arguments.
    command: Vec<String>,
    /// Its environment.
    #[serde(default)]
    env: BTreeMap<String, Secret>,
    /// Where it runs.
    dir: Option<String>,
}

/// Outputs of `exec`.
#[derive(Serialize, JsonSchema)]
pub struct ExecOutputs {
    /// What it wrote, where nobody read it.
    stdout: Option<String>,
}

function!(
    Exec,
    "exec",
    "Runs a command.",
    ExecParams,
    Open,
    ExecOutputs,
    writes(Produces::Exactly(StreamType::unknown()))
);
