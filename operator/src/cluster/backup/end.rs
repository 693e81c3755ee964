//! A session's end, written down: metrics, the repository's status, its own, and an event.
//!
//! Always holds: what is said of a snapshot is what the engine said of it; a dump that is stored is told of, also where what came after it failed.

use std::time::Duration;

use aquifer_engine::event::Status;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use kube::runtime::controller::Action;
use kube::runtime::events::EventType;

use crate::amounts::{period, size, span};
use crate::cluster::run::{Ended, LATE, LATE_CONDITION, short};
use crate::cluster::{Context, Trouble, conditions, configuration, hook, patch_status, push, repository, run};
use crate::resources::backup::BackupConfiguration;
use crate::resources::backup_session::{
    BackupPhase, BackupSession, BackupSessionStatus, BackupTargetStatus, FileStats, HostBackupPhase, HostBackupStats,
    SnapshotStats, TargetPhase,
};
use crate::resources::condition::ConditionStatus;
use crate::session::{FILE, steps};

/// Writes down what became of it: metrics, the repository's status, its own, and an event.
pub(super) async fn end(
    context: &Context,
    one: &BackupSession,
    mut status: BackupSessionStatus,
    configuration: Option<&BackupConfiguration>,
    ended: &Ended,
    hook: Option<Result<(), String>>,
) -> Result<Action, Trouble> {
    let namespace = one.namespace().unwrap_or_default();
    let (now, all) = (Timestamp::now(), &mut status.conditions);
    let mut ended = ended.clone();
    if let Some(before) = hook::before(&ended) {
        conditions::judge(all, super::PRE_HOOK, ("Succeeded", "Failed"), before);
    }
    if let Some(hook) = hook {
        let done = hook.clone().map(|()| String::new());
        conditions::judge(all, "PostBackupHookExecutionSucceeded", ("Succeeded", "Failed"), done);
        ended = ended.with_hook(hook);
    }
    let ended = &ended;
    let as_it_was = configuration.map(|configuration| as_it_was(configuration, &status));
    let (all, configuration) = (&mut status.conditions, as_it_was.as_ref());
    for (condition, step) in [("RetentionPolicyApplied", steps::FORGET), ("RepositoryIntegrityVerified", steps::CHECK)]
    {
        let done = match ended.status(step) {
            Some(Status::Succeeded) if step == steps::FORGET && is_rehearsed(configuration) => {
                let why = "`retentionPolicy.dryRun`: nothing was removed";
                conditions::set(all, condition, ConditionStatus::Unknown, "DryRun", why);
                continue;
            }
            Some(Status::Succeeded) => Ok(String::new()),
            Some(Status::Failed) => Err(ended.error.clone().unwrap_or_default()),
            _ => continue,
        };
        conditions::judge(all, condition, ("Succeeded", "Failed"), done);
    }
    if ended.succeeded && ended.outcome.is_none() {
        let why = "its pod was gone before what it said was read: the snapshot is in the repository, and its numbers are not known";
        conditions::set(all, "RepositoryIntegrityVerified", ConditionStatus::Unknown, "NotHeard", why);
    }
    if ended.words(steps::PUSH, "snapshot").is_some() {
        conditions::set(all, "BackendRepositoryInitialized", ConditionStatus::True, "BackendRepositoryInitialized", "");
    }
    if ended.late {
        conditions::set(all, LATE_CONDITION, ConditionStatus::True, LATE_CONDITION, LATE);
    }
    let phase = if ended.succeeded { BackupPhase::Succeeded } else { BackupPhase::Failed };
    let whole = run::seconds(one);
    status.phase = Some(phase);
    status.session_duration = Some(span(whole));
    status.observed_generation = one.metadata.generation;
    if configuration.is_none()
        && let Some(error) = &ended.error
    {
        // There is no target that could say why.
        let (is, reason) = (ConditionStatus::False, "BackupExecutorNotCreated");
        conditions::set(&mut status.conditions, "BackupExecutorEnsured", is, reason, error.clone());
    }
    if let Some(configuration) = configuration {
        let target = if ended.succeeded { TargetPhase::Succeeded } else { TargetPhase::Failed };
        status.targets = targets(configuration, &namespace, target, vec![host(configuration, ended)]);
        let repository = match repository::after_backup(context, configuration, ended, now).await {
            // A session ends, whatever its repository's status does not take.
            Err(trouble) if trouble.lasts() => {
                tracing::warn!("the status of the repository of `{namespace}/{}`: {trouble}", one.name_any());
                None
            }
            other => other?,
        };
        if let Some(pushed) = push::backup(context, configuration, ended, whole, repository.as_deref()).await {
            conditions::judge(
                &mut status.conditions,
                "MetricsPushed",
                ("Succeeded", "Failed"),
                pushed.map(|()| String::new()),
            );
        }
        let again = one.spec.retry_left.unwrap_or(0) > 0 && !ended.succeeded;
        let made = configuration::retries(configuration).saturating_sub(one.spec.retry_left.unwrap_or(0));
        status.next_retry = again.then(|| Time(next_retry(configuration, made, now)));
    }
    patch_status(context, one, &status).await?;
    let (kind, reason, said) = match &ended.error {
        None => succeeded(ended, whole),
        Some(error) => (EventType::Warning, "BackupFailed", error.clone()),
    };
    context.tell(one, kind, reason, &said).await;
    Ok(Action::await_change())
}

/// The configuration with the target that the session was begun for: that may be another one by now, of which nothing was backed up.
fn as_it_was(configuration: &BackupConfiguration, status: &BackupSessionStatus) -> BackupConfiguration {
    let mut it = configuration.clone();
    if let (Some(begun), Some(target)) = (status.targets.first(), it.spec.target.as_mut()) {
        target.r#ref = begun.r#ref.clone();
        target.alias = begun.stats.first().and_then(|host| host.hostname.clone()).or_else(|| target.alias.take());
    }
    it
}

/// Whether its retention only looks what it would remove.
fn is_rehearsed(configuration: Option<&BackupConfiguration>) -> bool {
    configuration.is_some_and(|configuration| configuration.spec.retention_policy.dry_run)
}

/// What is told of a success, whose snapshot may be of a server that is not the one that is meant.
fn succeeded(ended: &Ended, seconds: f64) -> (EventType, &'static str, String) {
    let snapshot = ended.words(steps::PUSH, "snapshot").map(|id| format!(" with the snapshot {}", short(id)));
    let said = format!("it took {}{}", span(seconds), snapshot.unwrap_or_default());
    match ended.number(steps::DUMP, "keys") {
        Some(0) => (EventType::Warning, "BackupIsEmpty", format!("{said}: the server had no keys")),
        Some(keys) => (EventType::Normal, "BackupSucceeded", format!("{said}: {keys} keys")),
        None => (EventType::Normal, "BackupSucceeded", said),
    }
}

/// How long a retry waits at least: a second, and twice as long after each that was made, up to five minutes.
fn least(made: i32) -> Duration {
    let doubled = 1_u64 << u32::try_from(made.clamp(0, 9)).unwrap_or_default();
    Duration::from_secs(doubled.min(300))
}

fn next_retry(configuration: &BackupConfiguration, made: i32, now: Timestamp) -> Timestamp {
    let delay = configuration.spec.retry_config.as_ref().and_then(|retry| retry.delay.as_deref());
    let delay = delay.and_then(|text| period(text).ok()).unwrap_or_default().max(least(made));
    SignedDuration::try_from(delay).ok().and_then(|delay| now.checked_add(delay).ok()).unwrap_or(now)
}

/// The only target, as far as it is.
pub(super) fn targets(
    configuration: &BackupConfiguration,
    namespace: &str,
    phase: TargetPhase,
    stats: Vec<HostBackupStats>,
) -> Vec<BackupTargetStatus> {
    let Some(target) = &configuration.spec.target else { return Vec::new() };
    let mut reference = target.r#ref.clone();
    reference.namespace.get_or_insert_with(|| namespace.to_owned());
    vec![BackupTargetStatus {
        r#ref: reference,
        total_hosts: Some(1),
        phase: Some(phase),
        stats,
        pre_backup_actions: Vec::new(),
        post_backup_actions: Vec::new(),
        conditions: Vec::new(),
    }]
}

/// What became of its only host.
fn host(configuration: &BackupConfiguration, ended: &Ended) -> HostBackupStats {
    let snapshot = ended.words(steps::PUSH, "snapshot").map(|id| SnapshotStats {
        name: Some(short(id).to_owned()),
        path: Some(FILE.to_owned()),
        total_size: ended.number(steps::PUSH, "bytes").map(size),
        uploaded: ended.number(steps::PUSH, "storedBytes").map(size),
        processing_time: ended
            .outcome
            .as_ref()
            .and_then(|outcome| outcome.steps.get(steps::PUSH))
            .map(|push| span(push.seconds)),
        file_stats: Some(FileStats { total_files: Some(1), ..FileStats::default() }),
    });
    // A dump that is stored is stored, also where what came after it failed.
    let is_stored = ended.succeeded || snapshot.is_some();
    let phase = if is_stored { HostBackupPhase::Succeeded } else { HostBackupPhase::Failed };
    HostBackupStats {
        hostname: Some(configuration.spec.host()),
        phase: Some(phase),
        snapshots: snapshot.into_iter().collect(),
        duration: ended.seconds().map(span),
        error: ended.error.clone().map(conditions::bounded),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_retry_waits_longer_each_time() {
        let waits: Vec<u64> = [-1, 0, 1, 3, 8, 9, i32::MAX].map(|made| least(made).as_secs()).into();
        assert_eq!(waits, [1, 1, 2, 8, 256, 300, 300]);
    }

    #[test]
    fn a_backup_of_nothing_is_a_success_that_is_warned_of() {
        let told = |keys: i64| {
            let dump = serde_json::json!({"status": "succeeded", "seconds": 1.0, "outputs": {"keys": keys}});
            let outcome = serde_json::json!({"version": 1, "succeeded": true, "seconds": 1.0, "steps": {"dump": dump}});
            let outcome = crate::outcome::Outcome::read(&outcome.to_string());
            assert!(outcome.is_some());
            succeeded(&Ended { succeeded: true, outcome, error: None, ..Ended::failed("") }, 2.0)
        };
        let (kind, reason, said) = told(0);
        assert!(matches!(kind, EventType::Warning) && said.ends_with("no keys"), "{reason} {said}");
        let (kind, _, said) = told(3);
        assert!(matches!(kind, EventType::Normal) && said.ends_with(": 3 keys"), "{said}");
    }
}
