//! How sessions end that a real node ends: by their memory, by their time, and because nobody wants them any more.

use std::time::{Duration, Instant};

use aquifer_operator::resources::backup::BackupConfiguration;
use aquifer_operator::resources::backup_session::{BackupPhase, BackupSession};
use aquifer_tests::kubernetes::RealNode;
use aquifer_tests::kubernetes::wait::until;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};

use super::super::operator::guide::restic;
use super::super::operator::rig::*;
use super::super::rig::{gone, make};
use super::rig::*;

/// How long a pod has to end by itself before it is killed.
const GRACE: Duration = Duration::from_secs(60);

fn error(session: &BackupSession) -> String {
    let status = session.status.clone().expect("a status");
    assert_eq!(status.phase, Some(BackupPhase::Failed), "{status:#?}");
    status.targets[0].stats[0].error.clone().unwrap_or_default()
}

/// Changes what asks for backups, and waits until the operator has heard of it.
async fn configure(client: &Client, room: &str, change: Value) {
    patch::<BackupConfiguration>(client, room, "backup", change).await;
    that(client, room, "backup", "is known", |one: &BackupConfiguration| {
        (one.status.as_ref()?.observed_generation == one.metadata.generation).then_some(())
    })
    .await;
}

/// Runs a session that has to succeed.
async fn succeeds(client: &Client, room: &str, name: &str) {
    make::<BackupSession>(client, room, session(name)).await;
    let status = over(client, room, name).await.status.expect("a status");
    assert_eq!(status.phase, Some(BackupPhase::Succeeded), "{status:#?}");
}

/// Waits until a pod's process has ended; it did so by itself.
async fn ended(node: &RealNode, pod: &str) {
    let since = Instant::now();
    until("the pod's process has ended", async || node.processes(pod, "aquifer").is_empty().then_some(())).await;
    assert!(since.elapsed() < GRACE / 3, "it was killed: {:?}", since.elapsed());
}

#[tokio::test]
async fn a_session_without_memory_says_so() {
    const ROOM: &str = "memory";
    let (rig, client, node) = real(ROOM).await;
    let _free = rig.whole.read().await;
    // Less than the key of a repository is made with.
    let shop = shop(&client, node, ROOM, json!({"runtimeSettings": on_it("24Mi")})).await;
    make::<BackupSession>(&client, ROOM, session("small")).await;
    let small = over(&client, ROOM, "small").await;
    assert_eq!(
        error(&small),
        "its pod was killed because it had no memory left: give it more by `runtimeSettings.container.resources.limits.memory`"
    );
    // And with it, all is well.
    configure(&client, ROOM, json!({"spec": {"runtimeSettings": on_it("300Mi")}})).await;
    succeeds(&client, ROOM, "large").await;
    assert!(restic(shop.place.path(), &["check", "--read-data"]).contains("no errors"));
}

#[tokio::test]
async fn what_is_ended_ends_in_time_and_leaves_no_half_snapshot() {
    const ROOM: &str = "ended";
    let (rig, client, node) = real(ROOM).await;
    let _free = rig.whole.read().await;
    let shop = shop(&client, node, ROOM, json!({"runtimeSettings": on_it("300Mi")})).await;
    succeeds(&client, ROOM, "first").await;
    let place = shop.place.path();
    let whole = restic(place, &["snapshots", "--json"]);
    shop.server.cli(&["-a", "open-sesame", "DEBUG", "POPULATE", "300000", "key", "100"]);
    let sessions: Api<BackupSession> = Api::namespaced(client.clone(), ROOM);

    // In the middle of the data.
    let mut held = shop.way.hold_after(8 << 20);
    make::<BackupSession>(&client, ROOM, session("unwanted")).await;
    let (pod, _) = process(&client, node, ROOM, "stash-backup-unwanted").await;
    held.reached().await;
    sessions.delete("unwanted", &DeleteParams::default()).await.expect("deleted");
    // The garbage collector takes its time, which is none of the pod's.
    let pods: Api<Pod> = Api::namespaced(client.clone(), ROOM);
    until("the pod is asked to end", async || {
        let found = pods.get_opt(&pod.name_any()).await.ok()?;
        found.is_none_or(|pod| pod.metadata.deletion_timestamp.is_some()).then_some(())
    })
    .await;
    ended(node, &pod.uid().expect("an id")).await;
    gone(&client, ROOM, &pod.name_any()).await;
    drop(held);
    // No lock is left either: it was asked to end, and did.
    assert_eq!(restic(place, &["snapshots", "--json"]), whole);
    assert_eq!(restic(place, &["list", "locks", "--no-lock"]).trim(), "");
    assert!(restic(place, &["check", "--read-data"]).contains("no errors"));

    let mut held = shop.way.hold_after(8 << 20);
    configure(&client, ROOM, json!({"spec": {"timeOut": "20s"}})).await;
    make::<BackupSession>(&client, ROOM, session("late")).await;
    let (pod, _) = process(&client, node, ROOM, "stash-backup-late").await;
    held.reached().await;
    let late = over(&client, ROOM, "late").await;
    assert!(error(&late).starts_with("it took longer than it may"), "{late:#?}");
    ended(node, &pod.uid().expect("an id")).await;
    drop(held);
    assert_eq!(restic(place, &["snapshots", "--json"]), whole);
    assert_eq!(restic(place, &["list", "locks", "--no-lock"]).trim(), "");

    configure(&client, ROOM, json!({"spec": {"timeOut": "10m"}})).await;
    succeeds(&client, ROOM, "last").await;
    assert!(restic(place, &["check", "--read-data"]).contains("no errors"));
}
