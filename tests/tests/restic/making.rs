//! Making a repository: several at once, one that was broken off, and places that only look like one.

use std::time::{Duration, SystemTime};

use aquifer_engine::alone::{Input, run_alone};
use aquifer_engine::failure::FailureKind;
use aquifer_functions::restic_push::ResticPush;
use serde_json::json;

use crate::rig::{Repository, noise, pieces, pull, push};

#[tokio::test(flavor = "multi_thread")]
async fn first_backups_at_once_make_one_repository() {
    for round in 0..2 {
        let repository = Repository::nowhere();
        let all = [("a", 50), ("b", 60), ("c", 70), ("d", 80)].map(|(host, seed)| (host, noise(1 << 20, seed + round)));
        let push = |bytes: &[u8], host: &str| {
            let params = repository.params(json!({"host": host}));
            run_alone(ResticPush, params, Input::Finished(pieces(bytes)))
        };
        let pushed = all.iter().map(|(host, bytes)| push(bytes, host));
        let outcomes = futures::future::join_all(pushed).await;
        for (outcome, (host, bytes)) in outcomes.into_iter().zip(&all) {
            outcome.result.unwrap_or_else(|failure| panic!("{host}: {failure:?}"));
            let back = pull(&repository, json!({"filter": {"host": host}})).await;
            assert!(back.result.is_ok() && back.stdout == *bytes, "{host}: {:?}", back.result);
        }
        assert_eq!(repository.snapshots().len(), 4);
        assert_eq!(repository.files("keys").len(), 1, "a key that opens nothing is left");
        repository.assert_sound();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_program_left_half_made_is_cleared_away() {
    let repository = Repository::nowhere();
    push(&repository, b"a", json!({})).await.expect("stored");
    // As after a kill between the key and the config.
    for folder in ["snapshots", "index", "data"] {
        std::fs::remove_dir_all(repository.path().join(folder)).expect("removed");
    }
    std::fs::remove_file(repository.path().join("config")).expect("removed");
    // Somebody may be at it, so it waits.
    let waits = tokio::time::timeout(Duration::from_millis(1200), push(&repository, b"b", json!({}))).await;
    assert!(waits.is_err() && repository.files("keys").len() == 1, "{waits:?}");
    for key in repository.files("keys") {
        let key = std::fs::File::options().append(true).open(key).expect("opened");
        key.set_modified(SystemTime::now() - Duration::from_secs(600)).expect("set");
    }
    push(&repository, b"b", json!({})).await.expect("stored");
    assert_eq!(repository.files("keys").len(), 1);
    assert_eq!(pull(&repository, json!({})).await.stdout, b"b");
    repository.assert_sound();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_is_dropped_leaves_no_lock_and_no_snapshot() {
    let repository = Repository::made_by_restic(2);
    let params = repository.params(json!({}));
    // A stream that never ends, since nobody says so.
    let endless = Input::Broken(pieces(&noise(64 << 20, 71)), aquifer_engine::failure::Failure::internal("never"));
    let step = tokio::spawn(run_alone(ResticPush, params, endless));
    crate::rig::until("it takes its lock", || !repository.locks().is_empty());
    step.abort();
    _ = step.await;
    crate::rig::until("its lock goes", || repository.locks().is_empty());
    assert_eq!(repository.snapshots().len(), 0);
    repository.assert_sound();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_file_is_read_as_restic_reads_it() {
    let repository = Repository::nowhere();
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), format!("  {} \n\n", crate::rig::PASSWORD)).expect("written");
    let params = json!({"repository": repository.path(), "passwordFile": file.path()});
    let outcome = run_alone(ResticPush, params, Input::bytes("a")).await;
    outcome.result.expect("stored");
    assert_eq!(repository.snapshots().len(), 1, "restic opens it with the bare password");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_told_by_the_place_that_it_does_not_open() {
    let repository = Repository::nowhere();
    push(&repository, b"a", json!({})).await.expect("stored");
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), "another one").expect("written");
    let place = repository.path().display().to_string();
    for params in [
        json!({"repository": repository.path(), "password": "another one"}),
        json!({"repository": repository.path(), "passwordFile": file.path()}),
    ] {
        let failure = run_alone(ResticPush, params, Input::bytes("b")).await.result.expect_err("a wrong password");
        assert_eq!(failure.kind, FailureKind::Unauthorized, "{failure:?}");
        assert!(failure.message.contains(&place) && failure.help.is_some(), "{failure:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_where_no_repository_can_be_made_is_said_to_be_none() {
    let params = json!({"repository": "/proc/x", "password": crate::rig::PASSWORD});
    let failure = run_alone(ResticPush, params, Input::bytes("a")).await.result.expect_err("nobody can");
    assert!(failure.message.contains("no repository can be made at `/proc/x`"), "{failure:?}");
    assert!(!failure.kind.is_retryable() && !failure.help.unwrap_or_default().contains("init: true"));
}
