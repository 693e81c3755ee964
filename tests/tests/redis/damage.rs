//! A stream that is cut off, altered or no dump at all is never taken for a whole one.

use aquifer_engine::alone::{Input, run_alone};
use aquifer_engine::failure::FailureKind;
use aquifer_functions::redis_restore::RedisRestore;
use aquifer_tests::redis_server::RedisServer;
use serde_json::json;

use super::rig::{dumped, fill_database, functions, many_strings, portrait, restore, run};

/// A stream with every sort of command in it that is short enough to be cut at many places.
async fn short_stream(server: &RedisServer) -> Vec<u8> {
    fill_database(server, 0);
    fill_database(server, 5);
    let client = &mut server.client();
    functions(client);
    run(client, "XADD events 1-1 a b");
    run(client, "HSET hash f v");
    many_strings(server, 50);
    dumped(server).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_cut_off_anywhere_fails() {
    let (from, to) = (RedisServer::start(), RedisServer::start());
    let stream = short_stream(&from).await;
    let trailer = stream.windows(12).rposition(|part| part == b"*2\r\n$4\r\nECHO").expect("a trailer");
    let mut cuts: Vec<usize> = (0..stream.len()).step_by(stream.len() / 200).collect();
    cuts.extend([1, trailer - 1, trailer, trailer + 1, stream.len() - 2, stream.len() - 1]);
    for cut in cuts {
        for params in [json!({"onConflict": "replace"}), json!({"onConflict": "replace", "requireTrailer": false})] {
            let failure = restore(&to, &stream[..cut], params).await.expect_err("cut off");
            assert_eq!(failure.kind, FailureKind::Corrupt, "{cut}: {}", failure.message);
            assert!(failure.message.contains("byte"), "{cut}: {}", failure.message);
        }
    }
    let failure = restore(&to, &stream[..trailer], json!({"onConflict": "replace"})).await.expect_err("cut off");
    assert!(
        failure.message.contains("without its trailer") && failure.message.contains("58 keys"),
        "{}",
        failure.message
    );
    restore(&to, &stream, json!({"onConflict": "replace"})).await.expect("whole");
    assert_eq!(portrait(&to), portrait(&from));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_byte_that_was_changed_fails() {
    let (from, to) = (RedisServer::start(), RedisServer::start());
    let stream = short_stream(&from).await;
    for place in (0..stream.len()).step_by(stream.len() / 150) {
        for mask in [0x01, 0x20, 0x80] {
            let mut altered = stream.clone();
            altered[place] ^= mask;
            // The server's own refusals (a payload's checksum, an unknown database) are as good as ours. A command's name is
            // the same in lower case; only there the stream is still what was meant, and its checksum says otherwise all the same.
            let failure = restore(&to, &altered, json!({"onConflict": "replace"})).await;
            assert!(failure.is_err(), "byte {place} of {} with {mask:#x}", stream.len());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_dump_is_refused_with_its_place() {
    let to = RedisServer::start();
    let random: Vec<u8> = (0..10_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let rdb = b"REDIS0010\xfa\x09redis-ver\x067.0.15\xff".to_vec();
    let http = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_vec();
    let lying = b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$536870912\r\nshort".to_vec();
    for bytes in [random, rdb, http, lying, Vec::new(), b"*1\r\n$4\r\nPING\r\n".to_vec(), b"*".to_vec()] {
        for params in [json!({}), json!({"requireTrailer": false})] {
            let failure = restore(&to, &bytes, params).await.expect_err("no dump");
            assert_eq!(failure.kind, FailureKind::Corrupt, "{}", failure.message);
            assert!(failure.message.contains("at byte"), "{}", failure.message);
            assert!(failure.message.contains("no key had been written"), "{}", failure.message);
        }
    }
    assert_eq!(to.cli(&["DBSIZE"]).trim(), "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_but_writing_keys_is_carried_out() {
    let to = RedisServer::start();
    for line in [
        "FLUSHALL x",
        "CONFIG SET dir /tmp",
        "EVAL 1 0",
        "DEL a b",
        "SCRIPT FLUSH x",
        "XGROUP DESTROY s g",
        "SET a b GET",
        "DEBUG SLEEP 1",
        "SHUTDOWN NOSAVE",
    ] {
        let mut stream = format!("*{}\r\n", line.split(' ').count());
        line.split(' ').for_each(|word| stream += &format!("${}\r\n{word}\r\n", word.len()));
        let failure = restore(&to, stream.as_bytes(), json!({"requireTrailer": false})).await.expect_err(line);
        assert_eq!(failure.kind, FailureKind::Corrupt, "{line}: {}", failure.message);
        assert!(failure.message.contains("byte 0"), "{line}: {}", failure.message);
    }
    assert_eq!(to.cli(&["PING"]), "PONG\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_by_another_program_is_loaded_where_that_is_wanted() {
    let to = RedisServer::start();
    let at = super::rig::in_ms(100_000);
    let lines = [
        "SELECT 1".to_owned(),
        "SET a 1".to_owned(),
        format!("PEXPIREAT a {at}"),
        "RPUSH l x y".to_owned(),
        "RPUSH l z".to_owned(),
        "HSET h f v".to_owned(),
        "EXPIRE h 1000".to_owned(),
        "ZADD z 1.5 m".to_owned(),
        "SADD s m".to_owned(),
        "XADD x 1-1 a b".to_owned(),
        "XGROUP CREATE x g 0".to_owned(),
    ];
    let mut stream = String::new();
    for line in &lines {
        stream += &format!("*{}\r\n", line.split(' ').count());
        line.split(' ').for_each(|word| stream += &format!("${}\r\n{word}\r\n", word.len()));
    }
    let failure = restore(&to, stream.as_bytes(), json!({})).await.expect_err("no head");
    assert!(failure.help.is_some_and(|help| help.contains("requireTrailer: false")));
    for on_conflict in ["fail", "skip"] {
        let params = json!({"requireTrailer": false, "onConflict": on_conflict});
        let outputs = restore(&to, stream.as_bytes(), params).await.expect("a stream");
        let (keys, skipped) = if on_conflict == "fail" { (6, 0) } else { (0, 6) };
        assert_eq!((&outputs["keys"], &outputs["skipped"]), (&json!(keys), &json!(skipped)), "{on_conflict}");
        assert_eq!(outputs["streamVersion"], json!(null));
        assert_eq!(to.cli(&["-n", "1", "LRANGE", "l", "0", "-1"]), "x\ny\nz\n");
        assert_eq!(to.cli(&["-n", "1", "PEXPIRETIME", "a"]).trim(), at.to_string());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_input_that_breaks_is_no_end() {
    let (from, to) = (RedisServer::start(), RedisServer::start());
    let stream = short_stream(&from).await;
    let broken = Input::Broken(vec![stream.into()], aquifer_engine::failure::Failure::unavailable("the store is gone"));
    let outcome = run_alone(RedisRestore, json!({"url": to.socket_url()}), broken).await;
    assert!(outcome.result.expect_err("broken").message.starts_with("the store is gone"));
}
