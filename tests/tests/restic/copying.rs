//! Snapshots in another repository: the same by restic's opinion, once, and only whole.

use aquifer_engine::alone::{Input, run_alone};
use aquifer_engine::failure::{Failure, FailureKind};
use aquifer_functions::restic_copy::ResticCopy;
use aquifer_tests::stores::debian_newest;
use serde_json::{Value as Json, json};

use crate::rig::{PASSWORD, Repository, noise, pull, push, words};

const OTHER: &str = "battery staple";

/// Another repository with another password.
struct Second(Repository);

impl Second {
    fn nowhere() -> Self {
        Self(Repository::nowhere())
    }

    fn access(&self) -> Json {
        json!({"repository": self.0.path(), "password": OTHER})
    }

    /// What a restic says to a command, which must succeed.
    fn restic(&self, program: &str, args: &[&str]) -> Vec<u8> {
        let program = if program == "restic" { program.to_owned() } else { debian_newest(program) };
        let mut command = self.0.command_of(&program, args);
        let output = command.env("RESTIC_PASSWORD", OTHER).output().expect("restic is needed");
        assert!(output.status.success(), "restic {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    }

    fn snapshots(&self) -> Vec<Json> {
        serde_json::from_slice(&self.restic("restic", &["snapshots", "--json"])).expect("JSON")
    }
}

async fn copy(from: &Repository, to: &Second, more: Json) -> Result<Json, Failure> {
    let from = json!({"repository": from.path(), "password": PASSWORD});
    let mut params = json!({"from": from, "to": to.access(), "init": true});
    params.as_object_mut().expect("a map").extend(more.as_object().expect("a map").clone());
    run_alone(ResticCopy, params, Input::None).await.result
}

/// A folder with folders in it, as restic backs them up.
fn back_a_folder_up(repository: &Repository) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for name in ["a/b/one", "a/two", "three"] {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        std::fs::write(path, noise(700_000, name.len() as u64)).expect("written");
    }
    repository.restic(&[
        "backup",
        "--quiet",
        "--host",
        "folders",
        "--tag",
        "x,y",
        &folder.path().display().to_string(),
    ]);
    folder
}

#[tokio::test(flavor = "multi_thread")]
async fn snapshots_are_copied_once_and_are_the_same() {
    for version in [1, 2] {
        let from = Repository::made_by_restic(version);
        let bytes = [noise(6 << 20, 71), words(6 << 20)].concat();
        push(&from, &bytes[..8 << 20], json!({"host": "a", "tags": ["t"]})).await.expect("stored");
        push(&from, &bytes, json!({"host": "a"})).await.expect("stored");
        let folder = back_a_folder_up(&from);
        let to = Second::nowhere();
        let outputs = copy(&from, &to, json!({})).await.expect("copied");
        assert_eq!((&outputs["copied"], &outputs["there"]), (&json!(3), &json!(0)));
        let (theirs, ours) = (from.snapshots(), to.snapshots());
        for (one, other) in theirs.iter().zip(&ours) {
            for same in ["time", "tree", "paths", "hostname", "username", "tags", "uid"] {
                assert_eq!(one[same], other[same], "{same}");
            }
            assert_eq!(other["original"], one["id"]);
        }
        to.restic("restic-newest", &["check", "--read-data"]);
        assert_eq!(to.restic("restic", &["dump", ours[1]["id"].as_str().expect("an id"), "/stdin"]), bytes);
        let restored = tempfile::tempdir().expect("a folder");
        let target = restored.path().display().to_string();
        to.restic("restic-newest", &["restore", ours[2]["id"].as_str().expect("an id"), "--target", &target]);
        let one = restored.path().join(folder.path().strip_prefix("/").expect("absolute")).join("a/b/one");
        assert_eq!(std::fs::read(one).expect("restored"), noise(700_000, 7));

        // Again: nothing; and restic's own copy finds them all there too.
        let files = to.0.files("data").len();
        let again = copy(&from, &to, json!({})).await.expect("copied");
        assert_eq!((&again["copied"], &again["there"], &again["storedBytes"]), (&json!(0), &json!(3), &json!(0)));
        let secret = from.path().with_file_name("password");
        std::fs::write(&secret, PASSWORD).expect("written");
        let (from_path, secret) = (from.path().display().to_string(), secret.display().to_string());
        to.restic("restic-newest", &["copy", "--from-repo", &from_path, "--from-password-file", &secret]);
        assert_eq!(to.snapshots().len(), 3, "restic knows them as copies");
        assert_eq!(to.0.files("data").len(), files);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_restic_copied_is_not_copied_again_and_one_can_be_chosen() {
    let from = Repository::nowhere();
    for number in 0..3_u8 {
        push(&from, &noise(300_000, number.into()), json!({"host": if number == 2 { "b" } else { "a" }}))
            .await
            .expect("stored");
    }
    let to = Second::nowhere();
    let outputs = copy(&from, &to, json!({"filter": {"host": "a"}, "snapshot": "latest", "verify": "data"}))
        .await
        .expect("copied");
    assert_eq!(outputs["copied"], json!(1));
    assert_eq!(to.snapshots()[0]["tags"], json!(["verified:data"]), "it was read back there");
    let secret = from.path().with_file_name("password");
    std::fs::write(&secret, PASSWORD).expect("written");
    let from_options =
        ["--from-repo", &from.path().display().to_string(), "--from-password-file", &secret.display().to_string()];
    to.restic("restic-newest", &[&["copy", "--host", "b"], &from_options[..]].concat());
    assert_eq!(to.snapshots().len(), 2);
    let outputs = copy(&from, &to, json!({})).await.expect("copied");
    assert_eq!((&outputs["copied"], &outputs["there"]), (&json!(1), &json!(2)), "{outputs}");
    to.restic("restic", &["check", "--read-data"]);
    // A copy of a copy says what was first.
    let third = Second::nowhere();
    let params = json!({"from": to.access(), "to": third.access(), "init": true});
    run_alone(ResticCopy, params, Input::None).await.result.expect("copied");
    let originals =
        |snapshots: Vec<Json>| -> Vec<Json> { snapshots.iter().map(|one| one["original"].clone()).collect() };
    assert_eq!(originals(third.snapshots()), originals(to.snapshots()));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_damaged_is_not_copied_and_a_failed_copy_goes_on() {
    let from = Repository::nowhere();
    push(&from, &noise(3 << 20, 91), json!({})).await.expect("stored");
    let good = from.files("data");
    let bytes = noise(3 << 20, 92);
    push(&from, &bytes, json!({})).await.expect("stored");
    let size = |path: &std::path::PathBuf| path.metadata().expect("there").len();
    let pack = from.files("data").into_iter().filter(|path| !good.contains(path)).max_by_key(size).expect("a pack");
    let sound = std::fs::read(&pack).expect("read");
    let mut damaged = sound.clone();
    damaged[1 << 20] ^= 1;
    std::fs::remove_file(&pack).expect("removed");
    std::fs::write(&pack, damaged).expect("written");
    let to = Second::nowhere();
    let failure = copy(&from, &to, json!({})).await.expect_err("damaged");
    assert_eq!(failure.kind, FailureKind::Corrupt);
    assert!(failure.message.contains("copying the snapshot `"), "{failure:?}");
    assert_eq!(to.snapshots().len(), 1, "the sound one was copied, and nothing else looks like a backup");
    to.restic("restic", &["check", "--read-data"]);
    std::fs::write(&pack, sound).expect("written");
    let outputs = copy(&from, &to, json!({"verify": "index"})).await.expect("copied");
    assert_eq!((&outputs["copied"], &outputs["there"]), (&json!(1), &json!(1)));
    assert_eq!(to.restic("restic", &["dump", "latest", "/stdin"]), bytes);
    to.restic("restic", &["check", "--read-data"]);
    let outcome = pull(&from, json!({})).await;
    assert!(outcome.result.is_ok());
}
