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
use rustic_core::repofile::SnapshotFile;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::codec::blocking;
use crate::location::{Location, Purpose};
use crate::restic::keep::{Count, Keep};
use crate::restic::lock::{Kind, locked};
use crate::restic::open::{Access, Repo};
use crate::restic::prune::{Bounds, prune, remove_snapshots};
use crate::restic::retention::{GroupBy, Sorted, sort_out};
use crate::restic::select::{self, Filter, SnapshotSummary};
use crate::restic::span::CalendarSpan;
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
    /// The repository's password, as it is: white space around it counts, other than in a `passwordFile`.
    #[serde(default)]
    pub password: Option<Secret>,
    /// A file that holds the password; white space around it does not count.
    #[serde(default)]
    pub password_file: Option<PathBuf>,
    /// How many of the newest to keep; `unlimited` keeps all.
    #[serde(default)]
    pub keep_last: Option<Count>,
    /// For how many hours that have one to keep the last one; `unlimited` for all of them.
    #[serde(default)]
    pub keep_hourly: Option<Count>,
    /// For how many days that have one to keep the last one; `unlimited` for all of them.
    #[serde(default)]
    pub keep_daily: Option<Count>,
    /// For how many weeks (Monday to Sunday) that have one to keep the last one; `unlimited` for all of them.
    #[serde(default)]
    pub keep_weekly: Option<Count>,
    /// For how many months that have one to keep the last one; `unlimited` for all of them.
    #[serde(default)]
    pub keep_monthly: Option<Count>,
    /// For how many years that have one to keep the last one; `unlimited` for all of them.
    #[serde(default)]
    pub keep_yearly: Option<Count>,
    /// Keep all that are less than so long before the newest one: `14d`, `2w`, `36h`, `1y6m` (`m` are months). Months and years are
    /// the calendar's. A snapshot of the future does not count as the newest.
    #[serde(default)]
    pub keep_within: Option<CalendarSpan>,
    /// Keep the last one of each hour among those that are less than so long before the newest one.
    #[serde(default)]
    pub keep_within_hourly: Option<CalendarSpan>,
    /// Keep the last one of each day among those that are less than so long before the newest one.
    #[serde(default)]
    pub keep_within_daily: Option<CalendarSpan>,
    /// Keep the last one of each week among those that are less than so long before the newest one.
    #[serde(default)]
    pub keep_within_weekly: Option<CalendarSpan>,
    /// Keep the last one of each month among those that are less than so long before the newest one.
    #[serde(default)]
    pub keep_within_monthly: Option<CalendarSpan>,
    /// Keep the last one of each year among those that are less than so long before the newest one.
    #[serde(default)]
    pub keep_within_yearly: Option<CalendarSpan>,
    /// Keep all that have one of these tags. `a,b` stands for those that have both, and `""` for those without any.
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
    /// Whether only to say what would go, and of each that would stay why.
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
    /// The removed ones, oldest first.
    pub removed_snapshots: Vec<SnapshotSummary>,
    /// Those that stay, and why, oldest first.
    pub kept_snapshots: Vec<KeptSnapshot>,
    /// How many bytes the repository became smaller; nothing without `prune`.
    pub freed_bytes: Option<u64>,
}

/// A snapshot that stays.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KeptSnapshot {
    /// Its id.
    pub id: String,
    /// When it was made.
    pub time: String,
    /// The host that it is of.
    pub host: String,
    /// Which rules keep it, in restic's words: `daily snapshot`, `within 14d`; `oldest …` where a rule could keep more than there is.
    pub reasons: Vec<String>,
}

impl ResticForgetParams {
    fn keep(&self) -> Keep {
        Keep {
            last: self.keep_last,
            of_each: [self.keep_hourly, self.keep_daily, self.keep_weekly, self.keep_monthly, self.keep_yearly],
            within: self.keep_within,
            each_within: [
                self.keep_within_hourly,
                self.keep_within_daily,
                self.keep_within_weekly,
                self.keep_within_monthly,
                self.keep_within_yearly,
            ],
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
                .with_help("write at least one of `keepLast`, `keepHourly`, `keepDaily`, `keepWeekly`, `keepMonthly`, `keepYearly`, `keepWithin`, `keepWithinHourly` (`Daily`, `Weekly`, `Monthly`, `Yearly`) and `keepTags`"));
        }
        Ok(())
    }

    async fn run(&self, params: ResticForgetParams, _: Action, call: &Call) -> Result<ResticForgetOutputs, Failure> {
        let keep = params.keep();
        let access =
            Access { location: params.repository, password: params.password, password_file: params.password_file };
        let purpose = if params.dry_run { Purpose::Read } else { Purpose::Update };
        let repo = access.open(purpose, false, call).await?;
        let patience = Some(params.lock_timeout.0).filter(|_| !params.dry_run);

        let (filter, group_by, dry_run) = (params.filter, params.group_by, params.dry_run);
        let asked = filter.clone();
        let (Sorted { kept, removed }, pruned) = if params.prune && !dry_run {
            let work = move |repo: &Repo| {
                let sorted = sort_out(select::all(repo, &filter)?, &keep, &group_by);
                let goes = sorted.removed.iter().map(|snapshot| *snapshot.id).collect();
                Ok((sorted, goes))
            };
            let (sorted, pruned) = prune(&repo, Bounds::default(), None, params.lock_timeout.0, call, work).await?;
            (sorted, Some(pruned))
        } else {
            let inner = repo.clone();
            let work = |lock| {
                blocking(move || {
                    let _lock = lock;
                    let sorted = sort_out(select::all(&inner, &filter)?, &keep, &group_by);
                    if !dry_run {
                        remove_snapshots(&inner, &sorted.removed.iter().map(|snapshot| *snapshot.id).collect())?;
                    }
                    Ok(sorted)
                })
            };
            (locked(&repo, Kind::Shared, patience, call, work).await?, None)
        };
        select::tell_if_none(&asked, kept.len() + removed.len(), call);
        let kept: Vec<KeptSnapshot> = kept.into_iter().map(KeptSnapshot::from).collect();
        let removed: Vec<SnapshotSummary> = removed.iter().map(SnapshotSummary::from).collect();
        for snapshot in &removed {
            let verb = if dry_run { "would remove" } else { "removed" };
            call.info(format!("{verb} {} {} {}", &snapshot.id[..8], snapshot.time, snapshot.host));
        }
        for snapshot in &kept {
            let (id, reasons) = (&snapshot.id[..8], snapshot.reasons.join(", "));
            let text = format!("{id} {} {}: {reasons}", snapshot.time, snapshot.host);
            if dry_run { call.info(format!("would keep {text}")) } else { call.debug(format!("kept {text}")) }
        }
        if dry_run {
            select::tell_dry(call);
        }
        Ok(ResticForgetOutputs {
            kept: kept.len() as u64,
            removed: removed.len() as u64,
            removed_snapshots: removed,
            kept_snapshots: kept,
            freed_bytes: pruned.map(|pruned| pruned.freed),
        })
    }
}

impl From<(SnapshotFile, Vec<String>)> for KeptSnapshot {
    fn from((snapshot, reasons): (SnapshotFile, Vec<String>)) -> Self {
        let SnapshotSummary { id, time, host, .. } = SnapshotSummary::from(&snapshot);
        Self { id, time, host, reasons }
    }
}
