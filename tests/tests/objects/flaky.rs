//! A network that loses requests and answers: what arrives is what was sent, once, or nothing.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use aquifer_engine::alone::run_alone;
use aquifer_engine::failure::{Failure, FailureKind};
use aquifer_functions::upload::Upload;
use aquifer_tests::flaky::{Fate, proxy};
use aquifer_tests::s3_server::S3Server;
use serde_json::{Value, json};

use crate::rig::{Place, pieces, refused, sample};

type Rule = Box<dyn Fn(&str, &str) -> Fate + Send + Sync>;

/// Uploads through a proxy with this rule, and gives the result with what is really in the bucket.
async fn through(
    bytes: &[u8],
    rule: impl Fn(&str, &str) -> Fate + Send + Sync + 'static,
) -> (Result<Value, Failure>, Place) {
    let server = S3Server::start().await;
    let port = proxy(server.port(), rule);
    let mut location = server.location();
    location["s3"]["endpoint"] = json!(format!("http://127.0.0.1:{port}"));
    let params = json!({"location": location, "name": "n", "partSize": "5MiB"});
    let result = run_alone(Upload, params, pieces(bytes)).await.result;
    (result, Place::Bucket(Box::new(server)))
}

/// Uploads over an older object, and gives the failure, with what is really in the bucket.
async fn over_an_older_one(
    bytes: &[u8],
    rule: impl Fn(&str, &str) -> Fate + Send + Sync + 'static,
) -> (Result<Value, Failure>, Place) {
    let place = Place::bucket().await;
    place.upload("n", b"good", json!({})).await.expect("uploaded");
    let Place::Bucket(server) = &place else { unreachable!("it is a bucket") };
    let mut location = server.location();
    location["s3"]["endpoint"] = json!(format!("http://127.0.0.1:{}", proxy(server.port(), rule)));
    let params = json!({"location": location, "name": "n", "partSize": "5MiB", "overwrite": true});
    let result = run_alone(Upload, params, pieces(bytes)).await.result;
    (result, place)
}

/// A rule for the first requests of a kind.
fn first(
    count: usize,
    fate: Fate,
    is_meant: impl Fn(&str, &str) -> bool + Send + Sync + 'static,
) -> impl Fn(&str, &str) -> Fate + Send + Sync + 'static {
    let seen = Arc::new(AtomicUsize::new(0));
    move |method, target| {
        if is_meant(method, target) && seen.fetch_add(1, Ordering::SeqCst) < count { fate } else { Fate::Passes }
    }
}

fn is_completion(method: &str, target: &str) -> bool {
    method == "POST" && target.contains("uploadId=")
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_requests_are_sent_again() {
    // A last part that is smaller than S3 allows for others.
    let bytes = sample((23 << 20) + 7);
    for fate in [Fate::IsLost, Fate::AnswerIsLost] {
        let rule = first(2, fate, |_, target| target.contains("?uploads"));
        let (result, place) = through(&bytes, rule).await;
        result.unwrap_or_else(|failure| panic!("the beginning, {fate:?}: {failure:?}"));
        assert!(place.downloaded("n").await == bytes, "the beginning, {fate:?}");

        // Each part, the first time that it is sent.
        let seen = Mutex::new(BTreeSet::new());
        let is_new = move |target: &str| seen.lock().expect("no panic").insert(target.to_owned());
        let (result, place) =
            through(
                &bytes,
                move |_, target| {
                    if target.contains("partNumber=") && is_new(target) { fate } else { Fate::Passes }
                },
            )
            .await;
        result.unwrap_or_else(|failure| panic!("each part, {fate:?}: {failure:?}"));
        assert!(place.downloaded("n").await == bytes, "each part, {fate:?}");
        assert_eq!(place.everything().await, ["n", "n.manifest.json"]);
    }
}

/// The server has completed the object, and nobody heard: asked again, it no longer knows the upload, or says that the name is taken.
#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_to_the_last_request_is_no_failure() {
    let small = sample(1000);
    let rule = first(1, Fate::AnswerIsLost, |method, target| method == "PUT" && target.ends_with("/n"));
    let (result, place) = through(&small, rule).await;
    result.expect("the object is there");
    assert_eq!(place.downloaded("n").await, small);

    let large = sample(13 << 20);
    let (result, place) = through(&large, first(1, Fate::AnswerIsLost, is_completion)).await;
    result.expect("the object is there");
    assert!(place.downloaded("n").await == large);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_never_arrives_fails_and_leaves_nothing() {
    let large = sample(13 << 20);
    for fate in [Fate::IsLost, Fate::AnswerIsLost] {
        let rule = first(usize::MAX, fate, |_, target| target.contains("partNumber=2"));
        let (result, place) = through(&large, rule).await;
        refused(&result, FailureKind::Unavailable, "writing");
        assert_eq!(place.everything().await, [""; 0], "{fate:?}");
    }
    let (result, place) = through(&large, first(usize::MAX, Fate::IsLost, is_completion)).await;
    refused(&result, FailureKind::Unavailable, "writing");
    assert_eq!(place.everything().await, [""; 0]);
    // Without its manifest an object is no backup, and is taken back.
    let rule = first(usize::MAX, Fate::IsLost, |method, target| method == "PUT" && target.contains(".manifest.json"));
    let (result, place) = through(&large, rule).await;
    refused(&result, FailureKind::Unavailable, "manifest.json");
    assert_eq!(place.everything().await, [""; 0]);
}

/// The older object is gone by then: the new one, whole, is the only copy that there is.
#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_took_an_older_ones_place_stays_without_its_manifest() {
    let large = sample(13 << 20);
    let is_manifest = |method: &str, target: &str| method == "PUT" && target.contains(".manifest.json");
    // The second time the server has put the object together, and does not say whether it is there, however often asked.
    let completed = AtomicBool::new(false);
    let asked_after = first(5, Fate::IsLost, move |method, target| {
        completed.fetch_or(is_completion(method, target), Ordering::SeqCst) && method == "HEAD"
    });
    let rules: [(&str, Rule); 2] = [
        ("n.manifest.json", Box::new(first(usize::MAX, Fate::IsLost, is_manifest))),
        ("looking at", Box::new(asked_after)),
    ];
    for (says, rule) in rules {
        let (result, place) = over_an_older_one(&large, rule).await;
        refused(&result, FailureKind::Unavailable, says);
        refused(&result, FailureKind::Unavailable, "`unverified: true`");
        assert_eq!(place.everything().await, ["n", "n.manifest.json"]);
        let outcome = place.download("n", json!({"unverified": true})).await;
        outcome.result.expect("it is whole");
        assert!(outcome.stdout == large);
        // Beside the older one's manifest it is no backup.
        refused(&place.download("n", json!({})).await.result, FailureKind::Corrupt, "manifest");
        place.upload("n", &large, json!({"overwrite": true})).await.expect("uploaded again");
        assert!(place.downloaded("n").await == large);
    }
}

/// A manifest that cannot be written into a folder: something else has its name.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_took_an_older_ones_place_stays_without_its_manifest() {
    let place = Place::folder();
    let Place::Folder(folder) = &place else { unreachable!("it is a folder") };
    std::fs::create_dir(folder.path().join("n.manifest.json")).expect("made");
    let refusal = "is no regular file";
    refused(&place.upload("n", b"first", json!({})).await, FailureKind::Rejected, refusal);
    assert_eq!(place.everything().await, [""; 0], "there was nothing before");
    place.put("n", b"good").await;
    let result = place.upload("n", b"better", json!({"overwrite": true})).await;
    refused(&result, FailureKind::Rejected, refusal);
    refused(&result, FailureKind::Rejected, "`unverified: true`");
    assert_eq!(place.get("n").await.expect("there"), b"better");
}
