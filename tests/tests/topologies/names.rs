//! Other names and another protocol: renamed commands are found wherever they are used, version 3 gives what version 2 gives.

use aquifer_engine::failure::FailureKind;
use aquifer_tests::redis_server::RedisServer;
use serde_json::{Value as Json, json};

use super::cluster::{digest, dump, dumped, restore};
use super::rig::{self, fill, fill_database};

/// Commands that are used, and by which of the three functions does not matter.
const RENAMED: [&str; 41] = [
    "SCAN",
    "DUMP",
    "RESTORE",
    "FLUSHALL",
    "FLUSHDB",
    "CONFIG",
    "MULTI",
    "EXEC",
    "GETRANGE",
    "GET",
    "SET",
    "PEXPIRETIME",
    "OBJECT",
    "MEMORY",
    "TYPE",
    "FUNCTION",
    "SELECT",
    "TIME",
    "UNLINK",
    "EXISTS",
    "RENAME",
    "RENAMENX",
    "HSCAN",
    "SSCAN",
    "ZSCAN",
    "ZRANGE",
    "LRANGE",
    "LLEN",
    "LINDEX",
    "HLEN",
    "SCARD",
    "ZCARD",
    "SADD",
    "SREM",
    "SMEMBERS",
    "RPUSH",
    "HSET",
    "ZADD",
    "PEXPIREAT",
    "DBSIZE",
    "AUTH",
];

#[tokio::test(flavor = "multi_thread")]
async fn renamed_commands_are_called_by_their_names_on_the_server() {
    let plain = RedisServer::start();
    fill(&plain);
    let (stream, expected) = (rig::dumped(&plain).await, rig::digest(&plain).await);
    let names: Vec<String> = RENAMED.iter().map(|name| format!("my-{name}")).collect();
    let mut settings = vec!["--requirepass", "word"];
    for (name, renamed) in RENAMED.iter().zip(&names) {
        settings.extend(["--rename-command", name, renamed]);
    }
    let server = RedisServer::with(&settings);
    let url = server.url().replace("redis://", "redis://:word@");
    let commands: Json = RENAMED
        .iter()
        .zip(&names)
        .map(|(name, renamed)| (name.to_lowercase(), json!(renamed)))
        .collect::<serde_json::Map<_, _>>()
        .into();
    let with = |more: Json| {
        let mut params = json!({"commands": commands});
        params.as_object_mut().expect("a map").extend(more.as_object().expect("a map").clone());
        params
    };
    for more in [
        json!({}),
        json!({"onConflict": "replace"}),
        json!({"before": "flush-all", "confirmFlush": true}),
        json!({"before": "flush-db", "confirmFlush": true, "onConflict": "replace"}),
    ] {
        restore(&url, &stream, with(more)).await.expect("a restore");
        assert_eq!(digest(&url, with(json!({}))).await, expected);
    }
    let again = dumped(&url, with(json!({}))).await;
    let back = RedisServer::start();
    rig::restore(&back, &again, json!({})).await.expect("plain names in the stream");
    assert_eq!(rig::digest(&back).await, expected);
    for left_out in ["scan", "dump", "getrange", "function"] {
        let mut params = with(json!({}));
        params["commands"].as_object_mut().expect("a map").remove(left_out);
        params["source"] = json!("scan");
        let failure = dump(&url, params).await.result.expect_err(left_out);
        assert_eq!(failure.kind, FailureKind::Rejected, "{left_out}: {failure:?}");
        assert!(failure.help.as_ref().is_some_and(|help| help.contains("`commands`")), "{left_out}: {failure:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn version_3_of_the_protocol_gives_the_same() {
    let server = RedisServer::with(&["--databases", "300", "--requirepass", "word"]);
    let plain = RedisServer::with(&["--databases", "300"]);
    fill(&plain);
    fill_database(&plain, 7);
    let stream = rig::dumped(&plain).await;
    let url = server.url().replace("redis://", "redis://:word@");
    for on_conflict in ["fail", "replace", "skip"] {
        restore(&url, &stream, json!({"protocol": 3, "onConflict": on_conflict})).await.expect("a restore");
        assert_eq!(digest(&url, json!({"protocol": 3})).await, rig::digest(&plain).await);
    }
    let plain_url = plain.url();
    assert!(dumped(&plain_url, json!({"protocol": 3})).await == dumped(&plain_url, json!({"protocol": 2})).await);
    server.cli(&["-a", "word", "ACL", "SETUSER", "me", "on", ">pass", "~*", "+@all"]);
    let me = server.url().replace("redis://", "redis://me:pass@");
    assert_eq!(digest(&me, json!({"protocol": 3})).await, digest(&me, json!({"protocol": 2})).await);
    let failure = dump(&server.url(), json!({"protocol": 3})).await.result.expect_err("a password is needed");
    assert_eq!(failure.kind, FailureKind::Unauthorized, "{failure:?}");
    let wrong = server.url().replace("redis://", "redis://:no@");
    let failure = dump(&wrong, json!({"protocol": 3})).await.result.expect_err("a wrong password");
    assert_eq!(failure.kind, FailureKind::Unauthorized, "{failure:?}");
    assert_eq!(dump("redis://h", json!({"protocol": 4})).await.result.expect_err("no such").kind, FailureKind::Config);
}
