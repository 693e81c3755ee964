//! The node's object and its lease, by which the cluster knows that it lives.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Namespace, Node};
use kube::Client;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::{from_value, json};

use super::shared::Shared;
use super::status::now;

/// The label that pods select a node by.
pub(super) const HOST_NAME: &str = "kubernetes.io/hostname";

/// Where leases of nodes are.
const LEASES: &str = "kube-node-lease";

/// How often it says that it lives.
const BEAT: Duration = Duration::from_secs(1);

pub(super) fn labels(name: &str) -> BTreeMap<String, String> {
    let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    [(HOST_NAME, name), ("kubernetes.io/os", "linux"), ("kubernetes.io/arch", architecture)]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into()
}

/// Says that it lives, as long as it is connected.
pub(super) async fn keep(shared: Arc<Shared>, client: Client) {
    let mut beat = tokio::time::interval(BEAT);
    loop {
        beat.tick().await;
        if shared.connected() {
            // The server may be down: the next beat says it.
            drop(say(&shared.options.name, &client).await);
        }
    }
}

async fn say(name: &str, client: &Client) -> kube::Result<()> {
    let nodes: Api<Node> = Api::all(client.clone());
    if nodes.get_opt(name).await?.is_none() {
        let node = json!({"metadata": {"name": name, "labels": labels(name)}});
        nodes.create(&PostParams::default(), &from_value(node).map_err(kube::Error::SerdeError)?).await?;
    }
    let condition = |kind: &str, status: &str, reason: &str| {
        json!({
            "type": kind, "status": status, "reason": reason, "message": reason, "lastHeartbeatTime": now(), "lastTransitionTime": now(),
        })
    };
    let room = json!({"cpu": "64", "memory": "256Gi", "pods": "1000", "ephemeral-storage": "1Ti"});
    let status = json!({"status": {
        "conditions": [
            condition("MemoryPressure", "False", "KubeletHasSufficientMemory"),
            condition("DiskPressure", "False", "KubeletHasNoDiskPressure"),
            condition("PIDPressure", "False", "KubeletHasSufficientPID"),
            condition("Ready", "True", "KubeletReady"),
        ],
        "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}, {"type": "Hostname", "address": name}],
        "capacity": room,
        "allocatable": room,
    }});
    nodes.patch_status(name, &PatchParams::default(), &Patch::Strategic(status)).await?;
    let lease = json!({
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": name},
        "spec": {"holderIdentity": name, "leaseDurationSeconds": 40, "renewTime": jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()},
    });
    let namespaces: Api<Namespace> = Api::all(client.clone());
    if namespaces.get_opt(LEASES).await?.is_some() {
        let leases: Api<Lease> = Api::namespaced(client.clone(), LEASES);
        leases.patch(name, &PatchParams::apply("node").force(), &Patch::Apply(lease)).await?;
    }
    Ok(())
}
