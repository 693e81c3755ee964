//! Big sorted sets in a dump by scan: in the order of their scores while nobody changes them, and whole where somebody does.

use aquifer_tests::redis_server::RedisServer;
use redis::cmd;
use serde_json::json;

use super::concurrent::writer;
use super::rig::{digest, many, restore, run, scan, scan_with};
use super::scan::commands;

const MEMBERS: u32 = 60_000;

fn board(server: &RedisServer) {
    let client = &mut server.client();
    // In tenths, so that scores have many digits and some are equal.
    many(client, "ZADD", "board", MEMBERS, |n| {
        vec![(f64::from(n * 7919 % 30_011) / 10.0).to_string(), format!("m{n}")]
    });
    run(client, "ZADD board inf last -inf first -0.1 low");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_big_sorted_set_comes_in_the_order_of_its_scores() {
    let from = RedisServer::start();
    board(&from);
    let dumps = [scan(&from).await, scan(&from).await, scan_with(&from, json!({"protocol": 3})).await];
    for outcome in &dumps {
        assert_eq!(outcome.result.as_ref().expect("a dump")["keys"], 1);
        assert!(outcome.stdout == dumps[0].stdout, "not the same bytes");
    }
    let mut found: Vec<(f64, Vec<u8>)> = Vec::new();
    let (mut parts, mut begun) = (0, 0);
    for command in commands(&dumps[0].stdout) {
        parts += u32::from(command[0] == b"ZADD");
        begun += u32::from(command[0] == b"DEL");
        for pair in command[2..].chunks_exact(2).filter(|_| command[0] == b"ZADD") {
            found.push((std::str::from_utf8(&pair[0]).expect("text").parse().expect("a score"), pair[1].clone()));
        }
    }
    assert!(parts > 100 && begun == 1, "{parts} parts, begun {begun} times");
    assert_eq!(found.len(), MEMBERS as usize + 3);
    assert!(found.windows(2).all(|two| two[0] < two[1]), "not in order");
    let to = RedisServer::start();
    restore(&to, &dumps[2].stdout, json!({})).await.expect("a restore");
    assert_eq!(digest(&to).await, digest(&from).await);
    // Who may not ask for ranks scans.
    let client = &mut from.client();
    run(client, "ACL SETUSER reader on >word ~* +@all -zrange");
    let scanned = scan_with(&from, json!({"username": "reader", "password": "word"})).await;
    scanned.result.expect("a dump");
    assert!(scanned.stdout != dumps[0].stdout);
    let to = RedisServer::start();
    restore(&to, &scanned.stdout, json!({})).await.expect("a restore");
    assert_eq!(digest(&to).await, digest(&from).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_big_sorted_set_that_changes_comes_whole() {
    let from = RedisServer::start();
    board(&from);
    run(&mut from.client(), "ZADD board -9 mover -9 other");
    // Always there, now at one end and now at the other, so that all ranks are others.
    let stop = writer(&from, |client, round| {
        let score = if round % 2 == 0 { "-9" } else { "9999" };
        cmd("ZADD").arg("board").arg(score).arg("mover").arg(score).arg("other").exec(client).expect("room");
    });
    for _ in 0..3 {
        let outcome = scan(&from).await;
        assert_eq!(outcome.result.expect("a dump")["keys"], 1);
        let to = RedisServer::start();
        restore(&to, &outcome.stdout, json!({})).await.expect("a restore");
        let client = &mut to.client();
        let all: Vec<(String, f64)> =
            cmd("ZRANGE").arg("board").arg(0).arg(-1).arg("WITHSCORES").query(client).expect("members");
        assert_eq!(all.len(), MEMBERS as usize + 5);
        assert!(all.iter().any(|(member, score)| member == "mover" && (*score == -9.0 || *score == 9999.0)));
    }
    stop();
}
