//! What was stored is read back before it is a snapshot, and the last one of which that is true stays.

use std::fs;
use std::path::PathBuf;

use aquifer_engine::alone::{Input, run_alone};
use aquifer_engine::failure::FailureKind;
use aquifer_functions::restic_forget::ResticForget;
use serde_json::{Value as Json, json};

use crate::rig::{Repository, noise, pull, push};

/// The largest pack, which is one of data.
fn pack(repository: &Repository) -> PathBuf {
    let packs = repository.files("data").into_iter();
    packs.max_by_key(|path| fs::metadata(path).expect("there").len()).expect("a pack")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_verified_is_marked_and_restic_reads_it() {
    let repository = Repository::nowhere();
    let bytes = noise(3 << 20, 21);
    for (verify, tags) in [("none", json!(null)), ("index", json!(null)), ("data", json!(["verified:data"]))] {
        let outputs = push(&repository, &bytes, json!({"verify": verify})).await.expect("stored");
        assert_eq!(outputs["verified"], json!(verify));
        let snapshots = repository.snapshots();
        let snapshot = snapshots.iter().find(|one| one["id"] == outputs["snapshot"]).expect("restic sees it");
        assert_eq!(snapshot["tags"], tags, "{verify}");
    }
    assert!(pull(&repository, json!({})).await.stdout == bytes);
    repository.assert_sound();
    let failure = push(&repository, &bytes, json!({"tags": ["verified:data"]})).await.expect_err("nobody read it");
    assert_eq!(failure.kind, FailureKind::Config);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_back_is_no_snapshot() {
    let repository = Repository::nowhere();
    let bytes = noise(3 << 20, 22);
    push(&repository, &bytes, json!({})).await.expect("stored");
    let path = pack(&repository);
    let whole = fs::read(&path).expect("there");
    let mut altered = whole.clone();
    altered[whole.len() / 2] ^= 1;
    // The same stream again: nothing new is stored, and it leans on what is damaged.
    fs::write(&path, &altered).expect("damaged");
    let before = repository.files("snapshots");
    let failure = push(&repository, &bytes, json!({"verify": "data"})).await.expect_err("damaged");
    assert_eq!(failure.kind, FailureKind::Corrupt, "{failure:?}");
    assert!(failure.message.contains("reading back") && failure.help.is_some(), "{failure:?}");
    assert_eq!(repository.files("snapshots"), before, "no snapshot");
    // A byte that is another one shows only where it is read.
    push(&repository, &bytes, json!({"verify": "index"})).await.expect("the index has it");
    fs::write(&path, &whole).expect("mended");
    // What is gone shows before anything leans on it, and is stored again.
    for damage in [Some(&whole[..whole.len() / 2]), Some(&whole[..whole.len() - 1]), None] {
        match damage {
            Some(bytes) => fs::write(&path, bytes).expect("damaged"),
            None => fs::remove_file(&path).expect("removed"),
        }
        push(&repository, &bytes, json!({"verify": "data"})).await.expect("stored again");
        assert!(pull(&repository, json!({})).await.stdout == bytes);
        fs::write(&path, &whole).expect("mended");
    }
    push(&repository, &bytes, json!({"verify": "data"})).await.expect("mended");
    repository.assert_sound();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_snapshot_that_was_read_back_stays() {
    let repository = Repository::nowhere();
    let mut made = Vec::new();
    for (seed, verify) in [(1, "data"), (2, "data"), (3, "index"), (4, "none")] {
        let outputs = push(&repository, &noise(100_000, seed), json!({"verify": verify})).await.expect("stored");
        made.push(outputs["snapshot"].clone());
    }
    let forget = async || {
        let params = repository.params(json!({"keepLast": 1, "prune": true}));
        let outputs = run_alone(ResticForget, params, Input::None).await.result.expect("forgotten");
        let removed = outputs["removedSnapshots"].as_array().expect("a list").iter().map(|one| one["id"].clone());
        removed.collect::<Vec<Json>>()
    };
    assert_eq!(forget().await, [made[0].clone(), made[2].clone()]);
    assert!(pull(&repository, json!({"snapshot": made[1]})).await.stdout == noise(100_000, 2));
    let outputs = push(&repository, &noise(100_000, 5), json!({"verify": "data"})).await.expect("stored");
    assert_eq!(forget().await, [made[1].clone(), made[3].clone()], "{outputs}");
    repository.assert_sound();
}
