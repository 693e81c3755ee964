//! Damaged repositories: said, never passed over.

use std::os::unix::fs::FileExt;
use std::path::Path;

use aquifer_engine::alone::{Input, run_alone};
use aquifer_engine::failure::{Failure, FailureKind};
use aquifer_functions::restic_check::ResticCheck;
use aquifer_functions::restic_forget::ResticForget;
use serde_json::{Value as Json, json};

use crate::rig::{Repository, noise, pull, push};

async fn check(repository: &Repository, read_data: bool) -> Result<Json, Failure> {
    run_alone(ResticCheck, repository.params(json!({"readData": read_data})), Input::None).await.result
}

fn flip(file: &Path, at: u64) {
    // restic makes its files read-only.
    let mut permissions = std::fs::metadata(file).expect("there").permissions();
    #[expect(clippy::permissions_set_readonly_false, reason = "a test's own file")]
    permissions.set_readonly(false);
    std::fs::set_permissions(file, permissions).expect("ours");
    let file = std::fs::OpenOptions::new().read(true).write(true).open(file).expect("opened");
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).expect("long enough");
    file.write_all_at(&[byte[0] ^ 1], at).expect("written");
}

fn largest(repository: &Repository) -> std::path::PathBuf {
    let size = |path: &std::path::PathBuf| std::fs::metadata(path).expect("there").len();
    repository.files("data").into_iter().max_by_key(size).expect("a pack")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sound_repository_is_said_to_be_sound() {
    let repository = Repository::nowhere();
    push(&repository, &noise(20 << 20, 21), json!({})).await.expect("stored");
    for read_data in [false, true] {
        assert_eq!(check(&repository, read_data).await.expect("sound")["snapshots"], json!(1));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_byte_is_found_by_reading_and_never_passed_on() {
    let repository = Repository::nowhere();
    let bytes = noise(20 << 20, 22);
    push(&repository, &bytes, json!({})).await.expect("stored");
    flip(&largest(&repository), 3 << 20);
    assert!(check(&repository, false).await.is_ok(), "only reading the data can tell");
    let found = check(&repository, true).await.expect_err("damaged");
    assert_eq!(found.kind, FailureKind::Corrupt);
    assert!(found.message.contains("authentication tag") && found.help.is_some(), "{found:?}");
    let outcome = pull(&repository, json!({})).await;
    let told = outcome.result.expect_err("damaged");
    assert_eq!(told.kind, FailureKind::Corrupt);
    assert!(told.message.contains("blob") && told.message.contains("pack"), "{told:?}");
    assert!(bytes.starts_with(&outcome.stdout), "what was passed on before it was sound");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_or_short_pack_is_found() {
    for short in [false, true] {
        let repository = Repository::nowhere();
        push(&repository, &noise(20 << 20, 23), json!({})).await.expect("stored");
        let pack = largest(&repository);
        if short {
            std::fs::OpenOptions::new().write(true).open(&pack).expect("opened").set_len(1 << 20).expect("cut");
        } else {
            std::fs::remove_file(&pack).expect("removed");
        }
        let found = check(&repository, false).await.expect_err("damaged");
        assert_eq!(found.kind, FailureKind::Corrupt, "{found:?}");
        let told = pull(&repository, json!({})).await.result.expect_err("damaged");
        assert!(matches!(told.kind, FailureKind::Corrupt | FailureKind::NotFound), "{told:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_that_is_gone_or_damaged_is_found() {
    let repository = Repository::nowhere();
    push(&repository, &noise(2 << 20, 24), json!({})).await.expect("stored");
    let index = repository.files("index").pop().expect("an index");
    flip(&index, 40);
    assert!(check(&repository, false).await.is_err());
    let told = pull(&repository, json!({})).await.result.expect_err("damaged");
    assert_eq!(told.kind, FailureKind::Corrupt, "{told:?}");
    for index in repository.files("index") {
        std::fs::remove_file(index).expect("removed");
    }
    let told = pull(&repository, json!({})).await.result.expect_err("the index is gone");
    assert!(told.message.contains("index does not know"), "{told:?}");
    assert_eq!(check(&repository, false).await.expect_err("damaged").kind, FailureKind::Corrupt);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_damaged_is_not_pruned() {
    let repository = Repository::nowhere();
    for seed in 25..28 {
        push(&repository, &noise(1 << 20, seed), json!({})).await.expect("stored");
    }
    for index in repository.files("index") {
        std::fs::remove_file(index).expect("removed");
    }
    let packs = repository.files("data").len();
    let mut forget = repository.params(json!({"keepLast": 3, "prune": true}));
    let failure = run_alone(ResticForget, forget.clone(), Input::None).await.result.expect_err("damaged");
    assert!(failure.kind == FailureKind::Corrupt && failure.message.contains("nothing was pruned"), "{failure:?}");
    assert_eq!(repository.files("data").len(), packs);
    // Found again by restic, all is as before.
    repository.restic(&["rebuild-index"]);
    forget["keepLast"] = json!(1);
    run_alone(ResticForget, forget, Input::None).await.result.expect("sound");
    repository.assert_sound();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_lost_is_stored_again_by_the_next_backup() {
    for (short, verify) in [(false, "none"), (true, "none"), (false, "data")] {
        let repository = Repository::nowhere();
        let bytes = noise(20 << 20, 29);
        push(&repository, &bytes, json!({})).await.expect("stored");
        let pack = largest(&repository);
        if short {
            let size = std::fs::metadata(&pack).expect("there").len();
            std::fs::remove_file(&pack).expect("removed");
            std::fs::File::create(&pack).expect("made").set_len(size - 1).expect("cut");
        } else {
            std::fs::remove_file(&pack).expect("removed");
        }
        let again = push(&repository, &bytes, json!({"verify": verify})).await.expect("stored");
        let new = again["newBytes"].as_u64().expect("a number");
        assert!((1 << 20..20 << 20).contains(&new), "what was lost and no more: {new}");
        let restored = pull(&repository, json!({})).await;
        restored.result.expect("whole");
        assert!(restored.stdout == bytes, "{short} {verify}");
        // The earlier snapshot is whole again too, and what the index still says of the lost pack goes with the next prune.
        let forget = repository.params(json!({"keepLast": 2, "prune": true}));
        run_alone(ResticForget, forget, Input::None).await.result.expect("pruned");
        repository.assert_sound();
        assert_eq!(repository.snapshots().len(), 2);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_tree_is_stored_again_by_the_next_backup() {
    let repository = Repository::nowhere();
    let bytes = noise(1 << 20, 30);
    push(&repository, &bytes, json!({})).await.expect("stored");
    let size = |path: &std::path::PathBuf| std::fs::metadata(path).expect("there").len();
    let tree = repository.files("data").into_iter().min_by_key(size).expect("a pack");
    std::fs::remove_file(tree).expect("removed");
    push(&repository, &bytes, json!({})).await.expect("stored");
    let restored = pull(&repository, json!({})).await;
    restored.result.expect("whole");
    assert!(restored.stdout == bytes);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_names_the_snapshots_that_are_lost() {
    let repository = Repository::nowhere();
    // Cut by the repository's own rule, each in two packs or more; the third has the first one's data.
    let (one, other) = (noise(20 << 20, 31), noise(1 << 20, 32));
    let id = |pushed: Json| pushed["snapshot"].as_str().expect("an id").to_owned();
    let first = id(push(&repository, &one, json!({"host": "one"})).await.expect("stored"));
    let whole = id(push(&repository, &other, json!({"host": "other"})).await.expect("stored"));
    let third = id(push(&repository, &one, json!({"host": "third"})).await.expect("stored"));
    let pack = largest(&repository);
    let sound = std::fs::read(&pack).expect("read");
    let put = |bytes: &[u8]| {
        _ = std::fs::remove_file(&pack);
        std::fs::write(&pack, bytes).expect("written");
    };
    let named = |found: &Failure| {
        let causes = found.causes.join("; ");
        assert!(causes.contains("2 of 3 snapshots") && !causes.contains(&whole[..8]), "{found:?}");
        assert!(causes.contains(&first[..8]) && causes.contains(&third[..8]) && causes.contains("third"), "{found:?}");
        assert!(found.help.as_ref().is_some_and(|help| help.contains("back up again")), "{found:?}");
    };
    put(&sound[..sound.len() - 1]);
    named(&check(&repository, false).await.expect_err("too short"));
    let mut flipped = sound.clone();
    flipped[3 << 20] ^= 1;
    put(&flipped);
    assert!(check(&repository, false).await.is_ok(), "only reading the data can tell");
    named(&check(&repository, true).await.expect_err("damaged"));
    // The header alone is needed by no restore.
    let mut header = sound.clone();
    *header.iter_mut().rev().nth(10).expect("long enough") ^= 1;
    put(&header);
    let found = check(&repository, true).await.expect_err("damaged");
    assert!(found.causes.iter().all(|cause| !cause.contains("snapshots")), "{found:?}");
    put(&sound);
    check(&repository, true).await.expect("sound again");
    // A tree that is damaged, and one that is missing.
    let tree = |repository: &Repository| {
        let size = |path: &std::path::PathBuf| std::fs::metadata(path).expect("there").len();
        repository.files("data").into_iter().min_by_key(size).expect("a pack")
    };
    let smallest = tree(&repository);
    flip(&smallest, 20);
    let found = check(&repository, false).await.expect_err("damaged");
    assert!(found.message.contains("the tree `") && found.causes[0].contains(" of 3 snapshots"), "{found:?}");
    std::fs::remove_file(smallest).expect("removed");
    let found = check(&repository, false).await.expect_err("damaged");
    assert!(found.causes[0].contains(" of 3 snapshots"), "{found:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_config_whose_polynomial_is_none_is_told_before_anything_is_stored() {
    let repository = Repository::nowhere();
    let bytes = noise(1 << 20, 33);
    push(&repository, &bytes, json!({})).await.expect("stored");
    let key = repository.master_key();
    for polynomial in ["0", "20000000000000", "3da3358b4dc172"] {
        repository.change_config(&key, |config| config["chunker_polynomial"] = json!(polynomial));
        for chunks in ["auto", "repository", "fine"] {
            let pushed = push(&repository, &bytes, json!({"chunks": chunks}));
            let pushed = tokio::time::timeout(std::time::Duration::from_secs(60), pushed).await.expect("no hang");
            let told = pushed.expect_err("refused");
            assert!(told.kind == FailureKind::Corrupt && told.message.contains("polynomial"), "{told:?}");
            assert!(told.help.is_some_and(|help| help.contains("config")));
        }
        let told = check(&repository, false).await.expect_err("told");
        assert!(told.message.contains("polynomial"), "{told:?}");
        assert!(pull(&repository, json!({})).await.stdout == bytes, "what is stored can be had all the same");
    }
}
