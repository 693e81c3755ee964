//! A server that is written to while it is read by scan: what stays is in the dump, what goes is left out, nothing loses its expiry.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use aquifer_engine::alone::{Input, run_alone};
use aquifer_functions::redis_dump::RedisDump;
use aquifer_tests::gate::{Direction, gate};
use aquifer_tests::redis_server::RedisServer;
use redis::cmd;
use serde_json::json;

use super::rig::{by_scan, many_strings, restore, run, scan};

/// Writes until it is told to stop.
pub(crate) fn writer(
    server: &RedisServer,
    write: impl Fn(&mut redis::Connection, u64) + Send + 'static,
) -> impl FnOnce() {
    let (mut client, stop) = (server.client(), Arc::new(AtomicBool::new(false)));
    let told = Arc::clone(&stop);
    let thread = std::thread::spawn(move || {
        let mut round = 0;
        while !told.load(Ordering::Relaxed) {
            write(&mut client, round);
            round += 1;
        }
    });
    move || {
        stop.store(true, Ordering::Relaxed);
        thread.join().expect("no panic");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stays_is_there_and_what_goes_is_left_out() {
    let server = RedisServer::start();
    many_strings(&server, 60_000);
    let client = &mut server.client();
    // Keys that expire, are deleted and renamed while the dump runs; `key:` stays.
    let mut pipeline = redis::pipe();
    for n in 0..20_000 {
        pipeline.cmd("SET").arg(format!("short:{n}")).arg("x").arg("PX").arg(1 + n / 20).ignore();
        pipeline.cmd("RPUSH").arg(format!("gone:{n}")).arg("a").arg("b").ignore();
        pipeline.cmd("SET").arg(format!("old:{n}")).arg(n).ignore();
    }
    pipeline.exec(client).expect("room");
    let stop = writer(&server, |client, round| {
        let n = round % 20_000;
        cmd("DEL").arg(format!("gone:{n}")).exec(client).expect("deleted");
        drop(cmd("RENAME").arg(format!("old:{n}")).arg(format!("new:{n}")).exec(client));
    });
    let outcome = scan(&server).await;
    stop();
    let outputs = outcome.result.expect("a dump");
    let to = RedisServer::start();
    let restored = restore(&to, &outcome.stdout, json!({})).await.expect("a restore");
    assert!(restored["keys"].as_u64() >= Some(60_000), "{outputs} {restored}");
    let client = &mut to.client();
    for n in 0..60_000u32 {
        let value: Option<String> = cmd("GET").arg(format!("key:{n}")).query(client).expect("a string");
        assert_eq!(value, Some(super::rig::value(n)), "key:{n}");
    }
    for n in 0..20_000 {
        let left: i64 = cmd("PTTL").arg(format!("short:{n}")).query(client).expect("a number");
        assert_ne!(left, -1, "short:{n} has lost its expiry");
        let list: Vec<String> = cmd("LRANGE").arg(format!("gone:{n}")).arg(0).arg(-1).query(client).expect("a list");
        assert!(list.is_empty() || list == ["a", "b"], "gone:{n}: {list:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_never_gets_the_expiry_of_another() {
    let server = RedisServer::start();
    many_strings(&server, 20_000);
    // Each key is either `kept` without an expiry or `secret` with one, and changes all the time.
    let stop = writer(&server, |client, round| {
        let mut pipeline = redis::pipe();
        for n in 0..50 {
            let key = format!("turn:{}", (round * 50 + n) % 5000);
            if round / 100 % 2 == 0 {
                pipeline.cmd("SET").arg(key).arg("secret").arg("EX").arg(1000).ignore();
            } else {
                pipeline.cmd("SET").arg(key).arg("kept").ignore();
            }
        }
        pipeline.exec(client).expect("room");
    });
    for _ in 0..3 {
        let outcome = scan(&server).await;
        outcome.result.expect("a dump");
        let to = RedisServer::start();
        restore(&to, &outcome.stdout, json!({"onConflict": "replace"})).await.expect("a restore");
        let client = &mut to.client();
        for n in 0..5000 {
            let value: Option<String> = cmd("GET").arg(format!("turn:{n}")).query(client).expect("a string");
            let left: i64 = cmd("PTTL").arg(format!("turn:{n}")).query(client).expect("a number");
            match value.as_deref() {
                Some("secret") => assert!(left > 0, "turn:{n} has lost its expiry"),
                Some("kept") => assert_eq!(left, -1, "turn:{n} has the expiry of another value"),
                _ => assert_eq!(left, -2),
            }
        }
    }
    stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expiry_that_appears_in_a_database_without_any_is_kept() {
    let server = RedisServer::start();
    many_strings(&server, 50_000);
    let mut client = server.client();
    // In the middle of the dump, while its connection is held up; there is only one where nobody else's waiting is looked at.
    let way = gate(server.port(), Direction::FromServer, 500_000, move || {
        let mut pipeline = redis::pipe();
        for n in (0..50_000).step_by(2) {
            pipeline.cmd("SET").arg(format!("key:{n}")).arg("secret").arg("EX").arg(1000).ignore();
        }
        pipeline.exec(&mut client).expect("room");
    });
    let url = format!("redis://127.0.0.1:{way}");
    let outcome = run_alone(RedisDump, by_scan(&url, json!({"impact": "full"})), Input::None).await;
    let outputs = outcome.result.expect("a dump");
    let expires = outputs["expires"].as_u64();
    assert!(expires > Some(0) && expires < Some(25_000), "they were to appear in the middle: {outputs}");
    let to = RedisServer::start();
    restore(&to, &outcome.stdout, json!({})).await.expect("a restore");
    let client = &mut to.client();
    for n in 0..50_000 {
        let value: Option<String> = cmd("GET").arg(format!("key:{n}")).query(client).expect("a string");
        let left: i64 = cmd("PTTL").arg(format!("key:{n}")).query(client).expect("a number");
        assert_eq!(value.as_deref() == Some("secret"), left > 0, "key:{n}: {value:?} with {left}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_big_value_that_changes_comes_whole() {
    let server = RedisServer::start();
    let client = &mut server.client();
    for from in (0..60_000).step_by(1000) {
        let (mut list, mut hash) = (cmd("RPUSH"), cmd("HSET"));
        list.arg("queue");
        hash.arg("table");
        for n in from..from + 1000 {
            list.arg(format!("{n:020}"));
            hash.arg(format!("stays {n}")).arg(n);
        }
        list.exec(client).expect("room");
        hash.exec(client).expect("room");
    }
    let stop = writer(&server, |client, round| {
        run(client, "RPOPLPUSH queue queue");
        run(client, &format!("HSET table changing:{} x", round % 500));
        run(client, &format!("HDEL table changing:{}", (round + 250) % 500));
    });
    let outcome = scan(&server).await;
    stop();
    assert_eq!(outcome.result.expect("a dump")["keys"], 2);
    let to = RedisServer::start();
    restore(&to, &outcome.stdout, json!({})).await.expect("a restore");
    let client = &mut to.client();
    // A list that is turned round and round has each element once at any moment.
    let mut list: Vec<String> = cmd("LRANGE").arg("queue").arg(0).arg(-1).query(client).expect("a list");
    assert_eq!(list.len(), 60_000);
    list.sort();
    list.dedup();
    assert_eq!(list.len(), 60_000);
    for n in 0..60_000 {
        let value: Option<u32> = cmd("HGET").arg("table").arg(format!("stays {n}")).query(client).expect("a field");
        assert_eq!(value, Some(n));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_a_shrinking_table_shows_twice_are_written_once() {
    let server = RedisServer::start();
    many_strings(&server, 100_000);
    let stop = writer(&server, |client, round| {
        // Most of it goes, so the table shrinks while it is scanned.
        let keys: Vec<String> =
            (round * 500..(round + 1) * 500).filter(|n| n % 50 != 0).map(|n| format!("key:{n}")).collect();
        cmd("UNLINK").arg(keys).exec(client).expect("deleted");
    });
    let outcome = scan(&server).await;
    stop();
    outcome.result.expect("a dump");
    let to = RedisServer::start();
    let outputs = restore(&to, &outcome.stdout, json!({})).await.expect("a restore");
    assert_eq!(outputs["repeated"], 0);
    let client = &mut to.client();
    for n in (0..100_000).step_by(50) {
        let value: Option<String> = cmd("GET").arg(format!("key:{n}")).query(client).expect("a string");
        assert_eq!(value, Some(super::rig::value(n)));
    }
}
