//! `file-read` and `file-write`: whole or not at all, and nothing left behind.

use std::os::unix::fs::PermissionsExt;

use aquifer_engine::alone::{Input, run_alone};
use aquifer_engine::failure::{Failure, FailureKind};
use aquifer_engine::pipe::{DEFAULT_BUDGET, pipe};
use aquifer_engine::ports::OpenEnds;
use aquifer_engine::registry::Registry;
use aquifer_engine::stream::StreamType;
use aquifer_functions::file_read::FileRead;
use aquifer_functions::file_write::FileWrite;
use bytes::Bytes;
use nix::sys::stat::Mode;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::rig::{begun, call, failure, names, pieces, sample, stalled, tool, wait_for};

#[tokio::test]
async fn a_file_is_written_whole_and_read_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("dump");
    let plain = sample(3_000_001);
    let outcome = run_alone(FileWrite, json!({"path": path, "mode": "0640"}), pieces(&plain)).await;
    let sum = tool(&["sha256sum"], &plain);
    let sum = String::from_utf8_lossy(&sum[..64]).into_owned();
    assert_eq!(outcome.result.expect("written"), json!({"path": path, "bytes": plain.len(), "sha256": sum}));
    assert_eq!(path.metadata().expect("there").permissions().mode() & 0o7777, 0o640);
    assert_eq!(names(folder.path()), ["dump"]);
    let outcome = run_alone(FileRead, json!({"path": path, "type": "text/csv+zstd"}), Input::None).await;
    assert_eq!(outcome.result.expect("read")["bytes"], plain.len());
    assert_eq!(outcome.stream.to_string(), "text/csv+zstd");
    assert!(outcome.stdout == plain);
}

#[tokio::test]
async fn a_file_is_private_unless_said_otherwise() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("dump");
    run_alone(FileWrite, json!({"path": path}), Input::bytes("x")).await.result.expect("written");
    assert_eq!(path.metadata().expect("there").permissions().mode() & 0o7777, 0o600);
}

#[tokio::test]
async fn an_existing_file_stays_unless_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("dump");
    std::fs::write(&path, "old").expect("written");
    let outcome = run_alone(FileWrite, json!({"path": path}), Input::bytes("new")).await;
    assert!(failure(&outcome, FailureKind::Rejected).help.as_ref().is_some_and(|help| help.contains("overwrite")));
    assert_eq!(std::fs::read_to_string(&path).expect("there"), "old");
    let params = json!({"path": path, "overwrite": true});
    run_alone(FileWrite, params.clone(), Input::bytes("new")).await.result.expect("replaced");
    assert_eq!(std::fs::read_to_string(&path).expect("there"), "new");
    let broken = Input::Broken(vec![Bytes::from_static(b"newer")], Failure::unavailable("lost"));
    failure(&run_alone(FileWrite, params, broken).await, FailureKind::Unavailable);
    assert_eq!(std::fs::read_to_string(&path).expect("there"), "new");
    assert_eq!(names(folder.path()), ["dump"]);
}

#[tokio::test]
async fn a_broken_or_stopped_stream_leaves_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("dump");
    let broken = Input::Broken(vec![Bytes::from(sample(2_000_000))], Failure::corrupt("half of it"));
    let outcome = run_alone(FileWrite, json!({"path": path}), broken).await;
    failure(&outcome, FailureKind::Corrupt);
    assert!(names(folder.path()).is_empty());

    // The stream stays open, the temporary file is seen, and then the step is stopped.
    let begun = async || {
        wait_for("the temporary file", || names(folder.path()).iter().any(|name| name.ends_with(".part"))).await
    };
    let stopped = stalled(FileWrite, json!({"path": path}), sample(2_000_000), begun).await;
    assert_eq!(stopped.expect_err("stopped").kind, FailureKind::Cancelled);
    assert!(names(folder.path()).is_empty());
}

#[tokio::test]
async fn a_file_that_appears_at_the_last_moment_stays() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("dump");
    let registry = Registry::new().with(FileWrite);
    let prepared = registry.get("file-write").expect("registered").prepare(json!({"path": path})).expect("sound");
    let (mut writer, mut ends) = pipe(1, DEFAULT_BUDGET, &StreamType::unknown(), None);
    let (reader, control) = ends.remove(0);
    let ends = OpenEnds { stdin: Some(reader), stdout: None };
    let running = tokio::spawn(prepared.run(ends, call(begun(), CancellationToken::new())));
    writer.write(Bytes::from_static(b"ours")).await.expect("room");
    wait_for("the temporary file", || !names(folder.path()).is_empty()).await;
    std::fs::write(&path, "theirs").expect("written");
    control.finish();
    let failed = running.await.expect("no panic").expect_err("refused");
    assert_eq!(failed.kind, FailureKind::Rejected);
    assert_eq!(std::fs::read_to_string(&path).expect("there"), "theirs");
    assert_eq!(names(folder.path()), ["dump"]);
}

#[tokio::test]
async fn what_is_no_regular_file_is_refused_both_ways() {
    let folder = tempfile::tempdir().expect("a folder");
    let fifo = folder.path().join("fifo");
    nix::unistd::mkfifo(&fifo, Mode::S_IRWXU).expect("made");
    let link = folder.path().join("link");
    std::os::unix::fs::symlink("/dev/null", &link).expect("made");
    let before = names(folder.path());
    for path in [&fifo, &link, &"/dev/null".into(), &folder.path().to_path_buf()] {
        let params = json!({"path": path, "overwrite": true});
        failure(&run_alone(FileWrite, params, Input::bytes("x")).await, FailureKind::Rejected);
        failure(&run_alone(FileRead, json!({"path": path}), Input::None).await, FailureKind::Rejected);
    }
    assert_eq!(names(folder.path()), before);
    let missing = folder.path().join("no/such");
    failure(&run_alone(FileRead, json!({"path": missing}), Input::None).await, FailureKind::NotFound);
    failure(&run_alone(FileWrite, json!({"path": missing}), Input::bytes("x")).await, FailureKind::NotFound);
}

#[test]
fn wrong_params_are_refused_at_their_place() {
    let registry = Registry::new().with(FileRead).with(FileWrite);
    for (function, params, path) in [
        ("file-read", json!({"path": ""}), "path"),
        ("file-read", json!({"path": "x", "type": "csv"}), "type"),
        ("file-write", json!({"path": "/"}), "path"),
        ("file-write", json!({"path": "x", "mode": "rw"}), "mode"),
        ("file-write", json!({"path": "x", "mode": "+644"}), "mode"),
        ("file-write", json!({"path": "x", "mode": 640}), "mode"),
    ] {
        let error = registry.get(function).expect("registered").prepare(params.clone()).expect_err("refused");
        assert_eq!(error.path, path, "{params}: {error}");
    }
}
