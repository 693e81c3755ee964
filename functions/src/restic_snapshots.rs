//! Lists the snapshots of a restic repository.
//!
//! Takes a filter, gives what it takes, oldest first. Changes nothing.

use std::path::PathBuf;

use aquifer_engine::failure::Failure;
use aquifer_engine::function::{Call, Function, ParamError};
use aquifer_engine::ports::Action;
use aquifer_engine::secret::Secret;
use aquifer_engine::stream::{Accepts, Produces, StreamType, Streams};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::codec::blocking;
use crate::location::{Location, Purpose};
use crate::restic::open::Access;
use crate::restic::select::{self, Filter, SnapshotSummary};

/// `restic-snapshots`.
#[derive(Debug, Clone, Copy)]
pub struct ResticSnapshots;

/// Its params.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ResticSnapshotsParams {
    /// Where the repository is.
    pub repository: Location,
    /// The repository's password, as it is: white space around it counts, other than in a `passwordFile`.
    #[serde(default)]
    pub password: Option<Secret>,
    /// A file that holds the password; white space around it does not count.
    #[serde(default)]
    pub password_file: Option<PathBuf>,
    /// Which snapshots; all unless said.
    #[serde(default)]
    pub filter: Filter,
}

/// What it gives to later steps.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ResticSnapshotsOutputs {
    /// How many there are.
    pub count: u64,
    /// The newest one's id; nothing where there is none.
    pub latest: Option<String>,
    /// The snapshots, oldest first.
    pub snapshots: Vec<SnapshotSummary>,
}

impl Function for ResticSnapshots {
    const NAME: &'static str = "restic-snapshots";
    const SUMMARY: &'static str = "List the snapshots of a restic repository.";
    const REPEAT: &'static str = "Lists them as they are then.";
    type Params = ResticSnapshotsParams;
    type Ports = Action;
    type Outputs = ResticSnapshotsOutputs;

    fn streams(_: Option<&ResticSnapshotsParams>) -> Streams {
        Streams { stdin: Accepts::Any, stdout: Produces::Exactly(StreamType::unknown()) }
    }

    fn check(params: &ResticSnapshotsParams) -> Result<(), ParamError> {
        Access::check(&params.repository, params.password.as_ref(), params.password_file.as_deref())
    }

    async fn run(
        &self,
        params: ResticSnapshotsParams,
        _: Action,
        call: &Call,
    ) -> Result<ResticSnapshotsOutputs, Failure> {
        let access =
            Access { location: params.repository, password: params.password, password_file: params.password_file };
        let repo = access.open(Purpose::Read, false, call).await?;
        // Each snapshot is a file of its own that is never changed: there is nothing to lock against.
        let filter = params.filter.clone();
        let found = blocking(move || select::all(&repo, &filter)).await?;
        select::tell_if_none(&params.filter, found.len(), call);
        let snapshots: Vec<SnapshotSummary> = found.iter().map(SnapshotSummary::from).collect();
        for snapshot in &snapshots {
            call.info(format!(
                "{} {} {} {}",
                &snapshot.id[..8],
                snapshot.time,
                snapshot.host,
                snapshot.paths.join(" ")
            ));
        }
        let latest = snapshots.last().map(|snapshot| snapshot.id.clone());
        Ok(ResticSnapshotsOutputs { count: snapshots.len() as u64, latest, snapshots })
    }
}
