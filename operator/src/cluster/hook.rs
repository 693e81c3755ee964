//! The hook after a session, which runs in a Job of its own: also where the session's pod was killed, or never began. And commands in pods, before and
//! after.
//!
//! Takes who asks for the session, and how it ended. Gives what became of the hook. Always holds: it has one Job, which is made again only where one
//! that never began was removed and the operator died before it could write that down; a command is run again only where the operator ended before
//! it could; after a hook before that failed, none is run.

use std::collections::BTreeMap;
use std::time::Duration;

use aquifer_engine::event::Status;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::ResourceExt;
use kube::runtime::reflector::ObjectRef;

use super::gather::may_reach;
use super::job::Wanted;
use super::run::{Ended, Follow, Place, State};
use super::world::binding_of;
use super::{Context, Trouble, conditions, names, run};
use crate::hooks::STEP;
use crate::resources::app_binding::AppBinding;
use crate::resources::condition::{Condition, ConditionStatus};
use crate::resources::runtime::RuntimeSettings;
use crate::resources::target::TargetRef;
use crate::session::{Apart, Asker, End, Session};

/// How long a hook may take.
pub(super) const LONGEST: Duration = Duration::from_secs(600);

/// What one waits for whose hook before it is a command that runs.
pub(super) const HOOK_RUNS: &str = "the hook before it runs";

/// What a hook is run for.
pub(super) struct Frame<'f> {
    /// The namespace.
    pub(super) namespace: &'f str,
    /// The session's name.
    pub(super) session: &'f str,
    /// Its uid.
    pub(super) uid: &'f str,
    /// Labels for its Job.
    pub(super) labels: BTreeMap<String, String>,
    /// The session.
    pub(super) owner: Option<OwnerReference>,
    /// How its pod runs.
    pub(super) settings: Option<&'f RuntimeSettings>,
}

/// How far a hook is.
pub(super) enum Stage {
    /// It is under way, and is looked at again after so long, if nothing tells of its end before.
    Runs(Duration),
    /// It ended, or none was due.
    Over(Option<Result<(), String>>),
}

/// Whether the hook before the session failed, in words; nothing where there was none, or it was not come to.
pub(super) fn before(ended: &Ended) -> Option<Result<String, String>> {
    match ended.status(STEP)? {
        Status::Succeeded => Some(Ok(String::new())),
        Status::Failed => Some(Err(ended.error.clone().unwrap_or_default())),
        _ => None,
    }
}

/// How far the hook before a session is, where it is no step of it: written down before it is begun, so that what was begun is not left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Before {
    /// It was not begun.
    Not,
    /// It was begun.
    Begun,
    /// It succeeded.
    Done,
}

/// How far it is, by the condition of this type.
pub(super) fn stands(conditions: &[Condition], condition: &str) -> Before {
    match conditions.iter().find(|one| one.r#type == condition).map(|one| one.status) {
        None | Some(ConditionStatus::False) => Before::Not,
        Some(ConditionStatus::Unknown) => Before::Begun,
        Some(ConditionStatus::True) => Before::Done,
    }
}

/// Writes down that it begins.
pub(super) fn begins(conditions: &mut Vec<Condition>, condition: &str) {
    conditions::set(conditions, condition, ConditionStatus::Unknown, "Running", "");
}

/// Whether a session has one.
pub(super) fn is_apart(session: &Session) -> bool {
    session.asker.as_ref().is_some_and(|asker| asker.apart(session).is_some())
}

/// Runs one that has begun, or looks how far it is. What became of it is written into the condition of this type.
pub(super) async fn prepare(
    context: &Context,
    frame: Frame<'_>,
    session: &Session,
    (conditions, condition): (&mut Vec<Condition>, &str),
) -> Result<Stage, Trouble> {
    let stage = match session.asker.as_ref().and_then(|asker| asker.apart(session)) {
        Some(Ok(what)) => carry_out(context, frame, BEFORE, what).await?,
        Some(Err(why)) => Stage::Over(Some(Err(why))),
        // It was taken out of what asks for the session.
        None => Stage::Over(None),
    };
    if let Stage::Over(done) = &stage {
        let done = done.clone().unwrap_or(Ok(())).map(|()| String::new());
        conditions::judge(conditions, condition, ("Succeeded", "Failed"), done);
    }
    Ok(stage)
}

/// The words by which the two hooks of a session are told apart.
const BEFORE: &str = "before";
const AFTER: &str = "after";

/// Whether the hook before a session still runs, which may have been given up meanwhile.
async fn before_runs(context: &Context, frame: &Frame<'_>) -> Result<bool, Trouble> {
    if context.commands.runs(&format!("{} {BEFORE}", frame.uid)) {
        return Ok(true);
    }
    let name = names::hook_job(frame.session, &format!("{BEFORE} {}", frame.uid));
    let place = Place { namespace: frame.namespace, name: &name, owner: frame.uid };
    Ok(matches!(run::look(context, place).await?, State::Runs { .. }))
}

/// Runs the hook after a session, or looks how far it is.
pub(super) async fn after(
    context: &Context,
    frame: Frame<'_>,
    asker: &Asker,
    ended: &Ended,
    end: End<'_>,
) -> Result<Stage, Trouble> {
    if matches!(before(ended), Some(Err(_))) {
        return Ok(Stage::Over(None));
    }
    let due = asker.after(end);
    // What thaws must not come before what freezes has ended.
    if due.is_some() && before_runs(context, &frame).await? {
        return Ok(Stage::Runs(run::SOON));
    }
    match due {
        None => Ok(Stage::Over(None)),
        Some(Err(why)) => Ok(Stage::Over(Some(Err(why)))),
        // It was allowed when the session was looked over, or that is why it was not run.
        Some(Ok(Apart::Command(_))) if !context.settings.exec_hooks => Ok(Stage::Over(Some(Err(
            "the operator may not run commands in pods any more: `hooks.exec` of its chart".to_owned(),
        )))),
        Some(Ok(what)) => carry_out(context, frame, AFTER, what).await,
    }
}

/// Does what a hook says, or looks how far that is.
async fn carry_out(context: &Context, frame: Frame<'_>, when: &str, what: Apart) -> Result<Stage, Trouble> {
    let run = match what {
        Apart::Run(run) => run,
        Apart::Command(command) => {
            let key = format!("{} {when}", frame.uid);
            let done = context.commands.run(&context.client, frame.namespace, key, &command);
            return Ok(done.map_or(Stage::Runs(run::SOON), |done| Stage::Over(Some(done))));
        }
    };
    let name = names::hook_job(frame.session, &format!("{when} {}", frame.uid));
    let place = Place { namespace: frame.namespace, name: &name, owner: frame.uid };
    if matches!(run::look(context, place).await?, State::Gone | State::Foreign) {
        let wanted = Wanted {
            name: name.clone(),
            namespace: frame.namespace.to_owned(),
            session: frame.session,
            uid: frame.uid,
            database: None,
            host: names::host("hook", frame.uid),
            labels: frame.labels,
            owner: frame.owner,
            repository: None,
            run: &run,
            image: &context.settings.image,
            settings: frame.settings,
            temp_dir: None,
            volume: None,
            deadline: LONGEST,
        };
        let made = run::make(context, &wanted).await?;
        return Ok(made.map_or_else(|why| Stage::Over(Some(Err(why))), |()| Stage::Runs(run::LOOK_AGAIN)));
    }
    let ended = match run::follow(context, place, LONGEST, None).await? {
        Follow::Runs => return Ok(Stage::Runs(run::LOOK_AGAIN)),
        Follow::GivenUp(ended) => {
            run::give_up(context, place).await?;
            *ended
        }
        Follow::Ended(ended) => *ended,
    };
    Ok(Stage::Over(Some(ended.error.map_or(Ok(()), Err))))
}

/// The database of a target, and its namespace.
pub(super) fn binding(context: &Context, target: Option<&TargetRef>, namespace: &str) -> Option<(AppBinding, String)> {
    let this: ObjectRef<AppBinding> = binding_of(target?, namespace);
    let found = context.world.bindings.get(&this)?;
    let home = found.namespace().unwrap_or_default();
    if !may_reach(context, &found, &home, namespace) {
        return None;
    }
    Some(((*found).clone(), home))
}
