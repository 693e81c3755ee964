//! What a dump holds is told without any server, and compared with one: the same digest as the server's, and every
//! difference.

use aquifer_engine::alone::{Input, run_alone};
use aquifer_engine::failure::{Failure, FailureKind};
use aquifer_functions::redis_diff::RedisDiff;
use aquifer_functions::redis_dump::RedisDump;
use aquifer_functions::redis_verify::RedisVerify;
use aquifer_tests::redis_server::RedisServer;
use bytes::Bytes;
use serde_json::{Value as Json, json};

use super::rig::{digest, digest_outputs, dumped, fill, fill_database, in_ms, lines as made, many, restore, run};

fn pieces(stream: &[u8]) -> Input {
    Input::Finished(stream.chunks(100_003).map(Bytes::copy_from_slice).collect())
}

async fn verify(stream: &[u8], params: Json) -> Result<Json, Failure> {
    run_alone(RedisVerify, params, pieces(stream)).await.result
}

async fn diff(stream: &[u8], right: &RedisServer, more: Json) -> Result<Json, Failure> {
    let mut params = json!({"right": {"url": right.socket_url()}});
    params.as_object_mut().expect("a map").extend(more.as_object().expect("a map").clone());
    run_alone(RedisDiff, params, pieces(stream)).await.result
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dump_has_the_digest_of_its_server() {
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
        "--list-compress-depth",
        "1",
        "--stream-node-max-entries",
        "3",
    ]);
    for server in [&compact, &spread] {
        fill(server);
        fill_database(server, 7);
        let outputs = digest_outputs(server).await;
        let stream = dumped(server).await;
        let told = verify(&stream, json!({})).await.expect("whole");
        for name in ["digest", "databases", "keys", "perType", "functions"] {
            assert_eq!(told[name], outputs[name], "{name}");
        }
        assert_eq!((&told["bytes"], &told["repeated"]), (&json!(stream.len()), &json!(0)));
        let presence = verify(&stream, json!({"expiry": "presence"})).await.expect("whole");
        assert_ne!(presence["digest"], told["digest"]);
        let none = verify(&stream, json!({"functions": false})).await.expect("whole");
        assert_ne!(none["digest"], told["digest"]);
        let slow = json!({"url": server.url(), "source": "scan", "impact": "gentle"});
        let slow = run_alone(RedisDump, slow, Input::None).await;
        assert_eq!(verify(&slow.stdout, json!({})).await.expect("whole")["digest"], told["digest"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_commands_have_the_digest_of_what_they_make() {
    let server = RedisServer::start();
    let long = "x".repeat(2 << 20);
    let stream = made(&[
        "SET s v",
        "PEXPIREAT s 9999999999999",
        "SET t v PXAT 9999999999998",
        &format!("SET long {long} PXAT 9999999999997"),
        "DEL l",
        "RPUSH l a b a",
        &format!("RPUSH l {long} "),
        "DEL h",
        "HSET h f 1 g 2",
        "HSET h f 3",
        &format!("HSET h {long} {long}"),
        "DEL z",
        "ZADD z 1.0 a inf b -0 c",
        "ZADD z 1 a 2.50 b",
        &format!("ZADD z 7 {long}"),
        "DEL was",
        "SADD was x",
        "DEL was",
        "RPUSH was y",
        "DEL gone",
        "SADD u 1 2 3 2",
        "SADD u 3 4",
        "EXPIREAT u 9999999999",
        "DEL x",
        "XADD x 1-1 f v",
        "XADD x 2-1 f v g w",
        &format!("XADD x 3-1 f {long}"),
        "XSETID x 9-9 ENTRIESADDED 12 MAXDELETEDID 1-0",
        "XGROUP CREATE x g 2-1 ENTRIESREAD 2",
        "XGROUP CREATECONSUMER x g idle",
        "XCLAIM x g busy 0 1-1 2-1 TIME 1700000000000 RETRYCOUNT 3 FORCE JUSTID",
        "XGROUP CREATE x h 0",
        "DEL y",
        "XADD y 1-1 f v",
        "XSETID y 1-1",
        "DEL a",
        "APPEND a begin",
        &format!("APPEND a {long}"),
        "DEL e",
        "XADD e MAXLEN 0 5-5 x y",
        "XSETID e 7-7 ENTRIESADDED 3 MAXDELETEDID 6-6",
        "SELECT 3",
        "SET other db",
    ]);
    let params = json!({"requireTrailer": false});
    restore(&server, &stream, params.clone()).await.expect("a restore");
    let told = verify(&stream, params.clone()).await.expect("it can be told");
    let outputs = digest_outputs(&server).await;
    let same =
        diff(&stream, &server, json!({"requireTrailer": false, "differences": "report"})).await.expect("a report");
    assert_eq!(same["examples"], json!([]), "{same}");
    assert_eq!((&told["digest"], &told["perType"]), (&outputs["digest"], &outputs["perType"]));
    // What a restore does not take is not told either: options of long values other than a dump's.
    let long_set = format!("SET s {long} EX 10");
    for line in ["ZADD z NX 1 a", "XADD x * f v", "SPOP s", "SET s v EX 10", "PEXPIRE s 10", &long_set] {
        let failure = verify(&made(&["SET s v", line]), params.clone()).await.expect_err(line);
        assert!(failure.message.contains("of the stream"), "{line}: {}", failure.message);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_whole_is_not_verified() {
    let server = RedisServer::start();
    fill(&server);
    let stream = dumped(&server).await;
    let mut state = 1u64;
    for _ in 0..12 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let place = (state >> 33) as usize % stream.len();
        let failure = verify(&stream[..place], json!({})).await.expect_err("cut off");
        assert_eq!(failure.kind, FailureKind::Corrupt, "{place}: {}", failure.message);
        let mut altered = stream.clone();
        altered[place] ^= 1 << (state % 8);
        let failure = verify(&altered, json!({})).await.expect_err("altered");
        assert!(matches!(failure.kind, FailureKind::Corrupt | FailureKind::Rejected), "{place}: {}", failure.message);
    }
    for stream in [&b""[..], b"*1\r\n$4\r\nPING\r\n", b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\nb\r\n"] {
        assert_eq!(verify(stream, json!({})).await.expect_err("no dump").kind, FailureKind::Corrupt);
    }
    verify(&[&stream[..], b"*1\r\n$4\r\nPING\r\n"].concat(), json!({})).await.expect_err("more behind it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dump_is_compared_with_a_server() {
    let (from, to) = (RedisServer::start(), RedisServer::start());
    fill(&from);
    fill_database(&from, 7);
    let stream = dumped(&from).await;
    restore(&to, &stream, json!({})).await.expect("a restore");
    let keys: u64 = from.cli(&["DBSIZE"]).trim().parse().expect("a number");
    let outputs = diff(&stream, &to, json!({})).await.expect("the same");
    assert_eq!((&outputs["equal"], &outputs["compared"]), (&json!(true), &json!(keys + 3)), "{outputs}");
    for change in [
        "SET raw other",
        "DEL list",
        "SET long-hash string",
        "PERSIST timed",
        "RPUSH fat-list more",
        "XACK events readers 4-4",
        "XADD long-events 30000-1 a b",
        "SADD extra x",
    ] {
        run(&mut to.client(), change);
    }
    to.cli(&["-n", "7", "SET", "new", "1"]);
    to.cli(&["-n", "9", "SET", "new", "1"]);
    to.cli(&["FUNCTION", "DELETE", "two"]);
    let outputs = diff(&stream, &to, json!({"differences": "report"})).await.expect("a report");
    let expected = json!({
        "onlyLeft": 1, "onlyRight": 3, "differentType": 1, "differentValue": 3,
        "differentGroups": 1, "differentExpiry": 1, "differentFunctions": 1,
    });
    let mut found = outputs["differences"].clone();
    // A key of another type may have another expiry, which says nothing.
    assert_eq!(found["differentFunctions"].take(), json!(1));
    found["differentFunctions"] = json!(1);
    assert_eq!(found, expected, "{outputs}");
    let failure = diff(&stream, &to, json!({})).await.expect_err("they differ");
    assert!(
        failure.causes.iter().any(|line| line.contains("`raw`: value (left: string; right: string of 5 bytes)")),
        "{:?}",
        failure.causes
    );
    let only = json!({"filter": {"match": ["extra", "raw"]}, "differences": "report", "functions": false});
    let outputs = diff(&stream, &to, only).await.expect("a report");
    assert_eq!(
        (&outputs["differences"]["onlyRight"], &outputs["differences"]["differentValue"]),
        (&json!(1), &json!(1))
    );
    let other = json!({"databases": [7], "databaseMap": {"7": 9}, "differences": "report", "functions": false});
    let outputs = diff(&stream, &to, other).await.expect("a report");
    assert_eq!((&outputs["differences"]["onlyLeft"], &outputs["differences"]["onlyRight"]), (&json!(3), &json!(1)));
    // A stream that is cut off equals nothing.
    let failure =
        diff(&stream[..stream.len() - 100], &to, json!({"differences": "report"})).await.expect_err("cut off");
    assert_eq!(failure.kind, FailureKind::Corrupt);
    let nothing = run_alone(RedisDiff, json!({"right": {"url": to.url()}}), Input::None).await.result;
    assert_eq!(nothing.expect_err("with what?").kind, FailureKind::Config);
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_that_a_dump_shows_twice_count_once() {
    let server = RedisServer::start();
    let client = &mut server.client();
    many(client, "SADD", "set", 3000, |n| vec![format!("m{n}")]);
    let lines: Vec<String> = (0..3000).map(|n| format!("SADD set m{n} m{}", n / 2)).collect();
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let stream = made(&lines);
    let told = verify(&stream, json!({"requireTrailer": false})).await.expect("it can be told");
    assert_eq!(told["digest"].as_str(), Some(&digest(&server).await[..]));
    // What has expired since is not looked for.
    let stream = made(&["SADD set m1", &format!("SET old v PXAT {}", in_ms(-1000))]);
    let params = json!({"requireTrailer": false, "filter": {"match": ["old"]}});
    diff(&stream, &server, params).await.expect("it is not there, and need not be");
}

#[tokio::test(flavor = "multi_thread")]
async fn fields_of_any_number_keep_their_expiries() {
    // More fields than are remembered of a value.
    let from = RedisServer::valkey(&["--save", ""]);
    let client = &mut from.client();
    many(client, "HSET", "hash", 300_000, |n| vec![format!("field {n}"), format!("{n}")]);
    for first in (0..300_000).step_by(9_000) {
        let fields: Vec<String> = (first..first + 3000).step_by(3).map(|n| format!("field {n}")).collect();
        let mut command = redis::cmd("HPEXPIREAT");
        command.arg("hash").arg(4_102_444_800_123u64 + first).arg("FIELDS").arg(fields.len()).arg(fields);
        command.exec(client).expect("room");
    }
    let digest = digest_outputs(&from).await["digest"].clone();
    for source in ["scan", "replication"] {
        let params = json!({"url": from.socket_url(), "source": source});
        let outcome = run_alone(RedisDump, params, Input::None).await;
        outcome.result.expect("a dump");
        let told = verify(&outcome.stdout, json!({})).await.expect("it can be told");
        assert_eq!(told["digest"], digest, "{source}");
    }
    // Told long after their fields, they are refused by name.
    let mut late = Vec::new();
    for first in (0..300_000).step_by(1000) {
        let words: Vec<String> = (first..first + 1000).map(|n| format!("f{n} v")).collect();
        late.extend(made(&[&format!("HSET hash {}", words.join(" "))]));
    }
    late.extend(made(&["HPEXPIREAT hash 4102444800123 FIELDS 1 f1"]));
    verify(&late, json!({"requireTrailer": false})).await.expect("one of the first");
    late.extend(made(&["HPEXPIREAT hash 4102444800123 FIELDS 1 f250000"]));
    let failure = verify(&late, json!({"requireTrailer": false})).await.expect_err("nobody remembers it");
    assert!(failure.message.contains("`f250000`") && failure.help.is_some(), "{failure:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_would_come_out_otherwise_on_a_server_is_not_told() {
    for (lines, said) in [
        (&["XADD s 1-1 f v", "XSETID s 5-0", "XADD s 6-0 f v"][..], "behind the state"),
        (&["XADD s 1-1 f v", "XADD s MAXLEN 0 2-0 x y"], "trimmed"),
        (&["XADD s 1-1 f v", "XGROUP CREATE s g 0", "XCLAIM s g c 0 1-1 RETRYCOUNT 1 FORCE LASTID 9-0"], "LASTID"),
        (&["XADD s 1-1 f v", "XGROUP CREATE s g 0", "XCLAIM s g c 0 1-1 RETRYCOUNT 1"], "XCLAIM"),
        (&["SET aquifer:restore:open v"], "reserved"),
    ] {
        let failure = verify(&made(lines), json!({"requireTrailer": false})).await.expect_err(said);
        assert!(failure.message.contains(said) && failure.message.contains("at byte"), "{}", failure.message);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_expires_while_a_stream_is_compared_differs_in_nothing() {
    let right = RedisServer::start();
    let mut lines: Vec<String> = (0..40_000).map(|n| format!("SET key:{n} value:{n}")).collect();
    let all: Vec<&str> = lines.iter().map(String::as_str).collect();
    right.pipe(&made(&all));
    let soon = in_ms(300);
    run(&mut right.client(), &format!("SET soon v PXAT {soon}"));
    // It comes last. Whether its time has passed by then is up to the machine; either way nothing differs.
    lines.push(format!("SET soon v PXAT {soon}"));
    let all: Vec<&str> = lines.iter().map(String::as_str).collect();
    let outputs = diff(&made(&all), &right, json!({"requireTrailer": false})).await.expect("nothing differs");
    assert_eq!(outputs["equal"], json!(true), "{outputs}");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_were_brought_back_after_their_expiry_are_compared() {
    let dumped = in_ms(-3_600_000);
    // Two had half a minute left then, one has still time, one had expired before.
    let (soon, later, before) = (dumped + 30_000, in_ms(3_600_000), dumped - 1);
    let stream = made(&[
        format!("SET soon v PXAT {soon}"),
        format!("SET soon:2 v PXAT {soon}"),
        format!("SET later v PXAT {later}"),
        format!("SET before v PXAT {before}"),
        "SET never v".to_owned(),
    ]);
    let then = jiff::Timestamp::from_millisecond(dumped).expect("a moment").to_string();
    let rules =
        [(json!("drop"), "ignore", 5, 0), (json!({"asOf": then}), "presence", 4, 1), (json!("keep"), "exact", 2, 3)];
    for (rule, expiry, compared, expired) in rules {
        let to = RedisServer::start();
        let restored = restore(&to, &stream, json!({"requireTrailer": false, "expiry": rule})).await.expect("restored");
        let params = json!({"requireTrailer": false, "expiry": expiry, "restoredWith": restored["expiry"]});
        let outputs = diff(&stream, &to, params.clone()).await.expect("equal");
        assert_eq!(
            (&outputs["compared"], &outputs["expired"]),
            (&json!(compared), &json!(expired)),
            "{rule}: {outputs}"
        );
        if expired < 3 {
            run(&mut to.client(), "SET soon CORRUPT KEEPTTL");
            run(&mut to.client(), "DEL soon:2");
            let failure = diff(&stream, &to, params).await.expect_err("two differ");
            assert!(
                failure.message.contains("1 only on the left") && failure.message.contains("1 with another value"),
                "{failure:?}"
            );
        }
    }
    let exact = json!({"requireTrailer": false, "restoredWith": "drop"});
    assert_eq!(diff(&stream, &RedisServer::start(), exact).await.expect_err("moments").kind, FailureKind::Config);
}
