//! Valkey: what goes for Redis goes for it, in one direction and the other.

use aquifer_tests::redis_cluster::RedisCluster;
use aquifer_tests::redis_server::RedisServer;
use serde_json::json;

use super::cluster::{digest, dump, dumped, filled, restore};
use super::rig::{self, run};

#[tokio::test(flavor = "multi_thread")]
async fn keys_go_between_redis_and_valkey() {
    let (redis, valkey) = (filled(), RedisServer::valkey(&[]));
    run(&mut redis.client(), "XADD events 1-1 a b");
    run(&mut redis.client(), "XGROUP CREATE events readers 0");
    run(&mut redis.client(), "XREADGROUP GROUP readers alice STREAMS events >");
    let expected = rig::digest(&redis).await;
    for source in ["replication", "scan"] {
        let flush = json!({"before": "flush-all", "confirmFlush": true});
        let stream = dumped(&redis.url(), json!({"source": source})).await;
        restore(&valkey.url(), &stream, flush.clone()).await.expect("into a newer one");
        assert_eq!(digest(&valkey.url(), json!({})).await, expected, "{source}");
    }
    let stream = dumped(&valkey.url(), json!({})).await;
    let back = RedisServer::valkey(&[]);
    restore(&back.url(), &stream, json!({})).await.expect("into another");
    assert_eq!(digest(&back.url(), json!({})).await, expected);
    // The form of its streams is newer than what the older one knows, and that is said.
    let failure =
        restore(&redis.url(), &stream, json!({"onConflict": "replace"})).await.expect_err("into an older one");
    assert!(failure.message.contains("`events`") && failure.help.is_some(), "{failure:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_of_valkey_is_read_and_written() {
    let (single, cluster) = (filled(), RedisCluster::valkey(3, true));
    restore(&cluster.url(), &rig::dumped(&single).await, json!({})).await.expect("a restore");
    assert_eq!(digest(&cluster.url(), json!({})).await, rig::digest(&single).await);
    let outcome = dump(&cluster.url(), json!({})).await;
    assert_eq!(outcome.result.expect("a dump")["shards"], 3);
    let back = RedisServer::valkey(&[]);
    restore(&back.url(), &outcome.stdout, json!({})).await.expect("a restore");
    assert_eq!(digest(&back.url(), json!({})).await, rig::digest(&single).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_with_several_databases_is_refused() {
    let (single, cluster) = (RedisServer::start(), RedisCluster::valkey_with_databases(1));
    rig::fill_database(&single, 0);
    restore(&cluster.url(), &rig::dumped(&single).await, json!({})).await.expect("a restore");
    dumped(&cluster.url(), json!({})).await;
    cluster.masters[0].cli(&["-n", "1", "SET", "key", "value"]);
    let failure = dump(&cluster.url(), json!({})).await.result.expect_err("database 1 would be missing");
    assert!(failure.message.contains("databases 1"), "{failure:?}");
}
