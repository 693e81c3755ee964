//! Removes the data from a restic repository that no snapshot needs any more.
//!
//! Takes bounds of time and of bytes; gives what was freed and whether anything is left to do. Always holds: backups go on while data
//! is copied, and are kept out only while it is removed; whatever cuts a run off, no snapshot is harmed and the next one goes on.

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
use crate::restic::open::Access;
use crate::restic::prune::{Bounds, prune, survey};
use crate::restic::select;
use crate::restic_push::ten_minutes;
use crate::units::{Leftover, Period, Size};

/// `restic-prune`.
#[derive(Debug, Clone, Copy)]
pub struct ResticPrune;

/// Its params.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ResticPruneParams {
    /// Where the repository is.
    pub repository: Location,
    /// The repository's password, as it is: white space around it counts, other than in a `passwordFile`.
    #[serde(default)]
    pub password: Option<Secret>,
    /// A file that holds the password; white space around it does not count.
    #[serde(default)]
    pub password_file: Option<PathBuf>,
    /// For how long to copy at the most; what is left then is left to the next run. As long as it takes unless said.
    #[serde(default)]
    pub max_time: Option<Period>,
    /// How many bytes to copy at the most. As many as it takes unless said.
    #[serde(default)]
    pub max_repack: Option<Size>,
    /// How much that no snapshot needs may stay, for the sake of copying less: a share of the repository, bytes, or `unlimited` (then only packs in which nothing is needed go, and nothing is copied).
    #[serde(default = "five_percent")]
    pub max_unused: Leftover,
    /// Whether to make large packs of small ones too, which many small backups leave.
    #[serde(default)]
    pub repack_small: bool,
    /// Whether all data may go where there are no snapshots at all; otherwise that is taken for a mistake.
    #[serde(default)]
    pub allow_empty: bool,
    /// Whether only to say what would be done.
    #[serde(default)]
    pub dry_run: bool,
    /// How long to wait for locks of others.
    #[serde(default = "ten_minutes")]
    pub lock_timeout: Period,
}

fn five_percent() -> Leftover {
    Leftover::Percent(5.0)
}

/// What it gives to later steps.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ResticPruneOutputs {
    /// How many packs were removed, or would be.
    pub removed_packs: u64,
    /// How many bytes the repository became smaller, or would.
    pub freed_bytes: u64,
    /// How many bytes were copied into new packs, or would be.
    pub repacked_bytes: u64,
    /// How many bytes that no snapshot needs are left, or would be.
    pub unused_bytes: u64,
    /// Whether nothing is left to do for another run with the same bounds.
    pub finished: bool,
}

impl Function for ResticPrune {
    const NAME: &'static str = "restic-prune";
    const SUMMARY: &'static str =
        "Remove the data from a restic repository that no snapshot needs, in bounded time if wanted.";
    const REPEAT: &'static str = "Goes on where the last run ended: what that one copied counts.";
    type Params = ResticPruneParams;
    type Ports = Action;
    type Outputs = ResticPruneOutputs;

    fn streams(_: Option<&ResticPruneParams>) -> Streams {
        Streams { stdin: Accepts::Any, stdout: Produces::Exactly(StreamType::unknown()) }
    }

    fn check(params: &ResticPruneParams) -> Result<(), ParamError> {
        Access::check(&params.repository, params.password.as_ref(), params.password_file.as_deref())
    }

    async fn run(&self, params: ResticPruneParams, _: Action, call: &Call) -> Result<ResticPruneOutputs, Failure> {
        let access =
            Access { location: params.repository, password: params.password, password_file: params.password_file };
        let purpose = if params.dry_run { Purpose::Read } else { Purpose::Update };
        let repo = access.open(purpose, false, call).await?;
        let bounds = Bounds {
            max_repack: params.max_repack.map(|size| size.0),
            max_unused: params.max_unused,
            repack_small: params.repack_small,
            allow_empty: params.allow_empty,
        };
        if params.dry_run {
            let found = blocking(move || survey(&repo, &bounds)).await?;
            call.info(format!(
                "would remove {} packs of {} and copy {} out of {} others; {} that nobody needs would stay",
                found.removable_packs,
                ByteSize(found.removable),
                ByteSize(found.repack),
                found.repack_packs,
                ByteSize(found.left)
            ));
            select::tell_dry(call);
            return Ok(ResticPruneOutputs {
                removed_packs: found.removable_packs + found.repack_packs,
                freed_bytes: found.removable + found.rubbish - found.left,
                repacked_bytes: found.repack,
                unused_bytes: found.left,
                finished: found.removable_packs + found.repack_packs == 0,
            });
        }
        let (time, patience) = (params.max_time.map(|time| time.0), params.lock_timeout.0);
        let ((), pruned) = prune(&repo, bounds, time, patience, call, |_| Ok(((), Vec::new()))).await?;
        let end = if pruned.finished { "" } else { "; the next run goes on" };
        call.info(format!(
            "the repository became {} smaller; {} that nobody needs are left{end}",
            ByteSize(pruned.freed),
            ByteSize(pruned.unused)
        ));
        Ok(ResticPruneOutputs {
            removed_packs: pruned.removed_packs,
            freed_bytes: pruned.freed,
            repacked_bytes: pruned.repacked,
            unused_bytes: pruned.unused,
            finished: pruned.finished,
        })
    }
}
