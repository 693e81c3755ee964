//! How much is in a repository: restic's numbers.

use std::fs;
use std::os::unix::fs::symlink;

use aquifer_engine::alone::{Input, run_alone};
use aquifer_engine::failure::FailureKind;
use aquifer_functions::restic_stats::ResticStats;
use serde_json::{Value as Json, json};

use crate::rig::{Repository, noise, push, words};

async fn stats(repository: &Repository, filter: Json) -> Json {
    run_alone(ResticStats, repository.params(json!({"filter": filter})), Input::None).await.result.expect("counted")
}

/// What restic says in a mode, for the same filter.
fn theirs(repository: &Repository, mode: &str, filter: &[&str]) -> Json {
    let said = repository.newest_restic(&[&["stats", "--json", "--mode", mode], filter].concat());
    serde_json::from_slice(&said).expect("JSON")
}

/// A number that is left out where it is 0.
fn number(said: &Json, name: &str) -> Json {
    said.get(name).cloned().unwrap_or(json!(0))
}

/// A folder with what a file tree may hold: links of both kinds, empty files, the same content twice, folders in folders.
fn tree(repository: &Repository) -> std::path::PathBuf {
    let root = repository.path().with_file_name("tree");
    fs::create_dir_all(root.join("a/b/c")).expect("made");
    fs::create_dir_all(root.join("empty")).expect("made");
    fs::write(root.join("a/one"), noise(300_000, 1)).expect("written");
    fs::write(root.join("a/b/same"), noise(300_000, 1)).expect("written");
    fs::write(root.join("a/b/c/words"), words(3_000_000)).expect("written");
    fs::write(root.join("nothing"), b"").expect("written");
    fs::hard_link(root.join("a/one"), root.join("a/b/c/linked")).expect("linked");
    fs::hard_link(root.join("a/one"), root.join("linked too")).expect("linked");
    symlink("a/one", root.join("points")).expect("linked");
    root
}

fn bytes_of_packs(repository: &Repository) -> u64 {
    repository.files("data").iter().map(|pack| fs::metadata(pack).expect("there").len()).sum()
}

async fn assert_same_numbers(repository: &Repository) {
    for (ours, filter) in [
        (json!({}), &[][..]),
        (json!({"host": "a"}), &["--host", "a"]),
        (json!({"host": ["a", "b"], "anyTags": ["x"]}), &["--host", "a", "--host", "b", "--tag", "x"]),
        (json!({"host": "nobody"}), &["--host", "nobody"]),
    ] {
        let found = stats(repository, ours.clone()).await;
        let restored = theirs(repository, "restore-size", filter);
        assert_eq!(found["snapshots"], restored["snapshots_count"], "{ours}");
        assert_eq!(found["restored"]["bytes"], restored["total_size"], "{ours}");
        assert_eq!(found["restored"]["files"], number(&restored, "total_file_count"), "{ours}");
        let contents = theirs(repository, "files-by-contents", filter);
        assert_eq!(found["contents"]["bytes"], contents["total_size"], "{ours}");
        assert_eq!(found["contents"]["files"], number(&contents, "total_file_count"), "{ours}");
        let raw = theirs(repository, "raw-data", filter);
        assert_eq!(found["stored"]["bytes"], raw["total_size"], "{ours}");
        assert_eq!(found["stored"]["blobs"], number(&raw, "total_blob_count"), "{ours}");
        if raw.get("total_uncompressed_size").is_some() {
            assert_eq!(found["stored"]["uncompressedBytes"], raw["total_uncompressed_size"], "{ours}");
        }
        assert_eq!(found["packs"]["packs"], json!(repository.files("data").len()), "{ours}");
        assert_eq!(found["packs"]["bytes"], json!(bytes_of_packs(repository)), "{ours}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_numbers_are_restics() {
    for version in [1, 2] {
        let repository = Repository::made_by_restic(version);
        let root = tree(&repository);
        let root = root.to_str().expect("a text");
        push(&repository, &words(2_000_000), json!({"host": "a", "tags": ["x"]})).await.expect("stored");
        push(&repository, &words(2_000_000), json!({"host": "a"})).await.expect("stored");
        push(&repository, &noise(2_000_000, 7), json!({"host": "b", "tags": ["x"]})).await.expect("stored");
        repository.newest_restic(&["backup", "--host", "a", "--tag", "x", root]);
        repository.newest_restic(&["backup", "--host", "b", root]);
        repository.restic_backup(&noise(70_000, 9), &["--host", "b", "--tag", "x"]);
        assert_same_numbers(&repository).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_prune_would_free_is_what_it_frees() {
    let repository = Repository::made_by_restic(2);
    let root = tree(&repository);
    let shared = noise(3_000_000, 1);
    push(&repository, &[shared.clone(), noise(3_000_000, 2)].concat(), json!({})).await.expect("stored");
    push(&repository, &[shared, noise(1_000_000, 3)].concat(), json!({})).await.expect("stored");
    repository.newest_restic(&["backup", root.to_str().expect("a text")]);
    assert_eq!(stats(&repository, json!({})).await["packs"]["unusedBytes"], json!(0));
    // What was cut off leaves a pack that no index names.
    let lost = repository.path().join("data/00").join(format!("00{:062}", 1));
    fs::write(&lost, noise(5000, 4)).expect("written");
    assert_eq!(stats(&repository, json!({})).await["packs"]["unusedBytes"], json!(5000));

    let first = repository.snapshots()[0]["id"].as_str().expect("an id").to_owned();
    repository.newest_restic(&["forget", &first]);
    let unused =
        stats(&repository, json!({"host": "nobody"})).await["packs"]["unusedBytes"].as_u64().expect("a number");
    assert!(unused > 2_000_000, "{unused}");
    let (before, packs) = (bytes_of_packs(&repository), repository.files("data").len() as u64);
    repository.newest_restic(&["prune", "--max-unused", "0"]);
    let freed = before - bytes_of_packs(&repository);
    // Packs that became one save a header's frame each; a chunk that does not compress takes restic some bytes more than us.
    assert!((unused - 200..=unused + packs * 36).contains(&freed), "{unused} were said to be unused, and {freed} went");
    let after = stats(&repository, json!({})).await;
    assert_eq!(after["packs"]["unusedBytes"], json!(0), "{after}");
    assert_same_numbers(&repository).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tree_that_is_missing_is_told() {
    let repository = Repository::nowhere();
    push(&repository, &noise(10_000, 1), json!({})).await.expect("stored");
    for index in repository.files("index") {
        fs::remove_file(index).expect("removed");
    }
    let failure = run_alone(ResticStats, repository.params(json!({})), Input::None).await.result.expect_err("damaged");
    assert!(failure.kind == FailureKind::Corrupt && failure.help.is_some(), "{failure:?}");
}
