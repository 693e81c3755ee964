//! The digest is the same for the same keyspace, and differs for whatever differs in it.

use aquifer_engine::alone::{Input, run_alone};
use aquifer_functions::redis_digest::RedisDigest;
use aquifer_tests::redis_server::RedisServer;
use serde_json::json;

use super::rig::{digest, digest_outputs, dumped, fill, fill_database, restore, run};

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_changed_changes_the_digest() {
    let server = RedisServer::start();
    fill(&server);
    fill_database(&server, 7);
    let client = &mut server.client();
    let timed = server.cli(&["PEXPIRETIME", "timed"]).trim().parse::<i64>().expect("an expiry");
    let (original, before) = (dumped(&server).await, digest(&server).await);
    for change in [
        "SET raw other".to_owned(),
        "APPEND big x".to_owned(),
        "SETBIT bits 999 1".to_owned(),
        format!("PEXPIREAT timed {}", timed + 1),
        "PERSIST timed".to_owned(),
        format!("PEXPIREAT raw {}", timed),
        "RENAME raw crude".to_owned(),
        "DEL raw".to_owned(),
        "SET another ".to_owned(),
        "HSET hash f w".to_owned(),
        "HDEL hash g".to_owned(),
        "HSET long-hash more v".to_owned(),
        "SADD ints 4".to_owned(),
        "SPOP long-set".to_owned(),
        "ZADD board 1.6 a".to_owned(),
        "ZINCRBY long-board 0.001 player".to_owned(),
        "LSET list 0 b".to_owned(),
        "RPOPLPUSH list list".to_owned(),
        "RPOPLPUSH long-list long-list".to_owned(),
        "LSET long-list 15000 other".to_owned(),
        "XADD events 60-1 a b".to_owned(),
        "XDEL events 10-10".to_owned(),
        "XSETID emptied 9-10".to_owned(),
        "XGROUP SETID events readers 11-11".to_owned(),
        "XGROUP SETID events idle 20-19 ENTRIESREAD 18".to_owned(),
        "XGROUP CREATE events third 0".to_owned(),
        "XGROUP DESTROY events idle".to_owned(),
        "XGROUP CREATECONSUMER events readers dave".to_owned(),
        "XGROUP DELCONSUMER events readers carol".to_owned(),
        "XACK events readers 4-4".to_owned(),
        "XCLAIM events readers bob 0 4-4".to_owned(),
        "XCLAIM events readers alice 0 4-4 RETRYCOUNT 9".to_owned(),
        "FUNCTION DELETE one".to_owned(),
        "MOVE raw 9".to_owned(),
    ] {
        run(client, &change);
        assert_ne!(digest(&server).await, before, "{change}");
        restore(&server, &original, json!({"before": "flush-all", "confirmFlush": true})).await.expect("as it was");
        assert_eq!(digest(&server).await, before, "after {change}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_only_newer_servers_know_does_not_change_it() {
    let server = RedisServer::start();
    fill(&server);
    let before = digest(&server).await;
    for change in
        ["XSETID emptied 9-9 ENTRIESADDED 13 MAXDELETEDID 5-5", "XGROUP SETID events idle 20-20 ENTRIESREAD 18"]
    {
        run(&mut server.client(), change);
        assert_eq!(digest(&server).await, before, "{change}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn encodings_and_orders_do_not_change_it() {
    let compact = RedisServer::start();
    let spread = RedisServer::with(&[
        "--hash-max-listpack-entries",
        "0",
        "--set-max-intset-entries",
        "0",
        "--zset-max-listpack-entries",
        "0",
        "--list-max-listpack-size",
        "1",
        "--stream-node-max-entries",
        "1",
    ]);
    let words: [&[&str]; 2] = [&["a", "b", "c", "d", "e"], &["e", "c", "a", "d", "b"]];
    for (server, words) in [&compact, &spread].into_iter().zip(words) {
        let client = &mut server.client();
        for (place, word) in words.iter().enumerate() {
            run(client, &format!("SET key-{word} {word}"));
            run(client, &format!("HSET hash {word} {word}"));
            run(client, &format!("SADD set {word}"));
            run(client, &format!("SADD ints {}", word.len() * 7));
            run(client, &format!("ZADD board 1 {word}"));
            run(client, &format!("XADD events {}-0 a b", place + 1));
        }
        run(client, "RPUSH list 1 2 3");
    }
    assert_ne!(compact.cli(&["OBJECT", "ENCODING", "hash"]), spread.cli(&["OBJECT", "ENCODING", "hash"]));
    assert_eq!(digest(&compact).await, digest(&spread).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn expiries_count_as_told_and_databases_by_themselves() {
    let (one, two) = (RedisServer::start(), RedisServer::start());
    fill_database(&one, 3);
    fill_database(&one, 4);
    let stream = dumped(&one).await;
    restore(&two, &stream, json!({})).await.expect("a restore");
    two.cli(&["-n", "3", "PEXPIRE", "timed", "55555"]);
    let with = async |server: &RedisServer, expiry: &str| {
        let params = json!({"url": server.socket_url(), "expiry": expiry});
        run_alone(RedisDigest, params, Input::None).await.result.expect("a digest")["digest"].clone()
    };
    assert_ne!(with(&one, "exact").await, with(&two, "exact").await);
    assert_eq!(with(&one, "presence").await, with(&two, "presence").await);
    two.cli(&["-n", "3", "PERSIST", "timed"]);
    assert_ne!(with(&one, "presence").await, with(&two, "presence").await);
    assert_eq!(with(&one, "ignore").await, with(&two, "ignore").await);
    let (one, two) = (digest_outputs(&one).await, digest_outputs(&two).await);
    assert_ne!(one["databases"]["3"], two["databases"]["3"]);
    assert_eq!(one["databases"]["4"], two["databases"]["4"]);
    assert_eq!((&one["keys"], &one["perType"]["list"]), (&json!(6), &json!(2)));
}
