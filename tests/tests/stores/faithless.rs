//! What was stored is less than what was sent, or is not locked any more: nothing is made of it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use aquifer_engine::alone::{Input, run_alone};
use aquifer_engine::failure::FailureKind;
use aquifer_functions::restic_copy::ResticCopy;
use aquifer_functions::restic_forget::ResticForget;
use aquifer_functions::restic_pull::ResticPull;
use aquifer_functions::restic_push::ResticPush;
use aquifer_functions::restic_snapshots::ResticSnapshots;
use aquifer_functions::upload::Upload;
use aquifer_tests::flaky::{Fate, proxy};
use aquifer_tests::stores::{all, place};
use serde_json::{Value, json};

use crate::rig::{Place, pieces, sample};

const PASSWORD: &str = "correct horse";

async fn place_on(called: &str) -> (Place, u16) {
    let server = &**all().await.iter().find(|server| server.called() == called).expect("one of them");
    (Place { server, name: place() }, server.port().expect("it listens"))
}

/// The same location by way of a proxy with this rule.
fn by(place: &Place, port: u16, rule: impl Fn(&str, &str) -> Fate + Send + Sync + 'static) -> Value {
    let text = place.location().to_string().replace(&format!(":{port}"), &format!(":{}", proxy(port, rule)));
    serde_json::from_str(&text).expect("JSON")
}

/// A repository's files in the folder of its server.
fn folder(place: &Place) -> PathBuf {
    place.server.files(&place.name).expect("its server has a folder")
}

fn count(folder: &Path) -> usize {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| if entry.path().is_dir() { count(&entry.path()) } else { 1 }).sum()
}

/// Takes all locks away, as `restic unlock --remove-all` does.
fn take_locks_away(repository: &Path) -> usize {
    let locks = std::fs::read_dir(repository.join("locks")).into_iter().flatten().flatten();
    locks.filter(|lock| std::fs::remove_file(lock.path()).is_ok()).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webdav_server_that_stores_less_than_was_sent_is_found_out() {
    for called in ["Apache's WebDAV", "rclone's WebDAV"] {
        let (place, port) = place_on(called).await;
        let moved = Arc::new(AtomicUsize::new(0));
        let seen = Arc::clone(&moved);
        let location = by(&place, port, move |method, _| match method {
            "PUT" => Fate::Shortened,
            "MOVE" => {
                seen.fetch_add(1, Ordering::SeqCst);
                Fate::Passes
            }
            _ => Fate::Passes,
        });
        let bytes = sample(100_000);
        let uploaded = run_alone(Upload, json!({"location": location, "name": "n"}), pieces(&bytes)).await.result;
        let failure = uploaded.expect_err("it stores less");
        assert!(failure.message.contains("stored 99999 bytes of 100000"), "{called}: {failure:?}");
        assert_eq!(moved.load(Ordering::SeqCst), 0, "{called}: it never gets its name");
        assert_eq!(place.names().await, [""; 0], "{called}");
        let params = json!({"repository": location, "password": PASSWORD});
        let pushed = run_alone(ResticPush, params, pieces(&bytes)).await.result;
        assert!(pushed.expect_err("it stores less").message.contains("stored"), "{called}");
        place.upload("n", &bytes, json!({})).await.expect("a server that stores all");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_whose_lock_was_taken_away_makes_no_snapshot() {
    let (place, port) = place_on("Apache's WebDAV").await;
    let from = tempfile::tempdir().expect("a folder");
    let from = json!({"repository": from.path().join("repository"), "password": PASSWORD});
    run_alone(ResticPush, from.clone(), pieces(&sample(1 << 20))).await.result.expect("stored");
    let (inside, taken) = (folder(&place), Arc::new(AtomicUsize::new(0)));
    let count_taken = Arc::clone(&taken);
    let way = by(&place, port, move |method, _| {
        // Its own file gets its name when it is taken, and all that is stored later.
        if method == "MOVE" {
            count_taken.fetch_add(take_locks_away(&inside), Ordering::SeqCst);
        }
        Fate::Passes
    });
    let params = json!({"from": from, "to": {"repository": way, "password": PASSWORD}, "init": true});
    let failure = run_alone(ResticCopy, params.clone(), Input::None).await.result.expect_err("its lock is gone");
    assert!(failure.kind == FailureKind::Unavailable && failure.message.contains("our lock"), "{failure:?}");
    assert!(taken.load(Ordering::SeqCst) > 0);
    let list = json!({"repository": place.location(), "password": PASSWORD});
    let listed = run_alone(ResticSnapshots, list, Input::None).await.result.expect("listed");
    assert_eq!(listed["count"], json!(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prune_whose_lock_was_taken_away_removes_no_data() {
    let (place, port) = place_on("Apache's WebDAV").await;
    let params = json!({"repository": place.location(), "password": PASSWORD});
    for size in [1 << 20, (1 << 20) + 1] {
        run_alone(ResticPush, params.clone(), pieces(&sample(size))).await.result.expect("stored");
    }
    let (inside, taken) = (folder(&place), Arc::new(AtomicUsize::new(0)));
    let (data, index) = (inside.join("data"), inside.join("index"));
    let (packs, files) = (count(&data), count(&index));
    let count_taken = Arc::clone(&taken);
    let way = by(&place, port, move |method, target| {
        if method == "DELETE" && target.contains("/snapshots/") {
            count_taken.fetch_add(take_locks_away(&inside), Ordering::SeqCst);
        }
        Fate::Passes
    });
    let forget = json!({"repository": way, "password": PASSWORD, "keepLast": 1, "prune": true});
    let failure = run_alone(ResticForget, forget, Input::None).await.result.expect_err("its lock is gone");
    assert!(failure.kind == FailureKind::Unavailable && failure.message.contains("our lock"), "{failure:?}");
    assert!(taken.load(Ordering::SeqCst) > 0);
    assert_eq!((count(&data), count(&index)), (packs, files), "nothing of the data has gone");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_no_lock_can_be_written_the_way_without_one_is_named() {
    let (place, port) = place_on("Apache's WebDAV").await;
    let params = json!({"repository": place.location(), "password": PASSWORD});
    let bytes = sample(1 << 20);
    run_alone(ResticPush, params, pieces(&bytes)).await.result.expect("stored");
    let read_only = |method: &str, _: &str| match method {
        "GET" | "HEAD" | "PROPFIND" | "OPTIONS" => Fate::Passes,
        _ => Fate::Answered(403),
    };
    let mut params = json!({"repository": by(&place, port, read_only), "password": PASSWORD});
    let failure = run_alone(ResticPull, params.clone(), Input::None).await.result.expect_err("it cannot lock");
    assert!(failure.help.as_ref().is_some_and(|help| help.contains("lock: false")), "{failure:?}");
    params["lock"] = json!(false);
    let pulled = run_alone(ResticPull, params, Input::None).await;
    pulled.result.expect("it need not lock");
    assert!(pulled.stdout == bytes);
}
