//! Restores that end early or meet others: no key is ever seen in part, what was left is taken away, what is said is true.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use aquifer_engine::alone::{Input, run_alone};
use aquifer_functions::redis_dump::RedisDump;
use aquifer_functions::redis_restore::RedisRestore;
use aquifer_tests::redis_server::RedisServer;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};

use super::rig::{by_scan, digest, dumped, fill, fill_database, in_ms, many, portrait, restore, run};

/// A stream of one list in several commands, with an expiry.
async fn long_list() -> (RedisServer, Vec<u8>) {
    let from = RedisServer::start();
    let client = &mut from.client();
    many(client, "RPUSH", "queue", 20_000, |n| vec![format!("element {n} {}", "x".repeat(60))]);
    run(client, &format!("PEXPIREAT queue {}", in_ms(3_600_000)));
    let stream = dumped(&from).await;
    (from, stream)
}

/// A way to a server; once so many bytes have gone there, it asks whether to go on, and else ends without a word.
fn passing(
    server: &RedisServer,
    folder: &tempfile::TempDir,
    bytes: usize,
    go_on: impl FnOnce() -> bool + Send + 'static,
) -> String {
    let path = folder.path().join(format!("{bytes}-{}.sock", server.port()));
    let (listener, socket) = (UnixListener::bind(&path).expect("a socket"), server.socket());
    tokio::spawn(async move {
        let (mut near, _) = listener.accept().await.expect("a connection");
        let mut far = UnixStream::connect(socket).await.expect("the server");
        let (mut there, mut back, mut left, mut asked) = (vec![0; 64 << 10], vec![0; 64 << 10], bytes, Some(go_on));
        loop {
            tokio::select! {
                read = near.read(&mut there) => {
                    let read = read.expect("bytes");
                    let first = read.min(left);
                    far.write_all(&there[..first]).await.expect("it takes them");
                    left -= first;
                    if read == 0 || left == 0 && asked.take().is_some_and(|go_on| !go_on()) {
                        return;
                    }
                    far.write_all(&there[first..read]).await.expect("it takes them");
                }
                read = far.read(&mut back) => near.write_all(&back[..read.expect("bytes")]).await.expect("it takes them"),
            }
        }
    });
    format!("redis+unix://{}", path.display())
}

/// Waits until the server has noticed that a connection is gone.
fn wait_until_alone(server: &RedisServer) {
    let begun = Instant::now();
    while server.cli(&["CLIENT", "LIST"]).contains("name=aquifer:") {
        assert!(begun.elapsed() < Duration::from_secs(60), "the connection must end");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_that_dies_leaves_no_key_in_part_and_the_next_one_completes_it() {
    let (from, stream) = long_list().await;
    let folder = tempfile::tempdir().expect("a folder");
    for (on_conflict, older) in [("skip", false), ("fail", false), ("replace", false), ("replace", true)] {
        let to = RedisServer::start();
        if older {
            run(&mut to.client(), "RPUSH queue mine");
        }
        let url = passing(&to, &folder, stream.len() / 2, || false);
        let params = json!({"url": url, "onConflict": on_conflict});
        let failure = run_alone(RedisRestore, params, Input::bytes(stream.clone())).await.result.expect_err("cut");
        assert!(failure.message.contains("`queue`"), "{}", failure.message);
        wait_until_alone(&to);
        let left = to.cli(&["KEYS", "aquifer:restore:part:*"]);
        assert_eq!(left.lines().count(), 1, "it died in the middle of a key: {left:?}");
        assert_eq!(to.cli(&["LRANGE", "queue", "0", "-1"]), if older { "mine\n" } else { "\n" });

        // What is left is in no dump and in no digest.
        let outcome = run_alone(RedisDump, by_scan(&to.url(), json!({})), Input::None).await;
        assert_eq!(outcome.result.expect("a dump")["keys"], u64::from(older));
        assert!(outcome.messages.iter().any(|(_, text)| text.contains("left out")), "{:?}", outcome.messages);
        assert!(!outcome.stdout.windows(8).any(|part| part == b"aquifer:"), "it must not be carried into a backup");
        if !older {
            assert_eq!(digest(&to).await, digest(&RedisServer::start()).await);
        }

        let outputs = restore(&to, &stream, json!({"onConflict": on_conflict})).await.expect("the next one");
        assert_eq!((&outputs["keys"], &outputs["skipped"]), (&json!(1), &json!(0)), "{on_conflict}");
        assert_eq!(portrait(&to), portrait(&from), "{on_conflict}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn any_restore_into_the_database_takes_the_leftovers_away() {
    let (_, stream) = long_list().await;
    let (other, to) = (RedisServer::start(), RedisServer::start());
    fill_database(&other, 0);
    let folder = tempfile::tempdir().expect("a folder");
    let url = passing(&to, &folder, stream.len() / 2, || false);
    run_alone(RedisRestore, json!({"url": url}), Input::bytes(stream)).await.result.expect_err("cut");
    wait_until_alone(&to);
    assert_ne!(to.cli(&["KEYS", "aquifer:*"]), "\n");
    restore(&to, &dumped(&other).await, json!({})).await.expect("another stream");
    assert_eq!(portrait(&to), portrait(&other));
    // A connection that lives has its key left alone.
    let (name, client) = ("aquifer:restore:part:0123456789abcdef", &mut to.client());
    run(client, "CLIENT SETNAME aquifer:restore:0123456789abcdef");
    run(client, &format!("SADD aquifer:restore:open {name}"));
    run(client, &format!("RPUSH {name} a"));
    restore(&to, &dumped(&other).await, json!({"onConflict": "skip"})).await.expect("another stream");
    assert_eq!(to.cli(&["EXISTS", name, "aquifer:restore:open"]).trim(), "2");
    run(client, "CLIENT SETNAME other");
    restore(&to, &dumped(&other).await, json!({"onConflict": "skip"})).await.expect("another stream");
    assert_eq!(to.cli(&["EXISTS", name, "aquifer:restore:open"]).trim(), "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_never_see_a_key_absent_in_part_or_without_its_expiry() {
    let (from, stream) = long_list().await;
    let to = RedisServer::start();
    restore(&to, &stream, json!({})).await.expect("an empty server");
    let (mut client, stop) = (to.client(), Arc::new(AtomicBool::new(false)));
    let looks = Arc::new(AtomicU64::new(0));
    let (told, counted) = (Arc::clone(&stop), Arc::clone(&looks));
    let looking = std::thread::spawn(move || {
        while !told.load(Ordering::Relaxed) {
            let mut both = redis::pipe();
            both.atomic().cmd("LLEN").arg("queue").cmd("PTTL").arg("queue");
            let (length, left): (u64, i64) = both.query(&mut client).expect("numbers");
            assert!(length == 20_000 && left > 0, "{length} elements, {left} ms");
            counted.fetch_add(1, Ordering::Relaxed);
        }
    });
    // On a busy machine hardly anybody looks while one is restored.
    let (begun, mut restored) = (Instant::now(), 0);
    while restored < 5 || (looks.load(Ordering::Relaxed) <= 100 && !looking.is_finished()) {
        restore(&to, &stream, json!({"onConflict": "replace"})).await.expect("once more");
        restored += 1;
        assert!(begun.elapsed() < Duration::from_secs(60), "nobody looks");
    }
    stop.store(true, Ordering::Relaxed);
    looking.join().expect("what is read is whole");
    assert_eq!(portrait(&to), portrait(&from));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_restores_at_once_do_not_mix() {
    let (from, stream) = long_list().await;
    for on_conflict in ["skip", "replace"] {
        let to = RedisServer::start();
        let both = [(); 4].map(|()| {
            let params = json!({"url": to.url(), "onConflict": on_conflict});
            tokio::spawn(run_alone(RedisRestore, params, Input::bytes(stream.clone())))
        });
        let mut written = 0;
        for running in both {
            written += running.await.expect("no panic").result.expect("a restore")["keys"].as_u64().expect("a number");
        }
        assert_eq!(written, if on_conflict == "skip" { 1 } else { 4 });
        assert_eq!(portrait(&to), portrait(&from), "{on_conflict}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_the_server_loses_between_two_parts_is_not_taken_for_a_whole_one() {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, part) in [("RPUSH", 1), ("HSET", 2), ("SADD", 1), ("ZADD", 2)] {
        let (from, to) = (RedisServer::start(), RedisServer::start());
        many(&mut from.client(), name, "long", 30_000, |n| {
            [n.to_string(), format!("element {n} {}", "x".repeat(60))][2 - part..].to_vec()
        });
        let stream = dumped(&from).await;
        let mut client = to.client();
        // As an eviction would.
        let evict = move || {
            let begun = Instant::now();
            loop {
                let names: Vec<String> =
                    redis::cmd("KEYS").arg("aquifer:restore:part:*").query(&mut client).expect("keys");
                if let Some(name) = names.first() {
                    return redis::cmd("DEL").arg(name).query::<u32>(&mut client).expect("a number") == 1;
                }
                assert!(begun.elapsed() < Duration::from_secs(60), "it must be there");
            }
        };
        let url = passing(&to, &folder, stream.len() / 2, evict);
        let outcome = run_alone(RedisRestore, json!({"url": url}), Input::bytes(stream)).await;
        let failure = outcome.result.expect_err("a part of it has gone");
        assert!(failure.message.contains("under a temporary name"), "{name}: {}", failure.message);
        assert!(failure.help.is_some_and(|help| help.contains("maxmemory-policy")));
        assert_eq!(to.cli(&["DBSIZE"]).trim(), "0", "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_said_of_a_stream_that_ends_early_is_true() {
    let (from, to) = (RedisServer::start(), RedisServer::start());
    fill(&from);
    let stream = dumped(&from).await;
    for step in 1..24 {
        to.cli(&["FLUSHALL"]);
        to.cli(&["FUNCTION", "FLUSH"]);
        let failure = restore(&to, &stream[..stream.len() * step / 24], json!({})).await.expect_err("cut");
        wait_until_alone(&to);
        let number = |args: &[&str]| to.cli(args).trim().parse::<usize>().expect("a number");
        let left = to.cli(&["--raw", "KEYS", "aquifer:restore:*"]).split_whitespace().count();
        let there = number(&["DBSIZE"]) - left;
        let said = match there {
            0 => "no key had been written".to_owned(),
            1 => "; 1 key had been written".to_owned(),
            _ => format!("; {there} keys had been written"),
        };
        assert!(failure.message.contains(&said), "{there} of {step}/24: {}", failure.message);
    }
    // A key in several commands, cut between two of them: nothing is left at all.
    let (_, stream) = long_list().await;
    to.cli(&["FLUSHALL"]);
    let end = stream.windows(5).enumerate().filter(|(_, part)| *part == b"RPUSH").nth(3).expect("four parts").0;
    let end = end - stream[..end].iter().rev().position(|byte| *byte == b'*').expect("a head") - 1;
    let failure = restore(&to, &stream[..end], json!({})).await.expect_err("cut");
    assert!(failure.message.contains("no key had been written"), "{}", failure.message);
    assert!(
        failure.message.contains("the key `queue` was written under its temporary name only"),
        "{}",
        failure.message
    );
    assert_eq!(to.cli(&["DBSIZE"]).trim(), "0");
}
