//! What is said where something is wrong: the cause by its right name, the keys that are there counted, and a way out.

use aquifer_engine::alone::{Input, run_alone};
use aquifer_engine::failure::FailureKind;
use aquifer_functions::redis_digest::RedisDigest;
use aquifer_functions::redis_restore::RedisRestore;
use aquifer_tests::redis_server::RedisServer;
use serde_json::{Value as Json, json};

use super::rig::{dump, dumped, fill_database, lines, many_strings, restore, run};

#[tokio::test(flavor = "multi_thread")]
async fn a_server_with_too_few_databases_is_found_out_before_anything_is_written_or_emptied() {
    let from = RedisServer::start();
    fill_database(&from, 0);
    fill_database(&from, 12);
    let to = RedisServer::with(&["--databases", "12"]);
    run(&mut to.client(), "SET stays here");
    let streams = [dumped(&from).await, dump(&from).await.stdout];
    for stream in &streams {
        for params in [
            json!({}),
            json!({"dryRun": true}),
            json!({"before": "flush-all", "confirmFlush": true}),
            json!({"databaseMap": {"0": 15, "12": 1}}),
        ] {
            let failure = restore(&to, stream, params.clone()).await.expect_err("no such database");
            assert!(failure.help.as_ref().is_some_and(|help| help.contains("databaseMap")), "{params}: {failure:?}");
            assert_eq!(to.cli(&["KEYS", "*"]), "stays\n", "{params}");
        }
        restore(&to, stream, json!({"databaseMap": {"12": 11}, "onConflict": "replace"})).await.expect("it has 12");
        run(&mut to.client(), "FLUSHALL");
        run(&mut to.client(), "SET stays here");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fields_may_lose_their_expiries_and_keys_keep_theirs() {
    let stream = lines(&[
        "DEL h".to_owned(),
        "HSET h f v g w".to_owned(),
        "HPEXPIREAT h 4102444800000 FIELDS 1 f".to_owned(),
        "PEXPIREAT h 4102444800001".to_owned(),
    ]);
    let params = |expiry: &str| json!({"requireTrailer": false, "expiry": expiry});
    let to = RedisServer::start();
    let failure = restore(&to, &stream, params("keep")).await.expect_err("Redis 7.0 has no such fields");
    assert!(failure.help.as_ref().is_some_and(|help| help.contains("expiry: dropFields")), "{failure:?}");
    assert!(!format!("{failure:?}").contains("aquifer:restore"), "our own name says nothing to anybody: {failure:?}");
    restore(&to, &stream, params("dropFields")).await.expect("without those");
    assert_eq!(to.cli(&["PEXPIRETIME", "h"]), "4102444800001\n");
    assert_eq!(to.cli(&["HLEN", "h"]), "2\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_were_evicted_are_not_said_to_be_there() {
    let from = RedisServer::start();
    many_strings(&from, 30_000);
    let stream = dumped(&from).await;
    let to = RedisServer::with(&["--maxmemory", "3mb", "--maxmemory-policy", "allkeys-random"]);
    let failure = restore(&to, &stream, json!({})).await.expect_err("too little memory");
    assert!(failure.message.contains("not all of that is still there"), "{failure:?}");
    assert!(!failure.message.contains("are still there"), "{failure:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_key_is_one_key() {
    let to = RedisServer::start();
    run(&mut to.client(), "SET b there");
    let stream = lines(&["SET a 1", "SET b 2"]);
    let failure = restore(&to, &stream, json!({"requireTrailer": false})).await.expect_err("`b` is there");
    assert!(failure.message.ends_with("; 1 key had been written and is still there"), "{failure:?}");
}

async fn digest(params: Json) -> aquifer_engine::failure::Failure {
    run_alone(RedisDigest, params, Input::None).await.result.expect_err("refused")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_too_many_or_an_empty_one_is_told_apart_from_a_wrong_one() {
    let server = RedisServer::start();
    let url = server.url();
    let failure = digest(json!({"url": url, "password": "hunter2"})).await;
    assert_eq!(failure.kind, FailureKind::Unauthorized);
    assert!(failure.help.as_ref().is_some_and(|help| help.contains("asks for no password")), "{failure:?}");
    let failure = digest(json!({"url": url, "password": ""})).await;
    assert!(failure.help.as_ref().is_some_and(|help| help.contains("is empty")), "{failure:?}");
    let failure = digest(json!({"url": url, "username": "somebody"})).await;
    assert!(failure.help.as_ref().is_some_and(|help| help.contains("redisPassword")), "{failure:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_lost_its_master_is_not_put_down_to_the_sign_in() {
    let server = RedisServer::start();
    server.cli(&["CONFIG", "SET", "replica-serve-stale-data", "no"]);
    server.cli(&["REPLICAOF", "127.0.0.1", "1"]);
    let failure = digest(json!({"url": server.url()})).await;
    assert_eq!(failure.kind, FailureKind::Unavailable);
    assert!(failure.message.contains("MASTERDOWN") && !failure.message.contains("signing in"), "{failure:?}");
    assert!(failure.help.as_ref().is_some_and(|help| help.contains("master")), "{failure:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payload_that_is_too_new_names_the_form_that_is_not() {
    let to = RedisServer::start();
    // A set as Redis 7.2 packs it, with the version and an (unchecked) checksum of its RDB.
    let payload: &[u8] = b"\x14\x0d\x0d\x00\x00\x00\x02\x00\x81a\x02\x81b\x02\xff\x0b\x00\0\0\0\0\0\0\0\0";
    let command: Vec<Vec<u8>> =
        [&b"RESTORE"[..], b"k", b"0", payload, b"REPLACE", b"ABSTTL"].iter().map(|word| word.to_vec()).collect();
    let stream = super::rig::stream(&[command]);
    let params = json!({"url": to.socket_url(), "requireTrailer": false});
    let failure = run_alone(RedisRestore, params, Input::bytes(stream)).await.result.expect_err("too new");
    assert!(failure.help.as_ref().is_some_and(|help| help.contains("form: logical")), "{failure:?}");
}
