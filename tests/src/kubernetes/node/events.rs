//! The node's loop: it hears of pods, binds those that have no node, and tells each pod's worker what is new.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{Api, ListParams, PostParams};
use kube::{Client, ResourceExt};
use serde_json::json;
use tokio::sync::mpsc;

use super::pod::Worker;
use super::registration;
use super::shared::{Known, Mode, Shared};
use crate::kubernetes::cluster::client;

/// How often it asks for pods.
const TICK: Duration = Duration::from_millis(100);

/// What a pod's worker is told.
#[derive(Debug)]
pub(super) enum Event {
    /// The pod as it is now.
    Newer(Box<Pod>),
    /// The pod is there no more.
    Gone,
    Evict,
    /// A container's process runs, by its id on this machine.
    Started(usize, i32),
    /// A container's process has ended; its exit code, and what was said where it never started.
    Ended(usize, i32, Option<String>),
}

/// Works until it is told to stop; all processes have ended then, for they end with the thread.
pub(super) async fn work(shared: Arc<Shared>) {
    let client = client(&shared.kubeconfig).await;
    let beat = tokio::spawn(registration::keep(Arc::clone(&shared), client.clone()));
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = shared.stop.cancelled() => break,
            () = shared.turned.notified() => {}
            _ = tick.tick() => {}
        }
        if shared.state().mode == Mode::Lost {
            lose(&shared).await;
        }
        if shared.connected() {
            tokio::select! {
                () = shared.stop.cancelled() => break,
                () = look(&shared, &client) => {}
            }
        }
    }
    beat.abort();
    lose(&shared).await;
}

/// Ends all workers, and with them their processes.
async fn lose(shared: &Arc<Shared>) {
    let pods: Vec<Known> = shared.state().pods.drain().map(|(_, known)| known).collect();
    for known in pods {
        known.worker.abort();
        drop(known.worker.await);
    }
    shared.state().processes.clear();
}

async fn look(shared: &Arc<Shared>, client: &Client) {
    // The server may be down: pods go on.
    let Ok(pods) = Api::<Pod>::all(client.clone()).list(&ListParams::default().match_any()).await else { return };
    let mut there = HashSet::new();
    for pod in pods {
        let (Some(uid), Some(spec)) = (pod.uid(), pod.spec.as_ref()) else { continue };
        match spec.node_name.as_deref() {
            None if wanted(shared, &pod) && open(shared, client).await => bind(shared, client, &pod).await,
            Some(node) if node == shared.options.name => {
                there.insert(uid.clone());
                tell(shared, client, uid, pod);
            }
            _ => {}
        }
    }
    let mut state = shared.state();
    // A worker that has cleaned up ends by itself.
    state.pods.retain(|uid, known| {
        if there.contains(uid) {
            return true;
        }
        known.events.send(Event::Gone).is_ok()
    });
}

/// Whether a pod that has no node may come here.
fn wanted(shared: &Shared, pod: &Pod) -> bool {
    let Some(spec) = &pod.spec else { return false };
    let gated = spec.scheduling_gates.as_ref().is_some_and(|gates| !gates.is_empty());
    let labels = registration::labels(&shared.options.name);
    let selector = spec.node_selector.clone().unwrap_or_default();
    let here = selector.iter().all(|(key, value)| labels.get(key).is_some_and(|is| is == value));
    let named = selector.contains_key(registration::HOST_NAME);
    here && !gated && (named || !shared.options.reserved) && pod.metadata.deletion_timestamp.is_none()
}

/// Whether the cluster counts the node as one that may be given pods: not while it is lost, and not right after.
async fn open(shared: &Shared, client: &Client) -> bool {
    let found = Api::<Node>::all(client.clone()).get(&shared.options.name).await;
    let taints = found.ok().map(|node| node.spec.and_then(|spec| spec.taints).unwrap_or_default());
    taints.is_some_and(|taints| taints.iter().all(|taint| taint.effect != "NoSchedule"))
}

async fn bind(shared: &Shared, client: &Client, pod: &Pod) {
    let binding = json!({
        "apiVersion": "v1",
        "kind": "Binding",
        "metadata": {"name": pod.name_any(), "uid": pod.uid()},
        "target": {"apiVersion": "v1", "kind": "Node", "name": shared.options.name},
    });
    let pods: Api<Pod> = Api::namespaced(client.clone(), &pod.namespace().unwrap_or_default());
    // Another node may have been quicker; a failure of the server is met by the next look.
    let (name, how) = (pod.name_any(), PostParams::default());
    drop(pods.create_subresource::<_, serde_json::Value>("binding", &name, &how, &binding).await);
}

fn tell(shared: &Arc<Shared>, client: &Client, uid: String, pod: Pod) {
    let mut state = shared.state();
    if let Some(known) = state.pods.get(&uid) {
        // It ends only once the pod is gone.
        drop(known.events.send(Event::Newer(Box::new(pod))));
        return;
    }
    let (namespace, name) = (pod.namespace().unwrap_or_default(), pod.name_any());
    let (events, heard) = mpsc::unbounded_channel();
    let worker = Worker::new(Arc::clone(shared), client.clone(), pod, events.clone());
    let worker = tokio::spawn(worker.work(heard));
    state.pods.insert(uid, Known { namespace, name, events, worker });
}
