//! `RestoreSession`: it waits for what it needs, becomes a Job, and the Job's end becomes its status.
//!
//! Always holds: it is run once; a restore that lost a key has failed; what cannot be restored yet waits and says for what, and what is wrong is `Invalid`
//! until it is mended.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::runtime::controller::Action;
use kube::runtime::events::EventType;
use kube::{Resource, ResourceExt};

use super::gather::gather;
use super::hook::{Before, Frame, HOOK_RUNS, Stage};
use super::job::Wanted;
use super::run::{Ended, Follow, LATE, LATE_CONDITION, LOOK_AGAIN, Place, Way, short};
use super::{Context, Trouble, conditions, hook, is_newest, names, patch_status, push, run, turn};
use crate::amounts::span;
use crate::resources::condition::{Condition, ConditionStatus};
use crate::resources::restore::{
    HostRestorePhase, HostRestoreStats, RESTORED, RestorePhase, RestoreSession, RestoreSessionStatus,
};
use crate::session::{self, Asker, End, Session, Setting, steps};

/// The kind, as metrics and labels name it.
pub(super) const KIND: &str = "RestoreSession";

/// On a session that has stood for long: when it was asked for again, in the form of RFC 3339.
pub const STILL_WANTED: &str = "aquifer.dev/run";

/// The condition of one that may be run.
const ACCEPTED: &str = "RestoreAccepted";

/// How long one may stand that was made, or asked for again, and has not begun.
const NEW: SignedDuration = SignedDuration::from_hours(1);

/// The condition of one that was given up.
const DISRUPTED: &str = "RestoreDisrupted";

/// The condition of what is done before it.
pub(super) const PRE_HOOK: &str = "PreRestoreHookExecutionSucceeded";

/// How soon one is looked at again that waits.
const SOON: Duration = Duration::from_secs(10);

/// Brings one to its end.
pub(super) async fn reconcile(one: Arc<RestoreSession>, context: Arc<Context>) -> Result<Action, Trouble> {
    let namespace = one.namespace().unwrap_or_default();
    let status = one.status.clone().unwrap_or_default();
    // What is to go begins no more. What has begun is brought to its end, where somebody keeps it: something may be held still for it.
    if one.metadata.deletion_timestamp.is_some() && status.phase != Some(RestorePhase::Running) {
        return Ok(Action::await_change());
    }
    match status.phase {
        None | Some(RestorePhase::Pending | RestorePhase::Invalid) => begin(&context, &one, status, &namespace).await,
        Some(RestorePhase::Running) => go_on(&context, &one, status, &namespace).await,
        Some(RestorePhase::Succeeded | RestorePhase::Failed | RestorePhase::Unknown) => Ok(Action::await_change()),
    }
}

/// Whether it has ended.
pub(super) fn is_over(one: &RestoreSession) -> bool {
    let phase = one.status.as_ref().and_then(|status| status.phase);
    matches!(phase, Some(RestorePhase::Succeeded | RestorePhase::Failed | RestorePhase::Unknown))
}

async fn begin(
    context: &Context,
    one: &RestoreSession,
    mut status: RestoreSessionStatus,
    namespace: &str,
) -> Result<Action, Trouble> {
    let name = names::restore_job(&one.name_any());
    let time_out = run::time_out(context, one.spec.time_out.as_deref());
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
        if before == Before::Not
            && let Err(why) = accept(one, &mut status, Timestamp::now())
        {
            return hold(context, one, status, &why).await;
        }
        let target = one.spec.target.as_ref().map(|target| &target.r#ref);
        let found = gather(context, namespace, &one.spec.repository, target, one.spec.task.as_ref()).await?;
        let (all, missing) = (found.is_all(), found.missing().join("; "));
        let to = &mut status.conditions;
        conditions::judge(to, "RepositoryFound", ("RepositoryAvailable", "RepositoryNotAvailable"), found.repository);
        let reasons = ("BackendSecretAvailable", "BackendSecretNotAvailable");
        conditions::judge(to, "BackendSecretFound", reasons, found.secret);
        conditions::judge(to, "RestoreTargetFound", ("TargetAvailable", "TargetNotAvailable"), found.target);
        conditions::judge_or_drop(to, "TaskFound", ("TaskAvailable", "TaskNotAvailable"), found.task);
        if !all && before != Before::Not {
            return give_up(context, one, status, &Ended::failed(missing)).await;
        }
        if !all {
            return wait(context, one, status, Obstacle::Missing, missing).await;
        }
        let mut manifests = found.manifests;
        manifests.restores.insert((namespace.to_owned(), one.name_any()), one.clone());
        let whole = format!("{namespace}/{}", one.name_any());
        let (folder, own_name) = (super::files_folder(), one.name_any());
        let pod =
            Setting::Pod { folder: &folder, session: &own_name, retry_left: 0, exec: context.settings.exec_hooks };
        let session = match session::restore(&manifests, Some(&whole), pod) {
            Ok(session) => session,
            Err(problems) if before != Before::Not => {
                return give_up(context, one, status, &Ended::failed(problems.join("; "))).await;
            }
            Err(problems) => return wait(context, one, status, Obstacle::Wrong, problems.join("; ")).await,
        };
        let wanted = Wanted {
            name: name.clone(),
            namespace: namespace.to_owned(),
            session: &one.name_any(),
            host: names::host("restore", &uid),
            labels: names::invoked(KIND, &one.name_any()),
            uid: place.owner,
            database: turn::label(target, namespace),
            owner: one.controller_owner_ref(&()),
            repository: None,
            run: &session,
            image: &context.settings.image,
            settings: one.spec.runtime_settings.as_ref(),
            temp_dir: one.spec.temp_dir.as_ref(),
            volume: found.volume.as_deref(),
            deadline: time_out,
        };
        if !is_newest(context, one).await? {
            return Ok(Action::requeue(run::SOON));
        }
        if before == Before::Begun {
            return prepare(context, one, status, &session).await;
        }
        // Of two restores into one database, each would find the other not begun.
        let alone = context.turns.of_database(target, namespace).await;
        if let Some(why) = turn::of_restore(context, target, namespace, &uid).await? {
            return wait(context, one, status, Obstacle::Turn, why).await;
        }
        if before == Before::Not && hook::is_apart(&session) {
            hook::begins(&mut status.conditions, PRE_HOOK);
            return wait(context, one, status, Obstacle::Missing, HOOK_RUNS.to_owned()).await;
        }
        let (passed, to) = ("ResourceValidationPassed", &mut status.conditions);
        conditions::set(to, "ValidationPassed", ConditionStatus::True, passed, session.verdict());
        status.notes = session.notes.clone();
        let made = run::make(context, &wanted).await?;
        drop(alone);
        if let Err(why) = made {
            return give_up(context, one, status, &Ended::failed(why)).await;
        }
    }
    status.phase = Some(RestorePhase::Running);
    status.total_hosts = Some(1);
    status.session_deadline = run::deadline(time_out);
    status.observed_generation = one.metadata.generation;
    let said = format!("the Job `{name}` is made");
    conditions::set(
        &mut status.conditions,
        "RestoreExecutorEnsured",
        ConditionStatus::True,
        "RestoreExecutorCreated",
        said.clone(),
    );
    patch_status(context, one, &status).await?;
    context.tell(one, EventType::Normal, "RestoreExecutorCreated", &said).await;
    Ok(Action::requeue(context.settings.start_timeout.min(LOOK_AGAIN)))
}

/// Whether it may be run now: a restore overwrites what is there, so one that nobody expects any more, since it was made or asked for long ago, waits
/// for a word.
fn accept(one: &RestoreSession, status: &mut RestoreSessionStatus, now: Timestamp) -> Result<(), String> {
    let made = one.metadata.creation_timestamp.as_ref().map_or(now, |at| at.0);
    let asked = one.annotations().get(STILL_WANTED).and_then(|word| word.parse::<Timestamp>().ok());
    let since = |at: Timestamp| now.duration_since(at);
    // Clocks differ a little; a word for a year to come would be one for ever.
    let is_fresh = |at: Timestamp| since(at) <= NEW && since(at) >= -NEW;
    if !is_fresh(made) && !asked.is_some_and(is_fresh) {
        let age = span(since(made).as_secs_f64().abs());
        return Err(format!(
            "it was made {age} ago, has not begun since, and would overwrite what is in the database now: annotate it with `{STILL_WANTED}` and the present time, such as `{STILL_WANTED}={now:.0}`, if it is still to be run, or remove it"
        ));
    }
    conditions::set(&mut status.conditions, ACCEPTED, ConditionStatus::True, "Accepted", "");
    Ok(())
}

/// It waits for a word.
async fn hold(
    context: &Context,
    one: &RestoreSession,
    mut status: RestoreSessionStatus,
    why: &str,
) -> Result<Action, Trouble> {
    let is_held = |one: &Condition| one.r#type == ACCEPTED && one.status == ConditionStatus::False;
    if !status.conditions.iter().any(is_held) {
        conditions::set(&mut status.conditions, ACCEPTED, ConditionStatus::False, "Old", why);
        (status.phase, status.observed_generation) = (Some(RestorePhase::Pending), one.metadata.generation);
        patch_status(context, one, &status).await?;
        context.tell(one, EventType::Warning, "RestoreHeld", why).await;
    }
    Ok(Action::await_change())
}

/// Runs the hook before it, which has begun, and takes its time whatever else there is.
async fn prepare(
    context: &Context,
    one: &RestoreSession,
    mut status: RestoreSessionStatus,
    session: &Session,
) -> Result<Action, Trouble> {
    let (namespace, name, uid) = (one.namespace().unwrap_or_default(), one.name_any(), one.uid().unwrap_or_default());
    let frame = frame(one, (&namespace, &name, &uid));
    let why = match hook::prepare(context, frame, session, (&mut status.conditions, PRE_HOOK)).await? {
        Stage::Runs(again) => return Ok(Action::requeue(again)),
        Stage::Over(Some(Err(why))) => why,
        Stage::Over(_) => {
            patch_status(context, one, &status).await?;
            // The change that this is brings it here again, and says so to whoever comes after this operator.
            return Ok(Action::await_change());
        }
    };
    end(context, one, status, Ended::failed(format!("the hook before it failed: {why}")), None).await
}

/// Why one does not begin yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Obstacle {
    /// What it says is wrong.
    Wrong,
    /// Something is not there yet.
    Missing,
    /// Another session is at its database.
    Turn,
}

/// The reason of one that waits until another session has ended.
const TURN: &str = "WaitsForItsTurn";

/// Whether one has all that it needs, and waits until another session has ended.
pub(super) fn waits_for_its_turn(conditions: &[Condition]) -> bool {
    conditions.iter().any(|one| one.r#type == "ValidationPassed" && one.reason.as_deref() == Some(TURN))
}

/// It cannot begin yet.
async fn wait(
    context: &Context,
    one: &RestoreSession,
    mut status: RestoreSessionStatus,
    obstacle: Obstacle,
    why: String,
) -> Result<Action, Trouble> {
    let (phase, reason, is) = match obstacle {
        Obstacle::Wrong => (RestorePhase::Invalid, "ResourceValidationFailed", ConditionStatus::False),
        Obstacle::Missing => (RestorePhase::Pending, "NotYet", ConditionStatus::Unknown),
        Obstacle::Turn => (RestorePhase::Pending, TURN, ConditionStatus::Unknown),
    };
    conditions::set(&mut status.conditions, "ValidationPassed", is, reason, why.clone());
    (status.phase, status.observed_generation) = (Some(phase), one.metadata.generation);
    if one.status.as_ref() != Some(&status) {
        patch_status(context, one, &status).await?;
        context.tell(one, EventType::Warning, &format!("{phase:?}"), &why).await;
    }
    // Backups begin as soon as they can, too.
    Ok(Action::requeue(if obstacle == Obstacle::Turn { run::SOON } else { SOON }))
}

async fn go_on(
    context: &Context,
    one: &RestoreSession,
    status: RestoreSessionStatus,
    namespace: &str,
) -> Result<Action, Trouble> {
    let name = names::restore_job(&one.name_any());
    let again = Ok(Action::requeue(LOOK_AGAIN.min(context.settings.start_timeout)));
    let noted = run::noted(&status.conditions, DISRUPTED);
    let uid = one.uid().unwrap_or_default();
    let place = Place { namespace, name: &name, owner: &uid };
    let time_out = run::time_out(context, one.spec.time_out.as_deref());
    let ended = match run::follow(context, place, time_out, noted).await? {
        Follow::Runs => return again,
        Follow::GivenUp(ended) => return give_up(context, one, status, &ended).await,
        Follow::Ended(ended) => *ended,
    };
    match hook(context, one, namespace, &ended).await? {
        Stage::Runs(again) => Ok(Action::requeue(again)),
        Stage::Over(hook) => end(context, one, status, ended, hook).await,
    }
}

/// Writes down why it is given up: only then its Job is removed, and what is done after it is done.
async fn give_up(
    context: &Context,
    one: &RestoreSession,
    mut status: RestoreSessionStatus,
    ended: &Ended,
) -> Result<Action, Trouble> {
    run::note(&mut status.conditions, DISRUPTED, ended);
    (status.phase, status.observed_generation) = (Some(RestorePhase::Running), one.metadata.generation);
    patch_status(context, one, &status).await?;
    // The change that this is brings it here again.
    Ok(Action::await_change())
}

/// What hooks are run for.
fn frame<'f>(one: &'f RestoreSession, (namespace, session, uid): (&'f str, &'f str, &'f str)) -> Frame<'f> {
    let labels = names::invoked(KIND, session);
    let (owner, settings) = (one.controller_owner_ref(&()), one.spec.runtime_settings.as_ref());
    Frame { namespace, session, uid, labels, owner, settings }
}

/// What is done after it.
async fn hook(context: &Context, one: &RestoreSession, namespace: &str, ended: &Ended) -> Result<Stage, Trouble> {
    let name = one.name_any();
    let target = one.spec.target.as_ref().map(|target| &target.r#ref);
    let binding = hook::binding(context, target, namespace);
    let binding = binding.as_ref().map(|(binding, home)| (binding, home.as_str()));
    let asker = Asker::of_restore((namespace, &name), &one.spec, binding);
    let uid = one.uid().unwrap_or_default();
    let frame = frame(one, (namespace, &name, &uid));
    let end = End { error: ended.error.as_deref(), is_final: true, seconds: run::seconds(one) };
    hook::after(context, frame, &asker, ended, end).await
}

async fn end(
    context: &Context,
    one: &RestoreSession,
    mut status: RestoreSessionStatus,
    ended: Ended,
    hook: Option<Result<(), String>>,
) -> Result<Action, Trouble> {
    let whole = run::seconds(one);
    let all = &mut status.conditions;
    if let Some(before) = hook::before(&ended) {
        conditions::judge(all, PRE_HOOK, ("Succeeded", "Failed"), before);
    }
    let mut ended = ended;
    if let Some(hook) = hook {
        let done = hook.clone().map(|()| String::new());
        conditions::judge(all, "PostRestoreHookExecutionSucceeded", ("Succeeded", "Failed"), done);
        ended = ended.with_hook(hook);
    }
    let ended = &ended;
    let host = one.spec.host();
    let done = if ended.succeeded { HostRestorePhase::Succeeded } else { HostRestorePhase::Failed };
    status.stats = vec![HostRestoreStats {
        hostname: Some(host.clone()),
        phase: Some(done),
        duration: ended.seconds().map(span),
        error: ended.error.clone(),
    }];
    if ended.late {
        conditions::set(&mut status.conditions, LATE_CONDITION, ConditionStatus::True, LATE_CONDITION, LATE);
    }
    status.phase = Some(if ended.succeeded { RestorePhase::Succeeded } else { RestorePhase::Failed });
    status.session_duration = Some(span(whole));
    status.observed_generation = one.metadata.generation;
    if let Some(pushed) = push::restore(context, one, ended, whole, &host).await {
        let pushed = pushed.map(|()| String::new());
        conditions::judge(&mut status.conditions, "MetricsPushed", ("Succeeded", "Failed"), pushed);
    }
    let keys = ended.number(steps::RESTORE, "keys").map(|keys| format!("{keys} keys were written"));
    let from = ended.words(steps::PULL, "snapshot").map(|id| format!("the snapshot {}", short(id)));
    let what: Vec<String> = [from, keys].into_iter().flatten().collect();
    let done = ended.error.clone().map_or_else(|| Ok(what.join(": ")), Err);
    conditions::judge(&mut status.conditions, RESTORED, ("Restored", "NotRestored"), done);
    patch_status(context, one, &status).await?;
    let (kind, reason, said) = match &ended.error {
        None => {
            let said = [vec![format!("it took {}", span(whole))], what].concat().join(", ");
            (EventType::Normal, "RestoreSucceeded", said)
        }
        Some(error) => (EventType::Warning, "RestoreFailed", error.clone()),
    };
    context.tell(one, kind, reason, &said).await;
    Ok(Action::await_change())
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use serde_json::json;

    use super::*;

    #[test]
    fn what_was_asked_for_long_ago_waits_for_a_word() {
        let now: Timestamp = "2026-03-01T03:00:00Z".parse().expect("a time");
        let told = |made: &str, word: Option<&str>| {
            let spec = json!({"repository": {"name": "r"}});
            let mut one = RestoreSession::new("back", serde_json::from_value(spec).expect("a spec"));
            one.metadata.creation_timestamp = Some(Time(made.parse().expect("a time")));
            one.metadata.annotations = word.map(|word| [(STILL_WANTED.to_owned(), word.to_owned())].into());
            let mut status = RestoreSessionStatus::default();
            // That it was accepted once counts for nothing.
            conditions::set(&mut status.conditions, ACCEPTED, ConditionStatus::True, "Accepted", "");
            accept(&one, &mut status, now)
        };
        let (fresh, old) = ("2026-03-01T02:10:00Z", "2026-02-28T03:00:00Z");
        assert_eq!(told(fresh, None), Ok(()));
        assert_eq!(told(old, Some(fresh)), Ok(()));
        for word in [None, Some("yes"), Some(old), Some("2027-01-01T00:00:00Z")] {
            let why = told(old, word).expect_err("it waits");
            assert!(why.contains("aquifer.dev/run=2026-03-01T03:00:00Z"), "{word:?}: {why}");
        }
    }
}
