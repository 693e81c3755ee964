//! The stored type, and the shipped tasks on objects, in real runs.

use std::process::Command;
use std::sync::Arc;

use aquifer_engine::catalog::{Catalog, Inputs};
use aquifer_engine::event::Status;
use aquifer_engine::failure::FailureKind;
use aquifer_engine::report::Report;
use aquifer_engine::run::{RunOptions, run};
use aquifer_tests::redis_server::RedisServer;
use aquifer_tests::s3_server::{BUCKET, S3Server};

fn catalog() -> Catalog {
    let mut catalog = Catalog::new(aquifer_functions::builtins());
    for (name, text) in aquifer_functions::shipped() {
        catalog.add_builtin(name, text);
    }
    catalog
}

async fn played(catalog: &Catalog, task: &str, inputs: &[(&str, &str)]) -> Report {
    let inputs = inputs.iter().fold(Inputs::default(), |inputs, (name, text)| inputs.with_text(*name, *text));
    let plan = catalog.plan(task, &inputs).unwrap_or_else(|problems| panic!("{problems:#?}"));
    run(Arc::new(plan), RunOptions::default()).await
}

/// What a copy is, is known only when the run has opened the original; the copy says the same all the way down.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_of_an_object_keeps_its_type() {
    let folder = tempfile::tempdir().expect("a folder");
    let location = folder.path().display().to_string();
    let mut catalog = catalog();
    catalog.add_text("t.yaml", TASKS);
    for task in ["store", "copy"] {
        let report = played(&catalog, task, &[("location", &location)]).await;
        assert_eq!(report.status, Status::Succeeded, "{:?}", report.first_failure);
    }
    for (name, stream) in [
        ("n", "application/vnd.redis.resp+zstd"),
        ("same", "application/vnd.redis.resp+zstd"),
        ("more", "application/vnd.redis.resp+zstd+gzip"),
    ] {
        let manifest = std::fs::read(folder.path().join(format!("{name}.manifest.json"))).expect("there");
        let manifest: serde_json::Value = serde_json::from_slice(&manifest).expect("JSON");
        assert_eq!(manifest["type"], stream, "{name}");
    }
}

const TASKS: &str = "apiVersion: aquifer.dev/v1alpha1
kind: Function
metadata: {name: zipped}
spec:
  stdout: application/vnd.redis.resp+zstd
  exec: {command: [sh, -c, 'printf hello']}
---
apiVersion: aquifer.dev/v1alpha1
kind: Task
metadata: {name: store}
spec:
  params: [{name: location}]
  steps:
    - {name: zipped, function: zipped}
    - {name: up, function: upload, stdin: zipped, params: {location: '{{ params.location }}', name: n}}
---
apiVersion: aquifer.dev/v1alpha1
kind: Task
metadata: {name: copy}
spec:
  params: [{name: location}]
  steps:
    - {name: down, function: download, params: {location: '{{ params.location }}', name: n}}
    - {name: sum, function: checksum, stdin: down}
    - {name: same, function: upload, stdin: sum, params: {location: '{{ params.location }}', name: same}}
    - {name: zip, function: compress, stdin: sum, params: {format: gzip}}
    - {name: more, function: upload, stdin: zip, params: {location: '{{ params.location }}', name: more}}
---
apiVersion: aquifer.dev/v1alpha1
kind: Task
metadata: {name: clash}
spec:
  params: [{name: location}, {name: redis}]
  steps:
    - {name: down, function: download, params: {location: '{{ params.location }}', name: n}}
    - {name: restore, function: redis-restore, stdin: down, params: {url: '{{ params.redis }}', onConflict: replace}}
";

#[tokio::test(flavor = "multi_thread")]
async fn a_stored_type_that_does_not_fit_is_found_before_the_first_byte() {
    let folder = tempfile::tempdir().expect("a folder");
    let location = folder.path().display().to_string();
    let redis = RedisServer::start();
    let mut catalog = catalog();
    catalog.add_text("t.yaml", TASKS);
    let stored = played(&catalog, "store", &[("location", &location)]).await;
    assert_eq!(stored.status, Status::Succeeded, "{:?}", stored.first_failure);
    let report = played(&catalog, "clash", &[("location", &location), ("redis", &redis.url())]).await;
    let first = report.first_failure.expect("a failure");
    assert_eq!((first.step.as_str(), first.failure.kind), ("down", FailureKind::Config));
    assert!(first.failure.help.is_some_and(|help| help.contains("decompress")));
    assert_eq!(report.pipelines[0].steps[0].bytes_out, 0, "before the first byte");
}

/// Backs up, restores into another server, and compares by digest.
async fn there_and_back(location: &str) {
    let keys = tempfile::tempdir().expect("a folder");
    let identity = keys.path().join("key").display().to_string();
    let made = Command::new("age-keygen").args(["-o", &identity]).output().expect("age-keygen must be installed");
    let said = String::from_utf8_lossy(&made.stderr).into_owned();
    let recipient = said.rsplit(' ').next().expect("a key").trim().to_owned();
    let recipients = format!("[\"{recipient}\"]");

    let (from, to) = (RedisServer::start(), RedisServer::start());
    from.cli(&["DEBUG", "POPULATE", "20000", "key", "300"]);
    let catalog = catalog();
    let digest = async |server: &RedisServer| {
        let report = played(&catalog, "redis-digest", &[("redis", &server.url())]).await;
        assert_eq!(report.status, Status::Succeeded, "{:?}", report.first_failure);
        report.pipelines[0].steps[0].outputs.clone()
    };
    let mut inputs = vec![("redis", from.url()), ("location", location.to_owned()), ("name", "redis/dump".to_owned())];
    inputs.push(("recipients", recipients));
    let borrowed: Vec<(&str, &str)> = inputs.iter().map(|(name, text)| (*name, text.as_str())).collect();
    let backup = played(&catalog, "redis-backup-object", &borrowed).await;
    assert_eq!(backup.status, Status::Succeeded, "{:?}", backup.first_failure);
    let again = played(&catalog, "redis-backup-object", &borrowed).await;
    assert_eq!(again.first_failure.expect("refused").failure.kind, FailureKind::Rejected);

    let url = to.url();
    let restore = [("redis", url.as_str()), ("location", location), ("name", "redis/dump")];
    let sealed = played(&catalog, "redis-restore-object", &restore).await;
    let first = sealed.first_failure.expect("it is encrypted");
    assert!(first.failure.help.is_some_and(|help| help.contains("decrypt")), "the missing step is named");
    let opened: Vec<_> = restore.into_iter().chain([("identityFile", identity.as_str())]).collect();
    let report = played(&catalog, "redis-restore-object", &opened).await;
    assert_eq!(report.status, Status::Succeeded, "{:?}", report.first_failure);
    assert_eq!(digest(&from).await, digest(&to).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_shipped_tasks_go_through_a_folder() {
    let folder = tempfile::tempdir().expect("a folder");
    there_and_back(&folder.path().display().to_string()).await;
}

/// The short form of a bucket takes its keys from the environment, which a test cannot change for itself: it runs itself anew.
#[tokio::test(flavor = "multi_thread")]
async fn the_shipped_tasks_go_through_a_bucket_with_keys_of_the_environment() {
    const PLACE: &str = "AQUIFER_TEST_LOCATION";
    #[expect(clippy::disallowed_methods, reason = "it is the child's only way to know that it is one")]
    if let Ok(location) = std::env::var(PLACE) {
        return there_and_back(&location).await;
    }
    let server = S3Server::start().await;
    let done = Command::new(std::env::current_exe().expect("a test is a program"))
        .args(["--exact", "tasks::the_shipped_tasks_go_through_a_bucket_with_keys_of_the_environment"])
        .env(PLACE, format!("s3:{}/{BUCKET}/pre", server.endpoint()))
        .envs([("AWS_ACCESS_KEY_ID", "id"), ("AWS_SECRET_ACCESS_KEY", "hunter2-secret-key")])
        .output()
        .expect("it starts");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stdout));
    assert_eq!(server.names().await, ["pre/redis/dump", "pre/redis/dump.manifest.json"]);
}
