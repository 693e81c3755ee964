//! What a restore can do with a stream: each option changes what it says and nothing else, and the stream is still held to
//! its trailer.

use std::collections::BTreeSet;

use aquifer_engine::failure::FailureKind;
use aquifer_tests::redis_server::RedisServer;
use serde_json::{Value as Json, json};

use super::rig::{
    digest, dumped, fill, fill_database, functions, in_ms, lines as made, merged, portrait, restore, run,
};

/// The names of a database's keys.
fn keys(server: &RedisServer, database: u32) -> BTreeSet<String> {
    let client = &mut server.client();
    run(client, &format!("SELECT {database}"));
    let keys: Vec<Vec<u8>> = redis::cmd("KEYS").arg("*").query(client).expect("keys");
    keys.into_iter().map(|key| key.escape_ascii().to_string()).collect()
}

/// What is to be the same however often a restore is done.
async fn twice(server: &RedisServer, stream: &[u8], mut params: Json) -> Json {
    let first = restore(server, stream, params.clone()).await.unwrap_or_else(|failure| panic!("{params}: {failure:?}"));
    let before = portrait(server);
    params["onConflict"] = json!("replace");
    let again = restore(server, stream, params.clone()).await.unwrap_or_else(|failure| panic!("{params}: {failure:?}"));
    assert_eq!(portrait(server), before, "{params}");
    assert_eq!(again["keys"], first["keys"], "{params}");
    first
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_is_wanted_is_written() {
    let from = RedisServer::start();
    fill(&from);
    fill_database(&from, 7);
    let stream = dumped(&from).await;
    let all = keys(&from, 0);
    let kind = |key: &str| from.cli(&["TYPE", key]).trim().to_owned();
    for (params, wanted) in [
        (
            json!({"filter": {"match": ["long-*", "fat-*"]}}),
            &(|key: &str| key.starts_with("long-") || key.starts_with("fat-")) as &dyn Fn(&str) -> bool,
        ),
        (json!({"filter": {"match": ["*"], "exclude": ["long-*", "*big*"]}}), &|key| {
            !key.starts_with("long-") && !key.contains("big")
        }),
        (json!({"filter": {"types": ["hash", "stream"]}}), &|key| ["hash", "stream"].contains(&kind(key).as_str())),
        (json!({"filter": {"types": ["string"]}}), &|key| key.contains(r"\") || kind(key) == "string"),
        (json!({"filter": {"types": ["list"], "exclude": ["list"]}}), &|key| kind(key) == "list" && key != "list"),
    ] {
        let to = RedisServer::start();
        let outputs = twice(&to, &stream, params.clone()).await;
        let expected: BTreeSet<String> = all.iter().filter(|key| wanted(key)).cloned().collect();
        assert!(!expected.is_empty());
        assert_eq!(keys(&to, 0), expected, "{params}");
        let written = outputs["keys"].as_u64().expect("a number");
        assert_eq!(written + outputs["leftOut"].as_u64().expect("a number"), all.len() as u64 + 3, "{params}");
        assert_eq!(written, to.cli(&["DBSIZE"]).trim().parse::<u64>().expect("a number") + keys(&to, 7).len() as u64);
    }
    let to = RedisServer::start();
    let outputs = twice(&to, &stream, json!({"databases": [7]})).await;
    assert_eq!((keys(&to, 0).len(), keys(&to, 7).len(), &outputs["leftOut"]), (0, 3, &json!(all.len())));
    // What is left out is still held to the trailer.
    let mut altered = stream.clone();
    let place = altered.windows(5).position(|window| window == b"vvvvv").or(Some(2_000_000)).expect("inside");
    altered[place] ^= 1;
    let failure = restore(&to, &altered, json!({"databases": [9]})).await.expect_err("altered");
    assert_eq!(failure.kind, FailureKind::Corrupt, "{}", failure.message);
    let failure = restore(&to, &stream[..stream.len() - 900], json!({"databases": [9]})).await.expect_err("cut off");
    assert_eq!(failure.kind, FailureKind::Corrupt, "{}", failure.message);
}

#[tokio::test(flavor = "multi_thread")]
async fn databases_go_where_they_are_to_go() {
    let (from, to) = (RedisServer::start(), RedisServer::start());
    fill(&from);
    fill_database(&from, 7);
    fill_database(&to, 7);
    let stream = dumped(&from).await;
    let params = json!({"databaseMap": {"0": 3, "7": 0}, "functions": "replace"});
    twice(&to, &stream, params.clone()).await;
    assert_eq!((keys(&to, 3), keys(&to, 0)), (keys(&from, 0), keys(&from, 7)));
    // What was in the way under the old number was not.
    assert_eq!(keys(&to, 7).len(), 3);
    let mut flushing = params;
    flushing["before"] = json!("flush-db");
    flushing["confirmFlush"] = json!(true);
    to.cli(&["-n", "3", "SET", "older", "1"]);
    restore(&to, &stream, flushing).await.expect("emptied");
    assert_eq!((keys(&to, 3), keys(&to, 7).len()), (keys(&from, 0), 3), "only what is written to is emptied");

    let (from, to) = (RedisServer::start(), RedisServer::start());
    fill_database(&from, 1);
    fill_database(&from, 2);
    from.cli(&["-n", "1", "SET", "alone", "1"]);
    let stream = dumped(&from).await;
    let failure = restore(&to, &stream, json!({"databaseMap": {"1": 2}})).await.expect_err("two into one");
    assert!(failure.help.as_ref().is_some_and(|help| help.contains("mergeDatabases")), "{failure:?}");
    assert_eq!(to.cli(&["INFO", "keyspace"]).lines().count(), 1, "found out before anything was written");
    let merged = json!({"databaseMap": {"1": 2}, "mergeDatabases": true});
    let failure = restore(&to, &stream, merged.clone()).await.expect_err("both have the same keys");
    assert!(failure.message.contains("which another key of the stream has got"), "{}", failure.message);
    to.cli(&["FLUSHALL"]);
    let mut skipping = merged.clone();
    skipping["onConflict"] = json!("skip");
    let outputs = restore(&to, &stream, skipping).await.expect("the first stays");
    assert_eq!((&outputs["keys"], &outputs["skipped"]), (&json!(4), &json!(3)));
    assert_eq!(to.cli(&["-n", "2", "GET", "here"]).trim(), "1");
    let mut replacing = merged;
    replacing["onConflict"] = json!("replace");
    restore(&to, &stream, replacing).await.expect("the last stays");
    assert_eq!(to.cli(&["-n", "2", "GET", "here"]).trim(), "2");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_renamed_whole_and_never_onto_one_another() {
    let (from, to) = (RedisServer::start(), RedisServer::start());
    fill(&from);
    let stream = dumped(&from).await;
    let rules = json!([{"match": "long-*", "to": "far/*/long"}, {"from": "", "to": "all:"}]);
    let outputs = twice(&to, &stream, json!({"rename": rules, "functions": "leave"})).await;
    let expected: BTreeSet<String> = keys(&from, 0)
        .iter()
        .map(|key| key.strip_prefix("long-").map_or(format!("all:{key}"), |rest| format!("far/{rest}/long")))
        .collect();
    assert_eq!(keys(&to, 0), expected);
    assert_eq!(outputs["renamed"], expected.len());
    assert_eq!((outputs["functions"].clone(), outputs["leftOut"].clone()), (json!(0), json!(2)));
    // And back again, all of it is as it was.
    let back = RedisServer::start();
    let rules = json!([{"match": "far/*/long", "to": "long-*"}, {"from": "all:", "to": ""}]);
    restore(&back, &dumped(&to).await, json!({"rename": rules})).await.expect("back");
    functions(&mut back.client());
    assert_eq!(digest(&back).await, digest(&from).await);

    let small = RedisServer::start();
    run(&mut small.client(), "MSET a:1 x b:1 y a:2 z");
    let stream = dumped(&small).await;
    let rename = json!([{"from": "a:", "to": "b:"}]);
    for on_conflict in ["fail", "skip", "replace"] {
        let target = RedisServer::start();
        let params = json!({"rename": rename, "onConflict": on_conflict});
        let failure = restore(&target, &stream, params.clone()).await.expect_err("`b:1` twice");
        assert!(failure.message.contains("`b:1`"), "{on_conflict}: {}", failure.message);
        let mut only = params;
        only["filter"] = json!({"match": ["a:*"]});
        target.cli(&["FLUSHALL"]);
        let outputs = restore(&target, &stream, only).await.unwrap_or_else(|failure| panic!("{failure:?}"));
        assert_eq!(outputs["renamed"], 2);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn expiries_are_kept_dropped_or_moved() {
    let from = RedisServer::start();
    fill(&from);
    let timed = ["timed", "board", "long-hash", "big-timed", "long-events"];
    let at =
        |server: &RedisServer, key: &str| server.cli(&["PEXPIRETIME", key]).trim().parse::<i64>().expect("a number");
    let stream = dumped(&from).await;
    for (expiry, by) in [
        (json!({"shift": "2h"}), Some(7_200_000)),
        (json!({"shift": "-10m"}), Some(-600_000)),
        (json!("drop"), None),
        (json!("keep"), Some(0)),
    ] {
        let to = RedisServer::start();
        let outputs = twice(&to, &stream, json!({"expiry": expiry})).await;
        for key in timed {
            assert_eq!(at(&to, key), by.map_or(-1, |by| at(&from, key) + by), "{key} {expiry}");
        }
        assert_eq!((at(&to, "raw"), &outputs["expired"]), (-1, &json!(0)));
    }
    // Further back than they reach, all of them have passed; and what is there is not left behind under their names.
    let to = RedisServer::start();
    run(&mut to.client(), "SET timed older");
    let outputs =
        restore(&to, &stream, json!({"expiry": {"shift": "-100days"}, "onConflict": "replace"})).await.expect("fewer");
    assert_eq!(outputs["expired"], 5);
    assert!(timed.iter().all(|key| to.cli(&["EXISTS", key]).trim() == "0"));

    // As long as they had at the moment of the dump, an hour and a half ago.
    let then = in_ms(-5_400_000);
    let old = made(&[
        format!("SET soon v PXAT {}", then + 60_000),
        format!("SET passed v PXAT {}", then - 1),
        "DEL h".into(),
        "HSET h f v".into(),
        format!("PEXPIREAT h {}", then + 600_000),
        "SET left v PX 50000".into(),
    ]);
    let to = RedisServer::start();
    let outputs = restore(&to, &old, json!({"requireTrailer": false})).await.expect("all but one have passed");
    assert_eq!((&outputs["keys"], &outputs["expired"]), (&json!(1), &json!(3)));
    let as_of = jiff::Timestamp::from_millisecond(then).expect("in range").to_string();
    let to = RedisServer::start();
    let params = json!({"requireTrailer": false, "expiry": {"asOf": as_of}});
    let outputs = restore(&to, &old, params).await.expect("as it was then");
    assert_eq!((&outputs["keys"], &outputs["expired"]), (&json!(3), &json!(1)));
    for (key, left) in [("soon", 60_000), ("h", 600_000), ("left", 50_000)] {
        let ttl = to.cli(&["PTTL", key]).trim().parse::<i64>().expect("a number");
        assert!((left - 20_000..=left).contains(&ttl), "{key} {ttl}");
    }
    let future = json!({"requireTrailer": false, "expiry": {"asOf": "2999-01-01T00:00:00Z"}});
    assert_eq!(restore(&to, &old, future).await.expect_err("not yet").kind, FailureKind::Config);
}

#[tokio::test(flavor = "multi_thread")]
async fn functions_have_a_choice_of_their_own() {
    let (from, to) = (RedisServer::start(), RedisServer::start());
    functions(&mut from.client());
    let stream = dumped(&from).await;
    let other = "#!lua name=one\nredis.register_function('other', function() return 2 end)";
    to.cli(&["FUNCTION", "LOAD", other]);
    let has = |name: &str| to.cli(&["FUNCTION", "LIST"]).contains(name);
    let outputs = restore(&to, &stream, json!({"functions": "leave"})).await.expect("none is loaded");
    assert_eq!((&outputs["functions"], &outputs["leftOut"]), (&json!(0), &json!(2)));
    assert!(has("other") && !has("two"));
    restore(&to, &stream, json!({})).await.expect_err("one is there");
    let outputs = restore(&to, &stream, json!({"functions": "skip"})).await.expect("the other is loaded");
    assert!(has("other") && has("two") && !has("one_f"), "{outputs}");
    restore(&to, &stream, json!({"functions": "replace"})).await.expect("both are loaded");
    assert!(has("one_f") && !has("other"));
    restore(&to, &stream, json!({"functions": "fail", "onConflict": "replace"})).await.expect_err("they are there");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_says_what_would_be_done_and_does_nothing() {
    let (from, to) = (RedisServer::start(), RedisServer::start());
    fill(&from);
    fill_database(&from, 7);
    let stream = dumped(&from).await;
    run(&mut to.client(), "MSET timed mine long-hash mine fat-list mine unrelated 1");
    to.cli(&["-n", "7", "SET", "here", "mine"]);
    let before = portrait(&to);
    let dry = async |params: Json| {
        let mut all = json!({"dryRun": true});
        all.as_object_mut().expect("a map").extend(params.as_object().expect("a map").clone());
        let result = restore(&to, &stream, all).await;
        assert_eq!(portrait(&to), before, "{params}");
        result
    };
    let failure = dry(json!({})).await.expect_err("it would fail");
    assert!(failure.message.contains("already has 4 of the keys"), "{}", failure.message);
    for params in [
        json!({"onConflict": "replace"}),
        json!({"onConflict": "skip"}),
        json!({"before": "flush-all", "confirmFlush": true}),
        json!({"onConflict": "skip", "filter": {"types": ["string"]}}),
        json!({"rename": [{"from": "", "to": "new:"}]}),
        json!({"databaseMap": {"0": 3, "7": 0}, "onConflict": "replace"}),
        json!({"onConflict": "replace", "expiry": {"shift": "-100days"}}),
    ] {
        let said = dry(params.clone()).await.unwrap_or_else(|failure| panic!("{params}: {failure:?}"));
        let target = RedisServer::start();
        restore(&target, &dumped(&to).await, json!({})).await.expect("a copy");
        let done =
            restore(&target, &stream, params.clone()).await.unwrap_or_else(|failure| panic!("{params}: {failure:?}"));
        for name in ["keys", "perType", "skipped", "expired", "leftOut", "renamed", "functions", "bytes", "commands"] {
            assert_eq!(said[name], done[name], "{name} {params}");
        }
        assert_eq!(done["existing"], Json::Null);
    }
    assert_eq!(dry(json!({"onConflict": "replace"})).await.expect("it may")["existing"], 4);
    for cut in [stream.len() - 1, stream.len() / 2, 100] {
        let failure = dry(json!({"onConflict": "replace"})).await.map(|_| ());
        assert!(failure.is_ok());
        let failure =
            restore(&to, &stream[..cut], json!({"dryRun": true, "onConflict": "replace"})).await.expect_err("cut off");
        assert_eq!((failure.kind, portrait(&to)), (FailureKind::Corrupt, before.clone()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_looks_at_what_would_be_written_and_at_nothing_else() {
    let to = RedisServer::start();
    run(&mut to.client(), "MSET b there gone there");
    let lines =
        ["DEL a", "RPUSH a 1", "PEXPIREAT a 1", "SET b v", "DEL gone", "SET c v", "SET c again", "DEL d", "RPUSH d 1"];
    let stream = made(&lines);
    let dry = |params: Json| merged(params, json!({"dryRun": true, "requireTrailer": false}));
    let failure = restore(&to, &stream, dry(json!({}))).await.expect_err("`b` is there");
    assert!(failure.message.contains("1 of the keys; the first is `b`"), "{}", failure.message);
    let skip = json!({"onConflict": "skip", "requireTrailer": false});
    let looked = restore(&to, &stream, dry(json!({"onConflict": "skip"}))).await.expect("a dry run");
    assert_eq!(looked["existing"], json!(1), "{looked}");
    let done = restore(&to, &stream, skip).await.expect("a restore");
    for count in ["keys", "perType", "skipped", "expired", "repeated"] {
        assert_eq!(looked[count], done[count], "{count}");
    }
    // A key that had gone when it was dumped meets nothing.
    let to = RedisServer::start();
    run(&mut to.client(), "SET gone there");
    let vanished = made(&["DEL gone", "SET other v"]);
    restore(&to, &vanished, json!({"requireTrailer": false})).await.expect("no conflict");
    // And what has expired is none either, however long it is.
    let long = format!("SET gone {} PXAT 1", "l".repeat(2 << 20));
    for line in [long.as_str(), "SET gone short PXAT 1"] {
        let outputs = restore(&to, &made(&[line]), json!({"requireTrailer": false})).await.expect("expired");
        assert_eq!((&outputs["keys"], &outputs["expired"]), (&json!(0), &json!(1)), "{outputs}");
    }
    assert_eq!(to.cli(&["GET", "gone"]).trim(), "there");
}
