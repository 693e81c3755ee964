//! A session's Job: how far it is, and what became of it.
//!
//! Takes a Job's name and whose it is to be. Gives what its pods said, or why they did not. Always holds: a Job that ended has a reason in words, also where
//! its pods are gone; what is said to have succeeded is what the Job's controller counted as such; a Job or Secret of that name that is another's is
//! neither believed nor removed; how long something takes is measured by this process' own steady clock.

mod ended;
mod pods;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::time::Duration;

use k8s_openapi::api::batch::v1::{Job, JobCondition};
use k8s_openapi::api::core::v1::{Pod, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::api::{ListParams, PostParams};
use kube::core::NamespaceResourceScope;
use kube::{Api, Resource, ResourceExt};
use serde::de::DeserializeOwned;

use self::pods::{Waits, begun, is_lost, lost, pods, waits, warned};
use super::context::Since;
use super::job::{CONTAINER, POD_INDEX, Wanted, job};
use super::{Context, Trouble, conditions, names, remove};
use crate::amounts::{period, span};
use crate::resources::backup_session::BackupSession;
use crate::resources::condition::{Condition, ConditionStatus};
use crate::resources::restore::RestoreSession;

pub(super) use self::ended::{Ended, short};
pub(super) use self::pods::{Others, others, unended};

/// How long a Job may be past its time before it is given up here: its own controller ends it first.
const GRACE: Duration = Duration::from_secs(120);

/// The label by which a Job's pods are found: the Job's uid.
const OF_JOB: &str = "batch.kubernetes.io/controller-uid";

/// A Job, and whose it is to be.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'p> {
    /// Its namespace.
    pub(super) namespace: &'p str,
    /// Its name.
    pub(super) name: &'p str,
    /// The uid of what it is made for.
    pub(super) owner: &'p str,
}

impl Place<'_> {
    fn is_of<K: Resource>(&self, one: &K) -> bool {
        uid_of(one) == Some(self.owner)
    }

    /// Removes what has this name, where it is this session's.
    async fn remove<K>(&self, context: &Context) -> Result<(), Trouble>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
    {
        let api: Api<K> = Api::namespaced(context.client.clone(), self.namespace);
        match api.get_opt(self.name).await?.filter(|one| self.is_of(one)) {
            Some(one) => remove(&api, self.name, one.uid()).await,
            None => Ok(()),
        }
    }
}

/// Why a session failed whose time was over.
pub(super) const LATE: &str = "it took longer than it may: `timeOut` says how long that is";

/// The condition of a session whose time was over.
pub(super) const LATE_CONDITION: &str = "DeadlineExceeded";

/// How far a Job is.
#[derive(Debug)]
pub(super) enum State {
    /// It is not there.
    Gone,
    /// What is there is another's.
    Foreign,
    /// It is under way: its uid, what keeps its pod from beginning, and why nobody will say how it ended.
    Runs { uid: String, held: Option<Held>, lost: Option<String> },
    /// It ended.
    Ended(Box<Ended>),
}

/// A Job whose pod has not begun.
#[derive(Debug)]
pub(super) struct Held {
    /// Why.
    waits: Waits,
    /// How long there was nothing that it could have waited for.
    known_for: Duration,
}

/// Makes the Job, and the Secret that goes with it; what is there already is the same. Gives what the API server has against it.
async fn begin(context: &Context, job: &Job, secret: Option<&Secret>) -> Result<Result<(), String>, Trouble> {
    let (namespace, of) = (job.namespace().unwrap_or_default(), uid_of(job).unwrap_or_default());
    if let Some(secret) = secret {
        let api: Api<Secret> = Api::namespaced(context.client.clone(), &namespace);
        match api.create(&PostParams::default(), secret).await {
            Err(kube::Error::Api(status)) if status.code == 409 => {
                let name = secret.name_any();
                if uid_of(&api.get(&name).await?) != uid_of(secret) {
                    return Ok(Err(format!("there is a Secret `{name}` that is not this session's: remove it")));
                }
            }
            Err(kube::Error::Api(status)) if context.is_settled(status.code, of) => {
                return Ok(Err(format!("the Secret for it is refused: {}", status.message)));
            }
            other => drop(other?),
        }
    }
    let api: Api<Job> = Api::namespaced(context.client.clone(), &namespace);
    let name = job.name_any();
    match api.create(&PostParams::default(), job).await {
        Ok(_) => Ok(Ok(())),
        Err(kube::Error::Api(status)) if status.code == 409 => {
            if uid_of(&api.get(&name).await?) == uid_of(job) {
                return Ok(Ok(()));
            }
            Ok(Err(format!("there is a Job `{name}` that is not this session's: remove it")))
        }
        Err(kube::Error::Api(status)) if context.is_settled(status.code, of) => {
            Ok(Err(format!("the Job is refused: {}", status.message)))
        }
        Err(other) => Err(other.into()),
    }
}

/// The uid of what something was made for.
fn uid_of<K: Resource>(one: &K) -> Option<&str> {
    one.meta().labels.as_ref()?.get(names::OF).map(String::as_str)
}

/// Looks at a Job.
pub(super) async fn look(context: &Context, place: Place<'_>) -> Result<State, Trouble> {
    let api: Api<Job> = Api::namespaced(context.client.clone(), place.namespace);
    let Some(job) = api.get_opt(place.name).await? else { return Ok(State::Gone) };
    if !place.is_of(&job) {
        return Ok(State::Foreign);
    }
    let is = |kind: &str| ended::condition(&job, kind).is_some();
    let uid = job.uid().unwrap_or_default();
    let mut pods = pods(context, Some(place.namespace), &format!("{OF_JOB}={uid}")).await?;
    pods.sort_by_key(|pod| pod.metadata.creation_timestamp.clone().map(|at| at.0));
    let newest = newest(pods);
    if !is("Complete") && !is("Failed") {
        // What the Job has decided, it says once its pods have ended: they may be gone by then.
        let ends = is("FailureTarget") || is("SuccessCriteriaMet");
        let lost = newest.iter().find(|pod| is_lost(context, pod)).map(lost);
        return Ok(State::Runs { held: held(context, &uid, &newest).filter(|_| !ends), uid, lost });
    }
    context.forget(Since::Job, &uid);
    newest.iter().filter_map(ResourceExt::uid).for_each(|pod| context.forget(Since::PodWaits, &pod));
    Ok(State::Ended(Box::new(ended::of(&job, &newest))))
}

/// Of the pods of a Job, in the order in which they were made, the newest of each number.
fn newest(pods: Vec<Pod>) -> Vec<Pod> {
    let mut newest: Vec<Pod> = Vec::new();
    for pod in pods {
        newest.retain(|other| other.annotations().get(POD_INDEX) != pod.annotations().get(POD_INDEX));
        newest.push(pod);
    }
    newest
}

/// What keeps the pods of a Job from beginning, where none runs.
fn held(context: &Context, uid: &str, pods: &[Pod]) -> Option<Held> {
    // A pod that takes another's place has a time of its own to begin, and so has the Job to make it.
    if pods.is_empty() {
        return Some(Held { waits: Waits::without_pod(uid), known_for: context.known_for(Since::NoPod, uid) });
    }
    context.forget(Since::NoPod, uid);
    let waiting: Vec<(&Pod, Waits)> = pods.iter().filter_map(|pod| Some((pod, waits(pod)?))).collect();
    let uids = || waiting.iter().filter_map(|(pod, _)| pod.uid());
    if pods.iter().any(|pod| begun(pod) == Some(true)) {
        // There may be no room for it as long as others of its Job run.
        uids().for_each(|pod| context.forget(Since::PodWaits, &pod));
        return None;
    }
    let known_for = uids().map(|pod| context.known_for(Since::PodWaits, &pod)).max()?;
    waiting.into_iter().next().map(|(_, waits)| Held { waits, known_for })
}

/// How soon one is looked at again that has something in its way.
pub(super) const SOON: Duration = Duration::from_secs(2);

/// How long what is another's may be in the way: what was of a session that was removed goes soon after it.
const PATIENCE: Duration = Duration::from_secs(60);

/// Whether a session's Job can be made.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// It can.
    Free,
    /// It is there.
    Made,
    /// What is another's is in its way, and may go by itself.
    Waits,
    /// It stays in the way.
    Blocked(String),
}

/// Looks whether a session's Job can be made.
pub(super) async fn way(context: &Context, place: Place<'_>) -> Result<Way, Trouble> {
    Ok(match look(context, place).await? {
        State::Gone => {
            context.forget(Since::InTheWay, place.owner);
            Way::Free
        }
        State::Foreign if clear_away(context, place).await? => Way::Waits,
        State::Foreign if context.known_for(Since::InTheWay, place.owner) < PATIENCE => Way::Waits,
        State::Foreign => {
            context.forget(Since::InTheWay, place.owner);
            Way::Blocked(format!("there is a Job `{}` that is not this session's: remove it", place.name))
        }
        State::Runs { .. } | State::Ended(_) => Way::Made,
    })
}

/// Removes a Job in the way that was left behind by a session of the same name which is gone. It would go by itself; but where there is another one of that name,
/// who collects such things may look for a minute before it believes that.
async fn clear_away(context: &Context, place: Place<'_>) -> Result<bool, Trouble> {
    let api: Api<Job> = Api::namespaced(context.client.clone(), place.namespace);
    let Some(job) = api.get_opt(place.name).await? else { return Ok(true) };
    let owners = job.owner_references();
    let Some(owner) = owners.iter().find(|owner| uid_of(&job) == Some(&owner.uid) && owner.uid != place.owner) else {
        return Ok(false);
    };
    let now = match owner.kind.as_str() {
        "BackupSession" => uid_now::<BackupSession>(context, place.namespace, &owner.name).await?,
        "RestoreSession" => uid_now::<RestoreSession>(context, place.namespace, &owner.name).await?,
        _ => return Ok(false),
    };
    if now.as_ref() == Some(&owner.uid) {
        return Ok(false);
    }
    remove(&api, place.name, job.uid()).await?;
    Ok(true)
}

/// The uid of what has this name now.
async fn uid_now<K>(context: &Context, namespace: &str, name: &str) -> Result<Option<String>, Trouble>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
{
    let api: Api<K> = Api::namespaced(context.client.clone(), namespace);
    Ok(api.get_opt(name).await?.and_then(|one| one.uid()))
}

/// How long a session has taken, in seconds.
pub(super) fn seconds<K: Resource>(one: &K) -> f64 {
    let now = Timestamp::now();
    let began = one.meta().creation_timestamp.as_ref().map_or(now, |at| at.0);
    now.duration_since(began).as_secs_f64().max(0.0)
}

/// The Job of another session that the same asks for, and that has not ended: by what the API server has now; `own` is the uid of the one that asks.
pub(super) async fn other_job(
    context: &Context,
    namespace: &str,
    labels: &BTreeMap<String, String>,
    own: &str,
) -> Result<Option<String>, Trouble> {
    let api: Api<Job> = Api::namespaced(context.client.clone(), namespace);
    let jobs = api.list(&ListParams::default().labels(&names::selector(labels))).await?.items;
    let is_in_the_way = |job: &&Job| {
        let conditions = job.status.as_ref().and_then(|status| status.conditions.as_ref());
        let ended = |one: &&JobCondition| matches!(&*one.type_, "Complete" | "Failed") && one.status == "True";
        let is_own = uid_of(*job) == Some(own);
        // The pods of one that is being removed are looked at by themselves.
        let goes = job.metadata.deletion_timestamp.is_some();
        !is_own
            && !goes
            && !job.name_any().starts_with(names::HOOK)
            && conditions.into_iter().flatten().find(ended).is_none()
    };
    Ok(jobs.iter().find(is_in_the_way).map(ResourceExt::name_any))
}

/// Makes the Job of a session. Gives why there is none.
pub(super) async fn make(context: &Context, wanted: &Wanted<'_>) -> Result<Result<(), String>, Trouble> {
    match job(wanted) {
        Ok((job, secret)) => begin(context, &job, secret.as_ref()).await,
        Err(why) => Ok(Err(why)),
    }
}

/// What following a Job came to.
#[derive(Debug)]
pub(super) enum Follow {
    /// It is under way.
    Runs,
    /// It is to be given up, once it is written down why.
    GivenUp(Box<Ended>),
    /// It ended.
    Ended(Box<Ended>),
}

/// Why a session is given up, as its conditions have it.
pub(super) fn noted(conditions: &[Condition], disrupted: &str) -> Option<Ended> {
    let is = |kind: &str| conditions.iter().find(|one| one.r#type == kind && one.status == ConditionStatus::True);
    let why = is(disrupted)?.message.clone().unwrap_or_default();
    Some(Ended { late: is(LATE_CONDITION).is_some(), ..Ended::failed(why) })
}

/// Writes that down.
pub(super) fn note(conditions: &mut Vec<Condition>, disrupted: &str, ended: &Ended) {
    let why = ended.error.clone().unwrap_or_default();
    conditions::set(conditions, disrupted, ConditionStatus::True, "GivenUp", why);
    if ended.late {
        conditions::set(conditions, LATE_CONDITION, ConditionStatus::True, LATE_CONDITION, LATE);
    }
}

/// Removes a Job that is given up, and the Secret that was made for it.
pub(super) async fn give_up(context: &Context, place: Place<'_>) -> Result<(), Trouble> {
    place.remove::<Job>(context).await?;
    place.remove::<Secret>(context).await
}

/// Follows a Job. What does not begin, whose node is gone, or what is long past its time, is given up; what was given up before is removed.
pub(super) async fn follow(
    context: &Context,
    place: Place<'_>,
    time_out: Duration,
    noted: Option<Ended>,
) -> Result<Follow, Trouble> {
    if let Some(noted) = noted {
        give_up(context, place).await?;
        return Ok(Follow::Ended(Box::new(noted)));
    }
    let ended = match look(context, place).await? {
        State::Ended(ended) => *ended,
        State::Gone | State::Foreign => Ended::failed(format!("its Job `{}` was removed before it ended", place.name)),
        State::Runs { uid, held, lost } => {
            let (known, start) = (context.known_for(Since::Job, &uid), context.settings.start_timeout);
            return Ok(match (held, lost) {
                _ if known > time_out.saturating_add(GRACE) => {
                    Follow::GivenUp(Box::new(Ended { late: true, ..Ended::failed(LATE) }))
                }
                (_, Some(why)) => Follow::GivenUp(Box::new(Ended::failed(why))),
                (Some(Held { waits, known_for }), None) if known_for > start => {
                    let why = warned(context, place.namespace, waits).await;
                    let why = format!("its pod did not begin in {}: {why}", span(start.as_secs_f64()));
                    Follow::GivenUp(Box::new(Ended::failed(why)))
                }
                _ => Follow::Runs,
            });
        }
    };
    // It goes with the session anyhow; its secrets need not stay that long.
    place.remove::<Secret>(context).await?;
    Ok(Follow::Ended(Box::new(ended)))
}

/// How long a session may take that says so, or does not.
pub(super) fn time_out(context: &Context, said: Option<&str>) -> Duration {
    let said = said.and_then(|text| period(text).ok());
    said.unwrap_or(context.settings.session_timeout)
}

/// When a session that begins now is given up.
pub(super) fn deadline(time_out: Duration) -> Option<Time> {
    let time_out = SignedDuration::try_from(time_out).unwrap_or(SignedDuration::MAX);
    Timestamp::now().checked_add(time_out).ok().map(Time)
}

/// When it is looked at again, at the latest.
pub(super) const LOOK_AGAIN: Duration = Duration::from_secs(60);
