//! The engine's promises on a real repository: no part of a stream ever looks like a backup.

use std::process::Command;
use std::sync::Arc;

use aquifer_engine::alone::{Input, run_alone, run_alone_until};
use aquifer_engine::catalog::{Catalog, Inputs};
use aquifer_engine::event::Status;
use aquifer_engine::failure::{Failure, FailureKind};
use aquifer_engine::report::Report;
use aquifer_engine::run::{RunOptions, run};
use aquifer_functions::restic_push::ResticPush;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::rig::{PASSWORD, Repository, noise, pieces, pull, push, until, words};

/// A task that stores what a command writes.
async fn store_output_of(repository: &Repository, command: &str, retry: &str) -> Report {
    let mut catalog = Catalog::new(aquifer_functions::builtins());
    let text = format!(
        "apiVersion: aquifer.dev/v1alpha1
kind: Function
metadata: {{name: command}}
spec:
  stdout: application/octet-stream
  exec: {{command: [sh, -c, {command:?}]}}
---
apiVersion: aquifer.dev/v1alpha1
kind: Task
metadata: {{name: store}}
spec:
  params: [{{name: repository, required: true}}, {{name: password, secret: true, required: true}}]
  steps:
    - {{name: source, function: command}}
    - name: push
      function: restic-push
      stdin: source
      params: {{repository: '{{{{ params.repository }}}}', password: '{{{{ params.password }}}}'}}{retry}
"
    );
    catalog.add_text("store.yaml", &text);
    let inputs = Inputs::default()
        .with_text("repository", repository.path().display().to_string())
        .with_text("password", PASSWORD);
    let plan = catalog.plan("store", &inputs).unwrap_or_else(|problems| panic!("{problems:#?}"));
    run(Arc::new(plan), RunOptions::default()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_fails_after_fifty_megabytes_leaves_no_snapshot() {
    let repository = Repository::made_by_restic(2);
    let report = store_output_of(&repository, "head -c 50000000 /dev/urandom; exit 3", "").await;
    assert_eq!(report.status, Status::Failed);
    assert_eq!(report.first_failure.as_ref().map(|first| first.step.as_str()), Some("source"));
    assert_eq!(repository.snapshots().len(), 0);
    repository.assert_sound();
}

#[tokio::test(flavor = "multi_thread")]
async fn another_attempt_is_whole_and_need_not_store_again_what_is_there() {
    let repository = Repository::made_by_restic(2);
    let folder = tempfile::tempdir().expect("a folder");
    let (data, flag) = (folder.path().join("data"), folder.path().join("flag"));
    std::fs::write(&data, noise(48 << 20, 5)).expect("written");
    // The first attempt breaks off at its end, the second does not.
    let command = format!(
        "cat {}; if [ -e {flag} ]; then exit 0; fi; touch {flag}; exit 1",
        data.display(),
        flag = flag.display()
    );
    let report = store_output_of(&repository, &command, "\n      retry: {attempts: 2, backoff: 1ms}").await;
    assert_eq!(report.status, Status::Succeeded, "{report:#?}");
    assert_eq!(report.pipelines[0].attempts, 2);
    let outputs = &report.steps().find(|step| step.step == "push").expect("the step").outputs;
    assert!(outputs["newBytes"].as_u64().expect("a number") < 24 << 20, "{outputs}");
    assert_eq!(repository.snapshots().len(), 1);
    let outcome = pull(&repository, json!({})).await;
    assert!(outcome.result.is_ok() && outcome.stdout == noise(48 << 20, 5));
    repository.assert_sound();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_or_cancelled_stream_leaves_no_snapshot() {
    let repository = Arc::new(Repository::made_by_restic(2));
    let failure = Failure::unavailable("the server went away");
    let broken = Input::Broken(pieces(&noise(20 << 20, 6)), failure.clone());
    let outcome = run_alone(ResticPush, repository.params(json!({})), broken).await;
    assert_eq!(outcome.result.expect_err("broken").message, failure.message);

    // Cancelled with data under way: there is a pack more than the broken stream has left, so it is in the middle.
    let cancel = CancellationToken::new();
    let stop = cancel.clone();
    let packs = repository.files("data").len();
    let watched = repository.clone();
    let watcher = tokio::task::spawn_blocking(move || {
        until("another pack is stored", || watched.files("data").len() > packs);
        stop.cancel();
    });
    let endless = Input::Broken(pieces(&noise(200 << 20, 7)), failure);
    let outcome = run_alone_until(ResticPush, repository.params(json!({})), endless, cancel).await;
    watcher.await.expect("watched");
    assert_eq!(outcome.result.expect_err("cancelled").kind, FailureKind::Cancelled);
    let more = repository.files("data").len() - packs;
    assert!((1..=8).contains(&more), "{more} packs more: not the middle of a stream of thirteen");
    assert_eq!(repository.snapshots().len(), 0);
    repository.assert_sound();
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_made_before_the_first_byte() {
    let repository = Repository::nowhere();
    let report = store_output_of(&repository, "exit 1", "").await;
    assert_eq!(report.first_failure.map(|first| first.step).as_deref(), Some("source"));
    assert!(!repository.path().exists());
    let empty = push(&repository, b"", json!({})).await.expect_err("empty");
    assert!(empty.message.contains("empty") && empty.help.is_some(), "{empty:?}");
    assert!(!repository.path().exists());
    let outputs = push(&repository, b"", json!({"allowEmpty": true})).await.expect("stored");
    assert_eq!((&outputs["bytes"], &outputs["created"]), (&json!(0), &json!(true)));
    let outcome = pull(&repository, json!({})).await;
    assert_eq!(outcome.result.expect("read")["bytes"], json!(0));
    repository.assert_sound();
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_places_and_passwords_are_told_apart() {
    let repository = Repository::nowhere();
    let missing = push(&repository, b"a", json!({"init": false})).await.expect_err("no repository");
    assert_eq!(missing.kind, FailureKind::NotFound);
    assert_eq!(pull(&repository, json!({})).await.result.expect_err("none").kind, FailureKind::NotFound);
    assert!(!repository.path().exists(), "a mistyped path leaves nothing behind");

    push(&repository, b"a", json!({})).await.expect("stored");
    let wrong = push(&repository, b"a", json!({"password": "wrong"})).await.expect_err("wrong");
    assert_eq!(wrong.kind, FailureKind::Unauthorized);
    assert!(wrong.message.contains("password") && !format!("{wrong:?}").contains("`wrong`"), "{wrong:?}");

    // A repository that lost its config is not taken for an empty place.
    std::fs::remove_file(repository.path().join("config")).expect("removed");
    let lost = push(&repository, b"a", json!({})).await.expect_err("lost");
    assert_eq!(lost.kind, FailureKind::Corrupt);
    assert!(lost.message.contains("no `config`"), "{lost:?}");
    assert_eq!(repository.files("snapshots").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_refuses_stops_the_reading_at_once() {
    let repository = Repository::made_by_restic(2);
    // Where the packs should go is a file, so that no pack can be written.
    std::fs::remove_dir_all(repository.path().join("data")).expect("removed");
    std::fs::write(repository.path().join("data"), b"").expect("written");
    let report = store_output_of(&repository, "cat /dev/urandom", "").await;
    let first = report.first_failure.as_ref().expect("failed");
    assert_eq!(first.step, "push", "{report:#?}");
    let read = report.steps().find(|step| step.step == "push").expect("the step").bytes_in;
    assert!(read < 200 << 20, "{read} bytes were read after the store had failed");
    assert_eq!(repository.files("snapshots").len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_cannot_be_written_whole_is_an_error_and_leaves_no_part() {
    let repository = Repository::made_by_restic(2);
    let folder = tempfile::tempdir().expect("a folder");
    let task = folder.path().join("task.yaml");
    std::fs::write(folder.path().join("data"), noise(40 << 20, 8)).expect("written");
    std::fs::write(
        &task,
        format!(
            "apiVersion: aquifer.dev/v1alpha1
kind: Task
metadata: {{name: store}}
spec:
  params: [{{name: password, secret: true}}]
  steps:
    - {{name: source, function: file-read, params: {{path: {}/data}}}}
    - {{name: push, function: restic-push, stdin: source, params: {{repository: {}, password: '{{{{ params.password }}}}'}}}}
",
            folder.path().display(),
            repository.path().display()
        ),
    )
    .expect("written");
    // No file may have more than 8 MiB: a full disk without being root.
    let script = "trap '' XFSZ; ulimit -f 16384; exec \"$0\" run \"$1\" --set-env password=PASSWORD --progress plain";
    let output = Command::new("sh")
        .args(["-c", script])
        .arg(aquifer())
        .arg(&task)
        .env("PASSWORD", PASSWORD)
        .output()
        .expect("sh");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains("push") && told.contains("too large") && !told.contains(PASSWORD), "{told}");
    assert_eq!(repository.snapshots().len(), 0);
    repository.assert_sound();
}

/// A program that does not outlive its test.
struct Running(std::process::Child);

impl Drop for Running {
    fn drop(&mut self) {
        _ = self.0.kill().and_then(|()| self.0.wait());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pack_has_no_name_before_it_is_whole_and_what_a_kill_leaves_of_it_goes() {
    let repository = Repository::made_by_restic(2);
    let folder = tempfile::tempdir().expect("a folder");
    let task = folder.path().join("task.yaml");
    std::fs::write(
        &task,
        format!(
            "apiVersion: aquifer.dev/v1alpha1
kind: Task
metadata: {{name: store}}
spec:
  params: [{{name: password, secret: true}}]
  steps:
    - {{name: source, function: exec, params: {{command: [sh, -c, 'head -c 12000000 /dev/urandom; while kill -0 $PPID; do sleep 1; done']}}}}
    - {{name: push, function: restic-push, stdin: source, params: {{repository: {}, password: '{{{{ params.password }}}}'}}}}
",
            repository.path().display()
        ),
    )
    .expect("written");
    let mut command = Command::new(aquifer());
    command.arg("run").arg(&task).args(["--set-env", "password=PASSWORD", "--progress", "none"]);
    let mut running = Running(command.env("PASSWORD", PASSWORD).spawn().expect("started"));
    let parts = || repository.files(".aquifer-parts");
    let long = |path: &std::path::PathBuf| path.metadata().is_ok_and(|about| about.len() > 4 << 20);
    until("half a pack is written", || parts().iter().any(long));
    assert_eq!(repository.files("data"), Vec::<std::path::PathBuf>::new(), "half a pack has a name");
    running.0.kill().and_then(|()| running.0.wait()).expect("killed");
    assert_eq!(repository.files("data"), Vec::<std::path::PathBuf>::new());
    repository.restic(&["unlock", "--remove-all"]);

    // Another run leaves alone what may still be written, and takes away what is a day old.
    push(&repository, b"another", json!({})).await.expect("stored");
    let left = parts();
    assert_eq!(left.len(), 1, "{left:?}");
    let old = std::time::SystemTime::now() - std::time::Duration::from_secs(25 * 60 * 60);
    std::fs::File::options().write(true).open(&left[0]).and_then(|file| file.set_modified(old)).expect("set");
    push(&repository, b"a third", json!({})).await.expect("stored");
    assert_eq!(repository.snapshots().len(), 2);
    repository.assert_sound();
}

/// The command, which cargo builds beside these tests.
fn aquifer() -> std::path::PathBuf {
    let tests = std::env::current_exe().expect("a path");
    let target = tests.ancestors().nth(2).expect("target/debug/deps/test");
    let command = target.join("aquifer");
    assert!(command.is_file(), "`{}` is missing: run the tests of the whole workspace", command.display());
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn one_dump_into_two_repositories_and_one_that_fails() {
    let good = Repository::nowhere();
    let bad = Repository::made_by_restic(2);
    let mut catalog = Catalog::new(aquifer_functions::builtins());
    let text = format!(
        "apiVersion: aquifer.dev/v1alpha1
kind: Task
metadata: {{name: both}}
spec:
  params: [{{name: password, secret: true, required: true}}]
  steps:
    - {{name: source, function: exec, params: {{command: [head, -c, '30000000', /dev/urandom]}}}}
    - {{name: good, function: restic-push, stdin: source, params: {{repository: {}, password: '{{{{ params.password }}}}'}}}}
    - {{name: bad, function: restic-push, stdin: source, params: {{repository: {}, password: wrong}}}}
",
        good.path().display(),
        bad.path().display()
    );
    catalog.add_text("both.yaml", &text);
    let plan = catalog.plan("both", &Inputs::default().with_text("password", PASSWORD));
    let report = run(Arc::new(plan.unwrap_or_else(|problems| panic!("{problems:#?}"))), RunOptions::default()).await;
    assert_eq!(report.status, Status::Failed);
    assert_eq!(report.first_failure.map(|first| first.step).as_deref(), Some("bad"));
    assert_eq!(good.snapshots().len(), 1, "the other branch went on to its end");
    assert_eq!(bad.snapshots().len(), 0);
    good.assert_sound();
}

#[tokio::test(flavor = "multi_thread")]
async fn unchanged_data_adds_next_to_nothing() {
    let repository = Repository::nowhere();
    let bytes = words(24 << 20);
    push(&repository, &bytes, json!({})).await.expect("stored");
    let outputs = push(&repository, &bytes, json!({})).await.expect("stored");
    assert_eq!(outputs["newBytes"], json!(0));
    assert!(outputs["storedBytes"].as_u64().expect("a number") < 4096, "{outputs}");
    repository.assert_sound();
}
