//! Dumps by replication: all of one moment, whole, the same as by scan, and from wherever they are told to be read.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use aquifer_engine::alone::{Input, Outcome, run_alone};
use aquifer_engine::failure::FailureKind;
use aquifer_functions::redis_dump::RedisDump;
use aquifer_tests::redis_server::{Certificates, RedisServer};
use redis::cmd;
use serde_json::{Value as Json, json};

use super::rig::{digest, fill, fill_database, in_ms, many_strings, portrait, restore, run};

/// A dump with more params than the url.
pub(crate) async fn dump_by(server: &RedisServer, params: Json) -> Outcome {
    let mut all = json!({"url": server.socket_url()});
    all.as_object_mut().expect("a map").extend(params.as_object().expect("a map").clone());
    run_alone(RedisDump, all, Input::None).await
}

/// A dump by replication that must succeed.
async fn replicated(server: &RedisServer) -> (Json, Vec<u8>) {
    let outcome = dump_by(server, json!({"source": "replication"})).await;
    (outcome.result.expect("a dump"), outcome.stdout)
}

/// Waits until a replica follows its master.
pub(crate) fn wait_until_it_follows(replica: &RedisServer) {
    let begun = Instant::now();
    while !replica.cli(&["INFO", "replication"]).contains("master_link_status:up") {
        assert!(begun.elapsed() < Duration::from_secs(60), "the replica must follow");
    }
}

fn replica_of(master: &RedisServer) -> RedisServer {
    let replica = RedisServer::with(&["--replicaof", &format!("127.0.0.1 {}", master.port())]);
    wait_until_it_follows(&replica);
    replica
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_comes_back_with_and_without_the_servers_disk() {
    let from = RedisServer::with(&["--databases", "300"]);
    fill(&from);
    fill_database(&from, 7);
    fill_database(&from, 299);
    let (before, sum) = (portrait(&from), digest(&from).await);
    let mut streams = Vec::new();
    for disk in [false, true] {
        let outcome = dump_by(&from, json!({"source": "replication", "serverDisk": disk})).await;
        let outputs = outcome.result.expect("a dump");
        assert_eq!(outputs["keys"], before.len() - 2, "{outputs}");
        assert_eq!(outputs["databases"], json!([0, 7, 299]));
        assert_eq!(outputs["perType"]["stream"], 4);
        assert_eq!((&outputs["expires"], &outputs["functions"]), (&json!(5 + 2), &json!(2)));
        assert_eq!(outputs["bytes"], outcome.stdout.len());
        assert_eq!(outputs["serverDisk"], disk, "{outputs}");
        let said = [&outputs["source"], &outputs["consistency"], &outputs["role"]];
        assert_eq!(said, ["replication", "point-in-time", "master"]);
        let info = from.cli(&["INFO", "replication"]);
        assert!(info.contains(&format!("master_replid:{}", outputs["replicationId"].as_str().expect("an id"))));
        assert!(outputs["replicationOffset"].is_u64(), "{outputs}");
        let to = RedisServer::with(&["--databases", "300"]);
        let restored = restore(&to, &outcome.stdout, json!({})).await.expect("a restore");
        for name in ["keys", "perType", "functions", "bytes"] {
            assert_eq!(restored[name], outputs[name], "{name}");
        }
        assert_eq!(portrait(&to), before);
        assert_eq!(digest(&to).await, sum);
        let to = RedisServer::with(&["--databases", "300"]);
        let said = to.pipe(&outcome.stdout);
        assert!(said.contains("errors: 0"), "{said}");
        assert_eq!(portrait(&to), before);
        streams.push(outcome.stdout);
    }
    // What was read was not changed by being read, and gives the same bytes whatever way the server took.
    assert_eq!(portrait(&from), before);
    assert!(streams[0] == streams[1], "the bytes must be steady");
    let scanned = dump_by(&from, json!({"source": "scan"})).await;
    let outputs = scanned.result.expect("a dump");
    assert_eq!((&outputs["source"], &outputs["consistency"]), (&json!("scan"), &json!("per-key")));
    assert_eq!((&outputs["replicationId"], &outputs["replicationOffset"]), (&Json::Null, &Json::Null));
    let to = RedisServer::with(&["--databases", "300"]);
    restore(&to, &scanned.stdout, json!({})).await.expect("a restore");
    assert_eq!(digest(&to).await, sum);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_way_is_replication_and_the_head_says_so() {
    let server = RedisServer::start();
    fill_database(&server, 0);
    let outcome = dump_by(&server, json!({})).await;
    assert_eq!(outcome.result.expect("a dump")["source"], "replication");
    assert!(outcome.messages.iter().all(|(_, text)| !text.contains("scan")), "{:?}", outcome.messages);
    let head = String::from_utf8_lossy(&outcome.stdout[..250.min(outcome.stdout.len())]).into_owned();
    for words in ["\"source\":\"replication\"", "\"consistency\":\"point-in-time\"", "\"role\":\"master\""] {
        assert!(head.contains(words), "{head}");
    }
    // Nothing of the moment is in the stream: the server has gone on, its data has not.
    server.cli(&["CONFIG", "RESETSTAT"]);
    run(&mut server.client(), "SET gone soon");
    run(&mut server.client(), "DEL gone");
    assert!(outcome.stdout == dump_by(&server, json!({})).await.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_was_asked_for_is_written() {
    let server = RedisServer::start();
    fill(&server);
    fill_database(&server, 3);
    fill_database(&server, 5);
    let params = json!({"source": "replication", "databases": [9, 5, 3, 5], "functions": false});
    let outcome = dump_by(&server, params).await;
    let outputs = outcome.result.expect("a dump");
    assert_eq!((&outputs["keys"], &outputs["functions"]), (&json!(6), &json!(0)));
    assert_eq!(outputs["databases"], json!([3, 5, 9]));
    // As in a dump by scan, a database that was asked for is there though it holds nothing, and is emptied where that is wanted.
    let to = RedisServer::start();
    run(&mut to.client(), "SET untouched x");
    let client = &mut to.client();
    run(client, "SELECT 9");
    run(client, "SET older x");
    restore(&to, &outcome.stdout, json!({"before": "flush-db", "confirmFlush": true})).await.expect("a restore");
    assert_eq!(to.cli(&["-n", "9", "DBSIZE"]).trim(), "0");
    assert_eq!((to.cli(&["DBSIZE"]).trim(), to.cli(&["-n", "5", "GET", "here"]).trim()), ("1", "5"));
    let url = format!("{}/5", server.url());
    let outcome = run_alone(RedisDump, json!({"url": url, "source": "replication"}), Input::None).await;
    assert_eq!(outcome.result.expect("a dump")["keys"], 3);
    assert!(outcome.messages.iter().any(|(_, text)| text.contains("left out: 0, 3")), "{:?}", outcome.messages);
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_a_restore_keeps_for_itself_are_left_out_aloud() {
    let server = RedisServer::start();
    run(&mut server.client(), "SET mine x");
    run(&mut server.client(), "SADD aquifer:restore:open aquifer:restore:part:0123456789abcdef");
    run(&mut server.client(), "RPUSH aquifer:restore:part:0123456789abcdef a");
    let outcome = dump_by(&server, json!({"source": "replication"})).await;
    assert_eq!(outcome.result.expect("a dump")["keys"], 1);
    assert!(outcome.messages.iter().any(|(_, text)| text.contains("left out")), "{:?}", outcome.messages);
    assert!(!outcome.stdout.windows(16).any(|part| part == b"aquifer:restore:"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_server_is_read_too() {
    let (from, to) = (RedisServer::start(), RedisServer::start());
    let (outputs, stream) = replicated(&from).await;
    assert_eq!((&outputs["keys"], &outputs["databases"]), (&json!(0), &json!([])));
    restore(&to, &stream, json!({})).await.expect("a restore");
}

#[tokio::test(flavor = "multi_thread")]
async fn all_of_it_is_of_one_moment() {
    const ACCOUNTS: u32 = 2_000;
    let server = RedisServer::start();
    many_strings(&server, 30_000);
    let mut fill = redis::pipe();
    for n in 0..ACCOUNTS {
        fill.cmd("SET").arg(format!("account:{n}")).arg(1000).ignore();
    }
    fill.cmd("SET").arg("coin").arg("one").ignore();
    fill.exec(&mut server.client()).expect("room");
    let stop = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..2u32)
        .map(|writer| {
            let (mut client, told) = (server.client(), Arc::clone(&stop));
            std::thread::spawn(move || {
                let mut round = writer;
                while !told.load(Ordering::Relaxed) {
                    round = round.wrapping_mul(2_654_435_761).wrapping_add(1);
                    let (a, b) = (round % ACCOUNTS, (round >> 11) % ACCOUNTS);
                    let mut transfer = redis::pipe();
                    transfer.atomic();
                    transfer.cmd("DECRBY").arg(format!("account:{a}")).arg(7).ignore();
                    transfer.cmd("INCRBY").arg(format!("account:{b}")).arg(7).ignore();
                    if writer == 0 {
                        // From one name to the other, and from one database to another.
                        transfer.cmd("RENAME").arg("coin").arg("nioc").ignore();
                        transfer.cmd("RENAME").arg("nioc").arg("coin").ignore();
                        transfer.cmd("MOVE").arg("coin").arg(1).ignore();
                    }
                    transfer.exec(&mut client).expect("a transfer");
                    if writer == 0 {
                        let mut back = redis::pipe();
                        back.atomic().cmd("SELECT").arg(1).ignore();
                        back.cmd("MOVE").arg("coin").arg(0).ignore().cmd("SELECT").arg(0).ignore();
                        back.exec(&mut client).expect("a way back");
                    }
                }
            })
        })
        .collect();
    for disk in [false, true, false] {
        let outcome = dump_by(&server, json!({"source": "replication", "serverDisk": disk})).await;
        outcome.result.expect("a dump");
        let to = RedisServer::start();
        restore(&to, &outcome.stdout, json!({})).await.expect("a restore");
        let client = &mut to.client();
        let names: Vec<String> = (0..ACCOUNTS).map(|n| format!("account:{n}")).collect();
        let sums: Vec<i64> = cmd("MGET").arg(&names).query(client).expect("numbers");
        assert_eq!(sums.iter().sum::<i64>(), i64::from(ACCOUNTS) * 1000, "money was made or lost");
        let there = |index: &str| to.cli(&["-n", index, "EXISTS", "coin"]).trim() == "1";
        assert!(there("0") != there("1"), "the coin must be in one place: {} {}", there("0"), there("1"));
    }
    stop.store(true, Ordering::Relaxed);
    writers.into_iter().for_each(|writer| writer.join().expect("no panic"));
}

#[tokio::test(flavor = "multi_thread")]
async fn expiries_are_exact_and_what_has_passed_comes_back_as_gone() {
    let server = RedisServer::start();
    let client = &mut server.client();
    // Keys whose time has passed stay in the server's memory, and in its RDB.
    run(client, "DEBUG SET-ACTIVE-EXPIRE 0");
    let mut fill = redis::pipe();
    for n in 0..2_000i64 {
        fill.cmd("SET").arg(format!("key:{n}")).arg(n).arg("PXAT").arg(in_ms(600_000 + n * 1_001)).ignore();
        fill.cmd("SET").arg(format!("passed:{n}")).arg(n).arg("PX").arg(1).ignore();
    }
    fill.exec(client).expect("room");
    let (_, stream) = replicated(&server).await;
    let to = RedisServer::start();
    restore(&to, &stream, json!({})).await.expect("a restore");
    let there = &mut to.client();
    for n in 0..2_000 {
        let ask = |client: &mut redis::Connection, key: String| -> i64 {
            cmd("PEXPIRETIME").arg(key).query(client).expect("a moment")
        };
        assert_eq!(ask(there, format!("key:{n}")), ask(client, format!("key:{n}")), "key:{n}");
        assert_eq!(ask(there, format!("passed:{n}")), -2, "passed:{n} has come back to life");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_goes_over_tls_a_socket_and_with_a_password() {
    let certificates = Certificates::new();
    let password = ["--requirepass", "hunter2"];
    let server = RedisServer::tls(&certificates, &["--tls-auth-clients", "no"]);
    let locked = RedisServer::with(&password);
    many_strings(&server, 20_000);
    let (_, there) = replicated(&server).await;
    let secure = json!({
        "url": format!("rediss://127.0.0.1:{}", server.port()),
        "tls": {"caFile": certificates.path("ca.crt")},
        "source": "replication",
    });
    let outcome = run_alone(RedisDump, secure, Input::None).await;
    assert_eq!(outcome.result.expect("over TLS")["keys"], 20_000);
    assert!(outcome.stdout == there);
    let third = json!({"source": "replication", "protocol": 3});
    assert!(dump_by(&server, third).await.stdout == there, "in version 3 of the protocol");
    for url in [locked.url(), locked.socket_url()] {
        let params = json!({"url": url, "password": "hunter2", "source": "replication"});
        run_alone(RedisDump, params, Input::None).await.result.expect("with the password");
        let failure = run_alone(RedisDump, json!({"url": url}), Input::None).await.result.expect_err("without");
        assert_eq!(failure.kind, FailureKind::Unauthorized);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_is_read_where_that_is_wanted() {
    let master = RedisServer::start();
    fill(&master);
    let before = portrait(&master);
    let nobody = dump_by(&master, json!({"role": "replica"})).await.result.expect_err("it has none");
    assert_eq!(nobody.kind, FailureKind::Unavailable);
    assert!(nobody.message.contains("no replica") && nobody.help.is_some(), "{nobody:?}");
    let mut replica = replica_of(&master);
    let begun = Instant::now();
    while !master.cli(&["INFO", "replication"]).contains("state=online") {
        assert!(begun.elapsed() < Duration::from_secs(60), "its master must know");
    }
    let mut streams = Vec::new();
    for server in [&master, &replica] {
        for source in ["replication", "scan"] {
            let url = server.url();
            let params = json!({"url": url, "role": "replica", "source": source});
            let outcome = run_alone(RedisDump, params, Input::None).await;
            let outputs = outcome.result.expect("a dump of the replica");
            assert_eq!((&outputs["role"], &outputs["source"]), (&json!("replica"), &json!(source)));
            let to = RedisServer::start();
            restore(&to, &outcome.stdout, json!({})).await.expect("a restore");
            assert_eq!(portrait(&to), before);
            streams.push(outcome.stdout);
        }
    }
    assert!(streams[0] == streams[2] && streams[1] == streams[3], "it was the same server each time");
    // It loses its master, in which case what it holds grows old.
    let pid = i32::try_from(master.pid()).expect("a process id");
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGSTOP).expect("it runs");
    replica.cli(&["CLIENT", "KILL", "TYPE", "master"]);
    let begun = Instant::now();
    while replica.cli(&["INFO", "replication"]).contains("master_link_status:up") {
        assert!(begun.elapsed() < Duration::from_secs(60), "the link must go down");
    }
    for params in [json!({"role": "replica"}), json!({"source": "replication"})] {
        let failure = dump_by(&replica, params.clone()).await.result.expect_err("it has lost its master");
        assert_eq!(failure.kind, FailureKind::Unavailable, "{params}: {failure:?}");
        assert!(failure.help.is_some_and(|help| help.contains("old")), "{params}: {}", failure.message);
    }
    let outcome = dump_by(&replica, json!({})).await;
    assert_eq!(outcome.result.expect("a dump all the same")["source"], "scan");
    for word in ["NOMASTERLINK", "lost its master"] {
        assert!(outcome.messages.iter().any(|(_, text)| text.contains(word)), "{word}: {:?}", outcome.messages);
    }
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGCONT).expect("it runs");
    replica.kill();
}
