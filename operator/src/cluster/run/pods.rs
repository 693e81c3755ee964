//! What pods say of themselves: why one has not begun, how it ended, and whether anybody can tell.
//!
//! Takes pods as the API server has them. Gives words for people. Always holds: a pod counts as lost only where its end is long overdue.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::jiff::Timestamp;
use kube::api::ListParams;
use kube::{Api, ResourceExt};

use super::{CONTAINER, POD_INDEX, uid_of};
use crate::cluster::context::Since;
use crate::cluster::{Context, Trouble, names};
use crate::outcome::Outcome;

/// How long a pod may be past the end of its grace: its node is gone then, and nobody will say that it has ended.
const LOST: Duration = Duration::from_secs(180);

/// What else runs of one that asks for sessions.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Others {
    /// Nothing.
    None,
    /// A pod of which nobody can say whether it still runs.
    Lost,
    /// This pod.
    Run(String),
}

/// Whether pods of earlier sessions of the same still run: what was deleted or given up takes a while to end. One that was made again under the same name
/// is another one: `own` is the uid of the one that asks.
pub(crate) async fn others(
    context: &Context,
    namespace: &str,
    labels: &BTreeMap<String, String>,
    own: &str,
) -> Result<Others, Trouble> {
    let mut found = Others::None;
    for pod in all_unended(context, Some(namespace), labels).await? {
        if uid_of(&pod) == Some(own) {
            continue;
        }
        if !is_lost(context, &pod) {
            return Ok(Others::Run(pod.name_any()));
        }
        found = Others::Lost;
    }
    Ok(found)
}

/// The pods of sessions with these labels that have not ended, as far as anybody can tell, in whatever namespace.
pub(crate) async fn unended(context: &Context, labels: &BTreeMap<String, String>) -> Result<Vec<Pod>, Trouble> {
    let mut all = all_unended(context, None, labels).await?;
    all.retain(|pod| !is_lost(context, pod));
    Ok(all)
}

async fn all_unended(
    context: &Context,
    namespace: Option<&str>,
    labels: &BTreeMap<String, String>,
) -> Result<Vec<Pod>, Trouble> {
    let mut all = pods(context, namespace, &names::selector(labels)).await?;
    all.retain(|pod| {
        let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default();
        let job = pod.labels().get("batch.kubernetes.io/job-name").map(String::as_str).unwrap_or_default();
        !job.starts_with(names::HOOK) && !matches!(phase, "Succeeded" | "Failed")
    });
    Ok(all)
}

/// Whether a pod should have ended long ago. By the clock of this process, which does not jump: the end's time is that of another one.
pub(super) fn is_lost(context: &Context, pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default();
    if matches!(phase, "Succeeded" | "Failed") || pod.metadata.deletion_timestamp.is_none() {
        return false;
    }
    let grace = u64::try_from(pod.metadata.deletion_grace_period_seconds.unwrap_or_default()).unwrap_or_default();
    context.known_for(Since::PodEnds, &pod.uid().unwrap_or_default()) > LOST.saturating_add(Duration::from_secs(grace))
}

pub(super) fn lost(pod: &Pod) -> String {
    let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).unwrap_or("?");
    format!("its pod `{}` is to end and does not: the node `{node}` does not answer", pod.name_any())
}

/// The pods with these labels, of a namespace or of all.
pub(super) async fn pods(context: &Context, namespace: Option<&str>, labels: &str) -> Result<Vec<Pod>, Trouble> {
    let client = context.client.clone();
    let api: Api<Pod> =
        namespace.map_or_else(|| Api::all(client.clone()), |name| Api::namespaced(client.clone(), name));
    Ok(api.list(&ListParams::default().labels(labels)).await?.items)
}

/// What became of a pod's run, as it said itself.
pub(super) fn said(pod: &Pod) -> Option<Outcome> {
    Outcome::read(&last_words(pod)?)
}

/// The same of a Job with so many numbered pods, in their order.
pub(super) fn all_said(pods: &[Pod], count: usize) -> Vec<Option<Outcome>> {
    let of = |number: usize| pods.iter().find(|pod| pod.annotations().get(POD_INDEX) == Some(&number.to_string()));
    (0..count).map(|number| said(of(number)?)).collect()
}

/// What a pod's container said last.
fn last_words(pod: &Pod) -> Option<String> {
    let statuses = pod.status.as_ref()?.container_statuses.as_ref()?;
    let ours = statuses.iter().find(|status| status.name == CONTAINER)?;
    ours.state.as_ref()?.terminated.as_ref()?.message.clone()
}

/// Why a pod ended that said nothing of its own.
pub(super) fn end(pod: &Pod) -> Option<String> {
    let status = pod.status.as_ref()?;
    if let Some(reason) = &status.reason {
        return Some(format!("its pod ended: {reason}: {}", status.message.as_deref().unwrap_or("no more is known")));
    }
    let ours = status.container_statuses.iter().flatten().find(|status| status.name == CONTAINER)?;
    let ended = ours.state.as_ref()?.terminated.as_ref()?;
    let reason = ended.reason.as_deref().unwrap_or("Error");
    let tail: Vec<&str> = ended.message.as_deref().unwrap_or_default().lines().rev().take(3).collect();
    let tail: Vec<&str> = tail.into_iter().rev().collect();
    let said = if tail.is_empty() { String::new() } else { format!(": {}", tail.join(" ")) };
    Some(match (reason, ended.exit_code) {
        ("OOMKilled", _) => "its pod was killed because it had no memory left: give it more by `runtimeSettings.container.resources.limits.memory`".to_owned(),
        (_, 137) => format!("its pod was killed{said}"),
        (reason, code) => format!("its pod ended with the status {code} ({reason}){said}"),
    })
}

/// Whether a pod has begun and still runs; nothing where it has not begun.
pub(super) fn begun(pod: &Pod) -> Option<bool> {
    let statuses = pod.status.as_ref()?.container_statuses.as_ref()?;
    let state = statuses.iter().find(|status| status.name == CONTAINER)?.state.as_ref()?;
    (state.running.is_some() || state.terminated.is_some()).then_some(state.running.is_some())
}

/// Why a pod has not begun.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Waits {
    /// As far as it is known without its events.
    words: String,
    /// The uid of what has events that say more.
    silent: Option<String>,
}

impl Waits {
    /// Of a Job of this uid whose pod is not there.
    pub(super) fn without_pod(job: &str) -> Self {
        Self { words: "it has no pod yet".to_owned(), silent: Some(job.to_owned()) }
    }
}

/// Why a pod has not begun; nothing where it has.
pub(super) fn waits(pod: &Pod) -> Option<Waits> {
    if begun(pod).is_some() {
        return None;
    }
    let status = pod.status.clone().unwrap_or_default();
    let ours = status.container_statuses.iter().flatten().find(|status| status.name == CONTAINER);
    let state = ours.and_then(|ours| ours.state.as_ref());
    let waiting = state.and_then(|state| state.waiting.as_ref());
    let unscheduled =
        status.conditions.iter().flatten().find(|one| one.type_ == "PodScheduled" && one.status == "False");
    let (reason, message) = match (waiting, unscheduled) {
        (Some(waiting), _) => (waiting.reason.clone(), waiting.message.clone()),
        (None, Some(unscheduled)) => (None, unscheduled.message.clone()),
        (None, None) => (None, None),
    };
    let silent = if message.is_none() { pod.uid() } else { None };
    let all: Vec<String> = [reason, message].into_iter().flatten().collect();
    let words = if all.is_empty() { "its pod has not begun yet".to_owned() } else { all.join(": ") };
    Some(Waits { words, silent })
}

/// The same with what its events warn of, where only they say why.
pub(super) async fn warned(context: &Context, namespace: &str, waits: Waits) -> String {
    let Waits { words, silent } = waits;
    let Some(uid) = silent else { return words };
    let api: Api<Event> = Api::namespaced(context.client.clone(), namespace);
    let of_it = ListParams::default().fields(&format!("regarding.uid={uid},type=Warning"));
    // Without the right to look, or without an answer, the words have to do.
    let all = api.list(&of_it).await.map(|found| found.items).unwrap_or_default();
    match all.iter().max_by_key(|event| last_seen(event)).and_then(said_by) {
        Some(said) => format!("{words}: {said}"),
        None => format!("{words}: `kubectl get events -n {namespace}` may say why"),
    }
}

/// When an event was last seen, in whichever of its fields that stands.
fn last_seen(event: &Event) -> Option<Timestamp> {
    let series = event.series.as_ref().map(|series| series.last_observed_time.0);
    let old = event.deprecated_last_timestamp.as_ref().map(|at| at.0);
    series.or(old).max(event.event_time.as_ref().map(|at| at.0))
}

fn said_by(event: &Event) -> Option<String> {
    let note = event.note.as_deref().filter(|note| !note.is_empty())?;
    Some(event.reason.as_ref().map_or_else(|| note.to_owned(), |reason| format!("{reason}: {note}")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_a_pod_says_of_itself_is_not_asked_of_its_events() {
        let told = |status: serde_json::Value| {
            let pod = json!({"metadata": {"uid": "u-1"}, "status": status});
            waits(&serde_json::from_value(pod).expect("a pod")).map(|waits| (waits.words, waits.silent))
        };
        let state = |state: serde_json::Value| json!({"containerStatuses": [{"name": "aquifer", "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": state}]});
        let (words, more) = (|words: &str| words.to_owned(), Some("u-1".to_owned()));
        let image = json!({"waiting": {"reason": "ErrImagePull", "message": "no such image"}});
        assert_eq!(told(state(image)), Some((words("ErrImagePull: no such image"), None)));
        let creating = json!({"waiting": {"reason": "ContainerCreating"}});
        assert_eq!(told(state(creating)), Some((words("ContainerCreating"), more.clone())));
        let unscheduled = json!({"type": "PodScheduled", "status": "False", "message": "0/1 nodes are available"});
        assert_eq!(told(json!({"conditions": [unscheduled]})), Some((words("0/1 nodes are available"), None)));
        assert_eq!(told(json!({})), Some((words("its pod has not begun yet"), more)));
        assert_eq!(told(state(json!({"running": {}}))), None);
    }

    #[test]
    fn the_newest_event_is_the_one_that_counts() {
        let event = |fields: serde_json::Value| -> Event {
            let mut event = json!({"metadata": {}, "eventTime": null, "reason": "FailedCreate"});
            event.as_object_mut().expect("an object").extend(fields.as_object().expect("an object").clone());
            serde_json::from_value(event).expect("an event")
        };
        let old = event(json!({"deprecatedLastTimestamp": "2026-03-01T03:00:00Z", "note": "old"}));
        let series = json!({"count": 3, "lastObservedTime": "2026-03-01T03:00:02.000000Z"});
        let new = event(json!({"eventTime": "2026-03-01T02:00:00.000000Z", "series": series, "note": "new"}));
        let unknown = event(json!({"note": "never"}));
        let newest = [old, new, unknown].into_iter().max_by_key(last_seen).expect("one");
        assert_eq!(said_by(&newest).as_deref(), Some("FailedCreate: new"));
    }
}
