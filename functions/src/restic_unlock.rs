//! Removes locks from a restic repository.
//!
//! Takes whether all are meant. Gives which were there. Always holds: unless all are meant, a lock stays that somebody may hold.

use std::path::PathBuf;

use aquifer_engine::failure::Failure;
use aquifer_engine::function::{Call, Function, ParamError};
use aquifer_engine::ports::Action;
use aquifer_engine::secret::Secret;
use aquifer_engine::stream::{Accepts, Produces, StreamType, Streams};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::location::{Location, Purpose};
use crate::restic::clear;
use crate::restic::open::Access;

/// `restic-unlock`.
#[derive(Debug, Clone, Copy)]
pub struct ResticUnlock;

/// Its params.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ResticUnlockParams {
    /// Where the repository is.
    pub repository: Location,
    /// The repository's password, as it is: white space around it counts, other than in a `passwordFile`.
    #[serde(default)]
    pub password: Option<Secret>,
    /// A file that holds the password; white space around it does not count.
    #[serde(default)]
    pub password_file: Option<PathBuf>,
    /// Remove all locks, also those that look as if they were held. What works under one then may lose what it stores.
    #[serde(default)]
    pub all: bool,
}

/// What it gives to later steps.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ResticUnlockOutputs {
    /// How many were removed.
    pub removed: u64,
    /// The owners of those that stayed, in words.
    pub kept: Vec<String>,
}

impl Function for ResticUnlock {
    const NAME: &'static str = "restic-unlock";
    const SUMMARY: &'static str = "Remove locks that nobody holds any more from a restic repository.";
    const REPEAT: &'static str = "Removes those that are there then.";
    type Params = ResticUnlockParams;
    type Ports = Action;
    type Outputs = ResticUnlockOutputs;

    fn streams(_: Option<&ResticUnlockParams>) -> Streams {
        Streams { stdin: Accepts::Any, stdout: Produces::Exactly(StreamType::unknown()) }
    }

    fn check(params: &ResticUnlockParams) -> Result<(), ParamError> {
        Access::check(&params.repository, params.password.as_ref(), params.password_file.as_deref())
    }

    async fn run(&self, params: ResticUnlockParams, _: Action, call: &Call) -> Result<ResticUnlockOutputs, Failure> {
        let access =
            Access { location: params.repository, password: params.password, password_file: params.password_file };
        let repo = access.open(Purpose::Update, false, call).await?;
        let found = call.or_cancelled(clear::locks(&repo, params.all)).await??;
        for lock in &found {
            call.info(format!("{}: {}", if lock.removed { "removed" } else { "kept" }, lock.owner));
        }
        let removed = found.iter().filter(|lock| lock.removed).count() as u64;
        let kept = found.into_iter().filter(|lock| !lock.removed).map(|lock| lock.owner).collect();
        Ok(ResticUnlockOutputs { removed, kept })
    }
}
