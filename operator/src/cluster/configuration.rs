//! `BackupConfiguration`: it is looked over, and gets a cron job; each slot of that becomes a `BackupSession`.
//!
//! A slot is a job that is never begun: the controller of cron jobs makes it, and here it is taken for a session and removed. So nothing but the operator
//! needs any right for it, no pod is started to ask for a backup, and slots that pass while the operator is away are one session when it
//! comes back. Always holds: a slot's job is removed only after its session is there, whose name is made of the slot's.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::jiff::Timestamp;
use kube::api::PostParams;
use kube::core::PartialObjectMeta;
use kube::runtime::controller::Action;
use kube::runtime::events::EventType;
use kube::runtime::reflector::ObjectRef;
use kube::{Api, Resource, ResourceExt};

use super::gather::{Found, gather};
use super::names::{self, INVOKER_NAME, SLOT};
use super::{Context, Trouble, conditions, cron_job, patch_status, remove};
use crate::resources::backup::{APART, BackupConfiguration, BackupConfigurationStatus};
use crate::resources::backup_session::{BackupSession, BackupSessionSpec, Invoker};
use crate::resources::condition::{ConditionStatus, Readiness};
use crate::session::apart::{are_alike, said};
use crate::session::{self, Setting};

/// How soon one is looked at again that is not ready: nobody tells of a Secret that comes later.
const SOON: Duration = Duration::from_secs(10);

/// How soon one that is.
const LATER: Duration = Duration::from_secs(600);

/// How soon one whose snapshots look like another's.
const ALIKE: Duration = Duration::from_secs(30);

/// What `kubectl create job --from=cronjob/…` writes on a job.
const BY_HAND: &str = "cronjob.kubernetes.io/instantiate";

/// The kind, as sessions name it.
pub(super) const KIND: &str = "BackupConfiguration";

/// Brings one to where its spec says.
pub(super) async fn reconcile(one: Arc<BackupConfiguration>, context: Arc<Context>) -> Result<Action, Trouble> {
    if one.metadata.deletion_timestamp.is_some() {
        return Ok(Action::await_change());
    }
    let namespace = one.namespace().unwrap_or_default();
    slots(&context, &one, &namespace).await?;
    let target = one.spec.target.as_ref().map(|target| &target.r#ref);
    let found = gather(&context, &namespace, &one.spec.repository, target, one.spec.task.as_ref()).await?;
    let mut status = one.status.clone().unwrap_or_default();
    let readiness = judge(&one, &namespace, context.settings.exec_hooks, found, &mut status);
    // It is backed up all the same, as Stash did; but what that may cost is said.
    let apart = apart(&context, &one, &namespace);
    conditions::judge(&mut status.conditions, APART, ("HostIsItsOwn", "HostShared"), apart);
    let cron_job = if readiness == Readiness::Invalid {
        // One that is there goes on, and is paused and changed as it was before: what it asks for fails, and says why.
        if cron_job::is_there(&context, &one, &namespace) {
            drop(cron_job::bring(&context, &one, &namespace).await?);
        }
        Err("it is not valid".to_owned())
    } else {
        cron_job::bring(&context, &one, &namespace).await?
    };
    let scheduled = cron_job.is_ok();
    conditions::judge(&mut status.conditions, "CronJobCreated", ("CronJobCreated", "CronJobNotCreated"), cron_job);
    let phase = match readiness {
        Readiness::Ready if !scheduled => Readiness::NotReady,
        other => other,
    };
    let before = one.status.as_ref().and_then(|status| status.phase);
    (status.phase, status.observed_generation) = (Some(phase), one.metadata.generation);
    let was_alike = is_alike(one.status.as_ref());
    if before != Some(phase) || was_alike != is_alike(Some(&status)) {
        let why = reasons(&status);
        let kind =
            if phase == Readiness::Ready && !is_alike(Some(&status)) { EventType::Normal } else { EventType::Warning };
        context.tell(&*one, kind, &format!("{phase:?}"), &why).await;
    }
    if one.status.as_ref() != Some(&status) {
        patch_status(&context, &*one, &status).await?;
    }
    // That another one is given a host of its own is no change of this one.
    let later = if is_alike(Some(&status)) { ALIKE } else { LATER };
    Ok(Action::requeue(if phase == Readiness::Ready { later } else { SOON }))
}

/// Whether it can be used; why, and what is odd about it, is written into its status.
fn judge(
    one: &BackupConfiguration,
    namespace: &str,
    exec: bool,
    found: Found,
    status: &mut BackupConfigurationStatus,
) -> Readiness {
    let (all, to) = (found.is_all(), &mut status.conditions);
    status.notes.clear();
    let name = format!("{namespace}/{}", one.name_any());
    let mut manifests = found.manifests;
    conditions::judge(to, "RepositoryFound", ("RepositoryAvailable", "RepositoryNotAvailable"), found.repository);
    let reasons = ("BackendSecretAvailable", "BackendSecretNotAvailable");
    conditions::judge(to, "BackendSecretFound", reasons, found.secret);
    conditions::judge(to, "BackupTargetFound", ("TargetAvailable", "TargetNotAvailable"), found.target);
    conditions::judge_or_drop(to, "TaskFound", ("TaskAvailable", "TaskNotAvailable"), found.task);
    if !all {
        // What is not there cannot be looked over; what was said before of another generation is no longer so.
        let why = "it is looked over when all that it refers to is there";
        conditions::set(to, "ValidationPassed", ConditionStatus::Unknown, "NotYet", why);
        return Readiness::NotReady;
    }
    manifests.backups.insert((namespace.to_owned(), one.name_any()), one.clone());
    let (folder, own) = (super::files_folder(), one.name_any());
    let checked =
        session::backup(&manifests, Some(&name), Setting::Pod { folder: &folder, session: &own, retry_left: 0, exec })
            .map_err(|problems| problems.join("; "));
    let sound = checked.is_ok();
    let checked = checked.map(|session| {
        let verdict = session.verdict();
        status.notes = session.notes;
        verdict
    });
    let reasons = ("ResourceValidationPassed", "ResourceValidationFailed");
    conditions::judge(to, "ValidationPassed", reasons, checked);
    if sound { Readiness::Ready } else { Readiness::Invalid }
}

/// Whether nobody else keeps snapshots that look like its own, in words.
fn apart(context: &Context, one: &BackupConfiguration, namespace: &str) -> Result<String, String> {
    let repositories = &context.world.repositories;
    let known = |home: &str, name: &str| repositories.get(&ObjectRef::new(name).within(home));
    let others = context.world.backups.state_filter(|other| {
        let home = other.namespace().unwrap_or_default();
        other.uid() != one.uid()
            && other.metadata.deletion_timestamp.is_none()
            && are_alike((namespace, &one.spec), (&home, &other.spec), known)
    });
    // Of several always the same: another one each time would be a change each time.
    match others.iter().min_by_key(|other| (other.namespace(), other.name_any())) {
        Some(other) => {
            let home = other.namespace().unwrap_or_default();
            Err(said((namespace, &one.spec), (&home, &other.spec), &other.name_any()))
        }
        None => Ok(String::new()),
    }
}

fn is_alike(status: Option<&BackupConfigurationStatus>) -> bool {
    let mut all = status.iter().flat_map(|status| &status.conditions);
    all.any(|one| one.r#type == APART && one.status == ConditionStatus::False)
}

/// What is not as it should be, in one line.
fn reasons(status: &BackupConfigurationStatus) -> String {
    let wrong = status.conditions.iter().filter(|one| one.status != ConditionStatus::True);
    let said: Vec<&str> = wrong.filter_map(|one| one.message.as_deref()).collect();
    if said.is_empty() { "it is backed up by its schedule".to_owned() } else { said.join("; ") }
}

/// Makes a session of each slot.
async fn slots(context: &Context, one: &BackupConfiguration, namespace: &str) -> Result<(), Trouble> {
    let name = one.name_any();
    let is_slot = |job: &PartialObjectMeta<Job>| {
        job.namespace().as_deref() == Some(namespace)
            && job.metadata.deletion_timestamp.is_none()
            && job.labels().contains_key(SLOT)
            && job.annotations().get(INVOKER_NAME) == Some(&name)
    };
    let api: Api<Job> = Api::namespaced(context.client.clone(), namespace);
    for job in context.world.jobs.state_filter(is_slot) {
        let job_name = job.name_any();
        let minute = job_name.rsplit_once('-').map(|(_, slot)| slot);
        let minute = minute.filter(|slot| slot.bytes().all(|byte| byte.is_ascii_digit())).map(str::to_owned);
        // One that somebody made from the cron job by hand is called as they like.
        let minute = minute.filter(|_| !job.annotations().contains_key(BY_HAND));
        let minute = minute.unwrap_or_else(|| job.uid().unwrap_or_default());
        create_session(context, one, &names::session(&name, &minute), retries(one)).await?;
        remove(&api, &job.name_any(), job.uid()).await?;
    }
    Ok(())
}

/// How often a session of one is tried again.
pub(super) fn retries(one: &BackupConfiguration) -> i32 {
    let most = one.spec.retry_config.as_ref().map(|retry| retry.max_retry.unwrap_or(1));
    i32::try_from(most.unwrap_or(0)).unwrap_or(i32::MAX)
}

/// Makes a session; one that is there already is the same.
pub(super) async fn create_session(
    context: &Context,
    one: &BackupConfiguration,
    name: &str,
    retry_left: i32,
) -> Result<(), Trouble> {
    let session = new_session(one, Some(name), retry_left);
    let api: Api<BackupSession> = Api::namespaced(context.client.clone(), &one.namespace().unwrap_or_default());
    match api.create(&PostParams::default(), &session).await {
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
        Err(other) => Err(other.into()),
        Ok(_) => Ok(()),
    }
}

/// A session of a `BackupConfiguration`, which goes with it; without a name, one of the present time.
pub fn new_session(one: &BackupConfiguration, name: Option<&str>, retry_left: i32) -> BackupSession {
    let now = || names::session(&one.name_any(), &Timestamp::now().as_second().to_string());
    let invoker =
        Invoker { api_group: Some("stash.appscode.com".to_owned()), kind: KIND.to_owned(), name: one.name_any() };
    let spec = BackupSessionSpec { invoker, retry_left: (retry_left > 0).then_some(retry_left) };
    let mut session = BackupSession::new(&name.map_or_else(now, str::to_owned), spec);
    session.metadata.namespace = one.namespace();
    session.metadata.labels = Some(names::invoked(KIND, &one.name_any()));
    session.metadata.owner_references = one.controller_owner_ref(&()).map(|owner| vec![owner]);
    session
}
