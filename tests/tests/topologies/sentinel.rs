//! Sentinels: the master and its replicas are found, what sentinels say is not believed without looking.

use std::sync::Arc;

use aquifer_engine::alone::{Input, run_alone};
use aquifer_engine::failure::FailureKind;
use aquifer_functions::redis_dump::RedisDump;
use aquifer_tests::gate::{Direction, gate};
use aquifer_tests::redis_cluster::{info, wait};
use aquifer_tests::redis_sentinels::{NAME, Sentinel, Watched};
use aquifer_tests::redis_server::{RedisServer, free_port};
use serde_json::json;

use super::cluster::{digest, dump, restore};
use super::rig::{self, many_strings, run};

/// How many `SCAN`s the server was asked.
fn scans(server: &RedisServer) -> String {
    info(server, "cmdstat_scan")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_master_is_written_to_and_a_replica_is_read() {
    let (single, watched) = (RedisServer::start(), Watched::start(None));
    rig::fill(&single);
    rig::fill_database(&single, 3);
    let stream = rig::dumped(&single).await;
    restore(&watched.url(), &stream, json!({})).await.expect("a restore");
    let expected = rig::digest(&single).await;
    assert_eq!(digest(&watched.url(), json!({})).await, expected);
    assert_eq!(digest(&watched.servers[0].url(), json!({})).await, expected);
    let [master, replica] = &watched.servers[..] else { panic!("two servers") };
    assert!(scans(master).starts_with("calls=") && scans(replica).starts_with("calls="));
    for (role, read, other) in
        [(json!("master"), master, replica), (json!("replica"), replica, master), (json!(null), replica, master)]
    {
        let before = (scans(read), scans(other));
        let outcome = dump(&watched.url(), json!({"role": role, "source": "scan"})).await;
        outcome.result.expect("a dump");
        assert!(scans(read) != before.0 && scans(other) == before.1, "{role}");
    }
    let outcome = dump(&format!("{}/3", watched.url()), json!({})).await;
    assert_eq!(outcome.result.expect("a dump")["databases"], json!([3]));

    // Another makes the replica the master: the next restore goes there.
    let port = watched.fail_over();
    assert_eq!(port, replica.port());
    let params = json!({"before": "flush-all", "confirmFlush": true});
    restore(&watched.url(), &stream, params).await.expect("a restore");
    assert_eq!(digest(&replica.url(), json!({"role": "master"})).await, expected);
    wait("the old master follows", || info(master, "master_link_status") == "up");
    let outcome = dump(&replica.url(), json!({"role": "replica"})).await;
    assert_eq!(outcome.result.expect("a dump of the other")["role"], "replica");
    let failure = dump(&master.url(), json!({"role": "master"})).await.result.expect_err("it is a replica");
    assert!(failure.message.contains("is a replica"), "{failure:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_replica_the_master_is_read() {
    let (mut watched, login) = (Watched::start(Some("sesame")), json!({"sentinel": {"password": "sesame"}}));
    run(&mut watched.servers[0].client(), "SET key value");
    let failure = dump(&watched.url(), json!({})).await.result.expect_err("the sentinels want a password");
    assert_eq!(failure.kind, FailureKind::Unauthorized, "{failure:?}");
    watched.servers[1].kill();
    let outcome = dump(&watched.url(), login.clone()).await;
    assert_eq!(outcome.result.expect("a dump")["keys"], 1);
    assert!(outcome.messages.iter().any(|(_, text)| text.contains("the master")), "{:?}", outcome.messages);
    let failure = dump(&watched.url(), json!({"role": "replica", "sentinel": {"password": "sesame"}})).await.result;
    assert_eq!(failure.expect_err("no replica").kind, FailureKind::Unavailable);
    // One sentinel is enough, and that others do not answer is said.
    watched.sentinels[0].kill();
    watched.sentinels[1].kill();
    let outcome = dump(&watched.url(), login.clone()).await;
    outcome.result.expect("a dump");
    let silent = watched.sentinels[1].port.to_string();
    assert!(outcome.messages.iter().any(|(_, text)| text.contains(&silent)), "{:?}", outcome.messages);
    watched.sentinels[2].kill();
    let failure = dump(&watched.url(), login).await.result.expect_err("no sentinel");
    assert_eq!(failure.kind, FailureKind::Unavailable);
    assert!(failure.message.contains("none of the sentinels") && failure.causes.len() == 3, "{failure:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_sentinels_say_is_held_against_what_is_so() {
    let (one, two) = (RedisServer::start(), RedisServer::start());
    let (a, b) = (Sentinel::start(one.port(), 1, None), Sentinel::start(two.port(), 1, None));
    let url = |hosts: &[u16], name: &str| {
        let hosts: Vec<String> = hosts.iter().map(|port| format!("127.0.0.1:{port}")).collect();
        format!("redis+sentinel://{}/{name}", hosts.join(","))
    };
    let failure = dump(&url(&[a.port, b.port], NAME), json!({})).await.result.expect_err("they disagree");
    assert!(failure.kind == FailureKind::Unavailable && failure.message.contains("disagree"), "{failure:?}");
    let failure = dump(&url(&[a.port, b.port], "other"), json!({})).await.result.expect_err("no such master");
    assert!(failure.kind == FailureKind::Rejected && failure.message.contains("`other`"), "{failure:?}");
    let failure = dump(&url(&[one.port()], NAME), json!({})).await.result.expect_err("no sentinel");
    assert!(failure.help.as_ref().is_some_and(|help| help.contains("sentinel")), "{failure:?}");
    // Stale: it has not heard yet that its master has become a replica.
    one.cli(&["REPLICAOF", "127.0.0.1", &two.port().to_string()]);
    wait("it is a replica", || info(&one, "role") == "slave");
    let failure = restore(&url(&[a.port], NAME), b"", json!({})).await.expect_err("no master");
    assert!(failure.kind == FailureKind::Unavailable && failure.message.contains("replica"), "{failure:?}");
    let failure = dump(&url(&[free_port()], NAME), json!({})).await.result.expect_err("nobody");
    assert_eq!(failure.kind, FailureKind::Unavailable, "{failure:?}");
    // A sentinel's own address.
    let failure =
        run_alone(RedisDump, json!({"url": format!("redis://127.0.0.1:{}", a.port)}), Input::None).await.result;
    assert!(failure.expect_err("a sentinel").help.is_some_and(|help| help.contains("redis+sentinel://")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failover_in_the_middle_fails_what_goes_through_the_old_master() {
    let (single, watched) = (RedisServer::start(), Arc::new(Watched::start(None)));
    many_strings(&single, 50_000);
    let stream = rig::dumped(&single).await;
    for (reading, place) in [(false, 0), (true, 1)] {
        let (other, port) = (Arc::clone(&watched), watched.servers[place].port());
        let counts = if reading { Direction::FromServer } else { Direction::ToServer };
        let way = gate(port, counts, 500_000, move || {
            other.fail_over();
            // Until then, what it holds is whole, and may be read.
            wait("it has heard of it", || !reading || info(&other.servers[place], "role") == "slave");
        });
        let mut params = json!({"nodes": {format!("127.0.0.1:{port}"): format!("127.0.0.1:{way}")}});
        let failure = if reading {
            (params["role"], params["source"]) = (json!("master"), json!("scan"));
            dump(&watched.url(), params).await.result.expect_err("a failover")
        } else {
            params["onConflict"] = json!("replace");
            restore(&watched.url(), &stream, params).await.expect_err("a failover")
        };
        let text = format!("{failure:?}");
        assert!(["replica", "was lost", "may be lost"].iter().any(|word| text.contains(word)), "{text}");
        let old = &watched.servers[place];
        wait("the old master follows", || info(old, "master_link_status") == "up");
        let flush = json!({"before": "flush-all", "confirmFlush": true});
        restore(&watched.url(), &stream, flush).await.expect("a restore");
        assert_eq!(digest(&watched.url(), json!({})).await, rig::digest(&single).await);
    }
}
