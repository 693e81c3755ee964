//! Strings that are written several at once: what becomes of each must not depend on its neighbours.

use std::collections::BTreeMap;

use aquifer_tests::redis_server::RedisServer;
use serde_json::json;

use super::rig::{lines, portrait, restore, run, stream};

/// A stream of strings, one of which stands there twice.
fn strings(count: u32) -> Vec<u8> {
    let mut all: Vec<String> = (0..count).map(|n| format!("SET key:{n} new:{n}")).collect();
    all.push("SET key:3 twice".to_owned());
    lines(&all)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_there_keeps_no_other_out() {
    let stream = strings(5000);
    // One after the other, so that some of them meet after a rest and some in it; the last stands alone in its command.
    let there = [0, 15, 16, 100, 101, 117, 2500, 4999];
    let to = RedisServer::start();
    for n in there {
        to.cli(&["SET", &format!("key:{n}"), "old"]);
    }
    let outputs = restore(&to, &stream, json!({"requireTrailer": false, "onConflict": "skip"})).await.expect("skipped");
    // With `skip` the second of two is one that is there.
    assert_eq!((&outputs["keys"], &outputs["skipped"]), (&json!(4992), &json!(9)), "{outputs}");
    assert_eq!(to.cli(&["DBSIZE"]).trim(), "5000");
    let names: Vec<String> = (0..5000).map(|n| format!("key:{n}")).collect();
    let found: Vec<String> = redis::cmd("MGET").arg(&names).query(&mut to.client()).expect("all are there");
    for (n, value) in found.iter().enumerate() {
        assert_eq!(*value, if there.contains(&n) { "old".to_owned() } else { format!("new:{n}") }, "key:{n}");
    }
    let failure = restore(&to, &stream, json!({"requireTrailer": false})).await.expect_err("all are there");
    assert!(failure.message.contains("`key:0`") && failure.message.contains("no key had been written"), "{failure:?}");
    to.cli(&["DEL", "key:7"]);
    let params = json!({"requireTrailer": false, "errors": "collect"});
    let failure = restore(&to, &stream, params).await.expect_err("all but one are there");
    let said = format!("{failure:?}");
    assert!(said.contains("4,999") && said.contains("`key:0`"), "{said}");
    assert_eq!(to.cli(&["GET", "key:7"]).trim(), "new:7");
    let outputs =
        restore(&to, &stream, json!({"requireTrailer": false, "onConflict": "replace"})).await.expect("replaced");
    assert_eq!(outputs["keys"], json!(5001), "{outputs}");
    assert_eq!(to.cli(&["GET", "key:15"]).trim(), "new:15");
    assert_eq!(to.cli(&["GET", "key:3"]).trim(), "twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_write_several_at_once_writes_them_one_by_one() {
    let stream = strings(300);
    for on_conflict in ["fail", "replace"] {
        let to = RedisServer::start();
        to.cli(&["ACL", "SETUSER", "one", "on", ">secret", "~*", "+@all", "-mset", "-msetnx"]);
        let params =
            json!({"requireTrailer": false, "onConflict": on_conflict, "username": "one", "password": "secret"});
        restore(&to, &stream, params).await.unwrap_or_else(|failure| panic!("{failure:?}"));
        assert_eq!(to.cli(&["DBSIZE"]).trim(), "300");
    }
    // Of a key that is refused its name is told, and no other's.
    let to = RedisServer::start();
    to.cli(&["ACL", "SETUSER", "some", "on", ">secret", "~key:1*", "+@all"]);
    let params = json!({"requireTrailer": false, "username": "some", "password": "secret"});
    let failure = restore(&to, &stream, params).await.expect_err("not all of them");
    assert!(failure.message.contains("`key:0`"), "{failure:?}");
    assert_eq!(to.cli(&["GET", "key:1"]).trim(), "new:1");
    assert_eq!(to.cli(&["EXISTS", "key:2"]).trim(), "0");
}

/// A command's words.
type Words = Vec<Vec<u8>>;

/// Every way in which a stream may say something about the key `k`, and whether the key is there after it.
fn forms(payload: &[u8]) -> Vec<(&'static str, Vec<Words>, bool)> {
    let words = |line: &str| -> Words { line.split(' ').map(|word| word.as_bytes().to_vec()).collect() };
    let set = |value: Vec<u8>| vec![b"SET".to_vec(), b"k".to_vec(), value];
    let restore: [&[u8]; 6] = [b"RESTORE", b"k", b"0", payload, b"REPLACE", b"ABSTTL"];
    let restore = restore.map(<[u8]>::to_vec).to_vec();
    vec![
        ("a small string", vec![words("SET k small")], true),
        ("another", vec![words("SET k other")], true),
        ("one that expires", vec![words("SET k timed PXAT 9999999999999")], true),
        ("one that has expired", vec![words("SET k past PXAT 1")], false),
        ("an expiry behind it", vec![words("SET k then"), words("PEXPIREAT k 9999999999999")], true),
        ("a longer string", vec![set(vec![b'l'; 5000])], true),
        ("a long command", vec![set(vec![b'L'; 2 << 20])], true),
        ("a payload", vec![restore], true),
        ("a key in parts", vec![words("DEL k"), words("RPUSH k a b")], true),
        ("nothing", vec![words("DEL k")], false),
    ]
}

/// What the server holds, but for what has expired and is only there until somebody asks.
fn after(server: &RedisServer) -> BTreeMap<String, String> {
    server.cli(&["EXISTS", "k"]);
    portrait(server)
}

#[tokio::test(flavor = "multi_thread")]
async fn no_command_of_a_key_overtakes_another() {
    let to = RedisServer::start();
    let client = &mut to.client();
    run(client, "SADD made x y");
    let payload: Vec<u8> = redis::cmd("DUMP").arg("made").query(client).expect("a payload");
    let other = |n: u32| vec![b"SET".to_vec(), format!("other:{n}").into_bytes(), b"v".to_vec()];
    let forms = forms(&payload);
    // Between the two nothing, or so much that the first one is on its way.
    for between in [0, 40] {
        for (first, one, there) in &forms {
            for (second, two, _) in &forms {
                let others: Vec<_> = (0..between).map(other).collect();
                let whole = stream(&[&[other(100)][..], one, &others, two].concat());
                let said = format!("{first}, {between} others, {second}");
                to.cli(&["FLUSHALL"]);
                to.pipe(&whole);
                let piped = after(&to);
                to.cli(&["FLUSHALL"]);
                let params = json!({"requireTrailer": false, "onConflict": "replace"});
                restore(&to, &whole, params).await.unwrap_or_else(|failure| panic!("{said}: {failure:?}"));
                assert_eq!(after(&to), piped, "replace: {said}");
                // A `DEL` among the commands of one key takes back what was written of it.
                let taken_back = (*first, between, *second) == ("a key in parts", 0, "nothing");
                if *second == "an expiry behind it" || taken_back {
                    continue;
                }
                // The first one that is there stands.
                let model = stream(&[&[other(100)][..], one, &others, if *there { &[] } else { two }].concat());
                to.cli(&["FLUSHALL"]);
                to.pipe(&model);
                let piped = after(&to);
                for on_conflict in ["skip", "fail"] {
                    to.cli(&["FLUSHALL"]);
                    let params = json!({"requireTrailer": false, "onConflict": on_conflict});
                    restore(&to, &whole, params)
                        .await
                        .unwrap_or_else(|failure| panic!("{on_conflict}, {said}: {failure:?}"));
                    assert_eq!(after(&to), piped, "{on_conflict}: {said}");
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_command_is_followed_before_the_next_one_of_its_key() {
    let to = RedisServer::start();
    run(&mut to.client(), "ACL SETUSER one on >secret ~* resetchannels +@all -mset -msetnx");
    let words = |line: &str| -> Words { line.split(' ').map(|word| word.as_bytes().to_vec()).collect() };
    let mut commands: Vec<_> = (0..16).map(|n| words(&format!("SET key:{n} old"))).collect();
    commands.push(words("SET key:5 new PXAT 9999999999999"));
    let params = json!({"requireTrailer": false, "onConflict": "replace", "username": "one", "password": "secret"});
    restore(&to, &stream(&commands), params).await.expect("restored");
    assert_eq!(to.cli(&["GET", "key:5"]).trim(), "new");
}
