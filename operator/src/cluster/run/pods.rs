//! What pods say of themselves: why one has not begun, how it ended, and whether anybody can tell.
//!
//! Takes pods as the API server has them. Gives words for people. Always holds: a pod counts as lost only where its end is long overdue.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::{Api, ResourceExt};

use super::{CONTAINER, POD_INDEX, uid_of};
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
    let key = format!("ends {}", pod.uid().unwrap_or_default());
    context.known_for(&key) > LOST.saturating_add(Duration::from_secs(grace))
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

/// Why a pod has not begun; nothing where it has.
pub(super) fn waits(pod: Option<&Pod>) -> Option<String> {
    let Some(pod) = pod else {
        return Some("it has no pod yet: the events of its Job say why".to_owned());
    };
    if begun(pod).is_some() {
        return None;
    }
    let status = pod.status.clone().unwrap_or_default();
    let ours = status.container_statuses.iter().flatten().find(|status| status.name == CONTAINER);
    let state = ours.and_then(|ours| ours.state.as_ref());
    if let Some(waiting) = state.and_then(|state| state.waiting.as_ref()) {
        let reason = waiting.reason.as_deref().unwrap_or("Waiting");
        return Some(match &waiting.message {
            Some(message) => format!("{reason}: {message}"),
            None => reason.to_owned(),
        });
    }
    let unscheduled =
        status.conditions.iter().flatten().find(|one| one.type_ == "PodScheduled" && one.status == "False");
    Some(unscheduled.and_then(|one| one.message.clone()).unwrap_or_else(|| "its pod has not begun yet".to_owned()))
}
