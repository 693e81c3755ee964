//! Ways in which a restore could lose keys without a word, and does not.

use aquifer_engine::failure::FailureKind;
use aquifer_tests::redis_server::RedisServer;
use serde_json::json;

use super::rig::{dumped, many_strings, restore, run};

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_evicts_what_is_restored_makes_a_failed_restore() {
    let from = RedisServer::start();
    many_strings(&from, 60_000);
    let stream = dumped(&from).await;
    let to = RedisServer::with(&["--maxmemory", "4mb", "--maxmemory-policy", "allkeys-random"]);
    let failure = restore(&to, &stream, json!({})).await.expect_err("keys were thrown away");
    assert_eq!(failure.kind, FailureKind::Rejected, "{failure:?}");
    assert!(failure.message.contains("evicted") && failure.help.is_some_and(|help| help.contains("maxmemory")));
    // What it evicted earlier is not held against it.
    run(&mut to.client(), "FLUSHALL");
    run(&mut to.client(), "CONFIG SET maxmemory 0");
    restore(&to, &stream, json!({})).await.expect("there is room");
}

fn stream(commands: &[&[&str]]) -> Vec<u8> {
    let mut stream = Vec::new();
    for command in commands {
        stream.extend_from_slice(format!("*{}\r\n", command.len()).as_bytes());
        for word in *command {
            stream.extend_from_slice(format!("${}\r\n{word}\r\n", word.len()).as_bytes());
        }
    }
    stream
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_of_a_key_that_stand_apart_are_an_error_and_not_left_out() {
    let scattered = stream(&[&["RPUSH", "q", "1"], &["SET", "z", "1"], &["RPUSH", "q", "2"]]);
    for on_conflict in ["fail", "skip"] {
        let server = RedisServer::start();
        let params = json!({"requireTrailer": false, "onConflict": on_conflict});
        let failure = restore(&server, &scattered, params).await.expect_err("the second part would be lost");
        assert_eq!(failure.kind, FailureKind::Corrupt, "{failure:?}");
        assert!(failure.message.contains("stand") || failure.message.contains("apart"), "{failure:?}");
    }
    let server = RedisServer::start();
    let together = stream(&[&["RPUSH", "q", "1"], &["RPUSH", "q", "2"], &["SET", "z", "1"]]);
    restore(&server, &together, json!({"requireTrailer": false})).await.expect("they stand together");
    assert_eq!(run(&mut server.client(), "LLEN q"), redis::Value::Int(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_a_restore_needs_for_itself_are_taken_from_no_stream() {
    for command in [&["SET", "aquifer:restore:open", "1"][..], &["RPUSH", "aquifer:restore:part:abc", "1"]] {
        let server = RedisServer::start();
        let failure =
            restore(&server, &stream(&[command]), json!({"requireTrailer": false})).await.expect_err("reserved");
        assert!(failure.message.contains("reserved"), "{failure:?}");
        assert_eq!(run(&mut server.client(), "DBSIZE"), redis::Value::Int(0));
    }
}
