//! What is damaged, cut off or only half there is found out, and nothing that reads it completes.

use std::sync::Arc;

use aquifer_engine::catalog::{Catalog, Inputs};
use aquifer_engine::event::Status;
use aquifer_engine::failure::FailureKind;
use aquifer_engine::run::{RunOptions, run};
use serde_json::json;

use crate::rig::{Place, refused, sample};

/// Downloads into a file by a real run; gives what failed first.
async fn into_file(place: &Place) -> FailureKind {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("out");
    let mut catalog = Catalog::new(aquifer_functions::builtins());
    catalog.add_text(
        "t.yaml",
        "apiVersion: aquifer.dev/v1alpha1
kind: Task
metadata: {name: t}
spec:
  params: [{name: location}, {name: place, type: map}, {name: path}]
  steps:
    - {name: down, function: download, params: {location: '{{ default params.location params.place }}', name: n}}
    - {name: file, function: file-write, stdin: down, params: {path: '{{ params.path }}'}}
",
    );
    let inputs = Inputs::default().with_text("path", path.display().to_string());
    let location = place.location();
    let inputs = match location.as_str() {
        Some(text) => inputs.with_text("location", text),
        None => inputs.with_value("place", location),
    };
    let plan = catalog.plan("t", &inputs).unwrap_or_else(|problems| panic!("{problems:#?}"));
    let report = run(Arc::new(plan), RunOptions::default()).await;
    assert_eq!(report.status, Status::Failed);
    assert_eq!(std::fs::read_dir(folder.path()).expect("readable").count(), 0, "nothing was committed");
    let first = report.first_failure.expect("a failure");
    assert_eq!(first.step, "down");
    first.failure.kind
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_is_not_what_was_written_is_corrupt() {
    let bytes = sample(9 << 20);
    for place in Place::both().await {
        place.upload("n", &bytes, json!({})).await.expect("uploaded");
        let mut altered = bytes.clone();
        altered[4_000_000] ^= 1;
        let mut longer = bytes.clone();
        longer.push(0);
        for (damaged, says) in [
            (altered, "altered"),
            (bytes[..bytes.len() - 1].to_vec(), "its manifest says"),
            (longer, "its manifest says"),
            (Vec::new(), "its manifest says"),
        ] {
            place.put("n", damaged).await;
            refused(&place.download("n", json!({})).await.result, FailureKind::Corrupt, says);
            assert_eq!(into_file(&place).await, FailureKind::Corrupt);
        }
        place.put("n", bytes.clone()).await;
        assert!(place.downloaded("n").await == bytes, "the check takes what is sound");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_that_was_altered_verifies_nothing() {
    for place in Place::both().await {
        place.upload("n", b"some bytes", json!({})).await.expect("uploaded");
        let sound = String::from_utf8(place.get("n.manifest.json").await.expect("there")).expect("text");
        for (from, to, kind) in [
            ("\"bytes\": 10", "\"bytes\": 11", FailureKind::Corrupt),
            ("\"sha256\": \"", "\"sha256\": \"0", FailureKind::Corrupt),
            ("\"aquiferObject\": 1", "\"aquiferObject\": 9", FailureKind::Rejected),
            ("}", "", FailureKind::Corrupt),
        ] {
            let altered = sound.replace(from, to);
            assert_ne!(altered, sound);
            place.put("n.manifest.json", altered).await;
            refused(&place.download("n", json!({})).await.result, kind, "manifest");
            assert_eq!(into_file(&place).await, kind);
        }
        let digest = serde_json::from_str::<serde_json::Value>(&sound).expect("JSON")["sha256"].clone();
        let digest = digest.as_str().expect("a text");
        place.put("n.manifest.json", sound.replace(digest, &digest.chars().rev().collect::<String>())).await;
        refused(&place.download("n", json!({})).await.result, FailureKind::Corrupt, "altered");
        place.put("n.manifest.json", sound).await;
        assert_eq!(place.downloaded("n").await, b"some bytes");
    }
}

/// What a program leaves that is killed between the object and its manifest.
#[tokio::test(flavor = "multi_thread")]
async fn an_object_without_its_own_manifest_is_no_backup() {
    for place in Place::both().await {
        place.upload("n", b"older", json!({})).await.expect("uploaded");
        // While it was overwritten: the new object, of the same size, beside the old manifest.
        place.put("n", b"newer".as_slice()).await;
        refused(&place.download("n", json!({})).await.result, FailureKind::Corrupt, "ended before its last step");
        // The first time: no manifest at all.
        place.delete("n.manifest.json").await;
        refused(&place.download("n", json!({})).await.result, FailureKind::NotFound, "has no manifest");
        assert_eq!(into_file(&place).await, FailureKind::NotFound);
        // The next upload is not fooled either, and mends it when it is allowed to.
        refused(&place.upload("n", b"third", json!({})).await, FailureKind::Rejected, "exists");
        place.upload("n", b"third", json!({"overwrite": true})).await.expect("uploaded");
        assert_eq!(place.downloaded("n").await, b"third");
        // A manifest whose object is gone holds nothing up.
        place.delete("n").await;
        refused(&place.download("n", json!({})).await.result, FailureKind::NotFound, "does not exist");
        place.upload("n", b"fourth", json!({})).await.expect("uploaded");
        assert_eq!(place.downloaded("n").await, b"fourth");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_object_is_read_where_that_is_called_for() {
    for place in Place::both().await {
        place.put("n", b"foreign".as_slice()).await;
        refused(&place.download("n", json!({})).await.result, FailureKind::NotFound, "unverified: true");
        let outcome = place.download("n", json!({"unverified": true, "type": "text/csv"})).await;
        assert_eq!(outcome.result.expect("read")["type"], "text/csv");
        assert_eq!((outcome.stdout.as_slice(), outcome.stream.to_string().as_str()), (&b"foreign"[..], "text/csv"));
        refused(&place.download("n", json!({"type": "text/csv"})).await.result, FailureKind::Config, "type");
    }
}
