//! A prune in parts: bounded, gone on with, and sound at every step by restic's own opinion.

use std::time::Duration;

use aquifer_engine::alone::{Input, run_alone};
use aquifer_engine::failure::{Failure, FailureKind};
use aquifer_functions::restic_check::ResticCheck;
use aquifer_functions::restic_forget::ResticForget;
use aquifer_functions::restic_prune::ResticPrune;
use aquifer_functions::restic_pull::ResticPull;
use aquifer_functions::restic_push::ResticPush;
use aquifer_tests::faulty::{Fault, faulty};
use aquifer_tests::stores::rest_server::RestServer;
use serde_json::{Value as Json, json};

use crate::rig::{PASSWORD, Repository, noise, pieces, pull, push};

async fn prune(repository: &Repository, more: Json) -> Result<Json, Failure> {
    run_alone(ResticPrune, repository.params(more), Input::None).await.result
}

fn number(outputs: &Json, name: &str) -> u64 {
    outputs[name].as_u64().unwrap_or_else(|| panic!("{name} of {outputs}"))
}

/// Makes every second of the stored pieces needless: what was pushed whole is stored once more without them.
async fn with_rubbish(version: u32) -> (Repository, Vec<u8>) {
    let repository = Repository::made_by_restic(version);
    let whole = noise(24 << 20, 41);
    // Cut as finely as it goes, so that each pack has much of both.
    push(&repository, &whole, json!({"chunks": "fine"})).await.expect("stored");
    let kept: Vec<u8> = whole.chunks(1 << 20).step_by(2).flatten().copied().collect();
    push(&repository, &kept, json!({"chunks": "fine"})).await.expect("stored");
    let first = repository.snapshots()[0]["id"].as_str().expect("an id").to_owned();
    repository.restic(&["forget", &first]);
    (repository, kept)
}

async fn assert_whole(repository: &Repository, bytes: &[u8]) {
    repository.assert_sound();
    let outcome = pull(repository, json!({})).await;
    assert!(outcome.result.is_ok() && outcome.stdout == bytes, "{:?}", outcome.result);
}

#[tokio::test(flavor = "multi_thread")]
async fn bounded_runs_go_on_until_nothing_is_left() {
    for version in [1, 2] {
        let (repository, kept) = with_rubbish(version).await;
        let bounds = json!({"maxRepack": "9MiB", "maxUnused": "1MiB"});
        let dry = {
            let mut params = bounds.clone();
            params.as_object_mut().expect("a map").insert("dryRun".into(), json!(true));
            let files = repository.files("data");
            let dry = prune(&repository, params).await.expect("looked");
            assert_eq!(repository.files("data"), files, "a dry run changes nothing");
            dry
        };
        let (mut last, mut runs) = (u64::MAX, 0);
        loop {
            let outputs = prune(&repository, bounds.clone()).await.expect("pruned");
            if runs == 0 {
                for same in ["removedPacks", "repackedBytes", "unusedBytes"] {
                    assert_eq!(outputs[same], dry[same], "a dry run says what a run does: {outputs} {dry}");
                }
            }
            runs += 1;
            assert!(number(&outputs, "repackedBytes") <= 9 << 20, "{outputs}");
            assert_whole(&repository, &kept).await;
            let unused = number(&outputs, "unusedBytes");
            assert!(unused < last, "each run leaves less: {outputs}");
            last = unused;
            if outputs["finished"] == json!(true) {
                break;
            }
        }
        assert!(runs > 1 && last <= 1 << 20, "{runs} runs, {last} left");
        // Nothing is left for restic either, by the same bound.
        let told = repository.restic(&["prune", "--dry-run", "--max-unused", "1M"]);
        let told = String::from_utf8_lossy(&told).into_owned();
        let total = told.lines().find(|line| line.starts_with("total prune:")).expect("a line");
        assert!(total.contains(" 0 blobs"), "{told}");
        let again = prune(&repository, bounds.clone()).await.expect("pruned");
        assert_eq!(number(&again, "removedPacks") + number(&again, "repackedBytes"), 0, "{again}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn time_that_is_over_leaves_the_copying_to_the_next_run() {
    let (repository, kept) = with_rubbish(2).await;
    let outputs = prune(&repository, json!({"maxTime": "0s"})).await.expect("pruned");
    assert_eq!((&outputs["repackedBytes"], &outputs["finished"]), (&json!(0), &json!(false)));
    let outputs = prune(&repository, json!({"maxUnused": "unlimited"})).await.expect("pruned");
    assert_eq!((&outputs["repackedBytes"], &outputs["finished"]), (&json!(0), &json!(true)), "nothing is copied");
    let outputs = prune(&repository, json!({"maxTime": "1h", "maxUnused": 0})).await.expect("pruned");
    assert!(outputs["finished"] == json!(true) && number(&outputs, "freedBytes") > 10 << 20, "{outputs}");
    assert_eq!(outputs["unusedBytes"], json!(0));
    assert_whole(&repository, &kept).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_small_packs_and_index_files_become_few() {
    let repository = Repository::nowhere();
    let mut all = Vec::new();
    // So little that one pack has room for all of it, also where the repository's polynomial never cuts it.
    for seed in 0..12 {
        all.extend(noise(200_000, 60 + seed));
        push(&repository, &all, json!({})).await.expect("stored");
    }
    assert!(repository.files("index").len() >= 24);
    prune(&repository, json!({})).await.expect("pruned");
    assert_eq!(repository.files("index").len(), 1, "many small index files become one");
    assert!(repository.files("data").len() >= 24, "small packs stay unless it is wanted");
    let outputs = prune(&repository, json!({"repackSmall": true})).await.expect("pruned");
    assert_eq!(repository.files("data").len(), 2, "one of trees and one of data: {outputs}");
    assert_whole(&repository, &all).await;
    assert_eq!(repository.snapshots().len(), 12);
    let again = prune(&repository, json!({"repackSmall": true})).await.expect("pruned");
    assert_eq!(number(&again, "repackedBytes"), 0, "{again}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_index_names_goes_and_what_is_damaged_is_not_copied() {
    let (repository, kept) = with_rubbish(2).await;
    // What a killed backup leaves: a pack that no index names.
    let packs = repository.files("data");
    let stray = repository.path().join("data/00").join("0".repeat(64));
    std::fs::create_dir_all(stray.parent().expect("a folder")).expect("made");
    std::fs::copy(&packs[0], &stray).expect("copied");
    prune(&repository, json!({"maxUnused": "unlimited"})).await.expect("pruned");
    assert!(!stray.exists());
    assert_whole(&repository, &kept).await;

    // What would be copied is damaged.
    let largest = |repository: &Repository| {
        let size = |path: &std::path::PathBuf| path.metadata().expect("there").len();
        repository.files("data").into_iter().max_by_key(size).expect("packs")
    };
    let damaged = largest(&repository);
    let sound = std::fs::read(&damaged).expect("read");
    let mut bytes = sound.clone();
    bytes.iter_mut().step_by(3000).for_each(|byte| *byte ^= 1);
    // A new file: restic makes its packs read-only.
    std::fs::remove_file(&damaged).expect("removed");
    std::fs::write(&damaged, bytes).expect("written");
    let failure = prune(&repository, json!({"maxUnused": 0})).await.expect_err("damaged");
    assert_eq!(failure.kind, FailureKind::Corrupt, "{failure:?}");
    assert!(failure.message.contains("the blob `"), "{failure:?}");
    assert!(damaged.exists(), "others may still be read from it");
    std::fs::remove_file(&damaged).expect("removed");
    std::fs::write(&damaged, sound).expect("written");
    prune(&repository, json!({"maxUnused": 0})).await.expect("pruned");
    assert_whole(&repository, &kept).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn removing_waits_for_those_who_read() {
    let (repository, kept) = with_rubbish(2).await;
    // Somebody who reads for long: removing is not possible, and is waited for.
    let mut reader = repository.command(&["backup", "--stdin"]);
    let mut reader =
        reader.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::null()).spawn().expect("restic");
    crate::rig::until("restic takes its lock", || !repository.locks().is_empty());
    let refused = prune(&repository, json!({"lockTimeout": "0s"})).await.expect_err("locked");
    assert!(refused.kind == FailureKind::Unavailable && refused.message.contains("is locked"), "{refused:?}");
    let mut input = reader.stdin.take().expect("piped");
    std::io::Write::write_all(&mut input, b"read").expect("restic reads");
    drop(input);
    assert!(reader.wait().expect("waited for").success());
    repository.restic(&["forget", "latest"]);
    let outputs = prune(&repository, json!({"maxUnused": 0, "lockTimeout": "0s"})).await.expect("pruned");
    assert_eq!(outputs["finished"], json!(true));
    assert_whole(&repository, &kept).await;
}

/// Of two copies the one that stays is read first: an index file may name anything, and a copy may be damaged.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_is_not_relied_on_unread() {
    let repository = Repository::nowhere();
    let bytes = noise(3 << 20, 47);
    push(&repository, &bytes, json!({})).await.expect("stored");
    let before = repository.files("index");
    // The same data once more, by a repository without its index: then there are two packs of it.
    let aside = repository.path().with_file_name("aside");
    std::fs::create_dir(&aside).expect("made");
    let moved: Vec<_> = before.iter().map(|file| (file, aside.join(file.file_name().expect("a name")))).collect();
    moved.iter().for_each(|(from, to)| std::fs::rename(from, to).expect("moved"));
    push(&repository, &bytes, json!({})).await.expect("stored");
    moved.iter().for_each(|(from, to)| std::fs::rename(to, from).expect("moved back"));
    let mut packs = repository.files("data");
    packs.retain(|path| path.metadata().expect("there").len() > 1 << 20);
    assert_eq!(packs.len(), 2);
    // One of them would stay: damaged, it is not relied on, and nothing goes. The other one goes, damaged or not.
    let mut outcomes = Vec::new();
    let kept = repository.path().with_file_name("kept");
    copy(&repository.path(), &kept);
    for pack in &packs {
        let sound = std::fs::read(pack).expect("read");
        let mut damaged = sound.clone();
        damaged[1 << 20] ^= 1;
        std::fs::remove_file(pack).expect("removed");
        std::fs::write(pack, damaged).expect("written");
        let outcome = prune(&repository, json!({"maxUnused": "unlimited"})).await;
        if let Err(failure) = &outcome {
            assert_eq!(failure.kind, FailureKind::Corrupt);
            assert!(failure.message.contains("nothing was removed"), "{failure:?}");
            std::fs::remove_file(pack).expect("still there");
            std::fs::write(pack, sound).expect("written");
        }
        outcomes.push(outcome.is_ok());
        let outcome = pull(&repository, json!({})).await;
        assert!(outcome.result.is_ok() && outcome.stdout == bytes, "{:?}", outcome.result);
        std::fs::remove_dir_all(repository.path()).expect("removed");
        copy(&kept, &repository.path());
    }
    outcomes.sort_unstable();
    assert_eq!(outcomes, [false, true]);
}

fn copy(from: &std::path::Path, to: &std::path::Path) {
    assert!(std::process::Command::new("cp").arg("-r").arg(from).arg(to).status().expect("cp is there").success());
}

/// Where there is much to copy, backups are not kept out meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn backups_go_on_while_much_is_copied() {
    let folder = tempfile::tempdir().expect("a folder");
    let served = folder.path().join("served");
    std::fs::create_dir(&served).expect("made");
    let server = RestServer::over(&served).await;
    let at = |port: u16, more: Json| {
        let mut params =
            json!({"repository": {"rest": {"url": format!("http://127.0.0.1:{port}/r/")}}, "password": PASSWORD});
        params.as_object_mut().expect("a map").extend(more.as_object().expect("a map").clone());
        params
    };
    let push = async |bytes: &[u8], host: &str| {
        let params = at(server.port(), json!({"host": host, "chunks": "fine", "lockTimeout": "0s"}));
        run_alone(ResticPush, params, Input::Finished(pieces(bytes))).await.result.expect("stored")
    };
    let whole = noise(150 << 20, 43);
    let first = push(&whole, "whole").await;
    let kept: Vec<u8> = whole.chunks(1 << 20).step_by(2).flatten().copied().collect();
    push(&kept, "kept").await;
    let forget = at(server.port(), json!({"keepLast": 1, "groupBy": []}));
    let forgotten = run_alone(ResticForget, forget, Input::None).await.result.expect("forgotten");
    assert_eq!(forgotten["removedSnapshots"][0]["id"], first["snapshot"]);

    // Through a slow line, and so it copies for seconds.
    let slow = faulty(server.port(), |_| Fault::Slow(16 << 20, Duration::from_secs(60)));
    let packs = || crate::rig::files(&served.join("r/data")).len();
    let before = packs();
    let pruning = tokio::spawn(run_alone(ResticPrune, at(slow, json!({"maxUnused": 0})), Input::None));
    crate::rig::until("it copies", || packs() > before);
    push(b"meanwhile", "meanwhile").await;
    let outputs = pruning.await.expect("no panic").result.expect("pruned");
    assert!(outputs["finished"] == json!(true) && number(&outputs, "freedBytes") > 60 << 20, "{outputs}");
    for (host, bytes) in [("kept", &kept[..]), ("meanwhile", b"meanwhile")] {
        let params = at(server.port(), json!({"filter": {"host": host}}));
        let pulled = run_alone(ResticPull, params, Input::None).await;
        assert!(pulled.result.is_ok() && pulled.stdout == bytes, "{host}");
    }
    let check = at(server.port(), json!({"readData": true}));
    run_alone(ResticCheck, check, Input::None).await.result.expect("sound");
}

/// A store that shows no snapshots is not to lose everything.
#[tokio::test(flavor = "multi_thread")]
async fn without_any_snapshot_nothing_is_removed_unless_it_is_wanted() {
    let repository = Repository::nowhere();
    push(&repository, &noise(1 << 20, 53), json!({})).await.expect("stored");
    repository.restic(&["forget", "latest"]);
    let packs = repository.files("data");
    let refused = prune(&repository, json!({})).await.expect_err("all would go");
    assert_eq!(refused.kind, FailureKind::Rejected);
    assert!(refused.help.as_deref().is_some_and(|help| help.contains("`allowEmpty: true`")), "{refused:?}");
    assert_eq!(repository.files("data"), packs);
    prune(&repository, json!({"allowEmpty": true})).await.expect("wanted");
    assert!(repository.files("data").is_empty());
    repository.assert_sound();
}

/// What others need is missing: then no snapshot goes either.
#[tokio::test(flavor = "multi_thread")]
async fn a_forget_with_prune_removes_no_snapshot_of_a_damaged_repository() {
    let repository = Repository::nowhere();
    push(&repository, &noise(1 << 20, 54), json!({})).await.expect("stored");
    let first = repository.files("data");
    push(&repository, &noise(1 << 20, 55), json!({})).await.expect("stored");
    let size = |path: &std::path::PathBuf| path.metadata().expect("there").len();
    let packs = repository.files("data").into_iter().filter(|path| !first.contains(path));
    std::fs::remove_file(packs.max_by_key(size).expect("a pack")).expect("removed");
    let forget = repository.params(json!({"keepLast": 1, "prune": true}));
    let failure = run_alone(ResticForget, forget, Input::None).await.result.expect_err("damaged");
    assert_eq!(failure.kind, FailureKind::Corrupt);
    assert!(failure.message.contains("nothing was pruned"), "{failure:?}");
    assert_eq!(repository.snapshots().len(), 2);
}
