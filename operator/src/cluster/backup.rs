//! `BackupSession`: it becomes a Job, and the Job's end becomes its status.
//!
//! Always holds: a session reaches an end (`Succeeded`, `Failed` or `Skipped`), whatever becomes of its pod, its node or the operator; there is
//! one Job for it; of one configuration, one session runs; what succeeded has a snapshot that was verified.

mod end;
mod history;
mod join;

use std::sync::Arc;
use std::time::Duration;

use kube::runtime::controller::Action;
use kube::runtime::events::EventType;
use kube::{Api, Resource, ResourceExt};

use self::end::{end, targets};
use self::history::afterwards;
use super::configuration;
use super::context::Since;
use super::gather::{gather, known};
use super::hook::{Before, Frame, HOOK_RUNS, Stage};
use super::job::Wanted;
use super::run::{Ended, Follow, LOOK_AGAIN, Others, Place, Way};
use super::{Context, Trouble, conditions, hook, is_newest, names, patch_status, run, turn};
use crate::resources::backup::BackupConfiguration;
use crate::resources::backup_session::{BackupPhase, BackupSession, BackupSessionStatus, HostBackupStats, TargetPhase};
use crate::resources::condition::ConditionStatus;
use crate::session::{self, Asker, End, Session, Setting};

/// The condition of one that was given up.
const DISRUPTED: &str = "BackupDisrupted";

/// The condition of what is done before it.
pub(super) const PRE_HOOK: &str = "PreBackupHookExecutionSucceeded";

/// Brings one to its end.
pub(super) async fn reconcile(one: Arc<BackupSession>, context: Arc<Context>) -> Result<Action, Trouble> {
    let namespace = one.namespace().unwrap_or_default();
    let status = one.status.clone().unwrap_or_default();
    // What is to go begins no more. What has begun is brought to its end, where somebody keeps it: something may be held still for it.
    if one.metadata.deletion_timestamp.is_some() && status.phase != Some(BackupPhase::Running) {
        return Ok(Action::await_change());
    }
    match status.phase {
        None | Some(BackupPhase::Pending) => begin(&context, &one, status, &namespace).await,
        Some(BackupPhase::Running) => go_on(&context, &one, status, &namespace).await,
        Some(_) => afterwards(&context, &one, status, &namespace).await,
    }
}

/// The configuration that asks for it, as it is now.
async fn invoker(
    context: &Context,
    one: &BackupSession,
    namespace: &str,
) -> Result<Result<Arc<BackupConfiguration>, String>, Trouble> {
    let invoker = &one.spec.invoker;
    if invoker.kind != configuration::KIND {
        return Ok(Err(format!("it is asked for by a {}, which is not known here", invoker.kind)));
    }
    known(context, &context.world.backups, namespace, &invoker.name).await
}

async fn begin(
    context: &Context,
    one: &BackupSession,
    mut status: BackupSessionStatus,
    namespace: &str,
) -> Result<Action, Trouble> {
    let name = names::backup_job(&one.name_any());
    let configuration = match invoker(context, one, namespace).await? {
        Ok(configuration) => configuration,
        Err(why) => return end(context, one, status, None, &Ended::failed(why), None).await,
    };
    let time_out = run::time_out(context, configuration.spec.time_out.as_deref());
    let uid = one.uid().unwrap_or_default();
    let place = Place { namespace, name: &name, owner: &uid };
    let way = run::way(context, place).await?;
    match way {
        Way::Waits => return Ok(Action::requeue(run::SOON)),
        Way::Blocked(why) => return give_up(context, one, status, &Ended::failed(why)).await,
        Way::Free | Way::Made => {}
    }
    if way == Way::Free {
        // What has begun goes on to its end: something may be held still for it.
        let before = hook::stands(&status.conditions, PRE_HOOK);
        if configuration.spec.paused && before == Before::Not {
            return skip(context, one, status, "its BackupConfiguration is paused").await;
        }
        if let Some(other) = earlier(context, one, namespace).filter(|_| before == Before::Not) {
            // A watch may be behind: what it has running may have ended long ago.
            let api: Api<BackupSession> = Api::namespaced(context.client.clone(), namespace);
            let now = api.get_opt(&other.name_any()).await?.filter(|now| now.uid() == other.uid());
            if now.is_none_or(|now| is_over(&now)) {
                return Ok(Action::requeue(run::SOON));
            }
            return skip(context, one, status, &format!("the session `{}` has not ended yet", other.name_any())).await;
        }
        let target = configuration.spec.target.as_ref().map(|target| &target.r#ref);
        let found =
            gather(context, namespace, &configuration.spec.repository, target, configuration.spec.task.as_ref())
                .await?;
        if !found.is_all() {
            let why = found.missing().join("; ");
            return give_up(context, one, status, &Ended::failed(why)).await;
        }
        let mut manifests = found.manifests;
        let key = (namespace.to_owned(), configuration.name_any());
        manifests.backups.insert(key, (*configuration).clone());
        let whole = format!("{namespace}/{}", configuration.name_any());
        let (folder, own_name) = (super::files_folder(), one.name_any());
        let retry_left = one.spec.retry_left.unwrap_or(0);
        let pod = Setting::Pod { folder: &folder, session: &own_name, retry_left, exec: context.settings.exec_hooks };
        let session = match session::backup(&manifests, Some(&whole), pod) {
            Ok(session) => session,
            Err(problems) => {
                let ended = Ended::failed(problems.join("; "));
                return give_up(context, one, status, &ended).await;
            }
        };
        let spec = &configuration.spec;
        let mut wanted = Wanted {
            name: name.clone(),
            namespace: namespace.to_owned(),
            session: &one.name_any(),
            host: names::host("backup", &configuration.uid().unwrap_or_default()),
            labels: names::invoked(configuration::KIND, &configuration.name_any()),
            uid: place.owner,
            database: turn::label(target, namespace),
            owner: one.controller_owner_ref(&()),
            repository: Some(super::repository::place(&configuration)),
            run: &session,
            image: &context.settings.image,
            settings: spec.runtime_settings.as_ref(),
            temp_dir: spec.temp_dir.as_ref(),
            volume: found.volume.as_deref(),
            deadline: time_out,
        };
        if !is_newest(context, one).await? {
            return Ok(Action::requeue(run::SOON));
        }
        if before == Before::Begun {
            return prepare(context, one, status, &configuration, &session).await;
        }
        // What is watched is behind, also behind what was made here a moment ago: of two sessions, each would see the other not begin.
        let alone = context.turns.of_configuration(namespace, &configuration.name_any()).await;
        let at_database = context.turns.of_database(target, namespace).await;
        if let Some(job) = run::other_job(context, namespace, &wanted.labels, &uid).await? {
            let why = format!("the Job `{job}` of another session has not ended");
            return wait(context, one, status, time_out, why).await;
        }
        // After the Jobs: one that was removed a moment ago may have made its pod since.
        match run::others(context, namespace, &wanted.labels, &uid).await? {
            Others::None => {}
            Others::Run(pod) => {
                let why = format!("the pod `{pod}` of an earlier session still runs");
                return wait(context, one, status, time_out, why).await;
            }
            // Whoever has the configuration's name takes locks under it for its own: a pod that nobody knows anything of may hold one.
            Others::Lost => wanted.host = names::host("backup", &uid),
        }
        if let Some(why) = turn::of_backup(context, target, namespace, before != Before::Not).await? {
            return wait(context, one, status, time_out, why).await;
        }
        if before == Before::Not && hook::is_apart(&session) {
            hook::begins(&mut status.conditions, PRE_HOOK);
            return wait(context, one, status, Duration::MAX, HOOK_RUNS.to_owned()).await;
        }
        let made = run::make(context, &wanted).await?;
        drop((alone, at_database));
        if let Err(why) = made {
            return give_up(context, one, status, &Ended::failed(why)).await;
        }
    }
    status.phase = Some(BackupPhase::Running);
    status.session_deadline = run::deadline(time_out);
    status.observed_generation = one.metadata.generation;
    // Of what it was begun for, whatever is asked for by its end.
    let host = HostBackupStats { hostname: Some(configuration.spec.host()), ..HostBackupStats::default() };
    status.targets = targets(&configuration, namespace, TargetPhase::Running, vec![host]);
    let said = format!("the Job `{name}` is made");
    conditions::set(
        &mut status.conditions,
        "BackupExecutorEnsured",
        ConditionStatus::True,
        "BackupExecutorCreated",
        said.clone(),
    );
    patch_status(context, one, &status).await?;
    context.tell(one, EventType::Normal, "BackupExecutorCreated", &said).await;
    Ok(Action::requeue(context.settings.start_timeout.min(LOOK_AGAIN)))
}

/// Runs the hook before it, which has begun, and takes its time whatever else there is.
async fn prepare(
    context: &Context,
    one: &BackupSession,
    mut status: BackupSessionStatus,
    configuration: &BackupConfiguration,
    session: &Session,
) -> Result<Action, Trouble> {
    let (namespace, name, uid) = (one.namespace().unwrap_or_default(), one.name_any(), one.uid().unwrap_or_default());
    let frame = frame(one, configuration, (&namespace, &name, &uid));
    let why = match hook::prepare(context, frame, session, (&mut status.conditions, PRE_HOOK)).await? {
        Stage::Runs(again) => return Ok(Action::requeue(again)),
        Stage::Over(Some(Err(why))) => why,
        Stage::Over(_) => {
            // What it took is no time that the session has waited.
            context.forget(Since::SessionWaits, &uid);
            patch_status(context, one, &status).await?;
            // The change that this is brings it here again, and says so to whoever comes after this operator.
            return Ok(Action::await_change());
        }
    };
    let ended = Ended::failed(format!("the hook before it failed: {why}"));
    let (kind, is, reason) = ("BackupExecutorEnsured", ConditionStatus::False, "BackupExecutorNotCreated");
    conditions::set(&mut status.conditions, kind, is, reason, "the hook before it failed");
    end(context, one, status, Some(configuration), &ended, None).await
}

/// It begins when something that is in the way has gone; what stays there for as long as a session may take ends it.
async fn wait(
    context: &Context,
    one: &BackupSession,
    mut status: BackupSessionStatus,
    longest: Duration,
    why: String,
) -> Result<Action, Trouble> {
    let uid = one.uid().unwrap_or_default();
    if context.known_for(Since::SessionWaits, &uid) > longest {
        context.forget(Since::SessionWaits, &uid);
        return give_up(context, one, status, &Ended::failed(format!("it could not begin in time: {why}"))).await;
    }
    status.phase = Some(BackupPhase::Pending);
    let (kind, is) = ("BackupExecutorEnsured", ConditionStatus::False);
    conditions::set(&mut status.conditions, kind, is, "Waiting", why);
    if one.status.as_ref() != Some(&status) {
        patch_status(context, one, &status).await?;
    }
    Ok(Action::requeue(run::SOON))
}

/// A session of the same that was made before and has not ended, as far as is known here.
fn earlier(context: &Context, one: &BackupSession, namespace: &str) -> Option<Arc<BackupSession>> {
    let age = |one: &BackupSession| (one.metadata.creation_timestamp.clone().map(|at| at.0), one.name_any());
    let own = age(one);
    let runs =
        |other: &BackupSession| other.status.as_ref().and_then(|status| status.phase) == Some(BackupPhase::Running);
    let is_before = |other: &BackupSession| {
        other.namespace().as_deref() == Some(namespace)
            && is_of_the_same(other, one)
            && other.uid() != one.uid()
            && !is_over(other)
            && other.metadata.deletion_timestamp.is_none()
            && (runs(other) || age(other) < own)
    };
    context.world.sessions.find(is_before)
}

/// Whether two are asked for by the same. Its group may be left out.
fn is_of_the_same(one: &BackupSession, other: &BackupSession) -> bool {
    let of = |one: &BackupSession| (one.spec.invoker.kind.clone(), one.spec.invoker.name.clone());
    of(one) == of(other)
}

/// Whether it has ended.
pub(super) fn is_over(one: &BackupSession) -> bool {
    let phase = one.status.as_ref().and_then(|status| status.phase);
    !matches!(phase, None | Some(BackupPhase::Pending | BackupPhase::Running))
}

/// Whether it has got its Job, or was given up.
pub(super) fn has_job(one: &BackupSession) -> bool {
    one.status.as_ref().and_then(|status| status.phase) == Some(BackupPhase::Running)
}

async fn skip(
    context: &Context,
    one: &BackupSession,
    mut status: BackupSessionStatus,
    why: &str,
) -> Result<Action, Trouble> {
    status.phase = Some(BackupPhase::Skipped);
    status.observed_generation = one.metadata.generation;
    conditions::set(&mut status.conditions, "BackupSkipped", ConditionStatus::True, "BackupSkipped", why);
    patch_status(context, one, &status).await?;
    context.tell(one, EventType::Warning, "BackupSkipped", why).await;
    Ok(Action::await_change())
}

async fn go_on(
    context: &Context,
    one: &BackupSession,
    mut status: BackupSessionStatus,
    namespace: &str,
) -> Result<Action, Trouble> {
    let name = names::backup_job(&one.name_any());
    let configuration = invoker(context, one, namespace).await?.ok();
    let again = Ok(Action::requeue(LOOK_AGAIN.min(context.settings.start_timeout)));
    let noted = run::noted(&status.conditions, DISRUPTED);
    let is_noted = noted.is_some();
    let uid = one.uid().unwrap_or_default();
    let place = Place { namespace, name: &name, owner: &uid };
    let time_out = configuration.as_ref().and_then(|configuration| configuration.spec.time_out.as_deref());
    let time_out = run::time_out(context, time_out);
    let followed = match run::follow(context, place, time_out, noted).await? {
        Follow::Ended(ended) => {
            let first = (*ended, is_noted);
            join::after(context, one, &mut status, configuration.as_deref(), time_out, first).await?
        }
        other => other,
    };
    let ended = match followed {
        Follow::Runs => return again,
        Follow::GivenUp(ended) => return give_up(context, one, status, &ended).await,
        Follow::Ended(ended) => *ended,
    };
    let hook = match &configuration {
        Some(configuration) => hook(context, one, configuration, namespace, &ended).await?,
        None => Stage::Over(None),
    };
    match hook {
        Stage::Runs(again) => Ok(Action::requeue(again)),
        Stage::Over(hook) => end(context, one, status, configuration.as_deref(), &ended, hook).await,
    }
}

/// Writes down why it is given up: only then its Job is removed, and what is done after it is done.
async fn give_up(
    context: &Context,
    one: &BackupSession,
    mut status: BackupSessionStatus,
    ended: &Ended,
) -> Result<Action, Trouble> {
    run::note(&mut status.conditions, DISRUPTED, ended);
    (status.phase, status.observed_generation) = (Some(BackupPhase::Running), one.metadata.generation);
    patch_status(context, one, &status).await?;
    // The change that this is brings it here again.
    Ok(Action::await_change())
}

/// What hooks are run for.
fn frame<'f>(
    one: &BackupSession,
    configuration: &'f BackupConfiguration,
    (namespace, session, uid): (&'f str, &'f str, &'f str),
) -> Frame<'f> {
    let labels = names::invoked(configuration::KIND, &configuration.name_any());
    let (owner, settings) = (one.controller_owner_ref(&()), configuration.spec.runtime_settings.as_ref());
    Frame { namespace, session, uid, labels, owner, settings }
}

/// What is done after it.
async fn hook(
    context: &Context,
    one: &BackupSession,
    configuration: &BackupConfiguration,
    namespace: &str,
    ended: &Ended,
) -> Result<Stage, Trouble> {
    let (name, asker, spec) = (one.name_any(), configuration.name_any(), &configuration.spec);
    let retry_left = one.spec.retry_left.unwrap_or(0);
    let target = spec.target.as_ref().map(|target| &target.r#ref);
    let binding = hook::binding(context, target, namespace);
    let binding = binding.as_ref().map(|(binding, home)| (binding, home.as_str()));
    let asker = Asker::of_backup((namespace, &asker), spec, binding, (&name, retry_left));
    let uid = one.uid().unwrap_or_default();
    let frame = frame(one, configuration, (namespace, &name, &uid));
    let end = End { error: ended.error.as_deref(), is_final: retry_left <= 0, seconds: run::seconds(one) };
    hook::after(context, frame, &asker, ended, end).await
}
