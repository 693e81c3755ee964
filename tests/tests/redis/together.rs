//! Strings that are written several at once: what becomes of each must not depend on its neighbours.

use aquifer_tests::redis_server::RedisServer;
use serde_json::json;

use super::rig::restore;

/// A stream of strings, one of which stands there twice.
fn strings(count: u32) -> Vec<u8> {
    let mut out = String::new();
    for n in 0..count {
        let (key, value) = (format!("key:{n}"), format!("new:{n}"));
        out.push_str(&format!("*3\r\n$3\r\nSET\r\n${}\r\n{key}\r\n${}\r\n{value}\r\n", key.len(), value.len()));
    }
    out.push_str("*3\r\n$3\r\nSET\r\n$5\r\nkey:3\r\n$5\r\ntwice\r\n");
    out.into_bytes()
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
