//! Answers that are not what the server said: bits that were flipped on their way, and replies without an end.

use std::sync::atomic::{AtomicBool, Ordering};

use aquifer_engine::alone::{Input, run_alone};
use aquifer_engine::failure::{Failure, FailureKind};
use aquifer_functions::redis_digest::RedisDigest;
use aquifer_functions::redis_dump::RedisDump;
use aquifer_tests::lies::{Lie, lying};
use aquifer_tests::redis_server::RedisServer;
use serde_json::json;

use super::rig::{by_scan, run};

/// A server with ports and a few hashes, which come as payloads.
fn hashes() -> RedisServer {
    let server = RedisServer::start();
    let client = &mut server.client();
    for n in 0..20 {
        run(client, &format!("HSET hash:{n} field {}", "0123456789abcdefghijklmnopqrstuvwxyz"));
    }
    server
}

fn replaced(piece: &[u8], from: &[u8], to: &[u8]) -> Option<Vec<u8>> {
    let at = piece.windows(from.len()).position(|part| part == from)?;
    Some([&piece[..at], to, &piece[at + from.len()..]].concat())
}

async fn dump_through(port: u16) -> Result<serde_json::Value, Failure> {
    run_alone(RedisDump, by_scan(&format!("redis://127.0.0.1:{port}"), json!({})), Input::None).await.result
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bit_that_is_flipped_in_a_payload_fails_the_dump() {
    let server = hashes();
    let once = AtomicBool::new(true);
    let port = lying(server.port(), move |piece| {
        match replaced(&piece, b"defghijk", b"defgHijk").filter(|_| once.load(Ordering::Relaxed)) {
            Some(altered) => {
                once.store(false, Ordering::Relaxed);
                Lie::Once(altered)
            }
            None => Lie::Once(piece),
        }
    });
    let failure = dump_through(port).await.expect_err("a changed value");
    assert_eq!(failure.kind, FailureKind::Corrupt);
    assert!(failure.message.contains("`hash:") && failure.message.contains("checksum"), "{failure:?}");
    assert_eq!(dump_through(port).await.expect("no lie any more")["keys"], 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scan_that_goes_round_in_circles_ends() {
    let server = hashes();
    let port = lying(server.port(), |piece| {
        // The last page leads to the first again.
        Lie::Once(replaced(&piece, b"*2\r\n$1\r\n0\r\n*", b"*2\r\n$1\r\n7\r\n*").unwrap_or(piece))
    });
    let failure = dump_through(port).await.expect_err("a circle");
    assert!(failure.message.contains("again and again"), "{failure:?}");
    let url = json!({"url": format!("redis://127.0.0.1:{port}")});
    let failure = run_alone(RedisDigest, url, Input::None).await.result.expect_err("a circle");
    assert!(failure.message.contains("again and again"), "{failure:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_without_an_end_is_given_up() {
    let server = hashes();
    let port = lying(server.port(), |piece| match replaced(&piece, b"+hash\r\n", b"") {
        Some(_) => Lie::Endless(b"*1000000000\r\n".to_vec(), b"$1\r\n7\r\n".repeat(1000)),
        None => Lie::Once(piece),
    });
    let failure = dump_through(port).await.expect_err("no end");
    assert!(failure.message.contains("more than any reply"), "{failure:?}");
}
