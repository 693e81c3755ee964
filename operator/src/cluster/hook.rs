//! The hook after a session, which runs in a Job of its own: also where the session's pod was killed, or never began.
//!
//! Takes who asks for the session, and how it ended. Gives what became of the hook. Always holds: it has one Job, which is made again only where one
//! that never began was removed and the operator died before it could write that down; after a hook before that failed, none is run.

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
use super::{Context, Trouble, names, run};
use crate::hooks::STEP;
use crate::resources::app_binding::AppBinding;
use crate::resources::runtime::RuntimeSettings;
use crate::resources::target::TargetRef;
use crate::session::{Asker, End};

/// How long a hook may take.
const LONGEST: Duration = Duration::from_secs(600);

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
    /// It is under way.
    Runs,
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
    let run = match asker.after(end) {
        None => return Ok(Stage::Over(None)),
        Some(Err(why)) => return Ok(Stage::Over(Some(Err(why)))),
        Some(Ok(run)) => run,
    };
    let name = names::hook_job(frame.session, frame.uid);
    let place = Place { namespace: frame.namespace, name: &name, owner: frame.uid };
    if matches!(run::look(context, place).await?, State::Gone | State::Foreign) {
        let wanted = Wanted {
            name: name.clone(),
            namespace: frame.namespace.to_owned(),
            session: frame.session,
            uid: frame.uid,
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
        return Ok(made.map_or_else(|why| Stage::Over(Some(Err(why))), |()| Stage::Runs));
    }
    let ended = match run::follow(context, place, LONGEST, None).await? {
        Follow::Runs => return Ok(Stage::Runs),
        Follow::GivenUp(ended) => {
            run::give_up(context, place).await?;
            ended
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
