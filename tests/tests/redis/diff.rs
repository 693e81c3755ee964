//! `redis-diff` says what differs between two servers, and nothing where nothing does.

use aquifer_engine::alone::{Input, run_alone};
use aquifer_engine::failure::{Failure, FailureKind};
use aquifer_functions::redis_diff::RedisDiff;
use aquifer_tests::redis_server::RedisServer;
use serde_json::{Value as Json, json};

use super::rig::{dumped, fill, fill_database, in_ms, many_strings, restore, run};

async fn diff(left: &RedisServer, right: &RedisServer, params: Json) -> Result<Json, Failure> {
    let mut all = json!({"left": {"url": left.socket_url()}, "right": {"url": right.url()}});
    all.as_object_mut().expect("a map").extend(params.as_object().expect("a map").clone());
    run_alone(RedisDiff, all, Input::None).await.result
}

/// The counts that are not 0.
fn counts(outputs: &Json) -> Json {
    let all = outputs["differences"].as_object().expect("a map").clone();
    Json::Object(all.into_iter().filter(|(_, count)| *count != 0).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn each_change_is_told_by_its_sort_and_key() {
    let (left, right) = (RedisServer::start(), RedisServer::start());
    fill(&left);
    fill_database(&left, 7);
    let stream = dumped(&left).await;
    restore(&right, &stream, json!({})).await.expect("a copy");
    let outputs = diff(&left, &right, json!({})).await.expect("the same");
    let keys: u64 = left.cli(&["DBSIZE"]).trim().parse().expect("a number");
    assert_eq!((&outputs["equal"], &outputs["compared"]), (&json!(true), &json!(keys + 3)), "{outputs}");
    assert_eq!((counts(&outputs), &outputs["examples"]), (json!({}), &json!([])));
    let report = json!({"differences": "report"});
    let timed = in_ms(777_777);
    let value = || json!({"differentValue": 1});
    let groups = || json!({"differentGroups": 1});
    for (change, key, expected) in [
        ("SET raw other".to_owned(), "raw", value()),
        ("APPEND big x".to_owned(), "big", value()),
        (format!("PEXPIREAT timed {timed}"), "timed", json!({"differentExpiry": 1})),
        ("PERSIST timed".to_owned(), "timed", json!({"differentExpiry": 1})),
        ("SET timed other".to_owned(), "timed", json!({"differentValue": 1, "differentExpiry": 1})),
        ("DEL raw".to_owned(), "raw", json!({"onlyLeft": 1})),
        ("SET another x".to_owned(), "another", json!({"onlyRight": 1})),
        ("RENAME raw crude".to_owned(), "raw", json!({"onlyLeft": 1, "onlyRight": 1})),
        ("HSET hash f w".to_owned(), "hash", value()),
        ("HDEL long-hash field".to_owned(), "", json!({})),
        ("HSET long-hash more v".to_owned(), "long-hash", value()),
        ("SPOP long-set".to_owned(), "long-set", value()),
        ("LSET long-list 15000 other".to_owned(), "long-list", value()),
        ("ZADD board 1.6 a".to_owned(), "board", value()),
        ("RPOPLPUSH list list".to_owned(), "list", value()),
        ("XADD events 60-1 a b".to_owned(), "events", value()),
        ("XGROUP SETID events readers 11-11".to_owned(), "events", groups()),
        ("XGROUP DESTROY events idle".to_owned(), "events", groups()),
        ("XACK events readers 4-4".to_owned(), "events", groups()),
        ("XGROUP CREATECONSUMER events readers dave".to_owned(), "events", groups()),
        ("FUNCTION DELETE one".to_owned(), "", json!({"differentFunctions": 1})),
    ] {
        run(&mut right.client(), &change);
        let outputs = diff(&left, &right, report.clone()).await.expect("a report");
        assert_eq!(counts(&outputs), expected, "{change}");
        assert_eq!(outputs["equal"], expected == json!({}), "{change}");
        if key.is_empty() {
            assert_eq!(outputs["examples"], json!([]), "{change}");
        } else {
            assert_eq!((&outputs["examples"][0]["key"], &outputs["examples"][0]["database"]), (&json!(key), &json!(0)));
        }
        restore(&right, &stream, json!({"before": "flush-all", "confirmFlush": true})).await.expect("as it was");
    }
    right.cli(&["DEL", "list"]);
    right.cli(&["SADD", "list", "a"]);
    right.cli(&["-n", "7", "SET", "here", "8"]);
    right.cli(&["-n", "9", "SET", "unknown", "1"]);
    let failure = diff(&left, &right, json!({})).await.expect_err("they differ");
    assert_eq!(failure.kind, FailureKind::Rejected);
    assert!(
        failure.message.contains("1 only on the right, 1 of another type, 1 with another value"),
        "{}",
        failure.message
    );
    let text = failure.causes.join("\n");
    assert!(text.contains("database 0, `list`: type (left: list of 7 elements; right: set of 1 members)"), "{text}");
    assert!(text.contains("database 7, `here`: value (left: string of 1 bytes; right: string of 1 bytes)"), "{text}");
    assert!(text.contains("database 9, `unknown`: onlyRight (left: nothing; right: string of 1 bytes)"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_is_asked_for_is_compared() {
    let (left, right) = (RedisServer::start(), RedisServer::start());
    many_strings(&left, 3000);
    fill_database(&left, 0);
    many_strings(&right, 3000);
    restore(&right, &dumped(&left).await, json!({"onConflict": "replace"})).await.expect("a copy");
    run(&mut left.client(), "MSET key:5 x key:6 x left:1 x");
    run(&mut left.client(), "RPUSH left:2 x");
    run(&mut right.client(), "SADD right:1 x");
    let report = async |params: Json| {
        let mut all = json!({"differences": "report"});
        all.as_object_mut().expect("a map").extend(params.as_object().expect("a map").clone());
        diff(&left, &right, all).await.unwrap_or_else(|failure| panic!("{params}: {failure:?}"))
    };
    for (params, expected) in [
        (json!({}), json!({"differentValue": 2, "onlyLeft": 2, "onlyRight": 1})),
        (json!({"filter": {"match": ["key:*"]}}), json!({"differentValue": 2})),
        (json!({"filter": {"match": ["left:*", "right:*"]}}), json!({"onlyLeft": 2, "onlyRight": 1})),
        (json!({"filter": {"exclude": ["key:*"], "types": ["string", "set"]}}), json!({"onlyLeft": 1, "onlyRight": 1})),
        (json!({"filter": {"types": ["list"]}}), json!({"onlyLeft": 1})),
        (json!({"databases": [4]}), json!({})),
        (json!({"databaseMap": {"0": 4}}), json!({"onlyLeft": 3005})),
    ] {
        assert_eq!(counts(&report(params.clone()).await), expected, "{params}");
    }
    assert_eq!(report(json!({"filter": {"types": ["list"]}})).await["compared"], 1);
    let few = report(json!({"databaseMap": {"0": 4}, "examples": 3})).await;
    assert_eq!(few["examples"].as_array().map(Vec::len), Some(3));

    let at = left.cli(&["PEXPIRETIME", "timed"]).trim().parse::<i64>().expect("a number");
    right.cli(&["PEXPIREAT", "timed", &(at + 40).to_string()]);
    let only = |more: Json| {
        let mut all = json!({"filter": {"match": ["timed"]}});
        all.as_object_mut().expect("a map").extend(more.as_object().expect("a map").clone());
        all
    };
    for (params, differs) in [
        (json!({}), true),
        (json!({"tolerance": "39ms"}), true),
        (json!({"tolerance": "40ms"}), false),
        (json!({"expiry": "presence"}), false),
        (json!({"expiry": "ignore"}), false),
    ] {
        let expected = if differs { json!({"differentExpiry": 1}) } else { json!({}) };
        assert_eq!(counts(&report(only(params.clone())).await), expected, "{params}");
    }
    right.cli(&["PERSIST", "timed"]);
    assert_eq!(counts(&report(only(json!({"expiry": "presence"}))).await), json!({"differentExpiry": 1}));
    assert_eq!(counts(&report(only(json!({"expiry": "ignore"}))).await), json!({}));
}

#[tokio::test(flavor = "multi_thread")]
async fn databases_are_compared_with_those_that_they_went_into() {
    let (left, right) = (RedisServer::start(), RedisServer::start());
    fill_database(&left, 2);
    fill_database(&left, 5);
    let map = json!({"2": 0, "5": 2});
    restore(&right, &dumped(&left).await, json!({"databaseMap": map})).await.expect("a copy");
    diff(&left, &right, json!({"databaseMap": map})).await.expect("the same");
    diff(&left, &right, json!({})).await.expect_err("others");
    let with = async |left_url: String, right_url: String| {
        run_alone(RedisDiff, json!({"left": {"url": left_url}, "right": {"url": right_url}}), Input::None).await.result
    };
    with(format!("{}/5", left.url()), format!("{}/2", right.url())).await.expect("the same");
    let failure = with(format!("{}/5", left.url()), format!("{}/0", right.url())).await.expect_err("others");
    assert!(failure.message.contains("1 with another value"), "{}", failure.message);
    for params in [
        json!({"left": {"url": "redis://h"}, "right": {"url": "redis://h/1"}}),
        json!({"left": {"url": "redis://h/1"}, "right": {"url": "redis://h"}, "databases": [1]}),
        json!({"left": {"url": "http://h"}, "right": {"url": "redis://h"}}),
        json!({"left": {"url": "redis://h"}, "right": {"url": "redis://h"}, "examples": 1001}),
        json!({"left": {"url": "redis://h"}, "right": {"url": "redis://h"}, "databaseMap": {"0": 1, "2": 1}}),
    ] {
        let failure = run_alone(RedisDiff, params.clone(), Input::None).await.result.expect_err("wrong");
        assert_eq!(failure.kind, FailureKind::Config, "{params}");
    }
}

#[test]
fn what_changes_on_both_sides_at_once_does_not_differ() {
    let (left, right) = (RedisServer::start(), RedisServer::start());
    many_strings(&left, 20_000);
    many_strings(&right, 20_000);
    let stop = std::sync::atomic::AtomicBool::new(false);
    let mut clients = [left.client(), right.client()];
    let outcome = std::thread::scope(|scope| {
        let writing = scope.spawn(|| {
            let mut written = 0u64;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                for client in &mut clients {
                    run(client, &format!("SET key:{} {written}", written % 20_000));
                }
                written += 7919;
            }
            written
        });
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let outcome = runtime.block_on(diff(&left, &right, json!({"differences": "report"})));
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(writing.join().expect("no panic") > 0);
        outcome
    });
    let outputs = outcome.expect("a report");
    // Each is written to one side just before the other: hardly any is caught twice in between.
    assert!(outputs["differences"]["differentValue"].as_u64().expect("a number") <= 3, "{outputs}");
    assert_eq!(outputs["differences"]["onlyLeft"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_side_that_cannot_be_read_fails() {
    let (left, right) = (RedisServer::start(), RedisServer::start());
    many_strings(&left, 100);
    run(&mut right.client(), "ACL SETUSER some on >word +@all -scan ~* resetchannels");
    let with = async |user: &str| {
        let right = json!({"url": right.url(), "username": user, "password": "word"});
        run_alone(RedisDiff, json!({"left": {"url": left.url()}, "right": right}), Input::None).await.result
    };
    assert_eq!(with("some").await.expect_err("no SCAN").kind, FailureKind::Unauthorized);
    assert_eq!(with("nobody").await.expect_err("unknown").kind, FailureKind::Unauthorized);
}
