//! Locks that nobody holds, and repositories that nobody wants any more, removed; beside restic.

use aquifer_engine::alone::{Input, run_alone};
use aquifer_engine::failure::FailureKind;
use aquifer_functions::restic_unlock::ResticUnlock;
use aquifer_functions::restic_wipe::ResticWipe;
use serde_json::{Value as Json, json};

use crate::rig::{Repository, noise, push};

/// A lock of another machine, so many minutes old.
fn lock(age: i64) -> Json {
    let time = jiff::Timestamp::now() - jiff::SignedDuration::from_mins(age);
    json!({"time": time.to_string(), "exclusive": true, "hostname": "elsewhere", "username": "other", "pid": 7})
}

#[tokio::test(flavor = "multi_thread")]
async fn locks_that_somebody_may_hold_stay_unless_all_are_meant() {
    let repository = Repository::made_by_restic(2);
    push(&repository, b"a", json!({})).await.expect("stored");
    let key = repository.master_key();
    let (old, young) = (repository.put_lock(&key, &lock(31)), repository.put_lock(&key, &lock(5)));
    let torn = young.with_file_name("ab".repeat(32));
    std::fs::write(&torn, b"half of one").expect("room");
    let unlock = async |more: Json| {
        run_alone(ResticUnlock, repository.params(more), Input::None).await.result.expect("unlocked")
    };
    let done = unlock(json!({})).await;
    assert!(!old.exists() && young.exists() && torn.exists());
    assert_eq!((&done["removed"], done["kept"].as_array().map(Vec::len)), (&json!(1), Some(2)));
    assert!(done["kept"].to_string().contains("other@elsewhere"), "{done}");
    assert_eq!(unlock(json!({"all": true})).await, json!({"removed": 2, "kept": []}));
    assert!(!young.exists() && !torn.exists());
    repository.assert_sound();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_is_removed_by_who_has_its_password_and_nothing_else_is() {
    let repository = Repository::made_by_restic(2);
    push(&repository, &noise(20 << 20, 3), json!({})).await.expect("stored");
    push(&repository, b"more", json!({})).await.expect("stored");
    let mine = repository.path().join("mine");
    std::fs::write(&mine, "not a repository's").expect("room");
    let wipe = async |more: Json| run_alone(ResticWipe, repository.params(more), Input::None).await.result;
    let word = json!({"remove": "all snapshots"});

    let wrong = json!({"remove": "all snapshots", "password": "wrong"});
    assert_eq!(wipe(wrong).await.expect_err("refused").kind, FailureKind::Unauthorized);
    let held = repository.put_lock(&repository.master_key(), &lock(5));
    let refused = wipe(json!({"remove": "all snapshots", "lockTimeout": "0s"})).await.expect_err("locked");
    assert!(refused.kind == FailureKind::Unavailable && refused.message.contains("other@elsewhere"), "{refused:?}");
    std::fs::remove_file(held).expect("removed");
    assert_eq!(repository.snapshots().len(), 2, "nothing was removed yet");

    let done = wipe(word.clone()).await.expect("removed");
    assert_eq!((&done["found"], &done["snapshots"]), (&json!(true), &json!(2)));
    assert!(done["bytes"].as_u64().is_some_and(|bytes| bytes > 20 << 20), "{done}");
    let files = |folder: &str| {
        fn count(folder: &std::path::Path) -> usize {
            let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
            entries.map(|entry| if entry.path().is_dir() { count(&entry.path()) } else { 1 }).sum()
        }
        count(&repository.path().join(folder))
    };
    assert_eq!(files(""), 1, "all but what was another's");
    assert!(mine.is_file());
    let again = wipe(word).await.expect("nothing to do");
    assert_eq!(again["found"], json!(false));
    // Broken off: what is left has no snapshot, and the next attempt ends it.
    let other = Repository::made_by_restic(2);
    push(&other, b"a", json!({})).await.expect("stored");
    for snapshot in std::fs::read_dir(other.path().join("snapshots")).expect("there").flatten() {
        std::fs::remove_file(snapshot.path()).expect("removed");
    }
    let params = other.params(json!({"remove": "all snapshots"}));
    let rest = run_alone(ResticWipe, params, Input::None).await.result.expect("removed");
    assert!(rest["snapshots"] == json!(0) && rest["files"].as_u64().is_some_and(|files| files > 1), "{rest}");
}

#[test]
fn that_it_is_meant_has_to_be_said() {
    let registry = aquifer_engine::registry::Registry::new().with(ResticWipe);
    for params in [json!({}), json!({"remove": "yes"}), json!({"remove": true})] {
        let mut all = json!({"repository": "/nowhere", "password": "p"});
        all.as_object_mut().expect("a map").extend(params.as_object().expect("a map").clone());
        registry.get("restic-wipe").expect("registered").prepare(all).expect_err("refused");
    }
}
