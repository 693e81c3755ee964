//! Wrong credentials, buckets and servers that are not there: told as what they are, with the next step.

use std::time::{Duration, Instant};

use aquifer_engine::alone::{Input, run_alone};
use aquifer_engine::failure::{Failure, FailureKind};
use aquifer_functions::download::Download;
use aquifer_functions::restic_push::ResticPush;
use aquifer_functions::restic_snapshots::ResticSnapshots;
use aquifer_functions::upload::Upload;
use serde_json::{Value, json};

use crate::rig::{on_each, refused};

/// What everything that uses a location says to it.
async fn all(location: &Value, objects: bool) -> Vec<(&'static str, Result<Value, Failure>)> {
    let repository = json!({"repository": location, "password": "correct horse"});
    let object = json!({"location": location, "name": "n"});
    // All at once, for each takes its time to give up.
    let (push, snapshots, uploaded, downloaded) = tokio::join!(
        run_alone(ResticPush, repository.clone(), Input::bytes("x")),
        run_alone(ResticSnapshots, repository, Input::None),
        async { if objects { Some(run_alone(Upload, object.clone(), Input::bytes("x")).await) } else { None } },
        async { if objects { Some(run_alone(Download, object.clone(), Input::None).await) } else { None } },
    );
    let said = [("restic-push", Some(push)), ("restic-snapshots", Some(snapshots))];
    let said = said.into_iter().chain([("upload", uploaded), ("download", downloaded)]);
    said.filter_map(|(function, outcome)| Some((function, outcome?.result))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_credentials_are_told_as_such() {
    on_each(async |place| {
        let called = place.server.called();
        for location in place.server.refused(&place.name) {
            for (function, result) in all(&location, place.server.takes_objects()).await {
                let failure = result.expect_err(function);
                assert_eq!(failure.kind, FailureKind::Unauthorized, "{function} on {called}: {failure:?}");
                assert!(failure.help.is_some(), "{function} on {called}: {failure:?}");
                assert!(!format!("{failure:?}").contains("hunter2"), "{failure:?}");
            }
        }
        assert_eq!(place.names().await, [""; 0]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_whose_key_is_not_known_is_refused_with_the_next_step() {
    on_each(async |place| {
        let Some(location) = place.server.stranger(&place.name) else { return };
        for (_, result) in all(&location, place.server.takes_objects()).await {
            refused(&result, FailureKind::Unauthorized, "the host's key is not known");
            refused(&result, FailureKind::Unauthorized, "ssh-keyscan");
        }
        assert_eq!(place.names().await, [""; 0]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_is_not_there_is_told() {
    on_each(async |place| {
        let Some(location) = place.server.missing() else { return };
        for (function, result) in all(&location, place.server.takes_objects()).await {
            let failure = result.expect_err(function);
            assert_eq!(failure.kind, FailureKind::NotFound, "{function} on {}: {failure:?}", place.server.called());
            // To those who only read, some servers do not tell a bucket that is missing from an object that is.
            let told = failure.help.as_ref().is_some_and(|help| help.contains("bucket"));
            let writes = matches!(function, "restic-push" | "upload");
            assert!(told || !writes, "{function} on {}: {failure:?}", place.server.called());
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_is_told() {
    on_each(async |place| {
        let repository = json!({"repository": place.location(), "password": "correct horse"});
        let result = run_alone(ResticSnapshots, repository, Input::None).await.result;
        refused(&result, FailureKind::NotFound, "no restic repository");
        if place.server.takes_objects() {
            let result = place.download("n", json!({})).await.result;
            let failure = result.expect_err("nothing is there");
            assert_eq!(failure.kind, FailureKind::NotFound, "{failure:?}");
        }
        assert_eq!(place.names().await, [""; 0], "reading makes nothing");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_not_there_is_told_soon() {
    on_each(async |place| {
        let Some(port) = place.server.port() else { return };
        // Bound, and not listened on for longer than it takes to know a free port.
        let free = aquifer_tests::stores::free_port();
        let location = place.location().to_string().replace(&format!(":{port}"), &format!(":{free}"));
        let location: Value = serde_json::from_str(&location).expect("JSON");
        let begun = Instant::now();
        for (function, result) in all(&location, place.server.takes_objects()).await {
            let failure = result.expect_err(function);
            assert_eq!(failure.kind, FailureKind::Unavailable, "{function} on {}: {failure:?}", place.server.called());
        }
        assert!(begun.elapsed() < Duration::from_secs(120), "{:?}", begun.elapsed());
    })
    .await;
}
