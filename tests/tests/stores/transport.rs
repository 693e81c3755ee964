//! What all stores that speak HTTP share: trust, rates and numbers of connections.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use aquifer_engine::alone::{Input, Outcome, run_alone};
use aquifer_engine::event::Level;
use aquifer_engine::failure::FailureKind;
use aquifer_functions::download::Download;
use aquifer_functions::upload::Upload;
use aquifer_tests::cut::cut_after;
use aquifer_tests::flaky::{Fate, proxy};
use aquifer_tests::stores::tls_front::TlsFront;
use aquifer_tests::stores::{StoreServer, all, place};
use serde_json::{Value, json};

use crate::rig::{Place, begin, on_each, on_each_for_objects, pieces, refused, sample};

async fn moto() -> (Place, u16) {
    let moto: &dyn StoreServer =
        &**all().await.iter().find(|server| server.called() == "moto").expect("moto is one of them");
    (Place { server: moto, name: place() }, moto.port().expect("it listens"))
}

/// The place with what is said about `http`, at another port.
fn location(place: &Place, scheme: &str, port: u16, http: Value) -> Value {
    let mut location = place.location();
    location["s3"]["endpoint"] = json!(format!("{scheme}://127.0.0.1:{port}"));
    location["s3"]["http"] = http;
    location
}

async fn upload(location: &Value, name: &str, bytes: &[u8]) -> Outcome {
    run_alone(Upload, json!({"location": location, "name": name, "partSize": "5MiB"}), pieces(bytes)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_checked_against_the_file_or_not_at_all_with_a_warning() {
    let (place, port) = moto().await;
    let front = TlsFront::start(port).await;
    let at = |http: Value| location(&place, "https", front.port(), http);
    let unknown = upload(&at(json!({})), "a", b"x").await;
    refused(&unknown.result, FailureKind::Unavailable, "certificate");
    assert_eq!(place.names().await, [""; 0]);

    let trusted = upload(&at(json!({"caFile": front.ca_file()})), "b", b"x").await;
    trusted.result.expect("the authority is known");
    assert!(trusted.messages.iter().all(|(level, _)| *level != Level::Warning), "{:?}", trusted.messages);

    let unchecked = upload(&at(json!({"insecure": true})), "c", b"x").await;
    unchecked.result.expect("nothing is checked");
    let warned = |(level, text): &(Level, String)| *level == Level::Warning && text.contains("certificate");
    assert!(unchecked.messages.iter().any(warned), "{:?}", unchecked.messages);

    let missing = upload(&at(json!({"caFile": "/no/such/file"})), "d", b"x").await;
    refused(&missing.result, FailureKind::NotFound, "/no/such/file");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rate_holds_in_both_directions() {
    let (place, port) = moto().await;
    let bytes = sample(6 << 20);
    let limited = location(&place, "http", port, json!({"sendRate": "2MiB", "receiveRate": "3MiB"}));
    let begun = Instant::now();
    upload(&limited, "n", &bytes).await.result.expect("uploaded");
    let sent = begun.elapsed();
    assert!(sent > Duration::from_millis(2800), "6 MiB at 2 MiB/s took {sent:?}");
    let begun = Instant::now();
    let read = run_alone(Download, json!({"location": limited, "name": "n"}), Input::None).await;
    assert!(read.result.is_ok() && read.stdout == bytes);
    let received = begun.elapsed();
    assert!(received > Duration::from_millis(1800), "6 MiB at 3 MiB/s took {received:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_requests_are_under_way_than_allowed() {
    let (place, port) = moto().await;
    let bytes = sample(60 << 20);
    for (most, expected) in [(1, 1..2), (2, 1..3), (8, 3..9)] {
        let (now, highest) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let counted = (Arc::clone(&now), Arc::clone(&highest));
        // A slow server: while one request is held here, others could come.
        let through = proxy(port, move |_, target| {
            if target.contains("partNumber=") {
                counted.1.fetch_max(counted.0.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                std::thread::sleep(Duration::from_millis(200));
                counted.0.fetch_sub(1, Ordering::SeqCst);
            }
            Fate::Passes
        });
        let limited = location(&place, "http", through, json!({"connections": most}));
        upload(&limited, &format!("of {most}"), &bytes).await.result.expect("uploaded");
        let highest = highest.load(Ordering::SeqCst);
        assert!(expected.contains(&highest), "{highest} at once, and {most} are allowed");
    }
}

/// A token that the server does not know any more is asked for again, in the middle of an object.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_ended_is_renewed() {
    let bytes = sample(40 << 20);
    on_each(async |place| {
        if !place.server.forgets_tokens() {
            return;
        }
        let begun = begin(place.params("n", json!({"partSize": "5MiB"})), &bytes, 20 << 20).await;
        assert!(place.server.forgets_tokens());
        while begun.control.level().read < bytes.len() as u64 && !begun.running.is_finished() {
            tokio::task::yield_now().await;
        }
        begun.control.finish();
        begun.running.await.expect("no panic").unwrap_or_else(|why| panic!("{}: {why:?}", place.server.called()));
        begun.feeding.abort();
        assert!(place.downloaded("n").await == bytes, "{}", place.server.called());
    })
    .await;
}

/// A line that breaks for good whenever much is sent, in the middle of an object: the upload fails in time, and leaves nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_line_that_breaks_for_good_fails_the_upload_and_leaves_nothing() {
    let bytes = sample(40 << 20);
    on_each_for_objects(async |place| {
        let Some(port) = place.server.port() else { return };
        let through = cut_after(port, 12 << 20);
        let location = place.location().to_string().replace(&format!(":{port}"), &format!(":{through}"));
        let location: Value = serde_json::from_str(&location).expect("JSON");
        let begun = Instant::now();
        let outcome = upload(&location, "n", &bytes).await;
        let failure = outcome.result.expect_err(place.server.called());
        assert_eq!(failure.kind, FailureKind::Unavailable, "{}: {failure:?}", place.server.called());
        assert!(begun.elapsed() < Duration::from_secs(60), "{}: {:?}", place.server.called(), begun.elapsed());
        // Some servers notice later that nothing more comes.
        place.until_nothing_is_left().await;
    })
    .await;
}

/// Between the last look and the request that gives a file its name, another takes it: the server itself has to refuse.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_appears_at_the_last_moment_is_not_replaced() {
    on_each_for_objects(async |place| {
        let location = place.location();
        let (true, Some(port), Some(folder)) =
            (location["webdav"].is_object(), place.server.port(), place.server.files(&place.name))
        else {
            return;
        };
        let file = folder.join("n");
        let through = proxy(port, move |method, _| {
            if method == "MOVE" {
                std::fs::write(&file, b"of another").expect("written");
            }
            Fate::Passes
        });
        let location = location.to_string().replace(&format!(":{port}"), &format!(":{through}"));
        let location: Value = serde_json::from_str(&location).expect("JSON");
        refused(&upload(&location, "n", b"ours").await.result, FailureKind::Rejected, "exists");
        assert_eq!(place.names().await, ["n"], "{}", place.server.called());
        assert_eq!(place.server.bytes(&place.name, "n").await, b"of another");
    })
    .await;
}
