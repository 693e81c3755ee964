//! Removes old snapshots from a restic repository by rule, and what only they needed.
//!
//! Takes how many to keep of each kind; gives what was kept and removed. Always holds: without a rule nothing is removed; the
//! newest snapshot of each group stays; with `prune` nobody else reads or writes while data is removed.

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
use crate::restic::lock::{Kind, locked};
use crate::restic::open::{Access, Repo};
use crate::restic::prune::{Bounds, prune};
use crate::restic::retention::{GroupBy, Keep, sort_out};
use crate::restic::select::{self, Filter, SnapshotSummary};
use crate::restic_push::ten_minutes;
use crate::units::Period;

/// `restic-forget`.
#[derive(Debug, Clone, Copy)]
pub struct ResticForget;

/// Its params.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ResticForgetParams {
    /// Where the repository is.
    pub repository: Location,
    /// The repository's password.
    #[serde(default)]
    pub password: Option<Secret>,
    /// A file that holds the password; white space around it does not count.
    #[serde(default)]
    pub password_file: Option<PathBuf>,
    /// How many of the newest to keep.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub keep_last: Option<u32>,
    /// For how many hours that have one to keep the last one.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub keep_hourly: Option<u32>,
    /// For how many days that have one to keep the last one.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub keep_daily: Option<u32>,
    /// For how many weeks that have one to keep the last one.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub keep_weekly: Option<u32>,
    /// For how many months that have one to keep the last one.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub keep_monthly: Option<u32>,
    /// For how many years that have one to keep the last one.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub keep_yearly: Option<u32>,
    /// Keep all that are no older than this before the newest one: `14d`, `1y 6months`.
    #[serde(default)]
    pub keep_within: Option<Period>,
    /// Keep all that have one of these tags.
    #[serde(default)]
    pub keep_tags: Vec<String>,
    /// Which snapshots the rules are about; all unless said.
    #[serde(default)]
    pub filter: Filter,
    /// The rules are applied to each group by itself: those that agree in these.
    #[serde(default = "host_and_paths")]
    pub group_by: Vec<GroupBy>,
    /// Whether to remove the data too that no snapshot needs any more, as `restic-prune` does without bounds.
    #[serde(default)]
    pub prune: bool,
    /// Whether only to say what would be removed.
    #[serde(default)]
    pub dry_run: bool,
    /// How long to wait for locks of others.
    #[serde(default = "ten_minutes")]
    pub lock_timeout: Period,
}

fn host_and_paths() -> Vec<GroupBy> {
    vec![GroupBy::Host, GroupBy::Paths]
}

/// What it gives to later steps.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ResticForgetOutputs {
    /// How many snapshots stay.
    pub kept: u64,
    /// How many were removed, or would be.
    pub removed: u64,
    /// The removed ones.
    pub removed_snapshots: Vec<SnapshotSummary>,
    /// How many bytes the repository became smaller; nothing without `prune`.
    pub freed_bytes: Option<u64>,
}

impl ResticForgetParams {
    fn keep(&self) -> Keep {
        Keep {
            last: self.keep_last,
            hourly: self.keep_hourly,
            daily: self.keep_daily,
            weekly: self.keep_weekly,
            monthly: self.keep_monthly,
            yearly: self.keep_yearly,
            within: self.keep_within.map(|period| period.0),
            tags: self.keep_tags.clone(),
        }
    }
}

impl Function for ResticForget {
    const NAME: &'static str = "restic-forget";
    const SUMMARY: &'static str = "Remove old snapshots from a restic repository, and with `prune` their data.";
    const REPEAT: &'static str = "Applies the rules to what is there then: usually there is nothing left to remove.";
    type Params = ResticForgetParams;
    type Ports = Action;
    type Outputs = ResticForgetOutputs;

    fn streams(_: Option<&ResticForgetParams>) -> Streams {
        Streams { stdin: Accepts::Any, stdout: Produces::Exactly(StreamType::unknown()) }
    }

    fn check(params: &ResticForgetParams) -> Result<(), ParamError> {
        Access::check(&params.repository, params.password.as_ref(), params.password_file.as_deref())?;
        if params.keep().is_empty() {
            return Err(ParamError::new("", "there is no rule: everything would be removed")
                .with_help("write at least one of `keepLast`, `keepHourly`, `keepDaily`, `keepWeekly`, `keepMonthly`, `keepYearly`, `keepWithin` and `keepTags`"));
        }
        let numbers = [
            ("keepLast", params.keep_last),
            ("keepHourly", params.keep_hourly),
            ("keepDaily", params.keep_daily),
            ("keepWeekly", params.keep_weekly),
            ("keepMonthly", params.keep_monthly),
            ("keepYearly", params.keep_yearly),
        ];
        match numbers.into_iter().find(|(_, number)| *number == Some(0)) {
            Some((name, _)) => Err(ParamError::new(name, "0 keeps nothing").with_help("leave it out")),
            None => Ok(()),
        }
    }

    async fn run(&self, params: ResticForgetParams, _: Action, call: &Call) -> Result<ResticForgetOutputs, Failure> {
        let keep = params.keep();
        let access =
            Access { location: params.repository, password: params.password, password_file: params.password_file };
        let purpose = if params.dry_run { Purpose::Read } else { Purpose::Update };
        let repo = access.open(purpose, false, call).await?;
        let patience = Some(params.lock_timeout.0).filter(|_| !params.dry_run);

        let (filter, group_by, dry_run) = (params.filter, params.group_by, params.dry_run);
        let inner = repo.clone();
        let work = |lock| {
            blocking(move || {
                let _lock = lock;
                forget(&inner, &keep, &filter, &group_by, dry_run)
            })
        };
        let (kept, removed) = locked(&repo, Kind::Shared, patience, call, work).await?;
        for snapshot in &removed {
            let verb = if dry_run { "would remove" } else { "removed" };
            call.info(format!("{verb} {} {} {}", &snapshot.id[..8], snapshot.time, snapshot.host));
        }
        let mut freed_bytes = None;
        if params.prune && !dry_run {
            let pruned = prune(&repo, Bounds::default(), None, params.lock_timeout.0, call).await?;
            freed_bytes = Some(pruned.freed);
        }
        Ok(ResticForgetOutputs { kept, removed: removed.len() as u64, removed_snapshots: removed, freed_bytes })
    }
}

/// Applies the rules; gives how many stay, and what goes.
fn forget(
    repo: &Repo,
    keep: &Keep,
    filter: &Filter,
    group_by: &[GroupBy],
    dry_run: bool,
) -> Result<(u64, Vec<SnapshotSummary>), Failure> {
    let snapshots = select::all(repo, filter)?;
    let (kept, removed) = sort_out(snapshots, keep, group_by);
    if !dry_run {
        let ids: Vec<_> = removed.iter().map(|snapshot| snapshot.id).collect();
        let deleted = repo.rustic().delete_snapshots(&ids);
        deleted.map_err(|error| repo.trouble().failure(&error, "removing snapshots"))?;
        repo.trouble().check()?;
    }
    Ok((kept.len() as u64, removed.iter().map(SnapshotSummary::from).collect()))
}
