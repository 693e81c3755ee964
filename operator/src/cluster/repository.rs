//! `Repository`: whether it can be used, by whom it is, and what backups found out about it.
//!
//! Always holds: what a status says of the content was found by the engine, after a backup.

use std::sync::Arc;
use std::time::Duration;

use aquifer_engine::event::Status;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::runtime::controller::Action;
use kube::{Api, ResourceExt};

use super::names::is_name;
use super::run::Ended;
use super::world::repository_of;
use super::{Context, Trouble, conditions, names, patch_status, wipe};
use crate::amounts::size;
use crate::resources::backup::BackupConfiguration;
use crate::resources::condition::{ConditionStatus, Readiness};
use crate::resources::repository::{Reference, Repository, RepositoryStatus};
use crate::session::{may_use, steps};

/// Whether it was checked after the last backup, and found sound.
pub(super) const VERIFIED: &str = "RepositoryIntegrityVerified";

/// How soon one is looked at again that is not ready.
const SOON: Duration = Duration::from_secs(10);

/// How soon one that is.
const LATER: Duration = Duration::from_secs(600);

/// Brings its status to what is so.
pub(super) async fn reconcile(one: Arc<Repository>, context: Arc<Context>) -> Result<Action, Trouble> {
    if one.metadata.deletion_timestamp.is_some() {
        return wipe::leave(&context, &one).await;
    }
    wipe::keep(&context, &one).await?;
    let namespace = one.namespace().unwrap_or_default();
    let mut status = one.status.clone().unwrap_or_default();
    let secret = match &one.spec.backend.storage_secret_name {
        None => Err("it names no `storageSecretName`, whose Secret has its password".to_owned()),
        Some(name) if !names::is_name(name) => Err(format!("no Secret can be called `{}`", name.escape_debug())),
        Some(name) => {
            let secrets: Api<Secret> = Api::namespaced(context.client.clone(), &namespace);
            let found = secrets.get_opt(name).await;
            let key = format!("{namespace}/{name}");
            let has = |secret: &Secret| secret.data.as_ref().is_some_and(|data| data.contains_key("RESTIC_PASSWORD"));
            match found {
                Ok(None) => Err(format!("the Secret `{name}` is not there")),
                Ok(Some(secret)) if !has(&secret) => Err(format!("the Secret `{name}` has no key `RESTIC_PASSWORD`")),
                Ok(Some(_)) => Ok(format!("the Secret `{name}` is there")),
                Err(kube::Error::Api(status)) if context.is_settled(status.code, &key) => {
                    Err(format!("the Secret `{name}` cannot be read: {}", status.message))
                }
                Err(other) => return Err(other.into()),
            }
        }
    };
    let ready = secret.is_ok();
    let reasons = ("BackendSecretAvailable", "BackendSecretNotAvailable");
    conditions::judge(&mut status.conditions, "BackendSecretFound", reasons, secret);
    status.references = references(&context, &one);
    status.phase = Some(if ready { Readiness::Ready } else { Readiness::NotReady });
    status.observed_generation = one.metadata.generation;
    if one.status.as_ref() != Some(&status) {
        patch_status(&context, &*one, &status).await?;
    }
    Ok(Action::requeue(if ready { LATER } else { SOON }))
}

/// How many that use it are named: of more, the first.
const MOST_REFERENCES: usize = 100;

/// What uses it, and may.
fn references(context: &Context, one: &Repository) -> Vec<Reference> {
    let this = kube::runtime::reflector::ObjectRef::from_obj(one);
    let reference = |kind: &str, namespace: Option<String>, name: String| Reference {
        api_group: Some("stash.appscode.com".to_owned()),
        kind: Some(kind.to_owned()),
        namespace,
        name,
    };
    let home = one.namespace().unwrap_or_default();
    let may = |from: Option<String>| {
        let from = from.unwrap_or_default();
        may_use(one, &one.name_any(), &home, &from, context.world.labels(&from).as_ref()).is_ok()
    };
    let backups = context.world.backups.state().into_iter();
    let backups = backups.filter(|by| repository_of(&by.spec.repository, &**by) == this && may(by.namespace()));
    let backups = backups.map(|by| reference("BackupConfiguration", by.namespace(), by.name_any()));
    let restores = context.world.restores.state().into_iter();
    let restores = restores.filter(|by| repository_of(&by.spec.repository, &**by) == this && may(by.namespace()));
    let restores = restores.map(|by| reference("RestoreSession", by.namespace(), by.name_any()));
    let mut all: Vec<Reference> = backups.chain(restores).collect();
    all.sort_by(|one, two| (&one.kind, &one.namespace, &one.name).cmp(&(&two.kind, &two.namespace, &two.name)));
    all.truncate(MOST_REFERENCES);
    all
}

/// Writes down what a backup found out. Gives the repository as it was found, where it still is.
pub(super) async fn after_backup(
    context: &Context,
    configuration: &BackupConfiguration,
    ended: &Ended,
    now: Timestamp,
) -> Result<Option<Arc<Repository>>, Trouble> {
    // The one that its Job was made for: the configuration may have another one by now, of which nothing was found out.
    let place = ended.repository.clone().unwrap_or_else(|| place(configuration));
    let Some((namespace, name)) = place.split_once('/').filter(|(home, name)| is_name(home) && is_name(name)) else {
        return Ok(None);
    };
    let api: Api<Repository> = Api::namespaced(context.client.clone(), namespace);
    // The newest one, since what is written must be over what is there.
    let Some(one) = api.get_opt(name).await? else { return Ok(None) };
    let from = configuration.namespace().unwrap_or_default();
    let labels = context.world.labels(&from);
    // Who may not use it has found out nothing about it.
    if may_use(&one, name, namespace, &from, labels.as_ref()).is_err() {
        return Ok(None);
    }
    let mut status: RepositoryStatus = one.status.clone().unwrap_or_default();
    if ended.words(steps::PUSH, "snapshot").is_some() {
        status.first_backup_time.get_or_insert(Time(now));
        status.last_backup_time = Some(Time(now));
    }
    status.snapshots_removed_on_last_cleanup =
        removed(configuration, ended).or(status.snapshots_removed_on_last_cleanup);
    let found = match integrity(ended) {
        Some(true) => Some((ConditionStatus::True, "CheckSucceeded", String::new())),
        Some(false) => Some((ConditionStatus::False, "CheckFailed", ended.error.clone().unwrap_or_default())),
        // A session that stored nothing has changed nothing about what was checked before.
        None if !ended.succeeded && ended.words(steps::PUSH, "snapshot").is_none() => None,
        None => Some((ConditionStatus::Unknown, "NotChecked", "it was not checked after the last backup".to_owned())),
    };
    if let Some((is, reason, said)) = found {
        conditions::set(&mut status.conditions, VERIFIED, is, reason, said);
    }
    status.integrity = integrity(ended).or(status.integrity);
    if integrity(ended) == Some(true) {
        status.last_verified_time = Some(Time(now));
    }
    if let Some(bytes) = ended.number(steps::STATS, "stored.bytes") {
        status.total_size = Some(size(bytes));
    }
    status.snapshot_count = ended.number(steps::STATS, "snapshots").or(status.snapshot_count);
    if one.status.as_ref() != Some(&status) {
        patch_status(context, &one, &status).await?;
    }
    Ok(Some(Arc::new(one)))
}

/// How many snapshots retention removed; nothing where it only looked what it would.
pub(super) fn removed(configuration: &BackupConfiguration, ended: &Ended) -> Option<i64> {
    ended.number(steps::FORGET, "removed").filter(|_| !configuration.spec.retention_policy.dry_run)
}

/// The repository of one, as `namespace/name`.
pub(super) fn place(configuration: &BackupConfiguration) -> String {
    let this = repository_of(&configuration.spec.repository, configuration);
    format!("{}/{}", this.namespace.unwrap_or_default(), this.name)
}

/// Whether a check found the repository sound; nothing where there was none, or it could not be made.
pub(super) fn integrity(ended: &Ended) -> Option<bool> {
    match ended.status(steps::CHECK)? {
        Status::Succeeded => Some(true),
        Status::Failed => {
            let error = ended.outcome.as_ref()?.error.as_ref()?;
            (error.step == steps::CHECK && error.kind == "corrupt").then_some(false)
        }
        _ => None,
    }
}
