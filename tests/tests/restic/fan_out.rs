//! One stream into two repositories in one run: what befalls one of them does the other no harm.

use std::sync::Arc;
use std::sync::mpsc::channel;

use aquifer_engine::alone::{Input, run_alone};
use aquifer_engine::catalog::{Catalog, Inputs};
use aquifer_engine::event::Status;
use aquifer_engine::failure::FailureKind;
use aquifer_engine::report::Report;
use aquifer_engine::run::{RunOptions, run};
use aquifer_functions::restic_check::ResticCheck;
use aquifer_functions::restic_pull::ResticPull;
use aquifer_tests::gate::{Direction, gate};
use aquifer_tests::s3_server::S3Server;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value as Json, json};
use tokio::task::JoinHandle;

use crate::rig::{PASSWORD, Repository, noise, pull, until};

/// More than fits between the source and a repository that stands still: the pipes, and the packs on their way.
const LENGTH: usize = 60 << 20;

/// Begins a run that stores a file in two repositories; gives it, and the file's bytes. The `near` one is a folder.
fn store(near: &Repository, far: &Json, order: [&str; 2]) -> (JoinHandle<Report>, Vec<u8>) {
    let bytes = noise(LENGTH, 51);
    let file = near.path().with_file_name("bytes");
    std::fs::write(&file, &bytes).expect("room");
    let place = |name: &str| if name == "near" { json!(near.path()) } else { far.clone() };
    let push = |name: &str| {
        let place = place(name);
        format!(
            "
    - name: {name}
      function: restic-push
      stdin: source
      params: {{repository: {place}, password: '{{{{ params.password }}}}', chunks: repository}}
    - name: after-{name}
      function: restic-snapshots
      needs: [{name}]
      params: {{repository: {place}, password: '{{{{ params.password }}}}'}}"
        )
    };
    let text = format!(
        "apiVersion: aquifer.dev/v1alpha1
kind: Task
metadata: {{name: two}}
spec:
  params: [{{name: password, secret: true, required: true}}]
  steps:
    - {{name: source, function: file-read, params: {{path: {}}}}}{}{}
",
        file.display(),
        push(order[0]),
        push(order[1]),
    );
    let mut catalog = Catalog::new(aquifer_functions::builtins());
    catalog.add_text("two.yaml", &text);
    let inputs = Inputs::default().with_text("password", PASSWORD);
    let plan = catalog.plan("two", &inputs).unwrap_or_else(|problems| panic!("{problems:#?}"));
    (tokio::spawn(run(Arc::new(plan), RunOptions::default())), bytes)
}

/// The server's bucket, by way of another port.
fn by_way_of(server: &S3Server, port: u16) -> Json {
    let mut location = server.location();
    location["s3"]["endpoint"] = json!(format!("http://127.0.0.1:{port}"));
    location["s3"]["prefix"] = json!("far");
    location
}

fn status(report: &Report, step: &str) -> Status {
    report.steps().find(|one| one.step == step).unwrap_or_else(|| panic!("no {step}: {report:#?}")).status
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_stands_still_for_a_while_holds_the_other_up_and_harms_neither() {
    let (near, server) = (Repository::nowhere(), S3Server::start().await);
    let (reached, has_reached) = channel();
    let (go, may_go) = channel::<()>();
    let port = gate(server.port(), Direction::ToServer, 2 << 20, move || {
        reached.send(()).expect("the test listens");
        may_go.recv().expect("the test says so");
    });
    let far = by_way_of(&server, port);
    let (running, bytes) = store(&near, &far, ["near", "far"]);
    let near = tokio::task::spawn_blocking(move || {
        has_reached.recv().expect("it comes so far");
        // The other one goes on for as much as there is room for, and is no backup meanwhile.
        until("the near one stores a pack", || !near.files("data").is_empty());
        assert_eq!(near.files("snapshots").len(), 0);
        go.send(()).expect("it waits");
        near
    })
    .await
    .expect("no panic");
    let report = running.await.expect("ran");
    assert_eq!(report.status, Status::Succeeded, "{report:#?}");
    assert!(pull(&near, json!({})).await.stdout == bytes);
    near.assert_sound();
    let params = json!({"repository": far, "password": PASSWORD});
    assert!(run_alone(ResticPull, params.clone(), Input::None).await.stdout == bytes);
    let checked = run_alone(ResticCheck, params, Input::None).await.result.expect("sound");
    assert_eq!(checked["snapshots"], json!(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_fails_in_the_middle_does_not_end_the_other() {
    for order in [["near", "far"], ["far", "near"]] {
        let (near, server) = (Repository::nowhere(), S3Server::start().await);
        let process = Pid::from_raw(server.pid().cast_signed());
        let port = gate(server.port(), Direction::ToServer, 20 << 20, move || {
            kill(process, Signal::SIGKILL).expect("a process of ours");
        });
        let (running, bytes) = store(&near, &by_way_of(&server, port), order);
        let report = running.await.expect("ran");
        assert_eq!(report.status, Status::Failed);
        let first = report.first_failure.as_ref().expect("one");
        assert!(first.step == "far" && first.failure.kind == FailureKind::Unavailable, "{first:?}");
        let after = ["near", "far", "after-near", "after-far"].map(|step| status(&report, step));
        assert_eq!(after, [Status::Succeeded, Status::Failed, Status::Succeeded, Status::Skipped], "{report:#?}");
        let outcome = pull(&near, json!({})).await;
        assert!(outcome.result.is_ok() && outcome.stdout == bytes);
        assert_eq!(near.snapshots().len(), 1);
        near.assert_sound();
    }
}
