//! Clusters at rest: what goes in comes out, whatever shape the other side has.

use aquifer_engine::alone::{Input, Outcome, run_alone};
use aquifer_engine::failure::{Failure, FailureKind};
use aquifer_functions::redis_digest::RedisDigest;
use aquifer_functions::redis_dump::RedisDump;
use aquifer_functions::redis_restore::RedisRestore;
use aquifer_tests::gate::{Direction, gate};
use aquifer_tests::redis_cluster::RedisCluster;
use aquifer_tests::redis_server::{Certificates, RedisServer, free_port};
use bytes::Bytes;
use redis::cmd;
use serde_json::{Value as Json, json};

use super::rig::{self, fill, fill_database, many_strings, portrait, run};

/// Params with more params.
pub(crate) fn with(url: &str, more: &Json) -> Json {
    let mut all = json!({"url": url});
    all.as_object_mut().expect("a map").extend(more.as_object().expect("a map").clone());
    all
}

pub(crate) async fn dump(url: &str, more: Json) -> Outcome {
    run_alone(RedisDump, with(url, &more), Input::None).await
}

pub(crate) async fn dumped(url: &str, more: Json) -> Vec<u8> {
    let outcome = dump(url, more).await;
    outcome.result.expect("a dump");
    outcome.stdout
}

pub(crate) async fn restore(url: &str, stream: &[u8], more: Json) -> Result<Json, Failure> {
    let pieces = stream.chunks(100_003).map(Bytes::copy_from_slice).collect();
    run_alone(RedisRestore, with(url, &more), Input::Finished(pieces)).await.result
}

pub(crate) async fn digest(url: &str, more: Json) -> String {
    let outputs = run_alone(RedisDigest, with(url, &more), Input::None).await.result.expect("a digest");
    outputs["digest"].as_str().expect("a text").to_owned()
}

/// A server with many small keys, big ones of several commands, many of one slot, and functions.
pub(crate) fn filled() -> RedisServer {
    let server = RedisServer::start();
    fill_more(&server);
    rig::functions(&mut server.client());
    server
}

fn fill_more(server: &RedisServer) {
    many_strings(server, 20_000);
    let client = &mut server.client();
    for n in 0..300 {
        run(client, &format!("SET {{tag}}:{n} {n}"));
    }
    rig::many(client, "RPUSH", "{tag}list", 2000, |n| vec![format!("element {n} {}", "x".repeat(900))]);
    run(client, "PEXPIREAT {tag}list 4102444800123");
    cmd("SET").arg("{tag}big").arg(vec![b'b'; 2 << 20]).exec(client).expect("room");
    // Names that have no tag of their own, though they have braces.
    for key in ["a}b", "{}", "{}x{y}", "x{", "}{"] {
        rig::many(client, "SADD", key, 1500, |n| vec![format!("member {n} {}", "z".repeat(900))]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_go_from_any_shape_into_any_other() {
    let single = RedisServer::start();
    fill(&single);
    fill_more(&single);
    let stream = rig::dumped(&single).await;
    let expected = rig::digest(&single).await;
    let (three, five) = (RedisCluster::start(3, true, &[]), RedisCluster::start(5, false, &[]));

    let outputs = restore(&three.url(), &stream, json!({})).await.expect("1 to 3");
    assert_eq!(outputs["functions"], 2, "{outputs}");
    assert_eq!(digest(&three.url(), json!({})).await, expected);
    assert_eq!(digest(&three.url(), json!({"role": "master"})).await, expected);
    for master in &three.masters {
        let functions = master.cli(&["FUNCTION", "LIST"]);
        assert!(functions.contains("one_f") && functions.contains("two_f"), "{functions}");
    }
    assert_eq!(three.keys().to_string(), single.cli(&["DBSIZE"]).trim());

    // Of replicas, unless told otherwise; and steady.
    let params = json!({"impact": "gentle"});
    let outcome = dump(&three.replicas[1].url(), params.clone()).await;
    let outputs = outcome.result.expect("a dump");
    assert_eq!((&outputs["shards"], &outputs["databases"]), (&json!(3), &json!([0])));
    assert!(!outcome.messages.iter().any(|(_, text)| text.contains("the master")), "{:?}", outcome.messages);
    assert!(dumped(&three.url(), params.clone()).await == outcome.stdout, "an unchanged cluster gives the same bytes");
    let masters = dump(&three.url(), json!({"role": "master"})).await;
    assert_eq!(masters.result.expect("a dump")["keys"], outputs["keys"]);

    let several = format!("redis+cluster://127.0.0.1:{},127.0.0.1:{}", free_port(), five.masters[4].port());
    restore(&several, &outcome.stdout, json!({})).await.expect("3 to 5");
    assert_eq!(digest(&several, json!({})).await, expected);
    let outcome = dump(&five.url(), json!({})).await;
    assert!(outcome.messages.iter().any(|(_, text)| text.contains("the master")), "{:?}", outcome.messages);
    outcome.result.expect("a dump of masters");

    // All the same twice, and with what was there before emptied.
    restore(&five.url(), &masters.stdout, json!({"onConflict": "replace"})).await.expect("twice");
    assert_eq!(digest(&five.url(), json!({})).await, expected);
    let failure = restore(&five.url(), &masters.stdout, json!({})).await.expect_err("all are there");
    assert_eq!(failure.kind, FailureKind::Rejected, "{failure:?}");
    let skipped = restore(&five.url(), &masters.stdout, json!({"onConflict": "skip"})).await.expect("all are there");
    assert_eq!((&skipped["keys"], &skipped["functions"]), (&json!(0), &json!(0)));
    let flush = json!({"before": "flush-all", "confirmFlush": true});
    restore(&five.url(), &masters.stdout, flush).await.expect("into an empty one");
    assert_eq!(digest(&five.url(), json!({})).await, expected);

    let back = RedisServer::start();
    restore(&back.url(), &outcome.stdout, json!({})).await.expect("5 to 1");
    assert_eq!(portrait(&back), portrait(&single));
    assert!(
        three.masters.iter().chain(&five.masters).all(|node| !node.cli(&["KEYS", "aquifer:*"]).contains("aquifer"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shard_is_a_stream_of_its_own() {
    let (single, cluster) = (filled(), RedisCluster::start(3, false, &[]));
    restore(&cluster.url(), &rig::dumped(&single).await, json!({})).await.expect("a restore");
    let back = RedisServer::start();
    let mut keys = 0;
    for shard in 1..=3 {
        let outcome = dump(&cluster.url(), json!({"shard": shard})).await;
        let outputs = outcome.result.expect("a dump");
        assert_eq!(outputs["shards"], 3);
        keys += outputs["keys"].as_u64().expect("a number");
        restore(&back.url(), &outcome.stdout, json!({})).await.expect("a restore");
    }
    assert_eq!(keys as usize, cluster.keys());
    assert_eq!(rig::digest(&back).await, rig::digest(&single).await);
    let failure = dump(&cluster.url(), json!({"shard": 4})).await.result.expect_err("there are three");
    assert!(failure.message.contains("the cluster has 3"), "{failure:?}");
    let failure = dump(&single.url(), json!({"shard": 1})).await.result.expect_err("no cluster");
    assert_eq!(failure.kind, FailureKind::Rejected, "{failure:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_cluster_cannot_have_is_refused_before_anything_is_emptied() {
    let (single, cluster) = (RedisServer::start(), RedisCluster::start(1, false, &[]));
    fill_database(&single, 0);
    fill_database(&single, 3);
    cluster.masters[0].cli(&["SET", "mine", "x"]);
    let params = json!({"before": "flush-all", "confirmFlush": true});
    let failure = restore(&cluster.url(), &rig::dumped(&single).await, params).await.expect_err("database 3");
    assert_eq!(failure.kind, FailureKind::Rejected);
    assert!(failure.message.contains("keys of 3"), "{failure:?}");
    assert_eq!(cluster.masters[0].cli(&["GET", "mine"]).trim(), "x");
    for url in [format!("{}/3", cluster.url())] {
        assert_eq!(dump(&url, json!({})).await.result.expect_err("no database 3").kind, FailureKind::Rejected);
    }
    let failure = dump(&cluster.url(), json!({"databases": [0, 3]})).await.result.expect_err("no database 3");
    assert_eq!(failure.kind, FailureKind::Rejected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_of_a_cluster_is_no_backup() {
    let mut cluster = RedisCluster::start(3, false, &["--cluster-require-full-coverage", "no"]);
    rig::functions(&mut cluster.masters[1].client());
    let failure = dump(&cluster.url(), json!({})).await.result.expect_err("functions of one master");
    assert!(failure.message.contains("different functions"), "{failure:?}");
    dumped(&cluster.url(), json!({"functions": false})).await;
    // A slot that is being moved.
    cluster.open_slot(5, 0, 1);
    let failure = dump(&cluster.url(), json!({})).await.result.expect_err("a slot on its way");
    assert!(failure.kind == FailureKind::Unavailable && failure.message.contains("(5)"), "{failure:?}");
    cluster.close_slot(5, 0, 1);
    // Slots of nobody.
    cluster.masters[0].cli(&["CLUSTER", "DELSLOTSRANGE", "10", "20"]);
    let failure = dump(&cluster.url(), json!({})).await.result.expect_err("slots of nobody");
    assert!(failure.kind == FailureKind::Unavailable && failure.message.contains("10-20"), "{failure:?}");
    cluster.masters[0].cli(&["CLUSTER", "ADDSLOTSRANGE", "10", "20"]);
    dumped(&cluster.url(), json!({"functions": false})).await;
    // A shard that is down.
    cluster.masters[2].kill();
    for failure in [
        dump(&cluster.url(), json!({})).await.result.expect_err("a shard is down"),
        restore(&cluster.url(), b"", json!({})).await.expect_err("a shard is down"),
    ] {
        assert_eq!(failure.kind, FailureKind::Unavailable, "{failure:?}");
        assert!(failure.message.contains(&cluster.masters[2].port().to_string()), "{failure:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_are_reached_where_they_are_said_to_be() {
    let (single, cluster) = (filled(), RedisCluster::start(3, false, &[]));
    let mut nodes = serde_json::Map::new();
    let ways: Vec<u16> =
        cluster.masters.iter().map(|node| gate(node.port(), Direction::ToServer, usize::MAX, || ())).collect();
    for (number, (node, way)) in cluster.masters.iter().zip(&ways).enumerate() {
        node.cli(&["CONFIG", "SET", "cluster-announce-port", &(number + 1).to_string()]);
        nodes.insert(format!("127.0.0.1:{}", number + 1), json!(format!("127.0.0.1:{way}")));
    }
    aquifer_tests::redis_cluster::wait("all know the ports", || {
        cluster.masters.iter().all(|node| {
            let known = node.cli(&["CLUSTER", "NODES"]);
            (1..=3).all(|port| known.contains(&format!("127.0.0.1:{port}@")))
        })
    });
    let url = format!("redis://127.0.0.1:{}", ways[1]);
    let failure = dump(&url, json!({})).await.result.expect_err("nobody is there");
    assert!(failure.help.as_ref().is_some_and(|help| help.contains("`nodes`")), "{failure:?}");
    restore(&url, &rig::dumped(&single).await, json!({"nodes": nodes})).await.expect("a restore");
    assert_eq!(digest(&url, json!({"nodes": nodes})).await, rig::digest(&single).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_speaks_tls_is_read_and_written() {
    let (single, certificates) = (filled(), Certificates::new());
    let cluster = RedisCluster::tls(2, true, &certificates);
    let url = cluster.url().replace("redis://", "rediss://");
    let tls = json!({"tls": {"caFile": certificates.path("ca.crt")}});
    restore(&url, &rig::dumped(&single).await, tls.clone()).await.expect("a restore");
    assert_eq!(digest(&url, tls.clone()).await, rig::digest(&single).await);
    assert_eq!(dump(&url, tls).await.result.expect("a dump")["shards"], 2);
    let failure = dump(&url, json!({})).await.result.expect_err("a certificate of nobody that is trusted");
    assert_eq!(failure.kind, FailureKind::Rejected, "{failure:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rights_that_are_documented_are_enough_for_a_cluster() {
    let (single, cluster) = (filled(), RedisCluster::start(3, true, &[]));
    let stream = rig::dumped(&single).await;
    let reader = "+scan +type +memory|usage +strlen +getrange +get +dump +pexpiretime +multi +exec +info +select +ping +function|list \
        +watch +unwatch +hscan +hlen +sscan +scard +zscan +zcard +lrange +llen +xrange +xinfo|stream +xinfo|groups +xinfo|consumers \
        +xpending +time +cluster|nodes +readonly";
    let writer = "+echo +set +restore +del +rpush +hset +sadd +zadd +xadd +xsetid +xgroup|create +xgroup|createconsumer +xclaim +append +xlen +strlen +pexpireat +function|load +time +unlink +exists \
        +client|getname +client|setname +srem +llen +hlen +scard +zcard +renamenx +cluster|nodes +asking +info";
    for node in cluster.nodes() {
        for (name, rights) in [("reader", reader), ("writer", writer)] {
            run(
                &mut node.client(),
                &format!("ACL SETUSER {name} on >word ~* resetchannels {rights}").replace("  ", ""),
            );
        }
    }
    restore(&cluster.url(), &stream, json!({"username": "writer", "password": "word"})).await.expect("enough");
    let login = json!({"username": "reader", "password": "word"});
    let outputs = dump(&cluster.url(), login.clone()).await.result.expect("enough");
    assert_eq!(outputs["keys"].as_u64(), Some(cluster.keys() as u64));
    for node in cluster.nodes() {
        run(&mut node.client(), "ACL SETUSER reader -readonly");
    }
    let outcome = dump(&cluster.url(), login.clone()).await;
    outcome.result.expect("the masters");
    assert!(outcome.messages.iter().any(|(_, text)| text.contains("READONLY")), "{:?}", outcome.messages);
    for node in cluster.nodes() {
        run(&mut node.client(), "ACL SETUSER reader -cluster|nodes");
    }
    let failure = dump(&cluster.url(), login).await.result.expect_err("not enough");
    assert_eq!(failure.kind, FailureKind::Unauthorized, "{failure:?}");
}
