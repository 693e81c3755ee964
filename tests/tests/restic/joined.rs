//! Snapshots of parts become one, which restic reads as any other; what is not whole becomes none.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use aquifer_engine::alone::{Input, run_alone};
use aquifer_engine::catalog::{Catalog, Inputs};
use aquifer_engine::failure::{Failure, FailureKind};
use aquifer_engine::run::{RunOptions, run};
use aquifer_functions::restic_forget::ResticForget;
use aquifer_functions::restic_join::ResticJoin;
use serde_json::{Value as Json, json};

use crate::rig::{PASSWORD, Repository, noise, pull, push, words};

const TAG: &str = "parts-of-a";

/// Stores a part; gives its snapshot's id.
async fn part(repository: &Repository, bytes: &[u8]) -> String {
    let params = json!({"filename": "a.part", "host": "a", "tags": [TAG, "more"]});
    let outputs = push(repository, bytes, params).await.expect("stored");
    outputs["snapshot"].as_str().expect("an id").to_owned()
}

/// Stores a part that is compressed; gives its snapshot's id.
async fn compressed(repository: &Repository) -> String {
    let mut catalog = Catalog::new(aquifer_functions::builtins());
    let path = repository.path();
    let text = format!(
        "apiVersion: aquifer.dev/v1alpha1
kind: Task
metadata: {{name: packed}}
spec:
  params: [{{name: password, secret: true, required: true}}]
  steps:
    - {{name: source, function: exec, params: {{command: [echo, part]}}}}
    - {{name: packed, function: compress, stdin: source}}
    - {{name: push, function: restic-push, stdin: packed, params: {{repository: {}, password: '{{{{ params.password }}}}', tags: [{TAG}]}}}}
",
        path.display()
    );
    catalog.add_text("packed.yaml", &text);
    let plan = catalog.plan("packed", &Inputs::default().with_text("password", PASSWORD));
    let before = ids(repository);
    run(Arc::new(plan.unwrap_or_else(|problems| panic!("{problems:#?}"))), RunOptions::default()).await;
    ids(repository).into_iter().find(|id| !before.contains(id)).expect("one more")
}

fn params(snapshots: &[&String], more: Json) -> Json {
    let mut all = json!({"snapshots": snapshots, "partTag": TAG, "filename": "a.resp", "host": "a"});
    all.as_object_mut().expect("a map").extend(more.as_object().expect("a map").clone());
    all
}

async fn join(repository: &Repository, params: Json) -> Result<Json, Failure> {
    run_alone(ResticJoin, repository.params(params), Input::None).await.result
}

fn ids(repository: &Repository) -> Vec<String> {
    let mut ids: Vec<String> =
        repository.files("snapshots").iter().filter_map(|path| Some(path.file_name()?.to_str()?.to_owned())).collect();
    ids.sort();
    ids
}

fn sorted(mut ids: Vec<String>) -> Vec<String> {
    ids.sort();
    ids
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_become_one_snapshot_that_restic_reads() {
    for (version, ways) in [(1, &["index"][..]), (2, &["none", "index", "data"])] {
        let repository = Repository::made_by_restic(version);
        let other = push(&repository, b"of somebody else", json!({"tags": ["parts-of-b"]})).await.expect("stored");
        let other = other["snapshot"].as_str().expect("an id").to_owned();
        let shared = noise(600_000, 61);
        let bytes = [[&shared[..], &words(1 << 20)].concat(), Vec::new(), [noise(1 << 20, 62), shared].concat()];
        let whole = bytes.concat();
        let mut before = vec![other.clone()];
        for (number, verify) in ways.iter().enumerate() {
            let mut parts = Vec::new();
            for bytes in &bytes {
                let more = json!({"filename": "a.part", "tags": [TAG], "allowEmpty": true});
                let outputs = push(&repository, bytes, more).await.expect("stored");
                parts.push(outputs["snapshot"].as_str().expect("an id").to_owned());
            }
            let packs = repository.files("data").len();
            let asked = params(&parts.iter().collect::<Vec<_>>(), json!({"verify": verify, "tags": ["nightly"]}));
            let outputs = join(&repository, asked).await.expect("joined");
            assert_eq!((&outputs["parts"], &outputs["removed"]), (&json!(3), &json!(3)), "{outputs}");
            assert_eq!((&outputs["bytes"], &outputs["host"]), (&json!(whole.len()), &json!("a")), "{outputs}");
            assert_eq!(outputs["verified"], json!(verify));
            assert_eq!(outputs["newBytes"].as_u64() > Some(0), number == 0, "{outputs}");
            assert!(repository.files("data").len() <= packs + 1, "a pack for the tree at most");
            let snapshot = outputs["snapshot"].as_str().expect("an id").to_owned();
            before.push(snapshot.clone());
            assert_eq!(ids(&repository), sorted(before.clone()));

            assert!(repository.restic(&["dump", &snapshot, "/a.resp"]) == whole);
            assert!(pull(&repository, json!({"snapshot": snapshot})).await.stdout == whole);
            let listed = repository.snapshots();
            let found = listed.iter().find(|one| one["id"] == json!(snapshot)).expect("restic sees it");
            assert_eq!((&found["hostname"], &found["paths"]), (&json!("a"), &json!(["/a.resp"])), "{found}");
            let tags = if *verify == "data" { json!(["nightly", "verified:data"]) } else { json!(["nightly"]) };
            assert_eq!(found["tags"], tags, "{found}");
        }
        repository.assert_sound();
        // By restic's rules and by ours; a prune leaves what the whole needs.
        repository.restic(&["forget", "--host", "a", "--keep-last", "2", "--prune"]);
        assert_eq!(ids(&repository).len(), 1 + ways.len().min(2));
        let forget = repository.params(json!({"filter": {"host": "a"}, "keepLast": 1, "prune": true}));
        run_alone(ResticForget, forget, Input::None).await.result.expect("forgotten");
        let last = before.last().expect("one").clone();
        assert_eq!(ids(&repository), sorted(vec![other, last.clone()]));
        assert!(repository.restic(&["dump", &last, "/a.resp"]) == whole);
        repository.assert_sound();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_part_is_refused_before_anything_is_written() {
    let repository = Repository::nowhere();
    let (one, two) = (part(&repository, &noise(1 << 20, 63)).await, part(&repository, &noise(1 << 20, 64)).await);
    let stranger = push(&repository, b"stranger", json!({"tags": ["parts-of-b"]})).await.expect("stored");
    let stranger = stranger["snapshot"].as_str().expect("an id").to_owned();
    let folder = tempfile::tempdir().expect("a folder");
    for name in ["x", "y"] {
        fs::write(folder.path().join(name), name).expect("written");
    }
    repository.restic(&["backup", "--quiet", "--tag", TAG, &folder.path().display().to_string()]);
    let known = [&one, &two, &stranger];
    let several = ids(&repository).into_iter().find(|id| !known.contains(&id)).expect("one more");
    let packed = [compressed(&repository).await, compressed(&repository).await];

    let before = (repository.files("data"), ids(&repository));
    let missing = "0".repeat(64);
    let many = vec![&one; 1001];
    for (parts, kind, says) in [
        (&[&one, &stranger][..], FailureKind::Config, "does not have the tag `parts-of-a`"),
        (&[&one, &missing], FailureKind::NotFound, "there is no snapshot `0000"),
        (&[&one, &several], FailureKind::Config, "has 2 files"),
        (&[&one, &two, &one], FailureKind::Config, "named twice"),
        (&[&one, &packed[0]], FailureKind::Config, "hold different things"),
        (&[&packed[0], &packed[1]], FailureKind::Config, "behind each other they could not be read"),
        (&[], FailureKind::Config, "there are 0 of them"),
        (&many, FailureKind::Config, "there are 1001 of them"),
        (&[&one, &"latest".to_owned()], FailureKind::Config, "`latest`"),
        (&[&one, &String::new()], FailureKind::Config, "snapshots"),
    ] {
        let failure = join(&repository, params(parts, json!({}))).await.expect_err(says);
        assert!(failure.kind == kind && failure.message.contains(says), "{says}: {failure:?}");
    }
    for (more, says) in [
        (json!({"tags": [TAG]}), "tags"),
        (json!({"tags": ["verified:data"]}), "tags"),
        (json!({"partTag": ""}), "partTag"),
        (json!({"partTag": "a,b"}), "partTag"),
        (json!({"filename": "a/b"}), "filename"),
    ] {
        let failure = join(&repository, params(&[&one, &two], more)).await.expect_err(says);
        assert!(failure.kind == FailureKind::Config && failure.message.contains(says), "{says}: {failure:?}");
    }
    assert_eq!((repository.files("data"), ids(&repository)), before);

    // A pack of the second part is gone: it is in the index, and not in the store.
    let packs = || -> Vec<PathBuf> { repository.files("data") };
    let third = {
        let had = packs();
        let third = part(&repository, &noise(1 << 20, 65)).await;
        let new: Vec<PathBuf> = packs().into_iter().filter(|path| !had.contains(path)).collect();
        let largest = new.into_iter().max_by_key(|path| fs::metadata(path).expect("there").len()).expect("a pack");
        fs::remove_file(largest).expect("removed");
        third
    };
    let before = (packs(), ids(&repository));
    for verify in ["none", "index", "data"] {
        let failure = join(&repository, params(&[&one, &third], json!({"verify": verify}))).await.expect_err("lost");
        assert!(failure.kind == FailureKind::Corrupt && failure.message.contains(&third[..8]), "{failure:?}");
    }
    assert_eq!((packs(), ids(&repository)), before);
    assert_eq!(repository.locks(), Vec::<PathBuf>::new());

    let outputs = join(&repository, params(&[&two, &one], json!({}))).await.expect("joined");
    assert!(pull(&repository, json!({"snapshot": outputs["snapshot"]})).await.stdout.starts_with(&noise(1 << 20, 64)));
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_is_found_before_there_is_a_snapshot() {
    let repository = Repository::nowhere();
    let (one, two) = (part(&repository, &noise(1 << 20, 66)).await, part(&repository, &noise(1 << 20, 67)).await);
    let largest = repository.files("data").into_iter().max_by_key(|path| fs::metadata(path).expect("there").len());
    let largest = largest.expect("a pack");
    let mut altered = fs::read(&largest).expect("there");
    let middle = altered.len() / 2;
    altered[middle] ^= 1;
    _ = fs::remove_file(&largest);
    fs::write(&largest, altered).expect("damaged");
    let before = ids(&repository);
    let failure = join(&repository, params(&[&one, &two], json!({"verify": "data"}))).await.expect_err("damaged");
    assert!(failure.kind == FailureKind::Corrupt && failure.message.contains("reading back"), "{failure:?}");
    assert_eq!(ids(&repository), before, "no snapshot is made, and none removed");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_failed_runs_left_goes_and_a_run_that_was_killed_is_repeated() {
    let repository = Repository::nowhere();
    let kept =
        push(&repository, b"other", json!({"host": "a", "tags": ["more", "parts-of-ab"]})).await.expect("stored");
    let kept = kept["snapshot"].as_str().expect("an id").to_owned();
    let left = [part(&repository, b"of a run that failed").await, part(&repository, b"of another").await];
    let parts = [part(&repository, &noise(1 << 20, 68)).await, part(&repository, &noise(1 << 20, 69)).await];
    let path = |id: &String| repository.path().join("snapshots").join(id);
    let saved: Vec<(String, Vec<u8>)> =
        left.iter().chain(&parts).map(|id| (id.clone(), fs::read(path(id)).expect("there"))).collect();
    // By the first characters of the ids, too.
    let short: Vec<String> = parts.iter().map(|id| id[..16].to_owned()).collect();
    let asked = || params(&short.iter().collect::<Vec<_>>(), json!({"verify": "index"}));
    let outputs = join(&repository, asked()).await.expect("joined");
    assert_eq!((&outputs["parts"], &outputs["removed"]), (&json!(2), &json!(4)), "{outputs}");
    let snapshot = outputs["snapshot"].as_str().expect("an id").to_owned();
    let done = sorted(vec![kept, snapshot.clone()]);
    assert_eq!(ids(&repository), done);

    // As if it had been killed before it removed the first one, or in the middle.
    for killed in [&saved[..], &saved[1..], &saved[2..3], &saved[3..], &[]] {
        for (id, bytes) in killed {
            fs::write(path(id), bytes).expect("put back");
        }
        let again = join(&repository, asked()).await.expect("it is there already");
        assert_eq!(again["snapshot"], json!(snapshot));
        assert_eq!((&again["removed"], &again["bytes"]), (&json!(killed.len()), &outputs["bytes"]), "{again}");
        assert_eq!(ids(&repository), done);
    }
    assert!(
        pull(&repository, json!({"snapshot": snapshot})).await.stdout
            == [noise(1 << 20, 68), noise(1 << 20, 69)].concat()
    );
    // Other parts, or others' order, are something else.
    let failure = join(&repository, params(&[&parts[1], &parts[0]], json!({}))).await.expect_err("they are gone");
    assert_eq!(failure.kind, FailureKind::NotFound, "{failure:?}");
    repository.assert_sound();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_removed_is_told_and_the_snapshot_stays() {
    let repository = Repository::nowhere();
    let parts = [part(&repository, b"one ").await, part(&repository, b"two").await];
    // Which snapshots have the tag cannot be told while one of them cannot be read.
    let damaged = repository.path().join("snapshots").join("5".repeat(64));
    fs::write(&damaged, b"no snapshot").expect("written");
    let before = ids(&repository);
    let asked = || params(&[&parts[0], &parts[1]], json!({}));
    let failure = join(&repository, asked()).await.expect_err("one is damaged");
    assert!(failure.message.contains("is stored") && failure.message.contains("5555"), "{failure:?}");
    let after = ids(&repository);
    let made: Vec<&String> = after.iter().filter(|id| !before.contains(id)).collect();
    assert_eq!((made.len(), after.len()), (1, before.len() + 1));
    fs::remove_file(&damaged).expect("removed");
    assert!(failure.message.contains(&made[0][..8]), "{failure:?}");
    let outputs = join(&repository, asked()).await.expect("what is left is removed");
    assert_eq!((&outputs["snapshot"], &outputs["removed"]), (&json!(made[0]), &json!(2)));
    assert_eq!(pull(&repository, json!({})).await.stdout, b"one two");
    repository.assert_sound();
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_done_while_somebody_else_works_alone() {
    let repository = Repository::made_by_restic(2);
    let parts = [part(&repository, b"one ").await, part(&repository, b"two").await];
    let lock = json!({"time": jiff::Timestamp::now().to_string(), "exclusive": true, "hostname": "elsewhere",
        "username": "x", "pid": 1, "uid": 0, "gid": 0});
    let lock = repository.put_lock(&repository.master_key(), &lock);
    let before = ids(&repository);
    let asked = |patience: &str| params(&[&parts[0], &parts[1]], json!({"lockTimeout": patience}));
    let failure = join(&repository, asked("0s")).await.expect_err("locked");
    assert!(failure.kind == FailureKind::Unavailable && failure.message.contains("elsewhere"), "{failure:?}");
    assert_eq!(ids(&repository), before);
    fs::remove_file(lock).expect("removed");
    join(&repository, asked("0s")).await.expect("joined");
    repository.assert_sound();
}
