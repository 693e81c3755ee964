//! The shipped tasks against the real functions, and each of them on the real thing.

mod howto;
mod postgres;
mod redis;
mod repository;

use aquifer_engine::catalog::{Catalog, Inputs};
use aquifer_engine::event::Status;
use aquifer_engine::report::Report;
use aquifer_engine::run::{RunOptions, run};

pub(crate) fn catalog() -> Catalog {
    let mut catalog = Catalog::new(aquifer_functions::builtins());
    for (name, text) in aquifer_functions::shipped() {
        catalog.add_builtin(name, text);
    }
    catalog
}

#[test]
fn shipped_documents_have_no_problems() {
    let catalog = catalog();
    let problems = catalog.builtin_problems();
    assert!(problems.is_empty(), "{problems:#?}");
    // postgres.yaml holds two, and repository.yaml eight.
    assert_eq!(catalog.tasks().len(), aquifer_functions::shipped().len() + 8);
}

pub(crate) async fn played(catalog: &Catalog, task: &str, inputs: &Inputs) -> Report {
    let plan = catalog.plan(task, inputs).unwrap_or_else(|problems| panic!("{problems:#?}"));
    run(plan, RunOptions::default()).await
}

/// Promise 1 on a real folder: a source that fails after 50 MB leaves no file, whatever stands between.
#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_fails_after_fifty_megabytes_leaves_no_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut catalog = catalog();
    catalog.add_text(
        "broken.yaml",
        "apiVersion: aquifer.dev/v1alpha1
kind: Function
metadata: {name: half}
spec:
  stdout: application/octet-stream
  exec: {command: [sh, -c, 'head -c 50000000 /dev/urandom; exit 3']}
---
apiVersion: aquifer.dev/v1alpha1
kind: Task
metadata: {name: broken}
spec:
  params: [{name: path, required: true}]
  steps:
    - {name: half, function: half}
    - {name: zip, function: compress, stdin: half}
    - {name: file, function: file-write, stdin: zip, params: {path: \"{{ params.path }}\"}}
",
    );
    let path = folder.path().join("out").display().to_string();
    let report = played(&catalog, "broken", &Inputs::default().with_text("path", path)).await;
    assert_eq!(report.status, Status::Failed);
    assert_eq!(report.first_failure.map(|first| first.step).as_deref(), Some("half"));
    assert_eq!(report.pipelines[0].steps[0].bytes_out, 50_000_000);
    assert_eq!(std::fs::read_dir(folder.path()).expect("readable").count(), 0, "nothing is left in the folder");
}
