//! A restore that goes on where the server refuses a key: everything else comes back, and the step fails with a table.

use aquifer_engine::failure::{Failure, FailureKind};
use aquifer_tests::redis_server::RedisServer;
use serde_json::json;

use super::rig::{digest, dumped, fill, many, many_strings, restore, run};

fn causes(failure: &Failure) -> String {
    failure.causes.join("\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn all_but_what_is_refused_is_written_and_counted_by_kind() {
    let (from, to) = (RedisServer::start(), RedisServer::start());
    fill(&from);
    many_strings(&from, 5000);
    let stream = dumped(&from).await;
    let keys: u64 = from.cli(&["DBSIZE"]).trim().parse().expect("a number");
    // Some are there, and this user may not write others: of one command, of several, and of long ones.
    run(&mut to.client(), "MSET key:7 mine key:8 mine long-set mine");
    run(&mut to.client(), "ACL SETUSER some on >word +@all ~* resetchannels");
    run(
        &mut to.client(),
        "ACL SETUSER some resetkeys ~key:* ~aquifer:* ~big* ~fat-list ~long-set ~long-hash ~long-board ~ev*",
    );
    let params = json!({"errors": "collect", "username": "some", "password": "word"});
    let failure = restore(&to, &stream, params.clone()).await.expect_err("some were refused");
    let written: u64 = to.cli(&["DBSIZE"]).trim().parse().expect("a number");
    assert!(written > 5000 && written < keys, "{written}");
    let refused = keys + 3 - 3 - written;
    let text = format!("{}\n{}", failure.message, causes(&failure));
    assert!(text.contains(&format!("NOPERM {refused}")) && text.contains("BUSYKEY 3"), "{text}");
    assert!(text.contains(&format!("NOPERM: {refused} keys; the first: writing the key `")), "{text}");
    assert!(text.contains("BUSYKEY: 3 keys; the first: writing the key `"), "{text}");
    assert!(text.contains("keys had been written and are still there"), "{text}");
    assert_eq!(failure.kind, FailureKind::Rejected);
    assert_eq!(to.cli(&["GET", "key:7"]).trim(), "mine");
    assert_eq!(to.cli(&["HLEN", "long-hash"]).trim(), "12000");
    assert_eq!(to.cli(&["KEYS", "aquifer:*"]).trim(), "", "nothing is left of what was built");

    // Without it the first one ends the restore.
    let stop = RedisServer::start();
    run(&mut stop.client(), "SET key:7 mine");
    let failure = restore(&stop, &stream, json!({})).await.expect_err("the first conflict");
    assert!(failure.message.contains("`key:7`"), "{}", failure.message);
    // With nothing in the way it succeeds.
    let free = RedisServer::start();
    restore(&free, &stream, json!({"errors": "collect"})).await.expect("nothing is refused");
    assert_eq!(digest(&free).await, digest(&from).await);
    // Once all may be written, the rest comes.
    run(&mut to.client(), "DEL key:7 key:8 long-set");
    restore(&to, &stream, json!({"errors": "collect", "onConflict": "skip"})).await.expect("the rest");
    assert_eq!(digest(&to).await, digest(&from).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_which_a_part_is_refused_does_not_appear() {
    let (from, to) = (RedisServer::start(), RedisServer::start());
    many(&mut from.client(), "HSET", "a-hash", 30_000, |n| {
        vec![format!("f{n}"), format!("value {n} {}", "y".repeat(60))]
    });
    many(&mut from.client(), "ZADD", "a-board", 60_000, |n| {
        vec![format!("{n}"), format!("player {n} {}", "p".repeat(40))]
    });
    run(&mut from.client(), "SET a 1");
    let stream = dumped(&from).await;
    // Allowed to name it, and not to write parts of this sort.
    run(&mut to.client(), "ACL SETUSER some on >word +@all -zadd ~* resetchannels");
    for on_conflict in ["fail", "replace"] {
        let params = json!({"errors": "collect", "username": "some", "password": "word", "onConflict": on_conflict});
        let failure = restore(&to, &stream, params).await.expect_err("one was refused");
        assert!(failure.message.contains("1 key of the stream was not written: NOPERM 1"), "{}", failure.message);
        assert_eq!(to.cli(&["EXISTS", "a-board"]).trim(), "0");
        assert_eq!(to.cli(&["HLEN", "a-hash"]).trim(), "30000");
        assert_eq!(to.cli(&["DBSIZE"]).trim(), "2");
        to.cli(&["FLUSHALL"]);
    }
    // What the server refuses for any key ends it at once.
    let replica = RedisServer::with(&["--replicaof", "127.0.0.1 1", "--replica-serve-stale-data", "yes"]);
    let failure = restore(&replica, &stream, json!({"errors": "collect"})).await.expect_err("read only");
    assert!(failure.help.is_some_and(|help| help.contains("master")), "{}", failure.message);
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_come_in_parts_and_are_counted_before_they_get_their_name() {
    let to = RedisServer::start();
    let entry = "e".repeat(2 << 20);
    let mut out = Vec::new();
    let mut command = |words: &[&str]| {
        out.extend(format!("*{}\r\n", words.len()).into_bytes());
        for word in words {
            out.extend(format!("${}\r\n{word}\r\n", word.len()).into_bytes());
        }
    };
    command(&["DEL", "s"]);
    for n in 1..=2000 {
        command(&["XADD", "s", &format!("{n}-0"), "f", "v"]);
    }
    command(&["XADD", "s", "3000-0", "long", &entry]);
    command(&["XSETID", "s", "4000-0", "ENTRIESADDED", "5000", "MAXDELETEDID", "7-7"]);
    command(&["XGROUP", "CREATE", "s", "g", "10-0", "ENTRIESREAD", "10"]);
    command(&["XGROUP", "CREATECONSUMER", "s", "g", "idle"]);
    command(&[
        "XCLAIM",
        "s",
        "g",
        "busy",
        "0",
        "5-0",
        "TIME",
        "1700000000000",
        "RETRYCOUNT",
        "3",
        "FORCE",
        "JUSTID",
        "LASTID",
        "10-0",
    ]);
    command(&["PEXPIREAT", "s", "9999999999999"]);
    let params = json!({"requireTrailer": false});
    let outputs = restore(&to, &out, params.clone()).await.expect("a stream in parts");
    assert_eq!((&outputs["keys"], &outputs["perType"]["stream"]), (&json!(1), &json!(1)));
    assert_eq!(to.cli(&["XLEN", "s"]).trim(), "2001");
    let info = to.cli(&["XINFO", "STREAM", "s"]);
    assert!(info.contains("4000-0") && info.contains("5000") && info.contains("7-7"), "{info}");
    let pending = to.cli(&["XPENDING", "s", "g", "-", "+", "10"]);
    assert!(pending.contains("5-0") && pending.contains("busy") && pending.trim().ends_with('3'), "{pending}");
    assert!(to.cli(&["XINFO", "CONSUMERS", "s", "g"]).contains("idle"));
    let before = digest(&to).await;
    restore(&to, &out, json!({"requireTrailer": false, "onConflict": "replace"})).await.expect("once more");
    assert_eq!(digest(&to).await, before);
}

/// Commands as a stream has them; words are separated by spaces.
fn stream(lines: &[&str]) -> Vec<u8> {
    let mut out = Vec::new();
    for line in lines {
        let words: Vec<&str> = line.split(' ').collect();
        out.extend(format!("*{}\r\n", words.len()).into_bytes());
        for word in words {
            out.extend(format!("${}\r\n{word}\r\n", word.len()).into_bytes());
        }
    }
    out
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_there_is_a_conflict_also_where_it_is_begun_and_then_written_whole() {
    let to = RedisServer::start();
    run(&mut to.client(), "SET k mine");
    let dump = stream(&["SET a 1", "DEL k", "SET k theirs", "SET b 2"]);
    let params = json!({"errors": "collect", "requireTrailer": false});
    let failure = restore(&to, &dump, params).await.expect_err("it was not written");
    assert!(failure.message.contains("BUSYKEY 1"), "{}", failure.message);
    assert_eq!((to.cli(&["GET", "k"]).trim(), to.cli(&["GET", "b"]).trim()), ("mine", "2"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_expiry_of_a_key_that_was_refused_is_no_other_keys() {
    let to = RedisServer::start();
    run(&mut to.client(), "SET k mine");
    let dump = stream(&["RESTORE k 0 nonsense", "PEXPIREAT k 1", "SET b 2"]);
    let params = json!({"errors": "collect", "requireTrailer": false});
    for on_conflict in ["fail", "skip", "replace"] {
        let mut params = params.clone();
        params["onConflict"] = json!(on_conflict);
        // With `skip` a key that is there is no refusal.
        assert_eq!(restore(&to, &dump, params).await.is_err(), on_conflict != "skip", "{on_conflict}");
        assert_eq!((to.cli(&["GET", "k"]).trim(), to.cli(&["PTTL", "k"]).trim()), ("mine", "-1"), "{on_conflict}");
        to.cli(&["DEL", "b"]);
    }
}
