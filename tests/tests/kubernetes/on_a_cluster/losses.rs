//! What is lost: nodes, and servers of the control plane.

use aquifer_tests::kubernetes::wait::until;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::Api;
use kube::{Client, ResourceExt};
use serde_json::json;

use super::rig::*;

fn on(node: &str, mut job: serde_json::Value) -> serde_json::Value {
    job["spec"]["template"]["spec"]["nodeSelector"] = json!({"kubernetes.io/hostname": node});
    job["spec"]["backoffLimit"] = 6.into();
    job
}

async fn not_ready(client: &Client, name: &str) {
    let nodes: Api<Node> = Api::all(client.clone());
    until("the node counts as lost", async || {
        let conditions = nodes.get_opt(name).await.ok()??.status?.conditions?;
        conditions.into_iter().any(|is| is.type_ == "Ready" && is.status == "Unknown").then_some(())
    })
    .await;
}

#[tokio::test]
async fn the_pods_of_a_lost_node_are_given_up() {
    let (rig, client) = room("lost").await;
    let _free = rig.whole.read().await;
    let node = node(&rig.cluster, "fragile", true).await;
    let mut steady = on("fragile", job("steady", "exec sleep 1000"));
    // Another user than the node's.
    steady["spec"]["template"]["spec"]["securityContext"] = json!({"runAsUser": 1000});
    make::<Job>(&client, "lost", steady).await;
    let first = running_of(&client, "lost", "steady").await;
    let process = node.process("lost", &first, "main").expect("it runs");
    node.lose();
    until("the process is gone", async || (!lives(process)).then_some(())).await;
    // Nobody says so.
    let pods: Api<Pod> = Api::namespaced(client.clone(), "lost");
    assert_eq!(phase(&pods.get(&first).await.expect("it is there")), "Running");
    not_ready(&client, "fragile").await;
    pod_that(&client, "lost", &first, "is to go", |pod| pod.metadata.deletion_timestamp.is_some()).await;
    node.come_back();
    until("another pod runs", async || {
        let name = running_of(&client, "lost", "steady").await;
        (name != first).then_some(())
    })
    .await;
    gone(&client, "lost", &first).await;
}

#[tokio::test]
async fn a_node_that_is_cut_off_goes_on() {
    let (rig, client) = room("cut").await;
    let _free = rig.whole.read().await;
    let node = node(&rig.cluster, "far", true).await;
    let mut far = pod("far", "echo begun; while [ ! -e /shared/end ]; do sleep 0.1; done; echo ended");
    far["spec"]["nodeSelector"] = json!({"kubernetes.io/hostname": "far"});
    far["spec"]["containers"][0]["volumeMounts"] = json!([{"name": "shared", "mountPath": "/shared"}]);
    let folder = tempfile::tempdir().expect("a folder");
    far["spec"]["volumes"] = json!([{"name": "shared", "hostPath": {"path": folder.path()}}]);
    make::<Pod>(&client, "cut", far).await;
    running(&client, "cut", "far").await;
    node.cut_off();
    std::fs::write(folder.path().join("end"), "").expect("room");
    until("it ends", async || (node.log("cut", "far", "main") == "begun\nended\n").then_some(())).await;
    let pods: Api<Pod> = Api::namespaced(client.clone(), "cut");
    assert_eq!(phase(&pods.get("far").await.expect("it is there")), "Running");
    node.come_back();
    assert_eq!(phase(&over(&client, "cut", "far").await), "Succeeded");
}

#[tokio::test]
async fn pods_go_on_while_the_server_is_down() {
    let (rig, client) = room("down").await;
    let _alone = rig.whole.write().await;
    make::<Pod>(&client, "down", pod("steady", "echo begun; sleep 1; echo ended")).await;
    running(&client, "down", "steady").await;
    rig.cluster.stop_server();
    assert!(client.apiserver_version().await.is_err());
    until("it ends", async || (rig.node.log("down", "steady", "main") == "begun\nended\n").then_some(())).await;
    rig.cluster.start_server().await;
    assert_eq!(phase(&over(&client, "down", "steady").await), "Succeeded");
    rig.cluster.stop_manager();
    make::<Job>(&client, "down", job("later", "exit 0")).await;
    make::<Pod>(&client, "down", pod("meanwhile", "exit 0")).await;
    over(&client, "down", "meanwhile").await;
    assert!(pods_of(&client, "down", "later").await.is_empty());
    rig.cluster.start_manager();
    job_that(&client, "down", "later", "Complete").await;
}

#[tokio::test]
async fn nobody_is_allowed_anything_by_default() {
    let (rig, admin) = room("nobody").await;
    let _free = rig.whole.read().await;
    let stranger = aquifer_tests::kubernetes::cluster::client(&rig.cluster.kubeconfig_of("stranger")).await;
    make::<Pod>(&admin, "nobody", pod("seen", "exit 0")).await;
    let pods: Api<Pod> = Api::namespaced(stranger, "nobody");
    let refused = pods.get("seen").await.expect_err("refused").to_string();
    assert!(refused.contains("User \"stranger\" cannot get resource \"pods\""), "{refused}");
    assert_eq!(over(&admin, "nobody", "seen").await.name_any(), "seen");
}
