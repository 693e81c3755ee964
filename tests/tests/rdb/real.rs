//! Files that a real server saved, with everything in them: big values, odd layouts, functions, hints.

use aquifer_tests::redis_server::RedisServer;
use serde_json::json;

use super::reading::{is_what_a_server_loads, lines, read_in, sound};
use super::rig::{dumped, fill, fill_database, many, portrait, restore, run};

#[tokio::test(flavor = "multi_thread")]
async fn a_full_server_is_what_its_file_says() {
    let from = RedisServer::with(&["--databases", "300"]);
    fill(&from);
    fill_database(&from, 7);
    fill_database(&from, 299);
    let client = &mut from.client();
    many(client, "HSET", "big-hash", 20_000, |n| vec![format!("field {n}"), format!("value {n} {}", "y".repeat(60))]);
    many(client, "SADD", "big-set", 30_000, |n| vec![format!("member {n} {}", "z".repeat(40))]);
    many(client, "ZADD", "big-board", 40_000, |n| {
        vec![format!("{}", f64::from(n) / 7.0), format!("player number {n}")]
    });
    is_what_a_server_loads("saved", &from.saved(), &from).await;
    run(&mut from.client(), "CONFIG SET rdbcompression no");
    let rdb = from.saved();
    is_what_a_server_loads("saved without compression", &rdb, &from).await;
    let (native, outputs) = sound(&rdb, json!({})).await;
    assert_eq!(outputs["functions"], 2);
    assert_eq!(outputs["databases"]["7"], 3);
    assert_eq!(outputs["serverVersion"], "7.0.15");
    let text = lines(&native);
    // Big values are not restored at one go.
    for begin in ["RPUSH long-list", "HSET big-hash", "SADD big-set", "ZADD big-board", "RESTORE long-events"] {
        assert!(text.iter().any(|line| line.starts_with(begin)), "{begin}");
    }
    assert!(text.iter().all(|line| line.len() < 9 << 20));
}

#[tokio::test(flavor = "multi_thread")]
async fn however_a_file_arrives_the_stream_is_the_same() {
    let from = RedisServer::start();
    fill(&from);
    let rdb = from.saved();
    for form in ["native", "logical"] {
        let whole = sound(&rdb, json!({"form": form})).await.0;
        for pieces in [997, 8 << 20] {
            let other = read_in(pieces, &rdb, json!({"form": form})).await;
            other.result.expect("it is sound");
            assert!(other.stdout == whole, "{form} in pieces of {pieces}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn big_elements_pass_through_listpacks_and_plain_nodes() {
    let settings = ["--list-max-listpack-size", "100000", "--hash-max-listpack-value", "100000000"];
    let from = RedisServer::with(
        &[&settings[..], &["--zset-max-listpack-value", "100000000", "--rdbcompression", "no"]].concat(),
    );
    let client = &mut from.client();
    for key in ["list", "list2"] {
        many(client, "RPUSH", key, 4, |n| vec!["e".repeat(400_000 + n as usize), n.to_string()]);
    }
    many(client, "HSET", "hash", 3, |n| vec![format!("{n}{}", "f".repeat(500_000)), "v".repeat(600_000)]);
    many(client, "HSET", "half", 3, |n| vec![format!("{n}"), "v".repeat(600_000)]);
    many(client, "ZADD", "board", 3, |n| vec![format!("{n}.25"), format!("{n}{}", "m".repeat(600_000))]);
    many(client, "XADD", "stream", 1, |_| vec!["1-1".into(), "f".repeat(300_000), "v".repeat(17 << 20)]);
    many(client, "SADD", "set", 3, |n| vec![format!("{n}{}", "s".repeat(700_000))]);
    run(client, "PEXPIREAT hash 32503680000000");
    is_what_a_server_loads("big elements", &from.saved(), &from).await;
    run(client, "CONFIG SET rdbcompression yes");
    is_what_a_server_loads("big elements, compressed", &from.saved(), &from).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_big_stream_is_made_by_commands_with_all_that_is_pending() {
    let from = RedisServer::start();
    let client = &mut from.client();
    many(client, "SADD", "other", 3, |n| vec![n.to_string()]);
    let script = "for n = 1, 40000 do redis.call('XADD', KEYS[1], n .. '-1', 'f' .. n % 3, string.rep(tostring(n), 100)) end return 1";
    redis::cmd("EVAL").arg(script).arg(1).arg("stream").exec(client).expect("room");
    run(client, "XGROUP CREATE stream readers 0");
    run(client, "XGROUP CREATE stream idle 20-1 ENTRIESREAD 20");
    run(client, "XGROUP CREATECONSUMER stream readers nobody");
    for (consumer, count) in [("alice", 300), ("bob", 150), ("alice", 1)] {
        run(client, &format!("XREADGROUP GROUP readers {consumer} COUNT {count} STREAMS stream >"));
    }
    run(client, "XCLAIM stream readers bob 0 3-1 RETRYCOUNT 4");
    run(client, "XDEL stream 39999-1 7000-1");
    run(client, "CONFIG SET rdbcompression no");
    let rdb = from.saved();
    assert!(rdb.len() > 17 << 20);
    let (stream, outputs) = sound(&rdb, json!({})).await;
    assert!(lines(&stream).iter().any(|line| line.starts_with("XCLAIM stream readers alice 0 1-1 2-1 TIME ")));
    assert_eq!(outputs["lostPending"], 0);
    is_what_a_server_loads("a big stream", &rdb, &from).await;
    // What is pending and deleted is lost by commands, and counted.
    run(client, "XDEL stream 5-1 6-1");
    assert_eq!(sound(&from.saved(), json!({})).await.1["lostPending"], 2);
    assert_eq!(sound(&from.saved(), json!({"form": "logical"})).await.1["lostPending"], 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn hints_are_taken_along_and_can_be_left_out() {
    let from = RedisServer::with(&["--maxmemory-policy", "allkeys-lfu"]);
    let to = RedisServer::with(&["--maxmemory-policy", "allkeys-lfu"]);
    let client = &mut from.client();
    run(client, "RPUSH list a");
    run(client, "CONFIG SET lfu-log-factor 0");
    for _ in 0..200 {
        run(client, "LRANGE list 0 -1");
    }
    let rdb = from.saved();
    let (stream, _) = sound(&rdb, json!({})).await;
    restore(&to, &stream, json!({})).await.expect("hints are taken");
    let freq: u32 = to.cli(&["OBJECT", "FREQ", "list"]).trim().parse().expect("a number");
    assert!(freq > 150, "{freq}");
    assert!(lines(&sound(&rdb, json!({"hints": false})).await.0).iter().all(|line| !line.contains("FREQ")));
    let lru = RedisServer::with(&["--maxmemory-policy", "allkeys-lru"]);
    run(&mut lru.client(), "SADD set a");
    let text = lines(&sound(&lru.saved(), json!({})).await.0);
    assert!(text.iter().any(|line| line.contains(" IDLETIME ")), "{text:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_of_a_file_is_read() {
    let from = RedisServer::start();
    fill(&from);
    fill_database(&from, 7);
    let rdb = from.saved();
    let (stream, outputs) = sound(&rdb, json!({"databases": [7], "functions": false})).await;
    assert_eq!(outputs["keys"], 3);
    assert_eq!(outputs["leftOut"].as_u64(), from.cli(&["DBSIZE"]).trim().parse().ok());
    assert_eq!(lines(&stream)[0], "SELECT 7");
    let filter = json!({"match": ["*list*", "e*"], "exclude": ["fat*"], "types": ["list", "stream"]});
    let (stream, outputs) = sound(&rdb, json!({"filter": filter, "databases": [0]})).await;
    assert_eq!(outputs["perType"]["list"], 2);
    assert_eq!(outputs["perType"]["stream"], 2);
    let to = RedisServer::start();
    restore(&to, &stream, json!({})).await.expect("a part");
    let (all, part) = (portrait(&from), portrait(&to));
    assert!(part.iter().filter(|(key, _)| key.starts_with("0 ")).all(|(key, value)| all.get(key) == Some(value)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_and_a_dump_restore_to_the_same() {
    let from = RedisServer::start();
    fill(&from);
    let (one, two) = (RedisServer::start(), RedisServer::start());
    restore(&one, &sound(&from.saved(), json!({})).await.0, json!({})).await.expect("by the file");
    restore(&two, &dumped(&from).await, json!({})).await.expect("by the dump");
    assert_eq!(portrait(&one), portrait(&two));
}

#[tokio::test(flavor = "multi_thread")]
async fn elements_of_every_length_pass_through_listpacks() {
    // Where the length behind an element gets a byte more, and where what stands before it does.
    let from = RedisServer::with(&["--rdbcompression", "no"]);
    let client = &mut from.client();
    for (n, edge) in [63_u32, 127, 4095, 16_383, 2_097_151].into_iter().enumerate() {
        for length in edge - 12..edge + 3 {
            let (id, value) = (format!("{length}-{n}"), "v".repeat(length as usize));
            redis::cmd("XADD").arg("stream").arg(id).arg("f").arg(value).exec(client).expect("room");
        }
    }
    is_what_a_server_loads("every length", &from.saved(), &from).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn consumers_are_made_where_the_server_that_was_read_knows_how() {
    let from = RedisServer::with(&["--rdbchecksum", "no"]);
    let client = &mut from.client();
    run(client, "XADD stream 1-1 a b");
    run(client, "XGROUP CREATE stream readers 0");
    run(client, "XGROUP CREATECONSUMER stream readers nobody");
    let mut rdb = from.saved();
    for (version, made) in [(&b"7.0.15"[..], true), (b"6.2.15", true), (b"6.0.15", false)] {
        let at = rdb.windows(9).position(|part| part == b"redis-ver").expect("it says so") + 10;
        rdb[at..at + 6].copy_from_slice(version);
        let (stream, _) = sound(&rdb, json!({"form": "logical"})).await;
        let found = lines(&stream).iter().any(|line| line.contains("CREATECONSUMER"));
        assert_eq!(found, made, "{}", version.escape_ascii());
    }
}
