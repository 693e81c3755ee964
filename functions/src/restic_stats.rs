//! Tells how much is in a restic repository.
//!
//! Takes a filter. Gives for the snapshots that it takes what they would restore to and what they take, and for the whole repository
//! what no snapshot needs. Changes nothing.

use std::path::PathBuf;

use aquifer_engine::failure::Failure;
use aquifer_engine::function::{Call, Function, ParamError};
use aquifer_engine::ports::Action;
use aquifer_engine::secret::Secret;
use aquifer_engine::stream::{Accepts, Produces, StreamType, Streams};
use bytesize::ByteSize;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::codec::blocking;
use crate::location::{Location, Purpose};
use crate::restic::lock::{Kind, locked, or_without};
use crate::restic::measure::{Files, PackFiles, Stored, measure};
use crate::restic::open::Access;
use crate::restic::select::{self, Filter};
use crate::restic_push::ten_minutes;
use crate::shared::yes;
use crate::units::Period;

/// `restic-stats`.
#[derive(Debug, Clone, Copy)]
pub struct ResticStats;

/// Its params.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ResticStatsParams {
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
    /// Whether to lock the repository, so that nobody removes what is being read. Without it, reading works where nothing can be written.
    #[serde(default = "yes")]
    pub lock: bool,
    /// How long to wait for an exclusive lock of somebody else (a prune, say).
    #[serde(default = "ten_minutes")]
    pub lock_timeout: Period,
}

/// What it gives to later steps.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ResticStatsOutputs {
    /// How many snapshots the filter takes.
    pub snapshots: u64,
    /// What they would be, each restored beside the others: restic's mode `restore-size`.
    pub restored: Files,
    /// The same, with files of the same content counted once: restic's mode `files-by-contents`.
    pub contents: Files,
    /// What they take in the repository: restic's mode `raw-data`.
    pub stored: Stored,
    /// The repository's packs, those included that other snapshots need.
    pub packs: PackFiles,
}

impl Function for ResticStats {
    const NAME: &'static str = "restic-stats";
    const SUMMARY: &'static str = "Tell how much is in a restic repository, and how much of it no snapshot needs.";
    const REPEAT: &'static str = "Counts what is there then.";
    type Params = ResticStatsParams;
    type Ports = Action;
    type Outputs = ResticStatsOutputs;

    fn streams(_: Option<&ResticStatsParams>) -> Streams {
        Streams { stdin: Accepts::Any, stdout: Produces::Exactly(StreamType::unknown()) }
    }

    fn check(params: &ResticStatsParams) -> Result<(), ParamError> {
        Access::check(&params.repository, params.password.as_ref(), params.password_file.as_deref())
    }

    async fn run(&self, params: ResticStatsParams, _: Action, call: &Call) -> Result<ResticStatsOutputs, Failure> {
        let access =
            Access { location: params.repository, password: params.password, password_file: params.password_file };
        let purpose = if params.lock { Purpose::Update } else { Purpose::Read };
        let repo = access.open(purpose, false, call).await?;
        let patience = params.lock.then_some(params.lock_timeout.0);
        let (inner, filter) = (repo.clone(), params.filter.clone());
        let work = |lock| {
            blocking(move || {
                let _lock = lock;
                let all = select::all(&inner, &Filter::default())?;
                let (chosen, others): (Vec<_>, Vec<_>) =
                    all.into_iter().partition(|snapshot| params.filter.takes(snapshot));
                let measured = measure(&inner, &chosen, &others)?;
                Ok((chosen.len() as u64, measured))
            })
        };
        let (snapshots, measured) = locked(&repo, Kind::Shared, patience, call, work).await.map_err(or_without)?;
        select::tell_if_none(&filter, snapshots as usize, call);
        let (restored, stored, packs) = (measured.restored, measured.stored, measured.packs);
        call.info(format!(
            "{snapshots} snapshots would restore to {} and take {}; the packs have {}, and no snapshot needs {} of it",
            ByteSize(restored.bytes),
            ByteSize(stored.bytes),
            ByteSize(packs.bytes),
            ByteSize(packs.unused_bytes),
        ));
        Ok(ResticStatsOutputs { snapshots, restored, contents: measured.contents, stored, packs })
    }
}
