//! One cluster with one node for all tests of this file, each in a namespace of its own.

use std::path::Path;

use aquifer_tests::kubernetes::wait::until;
use aquifer_tests::kubernetes::{Cluster, Image, Node, NodeOptions};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::serde::de::DeserializeOwned;
use kube::api::{Api, ListParams, PostParams};
use kube::core::NamespaceResourceScope;
use kube::{Client, Resource, ResourceExt};
use serde_json::{Value, from_value, json};
use tokio::sync::{OnceCell, RwLock};

pub(crate) struct Rig {
    pub(crate) cluster: Cluster,
    pub(crate) node: Node,
    /// Whoever stops a server of it has it alone.
    pub(crate) whole: RwLock<()>,
}

static RIG: OnceCell<Rig> = OnceCell::const_new();

/// The image with our program.
pub(crate) const AQUIFER: &str = "aquifer:test";

/// Our program, which cargo builds beside these tests.
pub(crate) fn aquifer() -> std::path::PathBuf {
    let tests = std::env::current_exe().expect("a path");
    let program = tests.ancestors().nth(2).expect("target/debug/deps/test").join("aquifer");
    assert!(program.is_file(), "`{}` is missing: run the tests of the whole workspace", program.display());
    program
}

/// The image that all have: nothing but this machine's programs.
pub(crate) fn debian() -> (String, Image) {
    ("debian".to_owned(), Image::default())
}

pub(crate) async fn rig() -> &'static Rig {
    RIG.get_or_init(async || {
        let cluster = Cluster::start().await;
        let node = node(&cluster, "node", false).await;
        Rig { cluster, node, whole: RwLock::default() }
    })
    .await
}

pub(crate) async fn node(cluster: &Cluster, name: &str, reserved: bool) -> Node {
    let images = [debian(), (AQUIFER.to_owned(), Image::of(&aquifer()))].into();
    let options = NodeOptions { name: name.to_owned(), images, reserved };
    Node::start(cluster, options).await
}

/// A namespace, and a client.
pub(crate) async fn room(name: &'static str) -> (&'static Rig, Client) {
    let rig = rig().await;
    let free = rig.whole.read().await;
    rig.cluster.namespace(name, &[]).await;
    drop(free);
    (rig, rig.cluster.client().await)
}

/// A container of this image that runs a script.
pub(crate) fn script(name: &str, script: &str) -> Value {
    json!({"name": name, "image": "debian", "command": ["sh", "-c", script]})
}

/// A pod that is not run again.
pub(crate) fn pod(name: &str, text: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {"restartPolicy": "Never", "containers": [script("main", text)]}})
}

/// A job whose pods are not run again.
pub(crate) fn job(name: &str, text: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {"template": {"spec": pod(name, text)["spec"]}}})
}

pub(crate) async fn make<K>(client: &Client, namespace: &str, object: Value) -> K
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
        + Clone
        + DeserializeOwned
        + serde::Serialize
        + std::fmt::Debug,
{
    let api: Api<K> = Api::namespaced(client.clone(), namespace);
    api.create(&PostParams::default(), &from_value(object).expect("an object")).await.expect("made")
}

/// Waits until a pod is as asked.
pub(crate) async fn pod_that(
    client: &Client,
    namespace: &str,
    name: &str,
    what: &str,
    is: impl Fn(&Pod) -> bool,
) -> Pod {
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    until(&format!("{namespace}/{name} {what}"), async || {
        let found = pods.get_opt(name).await.ok()??;
        is(&found).then_some(found)
    })
    .await
}

pub(crate) fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default()
}

/// Waits until a pod is over; gives it.
pub(crate) async fn over(client: &Client, namespace: &str, name: &str) -> Pod {
    pod_that(client, namespace, name, "is over", |pod| ["Succeeded", "Failed"].contains(&phase(pod))).await
}

/// Waits until a pod's container runs.
pub(crate) async fn running(client: &Client, namespace: &str, name: &str) -> Pod {
    pod_that(client, namespace, name, "runs", |pod| phase(pod) == "Running").await
}

/// The state of a pod's only container, as the API says it.
pub(crate) fn state(pod: &Pod) -> Value {
    let statuses = pod.status.as_ref().and_then(|status| status.container_statuses.clone()).unwrap_or_default();
    serde_json::to_value(&statuses[0]).expect("JSON")["state"].clone()
}

/// Waits until a job ended so; gives the condition's reason.
pub(crate) async fn job_that(client: &Client, namespace: &str, name: &str, kind: &str) -> String {
    let jobs: Api<Job> = Api::namespaced(client.clone(), namespace);
    until(&format!("job {namespace}/{name}: {kind}"), async || {
        let conditions = jobs.get_opt(name).await.ok()??.status?.conditions?;
        let found = conditions.into_iter().find(|is| is.type_ == kind && is.status == "True")?;
        Some(found.reason.unwrap_or_default())
    })
    .await
}

/// A job's pods, in the order they were made.
pub(crate) async fn pods_of(client: &Client, namespace: &str, job: &str) -> Vec<Pod> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let label = format!("batch.kubernetes.io/job-name={job}");
    let mut all = pods.list(&ListParams::default().labels(&label)).await.expect("an answer").items;
    all.sort_by_key(|pod| pod.metadata.creation_timestamp.clone().map(|at| at.0));
    all
}

/// Waits for the first pod of a job that runs; gives its name.
pub(crate) async fn running_of(client: &Client, namespace: &str, job: &str) -> String {
    until(&format!("a pod of {namespace}/{job} that runs"), async || {
        let pods = pods_of(client, namespace, job).await;
        pods.iter()
            .find(|pod| phase(pod) == "Running" && pod.metadata.deletion_timestamp.is_none())
            .map(ResourceExt::name_any)
    })
    .await
}

/// Waits until a pod's object is there no more.
pub(crate) async fn gone(client: &Client, namespace: &str, name: &str) {
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    until(&format!("{namespace}/{name} is gone"), async || pods.get_opt(name).await.ok()?.is_none().then_some(()))
        .await;
}

/// Whether a process of this machine is there.
pub(crate) fn lives(process: i32) -> bool {
    let status = std::fs::read_to_string(Path::new("/proc").join(process.to_string()).join("status"));
    status.is_ok_and(|status| !status.contains("State:\tZ"))
}
