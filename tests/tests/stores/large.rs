//! One object above 5 GiB, which is more than many servers take in one request, on each server by itself.

use std::time::Instant;

use aquifer_engine::alone::{Input, run_alone};
use aquifer_functions::upload::Upload;
use aquifer_tests::stores::{ALONE, alone, place};
use aquifer_tests::streams::noise;
use bytes::Bytes;
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::rig::downloaded_by;

const BYTES: u64 = (5 << 30) + (1 << 20);

/// What repeats: no part's size is a multiple of it, so that parts in a wrong order are another object.
const PERIOD: usize = (7 << 20) + 13;

/// The pieces, which all lie in the same memory.
fn pieces() -> Vec<Bytes> {
    let period = Bytes::from(noise(PERIOD, 5));
    let (mut pieces, mut left) = (Vec::new(), BYTES);
    while left > 0 {
        let length = usize::try_from(left).map_or(PERIOD, |left| left.min(PERIOD));
        // No piece is larger than what a pipe holds.
        pieces.extend((0..length).step_by(1 << 20).map(|at| period.slice(at..length.min(at + (1 << 20)))));
        left -= length as u64;
    }
    pieces
}

fn in_hex(digest: Sha256) -> String {
    digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes and 11 GiB: run by hand, see docs/reference/stores.md"]
#[expect(clippy::disallowed_methods, clippy::print_stderr, reason = "it is run and watched by hand")]
async fn an_object_above_5_gib_comes_back() {
    let only = std::env::var("ONLY_STORE").ok();
    let mut expected = Sha256::new();
    pieces().iter().for_each(|piece| expected.update(piece));
    let expected = in_hex(expected);
    for called in ALONE.into_iter().filter(|called| only.as_ref().is_none_or(|only| called.contains(only.as_str()))) {
        let (server, name) = (alone(called).await, place());
        assert_eq!(server.called(), called);
        let params = json!({"location": server.location(&name), "name": "large"});
        let begun = Instant::now();
        let sent = run_alone(Upload, params.clone(), Input::Finished(pieces())).await.result;
        let sent = sent.unwrap_or_else(|failure| panic!("{called}: {failure:?}"));
        let sending = begun.elapsed();
        assert_eq!((&sent["bytes"], &sent["sha256"]), (&json!(BYTES), &json!(expected)), "{called}");
        assert_eq!(server.names(&name).await.len(), 2, "object and manifest, and nothing pending, on {called}");
        let (mut bytes, mut digest, begun) = (0, Sha256::new(), Instant::now());
        let read = downloaded_by(params, |chunk| {
            bytes += chunk.len() as u64;
            digest.update(chunk);
        })
        .await;
        read.unwrap_or_else(|failure| panic!("{called}: {failure:?}"));
        assert_eq!((bytes, in_hex(digest)), (BYTES, expected.clone()), "{called}");
        eprintln!("{called}: sent in {:.0?}, read in {:.0?}", sending, begun.elapsed());
    }
}
