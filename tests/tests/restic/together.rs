//! restic and we on one repository at the same time, each backing up and pruning, in a loop: nobody fails, nothing is lost.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use aquifer_engine::alone::{Input, run_alone};
use aquifer_functions::restic_forget::ResticForget;
use aquifer_functions::restic_prune::ResticPrune;
use aquifer_tests::stores::debian_newest;
use serde_json::{Value as Json, json};

use crate::rig::{Repository, noise, push};

/// How often each of the four does its work.
const ROUNDS: u64 = 4;

/// What was stored, by host.
type Stored = Arc<Mutex<BTreeMap<String, Vec<u8>>>>;

/// A stream of which a half is what everybody stores, so that they lean on each other's data.
fn bytes(seed: u64) -> Vec<u8> {
    [noise(2 << 20, 1000 + seed % 2), noise(500_000, seed)].concat()
}

fn remember(stored: &Stored, host: &str, bytes: Vec<u8>) {
    stored.lock().expect("no panic").insert(host.to_owned(), bytes);
}

/// restic's command, which waits for locks as long as it takes, and must succeed.
fn newest(repository: &Repository, args: &[&str], input: Option<&[u8]>) {
    let args = [args, &["--retry-lock", "5m", "--quiet"]].concat();
    let mut command = repository.command_of(&debian_newest("restic-newest"), &args);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("restic is needed: `./test` installs it");
    let mut stdin = child.stdin.take().expect("piped");
    let input = input.unwrap_or_default().to_vec();
    let feeding = std::thread::spawn(move || std::io::Write::write_all(&mut stdin, &input));
    let output = child.wait_with_output().expect("waited for");
    feeding.join().expect("no panic").expect("restic reads");
    assert!(output.status.success(), "restic {args:?}: {}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn restic_and_we_back_up_and_prune_at_the_same_time() {
    let repository = Arc::new(Repository::made_by_restic(2));
    let stored = Stored::default();
    // Something to prune from the beginning.
    for number in 0..3 {
        push(&repository, &bytes(500 + number), json!({"host": "first"})).await.expect("stored");
    }
    remember(&stored, "first", bytes(502));

    let (ours, theirs) =
        ((Arc::clone(&repository), Arc::clone(&stored)), (Arc::clone(&repository), Arc::clone(&stored)));
    let pushing = tokio::spawn(async move {
        for round in 0..ROUNDS {
            let bytes = bytes(round);
            push(&ours.0, &bytes, json!({"host": "ours", "lockTimeout": "5m"})).await.expect("stored");
            remember(&ours.1, "ours", bytes);
        }
    });
    let backing_up = tokio::task::spawn_blocking(move || {
        for round in 0..ROUNDS {
            let bytes = bytes(100 + round);
            newest(&theirs.0, &["backup", "--stdin", "--host", "theirs"], Some(&bytes));
            remember(&theirs.1, "theirs", bytes);
        }
    });
    let ours = Arc::clone(&repository);
    let pruning = tokio::spawn(async move {
        for _ in 0..ROUNDS {
            // Each host's newest stays, so nothing goes that is looked for at the end.
            let forget = ours.params(json!({"keepLast": 1, "groupBy": ["host"], "lockTimeout": "5m"}));
            run_alone(ResticForget, forget, Input::None).await.result.expect("forgotten");
            let prune = ours.params(json!({"maxUnused": 0, "repackSmall": true, "lockTimeout": "5m"}));
            run_alone(ResticPrune, prune, Input::None).await.result.expect("pruned");
        }
    });
    let theirs = Arc::clone(&repository);
    let clearing = tokio::task::spawn_blocking(move || {
        for _ in 0..ROUNDS {
            let args = ["forget", "--keep-last", "1", "--group-by", "host", "--prune", "--max-unused", "0"];
            newest(&theirs, &args, None);
        }
    });
    pushing.await.expect("no panic");
    backing_up.await.expect("no panic");
    pruning.await.expect("no panic");
    clearing.await.expect("no panic");

    repository.assert_sound();
    let stored = stored.lock().expect("no panic");
    let hosts: Vec<&str> = stored.keys().map(String::as_str).collect();
    assert_eq!(hosts, ["first", "ours", "theirs"]);
    for (host, bytes) in &*stored {
        let snapshots: Vec<Json> = repository.snapshots().into_iter().filter(|one| one["hostname"] == **host).collect();
        assert!(!snapshots.is_empty(), "{host} has a snapshot");
        let restored = repository.restic(&["dump", "--host", host, "latest", "/stdin"]);
        assert!(restored == *bytes, "the newest of {host} is what was stored last");
    }
}
