//! What a dump by scan promises of itself: what it leaves out, what it adds, how it writes, and what big values come to.

use std::collections::HashMap;

use aquifer_engine::alone::{Input, run_alone};
use aquifer_engine::failure::FailureKind;
use aquifer_functions::redis_dump::RedisDump;
use aquifer_tests::newer_server;
use aquifer_tests::redis_server::RedisServer;
use redis::{Value, cmd};
use serde_json::{Value as Json, json};

use super::concurrent::writer;
use super::rig::{by_scan, digest, fill, in_ms, many, many_strings, portrait, restore, run, scan, scan_with};

/// The commands of a stream, without head and trailer.
pub(crate) fn commands(mut stream: &[u8]) -> Vec<Vec<Vec<u8>>> {
    fn number(stream: &mut &[u8]) -> usize {
        let end = stream.iter().position(|byte| *byte == b'\n').expect("a line");
        let line = std::str::from_utf8(&stream[1..end - 1]).expect("a number");
        *stream = &stream[end + 1..];
        line.parse().expect("a number")
    }
    let mut all = Vec::new();
    while !stream.is_empty() {
        let count = number(&mut stream);
        let mut words = Vec::new();
        for _ in 0..count {
            let length = number(&mut stream);
            words.push(stream[..length].to_vec());
            stream = &stream[length + 2..];
        }
        all.push(words);
    }
    all[1..all.len() - 1].to_vec()
}

fn count(stream: &[u8], name: &str) -> usize {
    commands(stream).iter().filter(|command| command[0] == name.as_bytes()).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_takes_what_it_says_and_counts_the_rest() {
    let from = RedisServer::start();
    many_strings(&from, 5000);
    let client = &mut from.client();
    for n in 0..3000 {
        run(client, &format!("RPUSH key:{n}:list a"));
        run(client, &format!("SADD other:{n} a"));
    }
    for (filter, kept) in [
        (json!({}), 11_000),
        (json!({"match": ["key:*"]}), 8000),
        (json!({"match": ["key:*", "other:1"]}), 8001),
        (json!({"match": ["key:*"], "exclude": ["*:list"]}), 5000),
        (json!({"types": ["list"]}), 3000),
        (json!({"types": ["list", "set"]}), 6000),
        (json!({"types": ["string"], "match": ["*1"]}), 500),
        (json!({"types": ["hash", "stream", "zset", "other"]}), 0),
        (json!({"match": ["nothing"]}), 0),
    ] {
        let outcome = scan_with(&from, json!({"filter": filter})).await;
        let outputs = outcome.result.expect("a dump");
        assert_eq!((&outputs["keys"], &outputs["leftOut"]), (&json!(kept), &json!(11_000 - kept)), "{filter}");
        let to = RedisServer::start();
        restore(&to, &outcome.stdout, json!({})).await.expect("a restore");
        assert_eq!(to.cli(&["DBSIZE"]).trim(), kept.to_string(), "{filter}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_commands_make_the_same_values() {
    let (from, to) = (RedisServer::start(), RedisServer::start());
    fill(&from);
    let outcome = scan_with(&from, json!({"form": "logical"})).await;
    outcome.result.expect("a dump");
    assert_eq!(count(&outcome.stdout, "RESTORE"), 0);
    assert!(to.pipe(&outcome.stdout).contains("errors: 0"));
    assert_eq!(portrait(&to), portrait(&from));
    let to = RedisServer::start();
    restore(&to, &outcome.stdout, json!({})).await.expect("a restore");
    assert_eq!(portrait(&to), portrait(&from));
    assert_eq!(digest(&to).await, digest(&from).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn hints_are_carried_where_they_are_wanted() {
    for (policy, question, high) in [("allkeys-lfu", "FREQ", 50), ("allkeys-lru", "IDLETIME", 5000)] {
        let settings = ["--maxmemory", "100mb", "--maxmemory-policy", policy];
        let (from, to) = (RedisServer::with(&settings), RedisServer::with(&settings));
        let client = &mut from.client();
        for (key, line) in [("s", "SET s v"), ("l", "RPUSH l v"), ("h", "HSET h f v")] {
            run(client, line);
            let payload: Vec<u8> = cmd("DUMP").arg(key).query(client).expect("a payload");
            let mut command = cmd("RESTORE");
            command.arg(key).arg(0).arg(payload).arg("REPLACE").arg(question).arg(high).exec(client).expect("a hint");
        }
        let asked = |server: &RedisServer, key: &str| -> i64 {
            server.cli(&["OBJECT", question, key]).trim().parse().expect("a number")
        };
        for (hints, near) in [(true, true), (false, false)] {
            to.cli(&["FLUSHALL"]);
            let outcome = scan_with(&from, json!({"hints": hints})).await;
            outcome.result.expect("a dump");
            restore(&to, &outcome.stdout, json!({})).await.expect("a restore");
            for key in ["s", "l", "h"] {
                let there = asked(&to, key);
                assert_eq!((there - high).abs() <= 5, near, "{question} {key}: {there}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_string_is_of_one_moment() {
    let from = RedisServer::start();
    let client = &mut from.client();
    cmd("SET").arg("long").arg(vec![b'a'; 6 << 20]).exec(client).expect("room");
    run(client, &format!("PEXPIREAT long {}", in_ms(3_600_000)));
    let quiet = scan(&from).await;
    quiet.result.expect("a dump");
    assert!(count(&quiet.stdout, "APPEND") > 10, "it comes in pieces");
    let to = RedisServer::start();
    for on_conflict in ["fail", "replace"] {
        restore(&to, &quiet.stdout, json!({"onConflict": on_conflict})).await.expect("a restore");
        assert_eq!(portrait(&to), portrait(&from));
    }
    // Both ends are changed together.
    let stop = writer(&from, |client, round| {
        let mut both = redis::pipe();
        let text = format!("{round:020}");
        both.atomic().cmd("SETRANGE").arg("long").arg(0).arg(&text).ignore();
        both.cmd("SETRANGE").arg("long").arg((6 << 20) - 20).arg(&text).ignore().exec(client).expect("room");
    });
    for _ in 0..3 {
        let outcome = scan(&from).await;
        outcome.result.expect("a dump");
        assert!(outcome.messages.iter().any(|(_, text)| text.contains("at one go") && text.contains("`long`")));
        let to = RedisServer::start();
        restore(&to, &outcome.stdout, json!({})).await.expect("a restore");
        let found: Vec<u8> = cmd("GET").arg("long").query(&mut to.client()).expect("a string");
        assert!(found.len() == 6 << 20 && found[..20] == found[found.len() - 20..], "of several moments");
        assert_ne!(to.cli(&["PTTL", "long"]).trim(), "-1");
    }
    stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_written_and_read_meanwhile_comes_whole() {
    let from = RedisServer::start();
    let client = &mut from.client();
    for n in 0..40_000 {
        cmd("XADD").arg("events").arg("*").arg("n").arg(format!("{n} {}", "x".repeat(40))).exec(client).expect("room");
    }
    run(client, "XGROUP CREATE events readers 0");
    let before: Vec<(String, HashMap<String, String>)> =
        cmd("XRANGE").arg("events").arg("-").arg("+").query(client).expect("entries");
    let stop = writer(&from, |client, round| {
        run(client, "XREADGROUP GROUP readers alice COUNT 20 STREAMS events >");
        run(client, &format!("XADD events * new {round}"));
        let pending: Vec<(String, String, u64, u64)> =
            cmd("XPENDING").arg(&["events", "readers", "-", "+", "5"][..]).query(client).expect("what is pending");
        for (id, ..) in pending {
            run(client, &format!("XACK events readers {id}"));
        }
    });
    let outcome = scan(&from).await;
    stop();
    outcome.result.expect("a dump");
    assert!(count(&outcome.stdout, "XADD") >= 40_000, "it is big enough to come in parts");
    let to = RedisServer::start();
    restore(&to, &outcome.stdout, json!({})).await.expect("a restore");
    let client = &mut to.client();
    let after: Vec<(String, HashMap<String, String>)> =
        cmd("XRANGE").arg("events").arg("-").arg("+").query(client).expect("entries");
    assert_eq!(after[..before.len()], before);
    let group: Vec<HashMap<String, Value>> = cmd("XINFO").arg("GROUPS").arg("events").query(client).expect("a group");
    assert_ne!(group[0]["lag"], Value::Nil, "the counters fit: {group:?}");
    // What is not delivered yet is delivered, from the next entry on and to the last.
    let pending = cmd("XINFO").arg(&["STREAM", "events", "FULL"][..]).query::<Value>(client);
    pending.expect("the group is sound");
    run(client, "XREADGROUP GROUP readers bob STREAMS events >");
    let group: Vec<HashMap<String, Value>> = cmd("XINFO").arg("GROUPS").arg("events").query(client).expect("a group");
    assert_eq!(group[0]["lag"], Value::Int(0), "{group:?}");
    assert_eq!(group[0]["last-delivered-id"], Value::BulkString(after.last().expect("entries").0.clone().into_bytes()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_big_stream_keeps_all_that_commands_can_make_and_the_rest_is_counted() {
    let (from, to) = (RedisServer::start(), RedisServer::start());
    let client = &mut from.client();
    let mut pipeline = redis::pipe();
    for n in 1..=9000 {
        pipeline.cmd("XADD").arg("events").arg(format!("{n}-1")).arg("f").arg("v".repeat(120)).ignore();
    }
    pipeline.exec(client).expect("room");
    run(client, "XGROUP CREATE events readers 0");
    run(client, "XGROUP CREATE events late 8000-1 ENTRIESREAD 8000");
    run(client, "XGROUP CREATECONSUMER events late idle");
    run(client, "XREADGROUP GROUP readers alice COUNT 700 STREAMS events >");
    run(client, "XREADGROUP GROUP readers bob COUNT 50 STREAMS events >");
    run(client, "XCLAIM events readers bob 0 5-1 6-1 7-1 TIME 1600000000123 RETRYCOUNT 7");
    let exact = |server: &RedisServer| {
        let full =
            cmd("XINFO").arg(&["STREAM", "events", "FULL", "COUNT", "0"][..]).query::<Value>(&mut server.client());
        let text = format!("{:?}", full.expect("a stream"));
        // When each was delivered, too, which `portrait` shows; how the server lays it out is its own affair.
        text.split("last-generated-id").nth(1).map(|rest| rest.split("seen-time").next().map(str::to_owned))
    };
    for form in ["native", "logical"] {
        let outcome = scan_with(&from, json!({"form": form})).await;
        assert_eq!(outcome.result.expect("a dump")["lostPending"], 0);
        to.cli(&["FLUSHALL"]);
        restore(&to, &outcome.stdout, json!({})).await.expect("a restore");
        assert_eq!((portrait(&to), exact(&to)), (portrait(&from), exact(&from)), "{form}");
        assert!(outcome.stdout == scan_with(&from, json!({"form": form})).await.stdout, "the same bytes again");
    }
    run(client, "XDEL events 6-1 7-1");
    let outcome = scan(&from).await;
    assert_eq!(outcome.result.expect("a dump")["lostPending"], 2);
    assert!(outcome.messages.iter().any(|(_, text)| text.contains("2 pending entries")), "{:?}", outcome.messages);
    // One without any entry.
    run(client, "XTRIM events MAXLEN 0");
    run(client, "XGROUP DESTROY events readers");
    for form in ["native", "logical"] {
        to.cli(&["FLUSHALL"]);
        restore(&to, &scan_with(&from, json!({"form": form})).await.stdout, json!({})).await.expect("a restore");
        assert_eq!(portrait(&to), portrait(&from), "{form}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fields_of_a_big_hash_keep_their_expiries() {
    let outcome = run_alone(RedisDump, by_scan(&newer_server::start(), json!({})), Input::None).await;
    let outputs = outcome.result.expect("a dump");
    assert_eq!((&outputs["keys"], &outputs["perType"]["hash"]), (&json!(1), &json!(1)));
    let mut found: HashMap<String, (String, Option<u64>)> = HashMap::new();
    let text = |word: &Vec<u8>| String::from_utf8(word.clone()).expect("text");
    for command in commands(&outcome.stdout) {
        let words: Vec<String> = command.iter().map(text).collect();
        match &words[0][..] {
            "HSET" => {
                for pair in words[2..].chunks(2) {
                    assert!(found.insert(pair[0].clone(), (pair[1].clone(), None)).is_none(), "{pair:?} comes twice");
                }
            }
            "HPEXPIREAT" => {
                assert_eq!((&words[3][..], words[4].parse()), ("FIELDS", Ok(words.len() - 5)));
                for field in &words[5..] {
                    found.get_mut(field).expect("it was set before").1 = words[2].parse().ok();
                }
            }
            name => assert!(["SELECT", "DEL"].contains(&name), "{words:?}"),
        }
    }
    assert_eq!(found.len(), newer_server::FIELDS);
    for number in 0..newer_server::FIELDS {
        let expected = (format!("value {number}"), newer_server::expiry(number));
        assert_eq!(found[&format!("f{number}")], expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_digest_sees_the_expiries_of_fields() {
    let with = async |url: &str, expiry: &str| -> Json {
        let params = json!({"url": url, "expiry": expiry});
        let outcome = run_alone(aquifer_functions::redis_digest::RedisDigest, params, Input::None).await;
        outcome.result.expect("a digest")["digest"].clone()
    };
    // The same fields on a server that knows no such expiries.
    let older = RedisServer::start();
    let client = &mut older.client();
    many(client, "HSET", "h", newer_server::FIELDS as u32, |n| vec![format!("f{n}"), format!("value {n}")]);
    let url = newer_server::start();
    assert_eq!(with(&url, "ignore").await, with(&older.url(), "ignore").await);
    let (exact, presence) = (with(&url, "exact").await, with(&url, "presence").await);
    assert_ne!(exact, with(&older.url(), "exact").await);
    assert_ne!(exact, presence);
    assert_eq!(exact, with(&url, "exact").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_a_scan_shows_twice_counts_once_in_the_digest() {
    let mut found = Vec::new();
    for url in [newer_server::start(), newer_server::start_showing(2)] {
        let outcome = run_alone(aquifer_functions::redis_digest::RedisDigest, json!({"url": url}), Input::None).await;
        let outputs = outcome.result.expect("a digest");
        assert_eq!(outputs["keys"], 1);
        found.push(outputs["digest"].clone());
    }
    assert_eq!(found[0], found[1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_lie_about_types_do_no_harm() {
    let (from, to) = (RedisServer::start(), RedisServer::start());
    let client = &mut from.client();
    let mut pipeline = redis::pipe();
    for n in 10..20_000 {
        let key = format!("thing:{n}");
        match n % 1000 {
            3 => pipeline.cmd("RPUSH").arg(key).arg("a").arg("b").ignore(),
            5 => pipeline.cmd("SET").arg(key).arg("x".repeat(5000 + n % 7)).ignore(),
            7 => pipeline.cmd("SET").arg(key).arg("").ignore(),
            11 => pipeline.cmd("SETEX").arg(key).arg(1_000_000).arg(n).ignore(),
            _ => pipeline.cmd("SET").arg(key).arg(n).ignore(),
        };
        let key = format!("part:{n}");
        match n % 1000 {
            3 => pipeline.cmd("SET").arg(key).arg("x".repeat(n % 6000)).ignore(),
            _ => pipeline.cmd("HSET").arg(key).arg("f").arg(n).ignore(),
        };
    }
    pipeline.exec(client).expect("room");
    let outcome = scan(&from).await;
    outcome.result.expect("a dump");
    restore(&to, &outcome.stdout, json!({})).await.expect("a restore");
    assert_eq!(to.cli(&["DEBUG", "DIGEST"]), from.cli(&["DEBUG", "DIGEST"]));
    let payloads = commands(&outcome.stdout).into_iter().filter(|command| command[0] == b"RESTORE");
    assert!(payloads.into_iter().all(|command| command[3][0] != 0), "a string is written by SET");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_was_renamed_away_fails_the_dump_by_its_name() {
    for name in ["SCAN", "DUMP", "TYPE", "GETRANGE", "EXEC", "SELECT"] {
        let server = RedisServer::with(&["--rename-command", name, ""]);
        let client = &mut server.client();
        run(client, "SET a b");
        run(client, "RPUSH l a");
        let outcome = scan(&server).await;
        let failure = outcome.result.expect_err("it cannot be read");
        assert_eq!(failure.kind, FailureKind::Rejected, "{name}: {failure:?}");
        assert!(failure.message.to_uppercase().contains(name), "{name}: {}", failure.message);
        assert!(!outcome.finished);
    }
}
