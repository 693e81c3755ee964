//! `wipeOut`: what is in a Repository goes with it.
//!
//! Takes a Repository that asks for it. Gives a finalizer as long as it does, and, when the Repository is removed, a Job that removes what it
//! has. Always holds: a deletion never hangs: what cannot be removed in a quarter of an hour stays, and an event says so; nothing is removed without
//! the repository's password, nor after it was said that it stays, nor where another Repository has its snapshots in the same place.

use std::collections::BTreeMap;
use std::time::Duration;

use kube::api::{Patch, PatchParams};
use kube::runtime::controller::Action;
use kube::runtime::events::EventType;
use kube::{Api, ResourceExt};
use serde_json::json;

use super::context::Since;
use super::gather::storage;
use super::job::Wanted;
use super::run::{Follow, LOOK_AGAIN, Place, State};
use super::{Context, Trouble, names, run};
use crate::resources::repository::Repository;
use crate::session::apart::is_same;
use crate::session::{self, Setting, Upkeep};

/// What keeps a Repository until it is empty.
pub(crate) const FINALIZER: &str = "aquifer.dev/wipe-out";

/// How long it is tried.
const PATIENCE: Duration = Duration::from_secs(15 * 60);

/// How soon it is looked at again.
const SOON: Duration = Duration::from_secs(5);

/// Brings the finalizer to where the spec says.
pub(super) async fn keep(context: &Context, one: &Repository) -> Result<(), Trouble> {
    match (one.spec.wipe_out, has(one)) {
        (true, false) => set(context, one, true).await,
        (false, true) => set(context, one, false).await,
        _ => Ok(()),
    }
}

fn has(one: &Repository) -> bool {
    one.finalizers().iter().any(|finalizer| finalizer == FINALIZER)
}

async fn set(context: &Context, one: &Repository, wanted: bool) -> Result<(), Trouble> {
    let mut all: Vec<&str> = one.finalizers().iter().map(String::as_str).filter(|one| *one != FINALIZER).collect();
    all.extend(wanted.then_some(FINALIZER));
    let patch = json!({"metadata": {"resourceVersion": one.resource_version(), "finalizers": all}});
    let api: Api<Repository> = Api::namespaced(context.client.clone(), &one.namespace().unwrap_or_default());
    match api.patch(&one.name_any(), &PatchParams::default(), &Patch::Merge(patch)).await {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        other => other.map(drop).map_err(Trouble::from),
    }
}

/// What is done with one that is being removed.
pub(super) async fn leave(context: &Context, one: &Repository) -> Result<Action, Trouble> {
    if !has(one) {
        return Ok(Action::await_change());
    }
    let (uid, name) = (one.uid().unwrap_or_default(), names::wipe_job(&one.name_any()));
    let namespace = one.namespace().unwrap_or_default();
    let place = Place { namespace: &namespace, name: &name, owner: &uid };
    if !one.spec.wipe_out {
        run::give_up(context, place).await?;
        set(context, one, false).await?;
        return Ok(Action::await_change());
    }
    let ends = context.world.is_ending(&namespace);
    let other = elsewhere(context, one, &namespace);
    let tried = match run::look(context, place).await? {
        // Nothing can be made any more in a namespace that is being removed.
        State::Gone if ends => Err(format!("the namespace `{namespace}` is being removed")),
        State::Gone => match &other {
            Some(why) => Err(why.clone()),
            None => begin(context, one, place).await?,
        },
        State::Foreign => Err(format!("there is a Job `{name}` that is not this one's")),
        State::Runs { .. } | State::Ended(_) => {
            match run::follow(context, place, context.settings.session_timeout, None).await? {
                Follow::Runs => return Ok(Action::requeue(SOON)),
                Follow::GivenUp(ended) => Err(ended.error.unwrap_or_default()),
                Follow::Ended(ended) => {
                    if let Some(why) = ended.error {
                        Err(why)
                    } else {
                        return wiped(context, one, &ended.outcome).await;
                    }
                }
            }
        }
    };
    let Err(why) = tried else { return Ok(Action::requeue(SOON)) };
    tracing::warn!("the content of the Repository `{namespace}/{}` cannot be removed: {why}", one.name_any());
    // A pod that waits for its node would do it later, when somebody may have made the Repository again.
    run::give_up(context, place).await?;
    if context.known_for(Since::Wipe, &uid) < PATIENCE && !ends && other.is_none() {
        let said = format!("what is in it cannot be removed yet, and is tried again for a quarter of an hour: {why}");
        context.tell(one, EventType::Warning, "WipeOutRetried", &said).await;
        return Ok(Action::requeue(LOOK_AGAIN));
    }
    let said = format!("what is in it stays: {why}");
    context.tell(one, EventType::Warning, "WipeOutFailed", &said).await;
    set(context, one, false).await?;
    context.forget(Since::Wipe, &uid);
    Ok(Action::await_change())
}

/// Whether another Repository that stays lies at the same place, in words: what is there is its, too.
fn elsewhere(context: &Context, one: &Repository, namespace: &str) -> Option<String> {
    let other = context.world.repositories.find(|other| {
        let home = other.namespace().unwrap_or_default();
        other.uid() != one.uid()
            && other.metadata.deletion_timestamp.is_none()
            && (home == namespace || has_stored(other))
            && is_same((&home, &other.spec.backend), (namespace, &one.spec.backend))
    })?;
    // What others have is none of their business.
    Some(match other.namespace() {
        Some(home) if home == namespace => {
            format!("the Repository `{home}/{}` lies in the same place", other.name_any())
        }
        _ => "a Repository of another namespace lies in the same place".to_owned(),
    })
}

/// Whether backups were stored in one, and so it has the place's password: anybody may say that theirs lies there.
fn has_stored(one: &Repository) -> bool {
    one.status.as_ref().is_some_and(|status| status.last_backup_time.is_some())
}

/// It is empty.
async fn wiped(
    context: &Context,
    one: &Repository,
    outcome: &Option<crate::outcome::Outcome>,
) -> Result<Action, Trouble> {
    let number = |name: &str| outcome.as_ref().and_then(|outcome| outcome.number("wipe", name)).unwrap_or_default();
    let said = format!("{} snapshots were removed, {} bytes", number("snapshots"), number("bytes"));
    context.tell(one, EventType::Normal, "WipedOut", &said).await;
    set(context, one, false).await?;
    context.forget(Since::Wipe, &one.uid().unwrap_or_default());
    Ok(Action::await_change())
}

/// Makes the Job. Gives why there is none.
async fn begin(context: &Context, one: &Repository, place: Place<'_>) -> Result<Result<(), String>, Trouble> {
    let (manifests, found) = storage(context, one).await?;
    if let Err(missing) = found {
        return Ok(Err(missing));
    }
    let (folder, name) = (super::files_folder(), one.name_any());
    let pod = Setting::Pod { folder: &folder, session: &name, retry_left: 0, exec: false };
    let session = match session::upkeep(&manifests, place.namespace, &name, Upkeep::Wipe, pod) {
        Ok(session) => session,
        Err(problems) => return Ok(Err(problems.join("; "))),
    };
    let wanted = Wanted {
        name: place.name.to_owned(),
        namespace: place.namespace.to_owned(),
        session: &name,
        uid: place.owner,
        database: None,
        host: names::host("wipe", place.owner),
        labels: BTreeMap::new(),
        // What belongs to what is being removed may be removed first.
        owner: None,
        repository: None,
        run: &session,
        image: &context.settings.image,
        settings: None,
        temp_dir: None,
        volume: one.spec.backend.local.as_deref(),
        deadline: context.settings.session_timeout,
    };
    run::make(context, &wanted).await
}
