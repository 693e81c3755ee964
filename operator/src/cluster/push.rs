//! Metrics of a session, for a Pushgateway: Stash's names, the new ones and the ones before them, and Stash's labels.
//!
//! Takes how a session ended. Gives one push for all its hosts, so that none replaces another's. Always holds: what a session did not find out is not pushed, so
//! that after a failure the time of the last success and the sizes stay; that metrics cannot be pushed never fails a session.

use k8s_openapi::jiff::Timestamp;

use super::Context;
use super::exposition::{Exposition, Label};
use super::repository::{integrity, removed};
use super::run::Ended;
use crate::resources::backend::Backend;
use crate::resources::backup::BackupConfiguration;
use crate::resources::repository::Repository;
use crate::resources::restore::RestoreSession;
use crate::resources::target::TargetRef;
use crate::session::steps;
use aquifer_functions::metrics_push::{MetricsPushParams, push};
use kube::ResourceExt;
use serde_json::json;

/// What Stash calls what makes the copies.
const DRIVER: &str = "Restic";

/// A metric under both of its names.
fn both(all: &mut Exposition, names: (&str, &str), help: &'static str, labels: &[Label<'_>], value: f64) {
    all.gauge(&format!("stash_appscode_com_{}", names.0), help, labels, value);
    all.gauge(&format!("stash_{}", names.1), help, labels, value);
}

/// Pushes those of a backup. Nothing where there is no gateway.
pub(super) async fn backup(
    context: &Context,
    configuration: &BackupConfiguration,
    ended: &Ended,
    seconds: f64,
    repository: Option<&Repository>,
) -> Option<Result<(), String>> {
    let gateway = context.settings.pushgateway.as_deref()?;
    let namespace = configuration.namespace().unwrap_or_default();
    let text = of_backup(configuration, ended, seconds, repository, Timestamp::now()).text();
    Some(send(gateway, &format!("backupconfiguration-{namespace}-{}", configuration.name_any()), text).await)
}

/// Pushes those of a restore. Nothing where there is no gateway.
pub(super) async fn restore(
    context: &Context,
    session: &RestoreSession,
    ended: &Ended,
    seconds: f64,
    host: &str,
) -> Option<Result<(), String>> {
    let gateway = context.settings.pushgateway.as_deref()?;
    let namespace = session.namespace().unwrap_or_default();
    let text = of_restore(session, ended, seconds, host).text();
    Some(send(gateway, &format!("restoresession-{namespace}-{}", session.name_any()), text).await)
}

async fn send(gateway: &str, job: &str, text: String) -> Result<(), String> {
    // The group is the job alone, as Stash has it.
    let params: MetricsPushParams =
        serde_json::from_value(json!({"url": gateway, "job": job})).map_err(|error| error.to_string())?;
    push(&params, text).await.map_err(|failure| failure.to_string())
}

/// A truth as a sample.
fn truth(is: bool) -> f64 {
    f64::from(u8::from(is))
}

fn amount(number: i64) -> f64 {
    number as f64
}

fn of_backup(
    configuration: &BackupConfiguration,
    ended: &Ended,
    seconds: f64,
    repository: Option<&Repository>,
    now: Timestamp,
) -> Exposition {
    let mut all = Exposition::default();
    let (name, namespace) = (configuration.name_any(), configuration.namespace().unwrap_or_default());
    let invoker: [Label<'_>; 5] = [
        ("invoker_kind", "BackupConfiguration"),
        ("invoker_name", &name),
        ("namespace", &namespace),
        ("driver", DRIVER),
        ("repository", &configuration.spec.repository.name),
    ];
    let target = configuration.spec.target.as_ref().map(|target| of_target(&target.r#ref)).unwrap_or_default();
    let of_target: Vec<Label<'_>> =
        invoker.into_iter().chain(target.iter().map(|(name, value)| (*name, value.as_str()))).collect();
    let host = configuration.spec.host();
    let of_host: Vec<Label<'_>> = of_target.iter().copied().chain([("hostname", host.as_str())]).collect();
    let (succeeded, time) = (truth(ended.succeeded), now.as_second() as f64);
    let stored = ended.succeeded || ended.words(steps::PUSH, "snapshot").is_some();
    both(
        &mut all,
        ("backupsession_success", "backup_session_success"),
        "Whether the session succeeded.",
        &invoker,
        succeeded,
    );
    both(
        &mut all,
        ("backupsession_target_success", "backup_target_success"),
        "Whether the target was backed up.",
        &of_target,
        succeeded,
    );
    both(
        &mut all,
        ("backupsession_host_backup_success", "backup_host_backup_success"),
        "Whether the host was backed up.",
        &of_host,
        truth(stored),
    );
    if ended.succeeded {
        both(
            &mut all,
            ("backupsession_duration_seconds", "backup_session_duration_seconds"),
            "How long the session took.",
            &invoker,
            seconds,
        );
        both(
            &mut all,
            ("backupsession_target_count_total", "backup_target_count_total"),
            "How many targets it had.",
            &invoker,
            1.0,
        );
        both(
            &mut all,
            ("backupsession_last_success_time_seconds", "backup_last_success_time_seconds"),
            "When a session last succeeded.",
            &invoker,
            time,
        );
        both(
            &mut all,
            ("backupsession_target_host_count_total", "backup_target_host_count_total"),
            "How many hosts the target had.",
            &of_target,
            1.0,
        );
        both(
            &mut all,
            ("backupsession_target_last_success_time_seconds", "backup_target_last_success_time_seconds"),
            "When the target was last backed up.",
            &of_target,
            time,
        );
    }
    if stored {
        let numbers = [
            ("backup_duration_seconds", "How long the backup took.", ended.seconds()),
            ("data_size_bytes", "How much was backed up.", ended.number(steps::PUSH, "bytes").map(amount)),
            (
                "data_uploaded_bytes",
                "How much the repository did not have.",
                ended.number(steps::PUSH, "storedBytes").map(amount),
            ),
            (
                "data_processing_time_seconds",
                "How long storing it took.",
                ended.outcome.as_ref().and_then(|outcome| outcome.steps.get(steps::PUSH)).map(|push| push.seconds),
            ),
            ("files_total", "How many files the snapshot has.", Some(1.0)),
        ];
        for (metric, help, value) in numbers {
            let Some(value) = value else { continue };
            both(
                &mut all,
                (&format!("backupsession_host_{metric}"), &format!("backup_host_{metric}")),
                help,
                &of_host,
                value,
            );
        }
    }
    if let Some(repository) = repository {
        of_repository(&mut all, repository, &invoker, ended, removed(configuration, ended));
    }
    all
}

fn of_repository(
    all: &mut Exposition,
    repository: &Repository,
    invoker: &[Label<'_>],
    ended: &Ended,
    removed: Option<i64>,
) {
    let (name, namespace) = (repository.name_any(), repository.namespace().unwrap_or_default());
    let (backend, bucket, prefix) = place(&repository.spec.backend);
    let own = [
        ("name", name.as_str()),
        ("namespace", &namespace),
        ("backend", backend),
        ("bucket", &bucket),
        ("prefix", &prefix),
    ];
    // Its own namespace in the place of the invoker's.
    let labels: Vec<Label<'_>> = invoker.iter().copied().filter(|(name, _)| *name != "namespace").chain(own).collect();
    let numbers = [
        ("integrity", "Whether the last check found it sound.", integrity(ended).map(truth)),
        ("size_bytes", "Its size.", ended.number(steps::STATS, "stored.bytes").map(amount)),
        ("snapshot_count", "How many snapshots it has.", ended.number(steps::STATS, "snapshots").map(amount)),
        ("snapshot_cleaned", "How many were removed after the last backup.", removed.map(amount)),
    ];
    for (metric, help, value) in numbers {
        let Some(value) = value else { continue };
        both(all, (&format!("repository_{metric}"), &format!("repository_{metric}")), help, &labels, value);
    }
}

/// A backend's name, its bucket and what stands in front of names in it.
fn place(backend: &Backend) -> (&'static str, String, String) {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    if let Some(it) = &backend.s3 {
        return ("s3", it.bucket.clone(), text(&it.prefix));
    }
    if let Some(it) = &backend.gcs {
        return ("gcs", it.bucket.clone(), text(&it.prefix));
    }
    if let Some(it) = &backend.azure {
        return ("azure", it.container.clone(), text(&it.prefix));
    }
    if let Some(it) = &backend.swift {
        return ("swift", it.container.clone(), text(&it.prefix));
    }
    if let Some(it) = &backend.b2 {
        return ("b2", it.bucket.clone(), text(&it.prefix));
    }
    if let Some(it) = &backend.local {
        return ("local", it.mount_path.clone(), text(&it.sub_path));
    }
    ("rest", String::new(), String::new())
}

fn of_restore(session: &RestoreSession, ended: &Ended, seconds: f64, host: &str) -> Exposition {
    let mut all = Exposition::default();
    let (name, namespace) = (session.name_any(), session.namespace().unwrap_or_default());
    let invoker: [Label<'_>; 5] = [
        ("invoker_kind", "RestoreSession"),
        ("invoker_name", &name),
        ("namespace", &namespace),
        ("driver", DRIVER),
        ("repository", &session.spec.repository.name),
    ];
    let target = session.spec.target.as_ref().map(|target| of_target(&target.r#ref)).unwrap_or_default();
    let of_target: Vec<Label<'_>> =
        invoker.into_iter().chain(target.iter().map(|(name, value)| (*name, value.as_str()))).collect();
    let of_host: Vec<Label<'_>> = of_target.iter().copied().chain([("hostname", host)]).collect();
    let succeeded = truth(ended.succeeded);
    both(
        &mut all,
        ("restoresession_success", "restore_session_success"),
        "Whether the session succeeded.",
        &invoker,
        succeeded,
    );
    both(
        &mut all,
        ("restoresession_target_success", "restore_target_success"),
        "Whether the target was restored.",
        &of_target,
        succeeded,
    );
    both(
        &mut all,
        ("restoresession_host_restore_success", "restore_host_restore_success"),
        "Whether the host was restored.",
        &of_host,
        succeeded,
    );
    if ended.succeeded {
        both(
            &mut all,
            ("restoresession_duration_seconds", "restore_session_duration_seconds"),
            "How long the session took.",
            &invoker,
            seconds,
        );
        both(
            &mut all,
            ("restoresession_target_count_total", "restore_target_count_total"),
            "How many targets it had.",
            &invoker,
            1.0,
        );
        both(
            &mut all,
            ("restoresession_target_host_count_total", "restore_target_host_count_total"),
            "How many hosts the target had.",
            &of_target,
            1.0,
        );
        both(
            &mut all,
            ("restoresession_host_restore_duration_seconds", "restore_host_restore_duration_seconds"),
            "How long the host's restore took.",
            &of_host,
            ended.seconds().unwrap_or(seconds),
        );
    }
    all
}

/// The labels of a target.
fn of_target(target: &TargetRef) -> Vec<(&'static str, String)> {
    let group = target.api_version.split_once('/').map_or("", |(group, _)| group);
    vec![("kind", target.kind.clone()), ("group", group.to_owned()), ("name", target.name.clone())]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::Outcome;

    fn made(ended: &Ended) -> String {
        let configuration = json!({
            "apiVersion": "stash.appscode.com/v1beta1", "kind": "BackupConfiguration", "metadata": {"name": "b", "namespace": "shop"},
            "spec": {"repository": {"name": "r", "namespace": "store"}, "target": {"alias": "cart", "ref": {"apiVersion": "appcatalog.appscode.com/v1alpha1", "kind": "AppBinding", "name": "db"}}},
        });
        let repository = json!({
            "apiVersion": "stash.appscode.com/v1alpha1", "kind": "Repository", "metadata": {"name": "r", "namespace": "store"},
            "spec": {"backend": {"s3": {"bucket": "backups", "prefix": "/shop"}}},
        });
        let (configuration, repository): (BackupConfiguration, Repository) =
            (serde_json::from_value(configuration).expect("one"), serde_json::from_value(repository).expect("one"));
        of_backup(&configuration, ended, 5.0, Some(&repository), Timestamp::UNIX_EPOCH).text()
    }

    #[test]
    fn a_success_is_told_under_both_names_and_with_all_labels() {
        let said = r#"{"version": 1, "succeeded": true, "seconds": 4, "steps": {
            "push": {"status": "succeeded", "seconds": 3, "outputs": {"snapshot": "1a2b", "bytes": 900, "storedBytes": 90}},
            "check": {"status": "succeeded", "seconds": 1}, "stats": {"status": "succeeded", "seconds": 1, "outputs": {"snapshots": 3, "stored.bytes": 4096}}}}"#;
        let ended = Ended { succeeded: true, outcome: Outcome::read(said), error: None, ..Ended::failed("") };
        let text = made(&ended);
        let invoker = r#"invoker_kind="BackupConfiguration",invoker_name="b","#;
        let host = r#"namespace="shop",driver="Restic",repository="r",kind="AppBinding",group="appcatalog.appscode.com",name="db",hostname="cart""#;
        let of_repository =
            r#"driver="Restic",repository="r",name="r",namespace="store",backend="s3",bucket="backups",prefix="/shop""#;
        for (name, labels, value) in [
            ("backup_host_data_size_bytes", host, "900"),
            ("appscode_com_backupsession_host_data_uploaded_bytes", host, "90"),
            ("repository_snapshot_count", of_repository, "3"),
            ("appscode_com_repository_size_bytes", of_repository, "4096"),
            ("repository_integrity", of_repository, "1"),
        ] {
            let line = format!("stash_{name}{{{invoker}{labels}}} {value}\n");
            assert!(text.contains(&line), "{line}{text}");
        }
    }

    #[test]
    fn a_failure_leaves_what_was_known() {
        let text = made(&Ended::failed("the Secret is not there"));
        for (name, is_there) in
            [("session_success", true), ("last_success", false), ("size_bytes", false), ("repository_", false)]
        {
            let told = text
                .lines()
                .any(|line| !line.starts_with('#') && line.split('{').next().is_some_and(|at| at.contains(name)));
            assert_eq!(told, is_there, "{name}: {text}");
        }
    }
}
