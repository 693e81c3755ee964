//! Repositories on every kind of store: what we write restic reads, and what restic made we read.

use std::process::{Command, Stdio};

use aquifer_engine::alone::{Input, run_alone};
use aquifer_engine::failure::{Failure, FailureKind};
use aquifer_functions::restic_check::ResticCheck;
use aquifer_functions::restic_forget::ResticForget;
use aquifer_functions::restic_pull::ResticPull;
use aquifer_functions::restic_push::ResticPush;
use aquifer_functions::restic_snapshots::ResticSnapshots;
use aquifer_tests::stores::installed;
use serde_json::{Value, json};

use crate::rig::{Place, chunks, on_each, pieces, refused, sample, with};

const PASSWORD: &str = "correct horse";

impl Place {
    fn repository(&self, more: Value) -> Value {
        with(json!({"repository": self.location(), "password": PASSWORD}), more)
    }

    async fn push(&self, bytes: &[u8]) -> Value {
        let pushed = run_alone(ResticPush, self.repository(json!({"filename": "dump"})), pieces(bytes)).await.result;
        pushed.unwrap_or_else(|failure| panic!("{}: {failure:?}", self.server.called()))
    }

    async fn pull(&self) -> Vec<u8> {
        let pulled = run_alone(ResticPull, self.repository(json!({})), Input::None).await;
        pulled.result.unwrap_or_else(|failure| panic!("{}: {failure:?}", self.server.called()));
        pulled.stdout
    }

    /// The versions of restic that know this kind of store, from the oldest to the newest.
    fn restics(&self) -> &'static [&'static str] {
        if self.server.restic(&self.name).is_some() { self.server.restics() } else { &[] }
    }

    /// What one of them says to a command, which must succeed.
    fn restic(&self, program: &str, args: &[&str], input: &[u8]) -> Vec<u8> {
        let found = self.server.restic(&self.name).expect("it knows this kind");
        let mut command = match program {
            "restic" => Command::new(program),
            _ => Command::new(installed(&format!("debian/bin/{program}"))),
        };
        command.args(args).arg("--no-cache").env("RESTIC_PASSWORD", PASSWORD);
        for (name, value) in found {
            if name.starts_with('-') {
                command.args([name, &value])
            } else {
                command.env(name, value)
            };
        }
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("restic is needed by these tests: `./test` installs it");
        let mut stdin = child.stdin.take().expect("piped");
        let output = std::thread::scope(|scope| {
            scope.spawn(move || drop(std::io::Write::write_all(&mut stdin, input)));
            child.wait_with_output().expect("waited for")
        });
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{program} {args:?} on {}: {told}", self.server.called());
        output.stdout
    }

    async fn left(&self, folder: &str) -> Vec<String> {
        let mut names = self.names().await;
        names.retain(|name| name.starts_with(&format!("{folder}/")) || name.starts_with("pending"));
        names
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_we_write_restic_reads_and_what_we_remove_is_gone() {
    let bytes = sample(20 << 20);
    on_each(async |place| {
        assert_eq!(place.push(&bytes).await["created"], json!(true));
        let again = place.push(&bytes).await;
        assert_eq!((&again["newBytes"], &again["created"]), (&json!(0), &json!(false)));
        place.push(&bytes[1 << 20..]).await;
        assert!(place.pull().await == bytes[1 << 20..]);
        for program in place.restics() {
            let dumped = place.restic(program, &["dump", "latest", "dump"], b"");
            assert!(dumped == bytes[1 << 20..], "{program} on {}", place.server.called());
        }
        if let Some(oldest) = place.restics().first() {
            place.restic(oldest, &["check", "--read-data"], b"");
        }

        let forget = place.repository(json!({"keepLast": 1, "prune": true}));
        let outputs = run_alone(ResticForget, forget, Input::None).await.result;
        assert_eq!(outputs.expect("forgotten")["removed"], json!(2), "{}", place.server.called());
        let check = run_alone(ResticCheck, place.repository(json!({"readData": true})), Input::None).await.result;
        assert_eq!(check.expect("sound")["snapshots"], json!(1));
        if let Some(newest) = place.restics().last() {
            place.restic(newest, &["check", "--read-data"], b"");
        }
        assert_eq!(place.left("locks").await, [""; 0]);
        assert_eq!(place.left("snapshots").await.len(), 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_restic_made_we_read_and_add_to() {
    let bytes = sample(9 << 20);
    on_each(async |place| {
        for program in place.restics() {
            let place = Place { name: format!("{}/{program}", place.name), ..place.clone() };
            let shown = format!("{program} on {}", place.server.called());
            place.restic(program, &["init"], b"");
            place.restic(program, &["backup", "--stdin", "--stdin-filename", "dump"], &bytes);
            assert!(place.pull().await == bytes, "{shown}");
            let added = place.push(&bytes).await;
            assert_eq!((&added["newBytes"], &added["created"]), (&json!(0), &json!(false)), "{shown}");
            let listed = place.restic(program, &["snapshots", "--json"], b"");
            let listed: Value = serde_json::from_slice(&listed).expect("JSON");
            assert_eq!(listed.as_array().map(Vec::len), Some(2), "{shown}");
            place.restic(program, &["check", "--read-data"], b"");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_fails_leaves_no_snapshot_and_no_lock() {
    let bytes = sample(40 << 20);
    on_each(async |place| {
        let lost = Failure::unavailable("the server went away");
        let broken = Input::Broken(chunks(&bytes), lost.clone());
        let outcome = run_alone(ResticPush, place.repository(json!({})), broken).await;
        assert_eq!(outcome.result.expect_err("broken").message, lost.message);
        assert!(!place.left("data").await.is_empty(), "it broke in the middle");
        assert_eq!(place.left("snapshots").await, [""; 0]);
        assert_eq!(place.left("locks").await, [""; 0]);
        if let Some(newest) = place.restics().last() {
            place.restic(newest, &["check", "--read-data"], b"");
        }
    })
    .await;
}

/// A server that only takes new files: backups work, and their locks go; a removal is refused, with the next step.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_only_takes_new_files_is_told_as_such() {
    let bytes = sample(3 << 20);
    on_each(async |place| {
        let Some(location) = place.server.append_only(&place.name) else { return };
        let params = |more: Value| with(json!({"repository": location, "password": PASSWORD}), more);
        for start in [0, 1 << 20] {
            let pushed =
                run_alone(ResticPush, params(json!({"filename": "dump"})), pieces(&bytes[start..])).await.result;
            pushed.unwrap_or_else(|failure| panic!("{}: {failure:?}", place.server.called()));
        }
        assert_eq!(place.left("locks").await, [""; 0]);
        let forget = run_alone(ResticForget, params(json!({"keepLast": 1, "prune": true})), Input::None).await.result;
        refused(&forget, FailureKind::Unauthorized, "--append-only");
        assert_eq!(place.left("snapshots").await.len(), 2);
        assert_eq!(place.left("locks").await, [""; 0]);
        assert!(place.pull().await == bytes[1 << 20..]);
    })
    .await;
}

/// A snapshot that is a link is seen like any other, also in a folder that is one; a link that leads nowhere is told rather than passed over.
#[tokio::test(flavor = "multi_thread")]
async fn links_are_followed_on_a_server_of_files() {
    on_each(async |place| {
        let (true, Some(folder)) = (place.location()["sftp"].is_object(), place.server.files(&place.name)) else {
            return;
        };
        place.push(b"first").await;
        place.push(b"second").await;
        let snapshots = folder.join("snapshots");
        let one = std::fs::read_dir(&snapshots).expect("a folder").next().expect("one").expect("readable").path();
        let aside = tempfile::tempdir().expect("a folder");
        let moved = |from: &std::path::Path, to: &str| {
            let to = aside.path().join(to);
            let copied = Command::new("cp").arg("-r").arg(from).arg(&to).status().expect("cp is there");
            assert!(copied.success());
            Command::new("rm").arg("-r").arg(from).status().expect("rm is there");
            std::os::unix::fs::symlink(&to, from).expect("linked");
            to
        };
        let target = moved(&one, "snapshot");
        moved(&folder.join("data"), "data");
        let count = async || {
            let listed = run_alone(ResticSnapshots, place.repository(json!({})), Input::None).await.result?;
            Ok::<_, Failure>(listed["snapshots"].as_array().map(Vec::len))
        };
        assert_eq!(count().await.expect("listed"), Some(2));
        run_alone(ResticCheck, place.repository(json!({})), Input::None).await.result.expect("whole");
        std::fs::remove_file(&target).expect("removed");
        refused(&count().await.map(|_| json!({})), FailureKind::Unavailable, "leads nowhere");
    })
    .await;
}
