//! Dumps in the order of the keys' names: the same bytes from any server, however its own order is.

use aquifer_engine::alone::{Input, run_alone};
use aquifer_functions::redis_dump::RedisDump;
use aquifer_tests::redis_cluster::wait;
use aquifer_tests::redis_server::RedisServer;
use redis::cmd;
use serde_json::json;

use super::rig::{digest, in_ms, merged, restore, run, scan, scan_with};
use super::scan::commands;

const KEYS: u32 = 16_000;

/// Fills a server with some of everything that has no order of its own inside, in an order that `turned` turns around: more bytes
/// of names than are held at once, and names that tell nothing of their types.
fn fill(server: &RedisServer, expiry: i64, turned: bool) {
    let client = &mut server.client();
    let numbers: Vec<u32> = if turned { (0..KEYS).rev().collect() } else { (0..KEYS).collect() };
    for n in numbers {
        let name = match n % 8 {
            0 if n % 32 == 0 => format!("long:{n}:{}", "n".repeat(45_000)),
            kind => format!("kind{kind}:{n}"),
        };
        let mut command = match n % 8 {
            1 => cmd("RPUSH"),
            2 => cmd("HSET"),
            3 => cmd("ZADD"),
            4 => cmd("XADD"),
            _ => cmd("SET"),
        };
        command.arg(&name);
        match n % 8 {
            1 => command.arg(n).arg("b"),
            2 => command.arg("field").arg(n),
            3 => command.arg(n).arg("member"),
            4 => command.arg("7-1").arg("field").arg(n),
            5 => command.arg(n).arg("PXAT").arg(expiry),
            _ => command.arg(n),
        };
        command.exec(client).expect("room");
    }
    // In parts, in the middle of the others.
    let big = vec![b'b'; 5 << 20];
    cmd("SET").arg("whole").arg(big).exec(client).expect("room");
    cmd("SET").arg(&[0xff_u8][..]).arg("last").exec(client).expect("room");
    run(client, "SET  first");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_data_is_the_same_bytes_in_the_order_of_the_names() {
    let (one, other) = (RedisServer::start(), RedisServer::start());
    let expiry = in_ms(3_600_000);
    fill(&one, expiry, false);
    fill(&other, expiry, true);
    let by_name = json!({"order": "name"});
    let first = scan_with(&one, by_name.clone()).await;
    let second = scan_with(&other, merged(by_name, json!({"impact": "gentle", "source": "auto"}))).await;
    assert_eq!(first.result.as_ref().expect("a dump")["keys"], KEYS + 3);
    assert_eq!(second.result.expect("a dump")["source"], "scan");
    assert!(first.stdout == second.stdout, "not the same bytes");
    // Until the server has ended the rebuilding of its table, its own order still changes.
    wait("the server's rehashing is over", || !one.cli(&["DEBUG", "HTSTATS", "0"]).contains("rehashing target"));
    let own = scan_with(&one, json!({"impact": "gentle"})).await;
    let full = scan_with(&one, json!({"impact": "full"})).await;
    let differ = own.stdout.iter().zip(&full.stdout).position(|(one, other)| one != other);
    let near = |dump: &[u8]| {
        let from = differ.unwrap_or(dump.len()).saturating_sub(100);
        dump[from..dump.len().min(from + 300)].escape_ascii().to_string()
    };
    let shown = || format!("{} and {}", near(&own.stdout), near(&full.stdout));
    assert!(own.stdout == full.stdout, "the pace changes the order at {differ:?}: {}", shown());
    assert!(own.stdout != scan(&other).await.stdout, "the servers' own orders are not the same");

    let long = commands(&first.stdout).into_iter().filter(|words| words[1].starts_with(b"long:"));
    let long: Vec<Vec<u8>> = long.map(|mut words| words.remove(1)).collect();
    assert_eq!(long.len(), KEYS as usize / 32);
    assert!(long.windows(2).all(|two| two[0] < two[1]), "not in order");

    let to = RedisServer::start();
    restore(&to, &first.stdout, json!({})).await.expect("a restore");
    assert_eq!(digest(&to).await, digest(&one).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_counts_once_what_it_leaves_out() {
    let server = RedisServer::start();
    fill(&server, in_ms(3_600_000), false);
    let filter = json!({"order": "name", "filter": {"exclude": ["kind1:*", "kind2:*"], "match": ["kind*", "long*"]}});
    let outputs = scan_with(&server, filter).await.result.expect("a dump");
    assert_eq!(
        (&outputs["keys"], &outputs["leftOut"], &outputs["vanished"]),
        (&json!(KEYS * 6 / 8), &json!(KEYS * 2 / 8 + 3), &json!(0))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_replication_does_not_have_is_refused() {
    let server = RedisServer::start();
    for (more, param) in [(json!({"source": "replication"}), "order"), (json!({"serverDisk": true}), "serverDisk")] {
        let params = merged(json!({"url": server.socket_url(), "order": "name"}), more);
        let failure = run_alone(RedisDump, params, Input::None).await.result.expect_err("refused");
        assert!(format!("{failure:?}").contains(param), "{failure:?}");
    }
}
