//! Reads a file of a snapshot back from a restic repository.
//!
//! Takes a snapshot's id or `latest`; gives the file's bytes, of the type that was stored with them. Always holds: each chunk was
//! authenticated and compared with its id before it is passed on; success means that the whole file was.

use std::path::PathBuf;

use aquifer_engine::failure::Failure;
use aquifer_engine::function::{Call, Function, ParamError};
use aquifer_engine::ports::Source;
use aquifer_engine::secret::Secret;
use aquifer_engine::stream::{Accepts, Produces, StreamType, Streams};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::codec::blocking;
use crate::location::{Location, Purpose};
use crate::restic::fetch;
use crate::restic::index::Index;
use crate::restic::lock::{Kind, locked, or_without};
use crate::restic::open::Access;
use crate::restic::select::{self, Filter, SnapshotSummary};
use crate::restic_push::ten_minutes;
use crate::shared::yes;
use crate::units::Period;

/// `restic-pull`.
#[derive(Debug, Clone, Copy)]
pub struct ResticPull;

/// Its params.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ResticPullParams {
    /// Where the repository is.
    pub repository: Location,
    /// The repository's password, as it is: white space around it counts, other than in a `passwordFile`.
    #[serde(default)]
    pub password: Option<Secret>,
    /// A file that holds the password; white space around it does not count.
    #[serde(default)]
    pub password_file: Option<PathBuf>,
    /// Which snapshot: `latest`, or an id or its first characters.
    #[serde(default = "latest")]
    pub snapshot: String,
    /// What `latest` looks among, and where the snapshot must be.
    #[serde(default)]
    pub filter: Filter,
    /// The file in the snapshot; may be left out where there is only one.
    #[serde(default)]
    pub filename: Option<String>,
    /// What the file holds, where that was not stored with it (another program wrote it): `application/vnd.redis.resp`, say.
    #[serde(default)]
    pub r#type: Option<StreamType>,
    /// Whether to lock the repository, so that nobody removes what is being read. Without it, reading works where nothing can be written.
    #[serde(default = "yes")]
    pub lock: bool,
    /// How long to wait for an exclusive lock of somebody else (a prune, say).
    #[serde(default = "ten_minutes")]
    pub lock_timeout: Period,
}

fn latest() -> String {
    "latest".to_owned()
}

/// What it gives to later steps.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ResticPullOutputs {
    /// The snapshot's id.
    pub snapshot: String,
    /// When the snapshot was made.
    pub time: String,
    /// The host that the snapshot is of.
    pub host: String,
    /// The file's path in the snapshot.
    pub filename: String,
    /// How many bytes it has.
    pub bytes: u64,
}

impl Function for ResticPull {
    const NAME: &'static str = "restic-pull";
    const SUMMARY: &'static str = "Read a file of a snapshot back from a restic repository.";
    const REPEAT: &'static str = "Reads it again; `latest` may be another snapshot then.";
    type Params = ResticPullParams;
    type Ports = Source;
    type Outputs = ResticPullOutputs;

    fn streams(params: Option<&ResticPullParams>) -> Streams {
        let stdout = match params.and_then(|params| params.r#type.clone()) {
            Some(stream) => Produces::Exactly(stream),
            None => Produces::Stored,
        };
        Streams { stdin: Accepts::Any, stdout }
    }

    fn check(params: &ResticPullParams) -> Result<(), ParamError> {
        Access::check(&params.repository, params.password.as_ref(), params.password_file.as_deref())?;
        select::check(&params.snapshot)
    }

    async fn run(&self, params: ResticPullParams, ports: Source, call: &Call) -> Result<ResticPullOutputs, Failure> {
        let access =
            Access { location: params.repository, password: params.password, password_file: params.password_file };
        let purpose = if params.lock { Purpose::Update } else { Purpose::Read };
        let repo = access.open(purpose, false, call).await?;
        let patience = params.lock.then_some(params.lock_timeout.0);
        let mut output = ports.stdout;
        let work = async |_lock| {
            let inner = repo.clone();
            let (snapshot, file, index) = blocking(move || {
                let snapshot = select::one(&inner, &params.snapshot, &params.filter)?;
                let index = Index::load(&inner)?;
                let file = fetch::find(&inner, &index, &snapshot, params.filename.as_deref())?;
                Ok((SnapshotSummary::from(&snapshot), file, index))
            })
            .await?;
            call.info(format!(
                "snapshot {} of {} ({}), `{}`",
                &snapshot.id[..8],
                snapshot.time,
                snapshot.host,
                file.path
            ));
            if params.r#type.is_none() {
                output.declare(file.stream.clone())?;
            }
            let bytes = call.or_cancelled(fetch::stream(&repo, &index, &file, &mut output)).await??;
            Ok(ResticPullOutputs {
                snapshot: snapshot.id,
                time: snapshot.time,
                host: snapshot.host,
                filename: file.path,
                bytes,
            })
        };
        locked(&repo, Kind::Shared, patience, call, work).await.map_err(or_without)
    }
}
