//! `redis-diff` and clusters: what differs is told whatever shape the two sides have.

use aquifer_engine::alone::{Input, run_alone};
use aquifer_engine::failure::{Failure, FailureKind};
use aquifer_functions::redis_diff::RedisDiff;
use aquifer_tests::gate::{Direction, gate};
use aquifer_tests::redis_cluster::RedisCluster;
use aquifer_tests::redis_server::RedisServer;
use serde_json::{Value as Json, json};

use super::cluster::{filled, restore};
use super::rig::{self, fill_database, merged, run};

async fn diff(left: &str, right: &str, params: Json) -> Result<Json, Failure> {
    let all = merged(json!({"left": {"url": left}, "right": {"url": right}}), params);
    run_alone(RedisDiff, all, Input::None).await.result
}

async fn with_stream(stream: &[u8], right: &str, params: Json) -> Result<Json, Failure> {
    let all = merged(json!({"right": {"url": right}}), params);
    run_alone(RedisDiff, all, Input::bytes(stream.to_vec())).await.result
}

/// Carries out a command on whichever node of a cluster has the key.
fn on(cluster: &RedisCluster, key: &str, words: &[&str]) {
    let said = cluster.masters[cluster.owner(key)].cli(words);
    assert!(!said.contains("MOVED") && !said.contains("ERR"), "{words:?}: {said}");
}

/// What differs between what these tests change: a value, and keys that one side alone has, in several shards.
fn changed(outputs: &Json) {
    let all = &outputs["differences"];
    assert_eq!((&all["onlyLeft"], &all["onlyRight"]), (&json!(2), &json!(3)), "{outputs}");
    assert_eq!((&all["differentValue"], &all["differentExpiry"]), (&json!(1), &json!(1)), "{outputs}");
    let keys: Vec<&str> =
        outputs["examples"].as_array().expect("examples").iter().filter_map(|key| key["key"].as_str()).collect();
    for key in ["key:1", "key:2", "key:3", "key:4", "more:1", "more:2", "more:3"] {
        assert!(keys.contains(&key), "{key} among {keys:?}");
    }
}

fn change(cluster: &RedisCluster) {
    on(cluster, "key:1", &["DEL", "key:1"]);
    on(cluster, "key:2", &["DEL", "key:2"]);
    on(cluster, "key:3", &["SET", "key:3", "other"]);
    on(cluster, "key:4", &["PEXPIREAT", "key:4", "4102444800123"]);
    for key in ["more:1", "more:2", "more:3"] {
        on(cluster, key, &["SET", key, "x"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn any_shape_is_compared_with_any_other() {
    let single = filled();
    let (three, five) = (RedisCluster::start(3, true, &[]), RedisCluster::start(5, false, &[]));
    let stream = rig::dumped(&single).await;
    for cluster in [&three, &five] {
        restore(&cluster.url(), &stream, json!({})).await.expect("a restore");
    }
    let keys = json!(three.keys());
    for (left, right) in [(&three.url(), &five.url()), (&single.url(), &three.url()), (&five.url(), &single.url())] {
        let outputs = diff(left, right, json!({})).await.expect("the same");
        assert_eq!((&outputs["equal"], &outputs["compared"]), (&json!(true), &keys), "{left} {right}");
    }
    let outputs = with_stream(&stream, &five.url(), json!({})).await.expect("the same");
    assert_eq!((&outputs["equal"], &outputs["compared"]), (&json!(true), &keys));
    change(&five);
    let report = json!({"differences": "report"});
    changed(&diff(&three.url(), &five.url(), report.clone()).await.expect("a report"));
    changed(&diff(&single.url(), &five.url(), report.clone()).await.expect("a report"));
    changed(&with_stream(&stream, &five.url(), report).await.expect("a report"));
    let failure = diff(&three.url(), &five.url(), json!({})).await.expect_err("they differ");
    assert!(failure.message.contains("2 only on the left, 3 only on the right"), "{failure:?}");
    // Functions of one master that the others have not.
    five.masters[1].cli(&["FUNCTION", "DELETE", "one"]);
    let failure = diff(&three.url(), &five.url(), json!({})).await.expect_err("masters that differ");
    assert!(failure.message.contains("different functions") && failure.help.is_some(), "{failure:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_wanted_role_is_read() {
    let (cluster, alone) = (RedisCluster::start(2, true, &[]), RedisCluster::start(1, false, &[]));
    let single = RedisServer::start();
    fill_database(&single, 0);
    restore(&cluster.url(), &rig::dumped(&single).await, json!({})).await.expect("a restore");
    restore(&alone.url(), &rig::dumped(&single).await, json!({})).await.expect("a restore");
    for (role, spared, read) in
        [("replica", &cluster.masters, &cluster.replicas), ("master", &cluster.replicas, &cluster.masters)]
    {
        cluster.nodes().for_each(|node| drop(node.cli(&["CONFIG", "RESETSTAT"])));
        let left = json!({"url": cluster.url(), "role": role, "impact": "gentle"});
        let params = json!({"left": left, "right": {"url": alone.url(), "impact": "full"}});
        run_alone(RedisDiff, params, Input::None).await.result.expect("the same");
        let scanned = |node: &RedisServer| node.cli(&["INFO", "commandstats"]).contains("cmdstat_scan");
        assert!(read.iter().all(scanned) && !spared.iter().any(scanned), "{role}");
    }
    let params = json!({"left": {"url": alone.url(), "role": "replica"}, "right": {"url": cluster.url()}});
    let failure = run_alone(RedisDiff, params, Input::None).await.result.expect_err("it has none");
    assert_eq!(failure.kind, FailureKind::Unavailable, "{failure:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_database_than_the_first_is_mapped_or_refused() {
    let (single, cluster) = (RedisServer::start(), RedisCluster::start(2, false, &[]));
    fill_database(&single, 3);
    let params = json!({"databaseMap": {"3": 0}});
    let stream = rig::dumped(&single).await;
    restore(&cluster.url(), &stream, params.clone()).await.expect("a restore");
    assert_eq!(diff(&single.url(), &cluster.url(), params.clone()).await.expect("the same")["equal"], true);
    assert_eq!(with_stream(&stream, &cluster.url(), params.clone()).await.expect("the same")["equal"], true);
    for failure in [
        diff(&single.url(), &cluster.url(), json!({})).await.expect_err("database 3"),
        with_stream(&stream, &cluster.url(), json!({})).await.expect_err("database 3"),
    ] {
        let told =
            failure.message.contains("database 3") && failure.help.is_some_and(|help| help.contains("databaseMap"));
        assert!(failure.kind == FailureKind::Rejected && told, "{}", failure.message);
    }
    // What is not to be compared does not matter.
    run(&mut single.client(), "SET another x");
    let only = json!({"databases": [3], "databaseMap": {"3": 0}});
    assert_eq!(diff(&single.url(), &cluster.url(), only.clone()).await.expect("the same")["equal"], true);
    let stream = rig::dumped(&single).await;
    assert_eq!(with_stream(&stream, &cluster.url(), only).await.expect("the same")["equal"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn slots_that_move_meanwhile_fail_the_comparison() {
    let (single, cluster) = (RedisServer::start(), std::sync::Arc::new(RedisCluster::start(2, false, &[])));
    rig::many_strings(&single, 20_000);
    restore(&cluster.url(), &rig::dumped(&single).await, json!({})).await.expect("a restore");
    cluster.open_slot(5, 0, 1);
    let failure = diff(&single.url(), &cluster.url(), json!({})).await.expect_err("a slot on its way");
    assert!(failure.kind == FailureKind::Unavailable && failure.message.contains("(5)"), "{failure:?}");
    cluster.close_slot(5, 0, 1);
    diff(&single.url(), &cluster.url(), json!({})).await.expect("the same");
    // In the middle of it.
    let moved = std::sync::Arc::clone(&cluster);
    let slot = cluster.slot("key:7");
    let (from, to) = if cluster.owner("key:7") == 0 { (0, 1) } else { (1, 0) };
    let way = gate(cluster.masters[0].port(), Direction::FromServer, 300_000, move || moved.move_slot(slot, from, to));
    let nodes = json!({format!("127.0.0.1:{}", cluster.masters[0].port()): format!("127.0.0.1:{way}")});
    let params = json!({"left": {"url": single.url()}, "right": {"url": cluster.url(), "nodes": nodes}});
    let failure = run_alone(RedisDiff, params, Input::None).await.result.expect_err("a slot has moved");
    assert!(failure.kind == FailureKind::Unavailable && failure.help.is_some(), "{failure:?}");
}
