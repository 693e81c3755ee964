//! Promise 1 on a real folder and a real server: whatever ends a stream but its own end leaves nothing behind.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use aquifer_engine::alone::{Input, run_alone, run_alone_until};
use aquifer_engine::failure::{Failure, FailureKind};
use aquifer_engine::registry::Registry;
use aquifer_functions::upload::Upload;
use aquifer_tests::flaky::{Fate, proxy};
use aquifer_tests::s3_server::S3Server;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::rig::{Place, chunks, files, refused, sample};

const FIFTY: usize = 50 << 20;

/// Waits for a condition, for a minute at most.
async fn wait_for(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !holds().await {
        assert!(begun.elapsed() < Duration::from_secs(60), "waited a minute for {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_breaks_after_fifty_megabytes_leaves_nothing() {
    let bytes = sample(FIFTY);
    for place in Place::both().await {
        for length in [0, 1, FIFTY] {
            let input = Input::Broken(chunks(&bytes[..length]), Failure::unavailable("the source died"));
            let result = run_alone(Upload, place.params("n", json!({})), input).await.result;
            refused(&result, FailureKind::Unavailable, "the source died");
            assert_eq!(place.everything().await, [""; 0], "after {length} bytes");
        }
        // What was there before is what is there after.
        place.upload("n", b"good", json!({})).await.expect("uploaded");
        let input = Input::Broken(chunks(&bytes), Failure::unavailable("the source died"));
        let result = run_alone(Upload, place.params("n", json!({"overwrite": true})), input).await.result;
        refused(&result, FailureKind::Unavailable, "the source died");
        assert_eq!(place.downloaded("n").await, b"good");
        assert_eq!(place.everything().await, ["n", "n.manifest.json"]);
    }
}

/// A source that goes on for ever, so that whatever stops it stops it in the middle; with how many bytes of it were taken.
fn endless(
    params: serde_json::Value,
    cancel: &CancellationToken,
) -> (tokio::task::JoinHandle<Result<serde_json::Value, Failure>>, tokio::task::JoinHandle<()>, Arc<AtomicUsize>) {
    use aquifer_engine::pipe::pipe;
    use aquifer_engine::ports::OpenEnds;
    use aquifer_engine::stream::StreamType;

    let registry = Registry::new().with(Upload);
    let upload = registry.get("upload").expect("registered");
    let (mut writer, mut ends) = pipe(1, 8 << 20, &StreamType::unknown(), None);
    let (reader, control) = ends.remove(0);
    let prepared = upload.prepare(params).expect("sound params");
    let call = crate::rig::call(cancel.clone());
    let ends = OpenEnds { stdin: Some(reader), stdout: None };
    let running = tokio::spawn(prepared.run(ends, call));
    let cancel = cancel.clone();
    let fed = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&fed);
    let feeding = tokio::spawn(async move {
        let piece = bytes::Bytes::from(sample(1 << 20));
        let feed = async {
            while writer.write(piece.clone()).await.is_ok() {
                count.fetch_add(piece.len(), Ordering::Relaxed);
            }
        };
        tokio::select! {
            () = cancel.cancelled() => control.break_off(Failure::cancelled("stopped")),
            () = feed => {}
        }
    });
    (running, feeding, fed)
}

async fn has_begun(place: &Place) -> bool {
    match place {
        Place::Folder(folder) => {
            let parts = folder.path().join(".aquifer-parts");
            std::fs::read_dir(parts).is_ok_and(|mut found| {
                found.any(|entry| entry.is_ok_and(|entry| entry.metadata().is_ok_and(|found| found.len() > 20 << 20)))
            })
        }
        Place::Bucket(server) => !server.pending().await.is_empty(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_is_stopped_in_the_middle_leaves_nothing() {
    for place in Place::both().await {
        let cancel = CancellationToken::new();
        let (running, feeding, _) = endless(place.params("n", json!({})), &cancel);
        wait_for("bytes to be sent", async || has_begun(&place).await).await;
        let stopped = Instant::now();
        cancel.cancel();
        let result = running.await.expect("no panic");
        refused(&result, FailureKind::Cancelled, "stopped");
        assert!(stopped.elapsed() < Duration::from_secs(8), "within the grace of a run");
        assert_eq!(place.everything().await, [""; 0]);
        feeding.await.expect("no panic");
    }
}

/// A server that has hung must not hold up what stops: the parts in flight are given up at once, and so is what waits for them.
#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_is_stopped_while_the_server_hangs_leaves_nothing() {
    stopped_while_the_server_hangs(0).await;
    // All parts that are sent at once hang, as many wait for them as are held, and the pipe is full.
    stopped_while_the_server_hangs(80 << 20).await;
}

/// Stops an upload once it has begun and taken so many bytes.
async fn stopped_while_the_server_hangs(taken: usize) {
    let server = S3Server::start().await;
    let hangs = |_: &str, target: &str| if target.contains("partNumber=") { Fate::Hangs } else { Fate::Passes };
    let port = proxy(server.port(), hangs);
    let mut location = server.location();
    location["s3"]["endpoint"] = json!(format!("http://127.0.0.1:{port}"));
    let place = Place::Bucket(Box::new(server));
    let cancel = CancellationToken::new();
    let (running, feeding, fed) = endless(json!({"location": location, "name": "n"}), &cancel);
    wait_for("the upload to begin", async || has_begun(&place).await).await;
    wait_for("all room to be full", async || fed.load(Ordering::Relaxed) >= taken).await;
    cancel.cancel();
    let ended = tokio::time::timeout(Duration::from_secs(8), running).await.expect("within the grace of a run");
    refused(&ended.expect("no panic"), FailureKind::Cancelled, "stopped");
    assert_eq!(place.everything().await, [""; 0]);
    feeding.await.expect("no panic");
}

/// What the engine does with a step that does not stop when told to: the future is dropped wherever it is.
#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_is_dropped_in_the_middle_leaves_nothing() {
    for place in Place::both().await {
        let cancel = CancellationToken::new();
        let (running, feeding, _) = endless(place.params("n", json!({})), &cancel);
        wait_for("bytes to be sent", async || has_begun(&place).await).await;
        running.abort();
        assert!(running.await.expect_err("aborted").is_cancelled());
        // The engine breaks the pipes of a step that it drops.
        cancel.cancel();
        feeding.await.expect("no panic");
        wait_for("nothing to be left", async || place.everything().await.is_empty()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_was_stopped_before_it_began_leaves_nothing() {
    for place in Place::both().await {
        let cancel = CancellationToken::new();
        cancel.cancel();
        let input = Input::Finished(chunks(b"x"));
        let result = run_alone_until(Upload, place.params("n", json!({})), input, cancel).await.result;
        refused(&result, FailureKind::Cancelled, "stopped");
        assert_eq!(place.everything().await, [""; 0]);
    }
}

/// A file system that is full: a small one in memory, as root, in a mount namespace of its own.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_told_and_leaves_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let _mounted = aquifer_tests::mounted::Mounted::small(folder.path(), 8);
    for length in [20 << 20, 8 << 20] {
        let params = json!({"location": folder.path(), "name": "n"});
        let result = run_alone(Upload, params, Input::Finished(chunks(&sample(length)))).await.result;
        refused(&result, FailureKind::Unavailable, "No space left");
        assert_eq!(files(folder.path()), [""; 0], "{length}");
    }
}
