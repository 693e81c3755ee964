//! Big hashes, sets and sorted sets that are exchanged or written to while they are read by scan: one value or the other, never
//! a mixture, as long as there is time to read one; and a key that is never quiet is read all the same.

use aquifer_engine::alone::{Input, Outcome, run_alone};
use aquifer_functions::redis_dump::RedisDump;
use aquifer_tests::gate::{Direction, gate};
use aquifer_tests::redis_server::RedisServer;
use redis::{Connection, cmd};
use serde_json::{Value as Json, json};

use super::concurrent::writer;
use super::rig::{by_scan, merged, restore, run};

/// Members of a big value.
const MEMBERS: u32 = 30_000;

/// What is told of a value: to which of the two each of its members belongs.
fn fill(client: &mut Connection, key: &str, name: &str, value: u32) {
    for from in (0..MEMBERS).step_by(1000) {
        let mut command = cmd(name);
        command.arg(key);
        for n in from..from + 1000 {
            match name {
                // The same fields and members, so that only their values tell the two apart.
                "HSET" => command.arg(format!("field {n:030}")).arg(value),
                "ZADD" => command.arg(value).arg(format!("member {n:030}")),
                _ => command.arg(format!("{value} {n:030}")),
            };
        }
        command.exec(client).expect("room");
    }
}

/// How many members each of the two values has in what was restored.
fn members(client: &mut Connection, name: &str, value: u32) -> usize {
    let value = value.to_string();
    match name {
        "HSET" => {
            let all: Vec<String> = cmd("HVALS").arg("big").query(client).expect("a hash");
            all.iter().filter(|found| **found == value).count()
        }
        "ZADD" => cmd("ZCOUNT").arg("big").arg(&value).arg(&value).query(client).expect("a sorted set"),
        _ => {
            let all: Vec<String> = cmd("SMEMBERS").arg("big").query(client).expect("a set");
            all.iter().filter(|found| found.starts_with(&format!("{value} "))).count()
        }
    }
}

/// A dump of `big`, which is exchanged for `other` when half of it was read.
async fn exchanged(server: &RedisServer, name: &str, params: Json) -> Outcome {
    let client = &mut server.client();
    run(client, "FLUSHALL");
    fill(client, "big", name, 1);
    fill(client, "other", name, 2);
    let mut other = server.client();
    let way = gate(server.port(), Direction::FromServer, 600_000, move || drop(run(&mut other, "RENAME other big")));
    let all = merged(json!({"filter": {"match": ["big"]}}), params);
    run_alone(RedisDump, by_scan(&format!("redis://127.0.0.1:{way}"), all), Input::None).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_big_value_that_is_exchanged_meanwhile_is_one_of_the_two() {
    for server in [RedisServer::start(), RedisServer::valkey(&[])] {
        for name in ["SADD", "HSET", "ZADD"] {
            let outcome = exchanged(&server, name, json!({})).await;
            let outputs = outcome.result.expect("a dump");
            assert_eq!((&outputs["keys"], &outputs["unsteady"]), (&json!(1), &json!(0)), "{name}");
            let to = RedisServer::start();
            restore(&to, &outcome.stdout, json!({})).await.expect("a restore");
            let client = &mut to.client();
            assert_eq!((members(client, name, 1), members(client, name, 2)), (0, MEMBERS as usize), "{name}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_does_not_tell_early_is_asked_in_the_end() {
    let server = RedisServer::start();
    run(&mut server.client(), "ACL SETUSER reader on >word ~* resetchannels +@all -client|info");
    let params = json!({"username": "reader", "password": "word"});
    let outcome = exchanged(&server, "SADD", params).await;
    assert_eq!(outcome.result.expect("a dump")["unsteady"], 0);
    let to = RedisServer::start();
    restore(&to, &outcome.stdout, json!({})).await.expect("a restore");
    assert_eq!(members(&mut to.client(), "SADD", 1), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_nobody_can_watch_is_read_and_told() {
    let server = RedisServer::start();
    run(&mut server.client(), "ACL SETUSER reader on >word ~* resetchannels +@all -watch");
    fill(&mut server.client(), "big", "SADD", 1);
    let params = json!({"username": "reader", "password": "word"});
    let outcome = run_alone(RedisDump, by_scan(&server.url(), params), Input::None).await;
    assert_eq!(outcome.result.expect("a dump")["unsteady"], 1);
    let told = |text: &str| text.contains("several moments") && text.contains("`big`") && text.contains("watch");
    assert!(outcome.messages.iter().any(|(_, text)| told(text)), "{:?}", outcome.messages);
    let to = RedisServer::start();
    restore(&to, &outcome.stdout, json!({})).await.expect("a restore");
    assert_eq!(members(&mut to.client(), "SADD", 1), MEMBERS as usize);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_never_quiet_is_read_as_it_comes_and_told() {
    for server in [RedisServer::start(), RedisServer::valkey(&[])] {
        for name in ["SADD", "HSET", "ZADD"] {
            run(&mut server.client(), "FLUSHALL");
            fill(&mut server.client(), "big", name, 1);
            let stop = writer(&server, move |client, round| {
                let other = format!("other{}", round % 50);
                match name {
                    "HSET" => run(client, &format!("HSET big {other} x")),
                    "ZADD" => run(client, &format!("ZADD big 7 {other}")),
                    _ => run(client, &format!("SADD big {other}")),
                };
                run(
                    client,
                    &format!(
                        "{} big {other}",
                        name.replace("SADD", "SREM").replace("HSET", "HDEL").replace("ZADD", "ZREM")
                    ),
                );
            });
            // One during which the writer had no turn, as on a busy machine, says nothing.
            let mut unsteady = None;
            for _ in 0..20 {
                let outcome = run_alone(RedisDump, by_scan(&server.socket_url(), json!({})), Input::None).await;
                if outcome.result.as_ref().expect("a dump")["unsteady"] == 1 {
                    unsteady = Some(outcome);
                    break;
                }
            }
            stop();
            let outcome = unsteady.unwrap_or_else(|| panic!("{name}: never told"));
            let told = |text: &str| text.contains("several moments") && text.contains("`big`");
            assert!(outcome.messages.iter().any(|(_, text)| told(text)), "{:?}", outcome.messages);
            // What was there all the time is there, and what was read in vain is no more than two readings.
            let to = RedisServer::start();
            restore(&to, &outcome.stdout, json!({})).await.expect("a restore");
            assert_eq!(members(&mut to.client(), name, 1), MEMBERS as usize, "{name}");
            assert!(outcome.stdout.windows(9).filter(|part| *part == b"$3\r\nDEL\r\n").count() <= 3, "{name}");
        }
    }
}
