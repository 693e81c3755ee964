//! The node, our image on it, and what a backup needs whose pods run there.

use std::path::Path;
use std::process::Command;

use aquifer_operator::resources::app_binding::AppBinding;
use aquifer_operator::resources::backup::BackupConfiguration;
use aquifer_operator::resources::repository::Repository;
use aquifer_tests::held::Way;
use aquifer_tests::kubernetes::RealNode;
use aquifer_tests::kubernetes::wait::until;
use aquifer_tests::redis_server::RedisServer;
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::OnceCell;

use super::super::operator::rig::*;
use super::super::rig::{Rig, aquifer, make, pods_of, running_of};

static NODE: OnceCell<RealNode> = OnceCell::const_new();

/// A namespace of a cluster with an operator and the node.
pub(super) async fn real(name: &'static str) -> (&'static Rig, Client, &'static RealNode) {
    let (rig, client, _) = operated(name).await;
    let node = NODE
        .get_or_init(async || {
            let free = rig.whole.read().await;
            let settings = settings();
            let node = RealNode::start(&rig.cluster).await;
            assert_eq!(self::settings(), settings, "a kubelet of the tests changed this machine's own settings");
            drop(free);
            let folder = tempfile::tempdir().expect("a folder");
            node.import(&image(folder.path()));
            node
        })
        .await;
    (rig, client, node)
}

/// What a kubelet sets.
fn settings() -> Vec<String> {
    let names = ["kernel/panic", "kernel/panic_on_oops", "vm/overcommit_memory"];
    names.iter().map(|name| std::fs::read_to_string(Path::new("/proc/sys").join(name)).expect("it is there")).collect()
}

/// Our image as `deploy/image/build.py` makes it, of a binary without what only debuggers read.
fn image(folder: &Path) -> std::path::PathBuf {
    let (binary, archive) = (folder.join("aquifer"), folder.join("aquifer.oci.tar"));
    let run = |command: &mut Command| {
        let done = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        assert!(done.status.success(), "{command:?}: {}", String::from_utf8_lossy(&done.stderr));
    };
    run(Command::new("strip").arg("-o").arg(&binary).arg(aquifer()));
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/image/build.py");
    run(Command::new("python3")
        .arg(script)
        .arg("--tag=test")
        .arg("--binary")
        .arg(&binary)
        .arg("--output")
        .arg(&archive));
    archive
}

/// How pods run that are on the node.
pub(super) fn on_it(memory: &str) -> Value {
    json!({"pod": {"nodeName": RealNode::NAME}, "container": {"resources": {"limits": {"memory": memory}}}})
}

/// A database with its manifests. Pods reach it by a way that can be held up.
pub(super) struct Shop {
    pub(super) server: RedisServer,
    pub(super) way: Way,
    pub(super) place: TempDir,
}

/// Makes all that a backup needs.
pub(super) async fn shop(client: &Client, node: &RealNode, room: &str, more: Value) -> Shop {
    let (server, place) = (server(), folder());
    let way = Way::to(server.port());
    let mut binding = binding(&server);
    binding["spec"]["clientConfig"]["url"] = json!(format!("redis://{}:{}", node.reach(way.port()), way.port()));
    make::<Secret>(client, room, auth()).await;
    make::<Secret>(client, room, storage_secret()).await;
    make::<AppBinding>(client, room, binding).await;
    make::<Repository>(client, room, repository(place.path())).await;
    make::<BackupConfiguration>(client, room, configuration(more)).await;
    Shop { server, way, place }
}

/// Waits until the pod of a job runs our program; gives the pod, and the process by its id on this machine.
pub(super) async fn process(client: &Client, node: &RealNode, room: &str, job: &str) -> (Pod, i32) {
    let name = running_of(client, room, job).await;
    let pods = pods_of(client, room, job).await;
    let pod = pods.into_iter().find(|pod| pod.name_any() == name).expect("it runs");
    let uid = pod.uid().expect("it is stored");
    let process = until("a process of the pod", async || node.processes(&uid, "aquifer").first().copied()).await;
    (pod, process)
}
