//! What we write, restic reads, and the other way round.

use std::path::Path;

use serde_json::json;

use crate::rig::{Repository, noise, pull, push, words};

#[tokio::test(flavor = "multi_thread")]
async fn what_we_write_restic_reads() {
    let repository = Repository::nowhere();
    let streams = [("a.bin", noise(40 << 20, 1)), ("b.txt", words(30 << 20)), ("c", b"short".to_vec())];
    for (name, bytes) in &streams {
        let outputs = push(
            &repository,
            bytes,
            json!({"filename": name, "host": "db-1", "tags": ["nightly", "redis"], "lockTimeout": "5s"}),
        )
        .await
        .expect("stored");
        assert_eq!(outputs["bytes"], json!(bytes.len()));
        let snapshots = repository.snapshots();
        let snapshot = snapshots.iter().find(|one| one["id"] == outputs["snapshot"]).expect("restic sees it");
        assert_eq!(snapshot["hostname"], json!("db-1"));
        assert_eq!(snapshot["tags"], json!(["nightly", "redis"]));
        assert_eq!(snapshot["paths"], json!([format!("/{name}")]));
        let id = outputs["snapshot"].as_str().expect("an id");
        assert!(repository.restic(&["dump", id, name]) == *bytes, "dump gives the same bytes");
        // `restore` goes by the size in the tree, where `dump` does not.
        let target = tempfile::tempdir().expect("a folder");
        repository.restic(&["restore", id, "--target", target.path().to_str().expect("UTF-8")]);
        assert!(std::fs::read(target.path().join(name)).expect("restored") == *bytes, "restore gives the same bytes");
    }
    let stats: serde_json::Value = serde_json::from_slice(&repository.restic(&["stats", "--json"])).expect("JSON");
    assert_eq!(stats["total_size"], json!(streams.iter().map(|(_, bytes)| bytes.len()).sum::<usize>()));
    repository.assert_sound();
}

#[tokio::test(flavor = "multi_thread")]
async fn both_cut_at_the_same_places() {
    let repository = Repository::made_by_restic(2);
    let (first, second) = (noise(20 << 20, 2), noise(20 << 20, 3));
    repository.restic_backup(&first, &[]);
    let outputs = push(&repository, &first, json!({})).await.expect("stored");
    assert_eq!(outputs["newBytes"], json!(0), "all of restic's chunks were found again");
    push(&repository, &second, json!({})).await.expect("stored");
    let before = repository.files("data").len();
    repository.restic_backup(&second, &[]);
    // restic adds its own tree, in a pack of trees, and no data.
    assert!(repository.files("data").len() <= before + 1);
    repository.assert_sound();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_restic_writes_we_read() {
    for version in [1, 2] {
        let repository = Repository::made_by_restic(version);
        let bytes = [noise(9 << 20, 4), words(9 << 20)].concat();
        repository.restic_backup(&bytes, &["--stdin-filename", "dumpfile.resp", "--host", "host-0"]);
        let outcome = pull(&repository, json!({"filter": {"host": "host-0"}, "filename": "dumpfile.resp"})).await;
        assert_eq!(outcome.result.expect("read")["bytes"], json!(bytes.len()));
        assert!(outcome.stdout == bytes, "version {version}");
        // And it takes ours beside its own.
        push(&repository, &bytes[1..], json!({})).await.expect("stored");
        let outcome = pull(&repository, json!({"snapshot": "latest"})).await;
        assert!(outcome.result.is_ok() && outcome.stdout == bytes[1..], "version {version}");
        repository.assert_sound();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_in_a_folder_of_a_snapshot_is_found() {
    let repository = Repository::made_by_restic(2);
    let folder = tempfile::tempdir().expect("a folder");
    let inner = folder.path().join("backups/redis");
    std::fs::create_dir_all(&inner).expect("made");
    std::fs::write(inner.join("dump.resp"), b"the dump").expect("written");
    std::fs::write(folder.path().join("other"), b"other").expect("written");
    repository.restic(&["backup", folder.path().to_str().expect("UTF-8")]);
    let path = |end: &str| Path::new(folder.path()).join(end).display().to_string();
    let outcome = pull(&repository, json!({"filename": path("backups/redis/dump.resp")})).await;
    assert_eq!(outcome.result.expect("read")["filename"], json!(path("backups/redis/dump.resp")));
    assert_eq!(outcome.stdout, b"the dump");
    let several = pull(&repository, json!({})).await.result.expect_err("two files");
    assert!(several.message.contains("2 files"), "{several:?}");
    let none = pull(&repository, json!({"filename": "nothing"})).await.result.expect_err("no such file");
    assert!(none.message.contains("no file `nothing`"), "{none:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_streams_type_comes_back_with_it() {
    use aquifer_engine::catalog::{Catalog, Inputs};
    let repository = Repository::nowhere();
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("in"), words(100_000)).expect("written");
    let mut catalog = Catalog::new(aquifer_functions::builtins());
    catalog.add_text(
        "types.yaml",
        "apiVersion: aquifer.dev/v1alpha1
kind: Task
metadata: {name: there}
spec:
  params: [{name: repository}, {name: file}]
  steps:
    - {name: in, function: file-read, params: {path: '{{ params.file }}', type: application/vnd.redis.resp}}
    - {name: zip, function: compress, stdin: in}
    - {name: push, function: restic-push, stdin: zip, params: {repository: '{{ params.repository }}', password: correct horse}}
---
apiVersion: aquifer.dev/v1alpha1
kind: Task
metadata: {name: wrong}
spec:
  params: [{name: repository}]
  steps:
    - {name: pull, function: restic-pull, params: {repository: '{{ params.repository }}', password: correct horse}}
    - {name: unlock, function: decrypt, stdin: pull, params: {passphrase: abc}}
    - {name: drop, function: exec, stdin: unlock, params: {command: [cat, '-']}}
",
    );
    let inputs = Inputs::default()
        .with_text("repository", repository.path().display().to_string())
        .with_text("file", folder.path().join("in").display().to_string());
    let run = async |task: &str, inputs: &Inputs| {
        let plan = catalog.plan(task, inputs).unwrap_or_else(|problems| panic!("{problems:#?}"));
        aquifer_engine::run::run(std::sync::Arc::new(plan), aquifer_engine::run::RunOptions::default()).await
    };
    let stored = run("there", &inputs).await;
    assert!(stored.first_failure.is_none(), "{stored:#?}");
    let outcome = pull(&repository, json!({})).await;
    assert_eq!(outcome.stream.to_string(), "application/vnd.redis.resp+zstd");
    // Found before the first byte, with the missing step named.
    let inputs = Inputs::default().with_text("repository", repository.path().display().to_string());
    let failed = run("wrong", &inputs).await.first_failure.expect("refused");
    assert!(format!("{failed:?}").contains("decompress"), "{failed:?}");
}
