//! A cluster's shards, read by a pod each: one snapshot comes of them, or none.

use aquifer_operator::resources::app_binding::AppBinding;
use aquifer_operator::resources::backup::BackupConfiguration;
use aquifer_operator::resources::backup_session::{BackupPhase, BackupSession, BackupSessionStatus};
use aquifer_operator::resources::condition::ConditionStatus;
use aquifer_operator::resources::repository::Repository;
use aquifer_operator::resources::restore::{RestorePhase, RestoreSession};
use aquifer_tests::kubernetes::wait::until;
use aquifer_tests::redis_cluster::RedisCluster;
use aquifer_tests::redis_server::RedisServer;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::api::{Api, DeleteParams};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};

use super::super::rig::{make, pods_of};
use super::guide::restic;
use super::hooks::Chat;
use super::rig::*;

const KEYS: usize = 90;

/// A database without a password.
fn open(name: &str, url: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {"type": "redis", "version": "7.0", "clientConfig": {"url": url}}})
}

fn filled() -> RedisCluster {
    let cluster = RedisCluster::start(3, false, &[]);
    let owner = |key: &str| &cluster.masters[cluster.owner(key)];
    for number in 0..KEYS - 1 {
        let key = format!("key:{number}");
        owner(&key).cli(&["SET", &key, &format!("value {number}")]);
    }
    owner("list").cli(&["RPUSH", "list", "a", "b", "c"]);
    cluster
}

async fn shards(client: &Client, room: &str, shards: &str) {
    let task = json!({"params": [{"name": "shards", "value": shards}]});
    patch::<BackupConfiguration>(client, room, "backup", json!({"spec": {"task": task}})).await;
    that(client, room, "backup", "is looked over", |one: &BackupConfiguration| {
        (one.status.as_ref()?.observed_generation == one.metadata.generation).then_some(())
    })
    .await;
}

async fn run(client: &Client, room: &str, name: &str) -> BackupSessionStatus {
    make::<BackupSession>(client, room, session(name)).await;
    over(client, room, name).await.status.expect("a status")
}

fn error(status: &BackupSessionStatus) -> &str {
    status.targets[0].stats[0].error.as_deref().unwrap_or_default()
}

/// The files of the snapshots that are there.
fn files(place: &std::path::Path) -> Vec<String> {
    let listed: Value = serde_json::from_str(&restic(place, &["snapshots", "--json", "--no-lock"])).expect("JSON");
    let paths = listed.as_array().expect("snapshots").iter().map(|one| one["paths"][0].as_str().expect("a path"));
    let mut files: Vec<String> = paths.map(str::to_owned).collect();
    files.sort();
    files
}

#[tokio::test]
async fn a_cluster_is_read_by_a_pod_for_each_shard_and_stored_as_one() {
    const ROOM: &str = "shards";
    let (rig, client, _) = operated(ROOM).await;
    let _free = rig.whole.read().await;
    let (cluster, place, chat) = (filled(), folder(), Chat::start().await);
    make::<Secret>(&client, ROOM, storage_secret()).await;
    make::<AppBinding>(&client, ROOM, open("db", &cluster.url())).await;
    make::<Repository>(&client, ROOM, repository(place.path())).await;
    let before = json!({"httpGet": {"host": "127.0.0.1", "port": chat.port, "path": "/before"}});
    let more = json!({"backupHistoryLimit": 10, "hooks": {"preBackup": before}});
    make::<BackupConfiguration>(&client, ROOM, configuration(more)).await;

    // Of more shards than are said, some would be in no snapshot.
    shards(&client, ROOM, "2").await;
    let done = run(&client, ROOM, "two").await;
    assert!(done.phase == Some(BackupPhase::Failed) && error(&done).contains("3 shards"), "{done:#?}");
    assert_eq!(chat.take(), ["GET /before "], "once, and not by each pod");

    shards(&client, ROOM, "3").await;
    let done = run(&client, ROOM, "first").await;
    assert_eq!(done.phase, Some(BackupPhase::Succeeded), "{done:#?}");
    assert_eq!(chat.take(), ["GET /before "]);
    let hook = done.conditions.iter().find(|one| one.r#type == "PreBackupHookExecutionSucceeded");
    assert_eq!(hook.map(|one| one.status), Some(ConditionStatus::True));
    let pods = pods_of(&client, ROOM, "stash-backup-first").await;
    let mut numbers: Vec<_> =
        pods.iter().map(|pod| pod.annotations()["batch.kubernetes.io/job-completion-index"].as_str()).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, ["0", "1", "2"]);
    // Each read its own shard.
    let secrets: Vec<String> = pods.iter().map(|pod| serde_json::to_string(&pod.spec).expect("JSON")).collect();
    assert!(secrets.iter().all(|spec| !spec.contains("correct-horse")));
    assert_eq!(files(place.path()), ["/dumpfile.resp"]);
    let snapshot = &done.targets[0].stats[0].snapshots[0];
    assert!(restic(place.path(), &["snapshots"]).contains(snapshot.name.as_deref().expect("a name")));
    assert!(snapshot.total_size.is_some() && snapshot.uploaded.is_some(), "{snapshot:?}");
    let repository = that(&client, ROOM, "repo", "is counted", |one: &Repository| {
        one.status.clone().filter(|status| status.snapshot_count == Some(1))
    })
    .await;
    assert_eq!(repository.integrity, Some(true));

    // One of them is killed while none gets on: no backup comes of the others. A pause ends by itself alone.
    cluster.masters[2].cli(&["CLIENT", "PAUSE", "25000", "ALL"]);
    make::<BackupSession>(&client, ROOM, session("killed")).await;
    let last = |pod: &&Pod| pod.annotations()["batch.kubernetes.io/job-completion-index"] == "2";
    let name = until("the last pod is made", async || {
        pods_of(&client, ROOM, "stash-backup-killed").await.iter().find(last).map(ResourceExt::name_any)
    })
    .await;
    super::super::rig::running(&client, ROOM, &name).await;
    rig.node.kill(ROOM, &name, "aquifer");
    let done = over(&client, ROOM, "killed").await.status.expect("a status");
    assert!(done.phase == Some(BackupPhase::Failed) && error(&done).contains("was killed"), "{done:#?}");
    assert!(done.targets[0].stats[0].snapshots.is_empty(), "{done:#?}");
    assert_eq!(files(place.path()), ["/dumpfile.resp"]);
    chat.take();
    cluster.masters[2].cli(&["PING"]);

    // What one like it has stored goes with the next.
    let asks = that(&client, ROOM, "backup", "is there", |one: &BackupConfiguration| one.uid()).await;
    let tag = format!("aquifer-part-of-{asks}");
    restic(
        place.path(),
        &["backup", "--host", "host-0", "--tag", &tag, concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")],
    );
    assert_eq!(files(place.path()).len(), 2);
    // The pods are another user than this test.
    let opened = std::process::Command::new("chmod").args(["-R", "a+rwX"]).arg(place.path()).status();
    assert!(opened.expect("it is there").success());
    let done = run(&client, ROOM, "next").await;
    assert_eq!(done.phase, Some(BackupPhase::Succeeded), "{done:#?}");
    assert_eq!(files(place.path()), ["/dumpfile.resp", "/dumpfile.resp"]);
    assert!(restic(place.path(), &["check", "--read-data"]).contains("no errors"));

    // Once they are joined, it counts for nothing what becomes of the first Job. The second one's pod has no place to go to.
    make::<BackupSession>(&client, ROOM, session("joined")).await;
    super::super::rig::running_of(&client, ROOM, "stash-backup-joined").await;
    let nowhere = json!({"runtimeSettings": {"pod": {"nodeSelector": {"kubernetes.io/hostname": "nowhere"}}}});
    patch::<BackupConfiguration>(&client, ROOM, "backup", json!({"spec": nowhere})).await;
    that(&client, ROOM, "joined", "is joined", |one: &BackupSession| {
        one.status.as_ref()?.conditions.iter().any(|one| one.r#type == "ShardsJoined").then_some(())
    })
    .await;
    let jobs: Api<Job> = Api::namespaced(client.clone(), ROOM);
    jobs.delete("stash-backup-joined", &DeleteParams::background()).await.expect("deleted");
    let done = over(&client, ROOM, "joined").await.status.expect("a status");
    assert!(error(&done).starts_with("its pod did not begin in 15s"), "{done:#?}");
    patch::<BackupConfiguration>(&client, ROOM, "backup", json!({"spec": {"runtimeSettings": null}})).await;

    // Another shape: a single server.
    let other = RedisServer::start();
    make::<AppBinding>(&client, ROOM, open("other", &other.url())).await;
    let mut to = target();
    to["ref"]["name"] = json!("other");
    let restore = json!({"metadata": {"name": "back"}, "spec": {"repository": {"name": "repo"}, "target": to}});
    make::<RestoreSession>(&client, ROOM, restore).await;
    let back = restored(&client, ROOM, "back").await.status.expect("a status");
    assert_eq!(back.phase, Some(RestorePhase::Succeeded), "{back:#?}");
    assert_eq!(other.cli(&["DBSIZE"]).trim(), KEYS.to_string());
    assert_eq!(other.cli(&["GET", "key:42"]).trim(), "value 42");
    assert_eq!(other.cli(&["LRANGE", "list", "0", "-1"]).trim(), "a\nb\nc");
}
