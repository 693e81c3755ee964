//! Streams are written by one hand: whichever way a server is read, and as a server holds it that loads what was written.

use aquifer_engine::alone::{Input, run_alone};
use aquifer_functions::redis_dump::RedisDump;
use aquifer_functions::redis_verify::RedisVerify;
use aquifer_tests::redis_server::RedisServer;
use bytes::Bytes;
use serde_json::json;

use super::rig::{digest, in_ms, merged, restore, run};
use super::scan::commands;

/// Streams with everything that differs between the ways to read them: one that is long in an RDB too, a short one, one without
/// entries; groups that have read all, some or nothing; consumers with nothing pending, and some who take turns; pending entries
/// that are deleted.
fn fill(server: &RedisServer) {
    let client = &mut server.client();
    run(client, "CONFIG SET rdbcompression no");
    let script = "for n = 1, 60000 do redis.call('XADD', KEYS[1], n .. '-' .. n % 7, 'f' .. n % 3, string.rep(tostring(n), 80)) end return 1";
    redis::cmd("EVAL").arg(script).arg(1).arg("long").exec(client).expect("room");
    for n in 1..=300 {
        run(client, &format!("XADD short {n}-1 a b c {n}"));
    }
    for (key, rounds) in [("long", 40), ("short", 7)] {
        run(client, &format!("XGROUP CREATE {key} readers 0"));
        run(client, &format!("XGROUP CREATE {key} all $"));
        run(client, &format!("XGROUP CREATE {key} some 20-1 ENTRIESREAD 20"));
        run(client, &format!("XGROUP CREATECONSUMER {key} readers nobody"));
        for round in 0..rounds {
            for consumer in ["bob", "alice", "carol"] {
                let count = 1 + (round * 5) % 13;
                run(client, &format!("XREADGROUP GROUP readers {consumer} COUNT {count} STREAMS {key} >"));
            }
        }
        run(client, &format!("XCLAIM {key} readers dave 0 3-1 4-1 9-1 TIME 1600000000123 RETRYCOUNT 4"));
    }
    run(client, "XDEL short 5-1 6-1 300-1");
    run(client, "XDEL long 5-5 11-4 59999-2");
    run(client, "XADD empty 7-7 a b");
    run(client, "XGROUP CREATE empty readers 0");
    run(client, "XREADGROUP GROUP readers alice STREAMS empty >");
    run(client, "XTRIM empty MAXLEN 0");
    run(client, &format!("PEXPIREAT short {}", in_ms(3_600_000)));
}

#[tokio::test(flavor = "multi_thread")]
async fn both_ways_write_the_same_and_the_digest_is_that_of_what_is_restored() {
    let from = RedisServer::start();
    fill(&from);
    for (form, keys) in [("logical", "*"), ("native", "long")] {
        let mut both = Vec::new();
        for source in ["scan", "replication"] {
            let more = json!({"source": source, "form": form, "filter": {"match": [keys]}});
            let outcome = run_alone(RedisDump, merged(json!({"url": from.socket_url()}), more), Input::None).await;
            let outputs = outcome.result.expect("a dump");
            let lost = if form == "logical" { 5 } else { 2 };
            assert_eq!(outputs["lostPending"], lost, "{source} {form}");
            let to = RedisServer::start();
            restore(&to, &outcome.stdout, json!({})).await.expect("a restore");
            let pieces = outcome.stdout.chunks(100_003).map(Bytes::copy_from_slice).collect();
            let told = run_alone(RedisVerify, json!({}), Input::Finished(pieces)).await.result.expect("a digest");
            assert_eq!(told["digest"], digest(&to).await, "{source} {form}");
            let mut keys = vec![Vec::new()];
            for command in commands(&outcome.stdout) {
                if command[0] == b"DEL" {
                    keys.push(Vec::new());
                }
                keys.last_mut()
                    .expect("one")
                    .push(command.iter().map(|word| word.escape_ascii().to_string()).collect::<Vec<_>>());
            }
            // The order of the keys is that of the way.
            keys.sort();
            both.push(keys);
        }
        let [scan, replication] = &both[..] else { panic!("two ways") };
        for (one, other) in scan.iter().zip(replication) {
            for (one, other) in one.iter().zip(other) {
                assert_eq!(one, other, "{form}");
            }
        }
        assert!(scan == replication && scan.iter().map(Vec::len).sum::<usize>() > 60_000, "{form}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn names_of_any_length_that_are_dumped_are_restored() {
    let from = RedisServer::start();
    let client = &mut from.client();
    let (key, name) = ("k".repeat(2 << 20), "n".repeat(2 << 20));
    let add = "for n = 1, 4 do redis.call('XADD', KEYS[1], n .. '-1', 'f', string.rep('v', 200000)) end return 1";
    redis::cmd("EVAL").arg(add).arg(1).arg(&key).exec(client).expect("room");
    redis::cmd("XGROUP").arg(&["CREATE", &key, &name, "0"]).exec(client).expect("a group");
    redis::cmd("XREADGROUP")
        .arg(&["GROUP", &name, &name, "COUNT", "3", "STREAMS", &key, ">"])
        .exec(client)
        .expect("read");
    let more = json!({"url": from.socket_url(), "source": "scan"});
    let dump = run_alone(RedisDump, more, Input::None).await;
    dump.result.expect("a dump");
    let to = RedisServer::start();
    restore(&to, &dump.stdout, json!({})).await.expect("a restore");
    assert_eq!(digest(&to).await, digest(&from).await);
    let pieces = dump.stdout.chunks(100_003).map(Bytes::copy_from_slice).collect();
    run_alone(RedisVerify, json!({}), Input::Finished(pieces)).await.result.expect("it is taken");
    // More than a reader would hold is not written.
    redis::cmd("XGROUP").arg("CREATE").arg(&key).arg("g".repeat(15 << 20)).arg("0").exec(client).expect("a group");
    let more = json!({"url": from.socket_url(), "source": "scan"});
    let failure = run_alone(RedisDump, more, Input::None).await.result.expect_err("too long");
    assert!(failure.message.contains("names of"), "{}", failure.message);
}
