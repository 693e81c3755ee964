//! What is killed at any moment: pods, the operator, the API server. Always holds afterwards: each session has ended; what succeeded is there; the
//! repository is whole, and the next session succeeds.

use std::time::Duration;

use aquifer_operator::resources::backup_session::{BackupPhase, BackupSession};
use aquifer_tests::kubernetes::wait::until;
use aquifer_tests::stores::free_port;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams};
use kube::{Client, ResourceExt};
use serde_json::json;

use super::super::rig::{Rig, make, phase, pods_of, running_of};
use super::bad_days::{Shop, shop};
use super::guide::restic;
use super::rig::*;

/// How often something is killed: 50 times, unless `AQUIFER_TEST_KILLS` says otherwise.
#[expect(clippy::disallowed_methods, reason = "a test program has no arguments of its own")]
fn times() -> usize {
    std::env::var("AQUIFER_TEST_KILLS").ok().map_or(50, |times| times.parse().expect("a number"))
}

/// A number that differs each time, below another.
fn chance(below: u64) -> u64 {
    let mut bytes = [0; 8];
    std::fs::File::open("/dev/urandom")
        .and_then(|mut file| std::io::Read::read_exact(&mut file, &mut bytes))
        .expect("numbers");
    u64::from_le_bytes(bytes) % below
}

/// Holds the sessions of a shop against its repository: another one succeeds, each that succeeded has its snapshot, and all of it can be read.
async fn sound(client: &Client, room: &str, shop: &Shop, snapshots: &[String]) {
    make::<BackupSession>(client, room, session("last")).await;
    let last = over(client, room, "last").await.status.expect("a status");
    assert_eq!(last.phase, Some(BackupPhase::Succeeded), "{last:#?}");
    let listed = restic(shop.place.path(), &["snapshots"]);
    for snapshot in snapshots {
        assert!(listed.contains(snapshot), "{snapshot}: {listed}");
    }
    // A pod that was killed leaves its lock.
    assert!(restic(shop.place.path(), &["check", "--read-data", "--no-lock"]).contains("no errors"));
}

/// The snapshot of a session that succeeded.
fn snapshot(one: &BackupSession) -> Option<String> {
    let status = one.status.as_ref()?;
    (status.phase? == BackupPhase::Succeeded).then(|| status.targets[0].stats[0].snapshots[0].name.clone())?
}

/// Runs sessions one after the other while something is done to them; gives the snapshots of those that succeeded.
async fn sessions(client: &Client, room: &str, count: usize, disturb: impl AsyncFn(usize)) -> Vec<String> {
    let mut snapshots = Vec::new();
    for number in 0..count {
        let name = format!("s{number}");
        make::<BackupSession>(client, room, session(&name)).await;
        disturb(number).await;
        snapshots.extend(snapshot(&over(client, room, &name).await));
    }
    snapshots
}

/// Nothing is forgotten, so that each is found again; but it is looked for what could be, under an exclusive lock.
fn all_kept() -> serde_json::Value {
    json!({"backupHistoryLimit": 100, "retentionPolicy": {"name": "all", "keepLast": 1000, "prune": true}})
}

/// Gives how many were killed.
async fn kill_pods(rig: &Rig, client: &Client, room: &'static str) -> usize {
    let killed = std::cell::Cell::new(0);
    let shop = shop(client, room, all_kept()).await;
    shop.server.cli(&["-a", "open-sesame", "DEBUG", "POPULATE", "100000", "key", "100"]);
    let pods: Api<Pod> = Api::namespaced(client.clone(), room);
    let snapshots = sessions(client, room, times() / 5, async |number| {
        let job = format!("stash-backup-s{number}");
        let name = until("its pod has begun", async || {
            let label = ListParams::default().labels(&format!("batch.kubernetes.io/job-name={job}"));
            let pod = pods.list(&label).await.ok()?.items.into_iter().next()?;
            (phase(&pod) != "Pending").then(|| pod.name_any())
        })
        .await;
        tokio::time::sleep(Duration::from_millis(chance(2500))).await;
        // It may have ended by itself.
        if rig.node.process(room, &name, "aquifer").is_some() {
            rig.node.kill(room, &name, "aquifer");
            killed.set(killed.get() + 1);
        }
    })
    .await;
    sound(client, room, &shop, &snapshots).await;
    killed.get()
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_killed_at_any_moment_end_their_sessions() {
    let (rig, client, _) = operated("pods-0").await;
    let _free = rig.whole.read().await;
    for room in ["pods-1", "pods-2", "pods-3", "pods-4"] {
        rig.cluster.namespace(room, &[]).await;
    }
    let killed = tokio::join!(
        kill_pods(rig, &client, "pods-0"),
        kill_pods(rig, &client, "pods-1"),
        kill_pods(rig, &client, "pods-2"),
        kill_pods(rig, &client, "pods-3"),
        kill_pods(rig, &client, "pods-4"),
    );
    let killed = killed.0 + killed.1 + killed.2 + killed.3 + killed.4;
    assert!(killed * 3 >= times(), "only {killed} were killed, the others had ended: more keys are needed");
}

#[tokio::test]
async fn an_operator_killed_at_any_moment_is_followed_by_one_that_goes_on() {
    const ROOM: &str = "operator-killed";
    let (rig, client, ports) = operated(ROOM).await;
    let _alone = rig.whole.write().await;
    let shop = shop(&client, ROOM, all_kept()).await;
    let done = tokio_util::sync::CancellationToken::new();
    let killing = async {
        for _ in 0..times() {
            tokio::time::sleep(Duration::from_millis(chance(1500))).await;
            rig.cluster.kill("operator");
            start(rig, "operator", ports.operator, ports.gateway);
        }
        done.cancel();
    };
    let mut snapshots = Vec::new();
    let mut made = 0;
    let working = async {
        while !done.is_cancelled() {
            let name = format!("s{made}");
            make::<BackupSession>(&client, ROOM, session(&name)).await;
            let ended = over(&client, ROOM, &name).await;
            let snapshot = snapshot(&ended);
            assert!(snapshot.is_some(), "nothing but the operator was killed: {:#?}", ended.status);
            snapshots.extend(snapshot);
            made += 1;
        }
    };
    tokio::join!(killing, working);
    sound(&client, ROOM, &shop, &snapshots).await;
    // Each was run once.
    let jobs: Api<Job> = Api::namespaced(client.clone(), ROOM);
    assert_eq!(jobs.list(&ListParams::default()).await.expect("an answer").items.len(), made + 1);
    let listed = restic(shop.place.path(), &["snapshots", "--json"]);
    assert_eq!(listed.matches("\"short_id\"").count(), made + 1);
}

#[tokio::test]
async fn of_two_operators_one_works_and_the_other_follows() {
    const ROOM: &str = "two";
    let (rig, client, ports) = operated(ROOM).await;
    let _alone = rig.whole.write().await;
    let shop = shop(&client, ROOM, all_kept()).await;
    let port = free_port();
    start(rig, "second", port, ports.gateway);
    let leads = async |port: u16| page(port).await.contains("aquifer_operator_leader 1");
    until("the second one is ready", async || {
        reqwest::get(format!("http://127.0.0.1:{port}/readyz")).await.ok()?.status().is_success().then_some(())
    })
    .await;
    assert!(leads(ports.operator).await && !leads(port).await);
    rig.cluster.kill("operator");
    make::<BackupSession>(&client, ROOM, session("first")).await;
    let first = over(&client, ROOM, "first").await;
    assert!(leads(port).await && snapshot(&first).is_some(), "{:#?}", first.status);
    // Asked to end, it lets the first one lead at once.
    start(rig, "operator", ports.operator, ports.gateway);
    assert_eq!(rig.cluster.end("second"), Some(true));
    make::<BackupSession>(&client, ROOM, session("second")).await;
    let second = over(&client, ROOM, "second").await;
    assert!(leads(ports.operator).await && snapshot(&second).is_some(), "{:#?}", second.status);
    sound(&client, ROOM, &shop, &[]).await;
}

#[tokio::test]
async fn an_api_server_that_is_away_for_a_while_changes_no_end() {
    const ROOM: &str = "away";
    let (rig, client, _) = operated(ROOM).await;
    let _alone = rig.whole.write().await;
    let shop = shop(&client, ROOM, all_kept()).await;
    shop.server.cli(&["-a", "open-sesame", "DEBUG", "POPULATE", "20000", "key", "100"]);
    let snapshots = sessions(&client, ROOM, 3, async |number| {
        tokio::time::sleep(Duration::from_millis(500 * number as u64)).await;
        rig.cluster.stop_server();
        // Once for longer than the lease counts: the operator ends then, and is started again.
        tokio::time::sleep(Duration::from_secs(if number == 1 { 14 } else { 1 })).await;
        rig.cluster.start_server().await;
        // Kubernetes' own controllers look again later and later, up to a minute: they are not what is tried here.
        rig.cluster.stop_manager();
        rig.cluster.start_manager();
    })
    .await;
    let all =
        Api::<BackupSession>::namespaced(client.clone(), ROOM).list(&ListParams::default()).await.expect("an answer");
    let ends: Vec<_> = all.items.into_iter().map(|one| one.status).collect();
    assert_eq!(snapshots.len(), 3, "{ends:#?}\n{}", rig.cluster.said("operator"));
    sound(&client, ROOM, &shop, &snapshots).await;
}

#[tokio::test]
async fn a_pod_that_is_evicted_is_run_again() {
    const ROOM: &str = "session-evicted";
    let (rig, client, _) = operated(ROOM).await;
    let _free = rig.whole.read().await;
    let shop = shop(&client, ROOM, all_kept()).await;
    let held = hold(&shop.server);
    make::<BackupSession>(&client, ROOM, session("first")).await;
    let name = running_of(&client, ROOM, "stash-backup-first").await;
    let pods: Api<Pod> = Api::namespaced(client.clone(), ROOM);
    pods.evict(&name, &kube::api::EvictParams::default()).await.expect("evicted");
    let other = until("a second pod", async || {
        let made = pods_of(&client, ROOM, "stash-backup-first").await;
        made.iter().map(ResourceExt::name_any).find(|other| *other != name)
    })
    .await;
    drop(held);
    let first = over(&client, ROOM, "first").await;
    let snapshot = snapshot(&first).unwrap_or_else(|| panic!("{other}: {:#?}", first.status));
    sound(&client, ROOM, &shop, &[snapshot]).await;
}
