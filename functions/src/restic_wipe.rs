//! Removes a restic repository with all its snapshots.
//!
//! Takes a word that it is meant. Gives how much there was. Always holds: only who has its password can do it, and nobody works in it meanwhile;
//! of what else lies in its folder nothing is removed; broken off, it can be done again, until nothing but key files is left.

use std::path::PathBuf;

use aquifer_engine::failure::{Failure, FailureKind};
use aquifer_engine::function::{Call, Function, ParamError};
use aquifer_engine::ports::Action;
use aquifer_engine::secret::Secret;
use aquifer_engine::stream::{Accepts, Produces, StreamType, Streams};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::location::{Location, Purpose};
use crate::restic::clear;
use crate::restic::lock::{Kind, locked};
use crate::restic::open::Access;
use crate::restic_push::ten_minutes;
use crate::units::Period;

/// `restic-wipe`.
#[derive(Debug, Clone, Copy)]
pub struct ResticWipe;

/// Its params.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ResticWipeParams {
    /// Where the repository is.
    pub repository: Location,
    /// The repository's password, as it is: white space around it counts, other than in a `passwordFile`.
    #[serde(default)]
    pub password: Option<Secret>,
    /// A file that holds the password; white space around it does not count.
    #[serde(default)]
    pub password_file: Option<PathBuf>,
    /// That it is meant: `all snapshots`.
    pub remove: Word,
    /// How long to wait for somebody else's lock.
    #[serde(default = "ten_minutes")]
    pub lock_timeout: Period,
}

/// What is to be removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum Word {
    /// All of it.
    #[serde(rename = "all snapshots")]
    AllSnapshots,
}

/// What it gives to later steps.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ResticWipeOutputs {
    /// Whether there was a repository.
    pub found: bool,
    /// How many snapshots it had.
    pub snapshots: u64,
    /// How many files were removed, beside its keys, its config and locks.
    pub files: u64,
    /// How many bytes those had.
    pub bytes: u64,
}

impl Function for ResticWipe {
    const NAME: &'static str = "restic-wipe";
    const SUMMARY: &'static str = "Remove a restic repository with all its snapshots.";
    const REPEAT: &'static str = "Goes on where it was broken off, until nothing but key files is left; where there is no repository any more, there is nothing to do.";
    type Params = ResticWipeParams;
    type Ports = Action;
    type Outputs = ResticWipeOutputs;

    fn streams(_: Option<&ResticWipeParams>) -> Streams {
        Streams { stdin: Accepts::Any, stdout: Produces::Exactly(StreamType::unknown()) }
    }

    fn check(params: &ResticWipeParams) -> Result<(), ParamError> {
        Access::check(&params.repository, params.password.as_ref(), params.password_file.as_deref())
    }

    async fn run(&self, params: ResticWipeParams, _: Action, call: &Call) -> Result<ResticWipeOutputs, Failure> {
        let access =
            Access { location: params.repository, password: params.password, password_file: params.password_file };
        let repo = match access.open(Purpose::Update, false, call).await {
            Err(failure) if failure.kind == FailureKind::NotFound => {
                call.info(format!("nothing to do: {}", failure.message));
                return Ok(ResticWipeOutputs { found: false, snapshots: 0, files: 0, bytes: 0 });
            }
            opened => opened?,
        };
        let work = async |_lock| call.or_cancelled(clear::wipe(&repo)).await?;
        let wiped = locked(&repo, Kind::Exclusive, Some(params.lock_timeout.0), call, work).await?;
        call.info(format!("removed {} snapshots, {} files with {} bytes", wiped.snapshots, wiped.files, wiped.bytes));
        Ok(ResticWipeOutputs { found: true, snapshots: wiped.snapshots, files: wiped.files, bytes: wiped.bytes })
    }
}
