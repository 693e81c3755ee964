//! The command as people run it: a text form, and credentials in the environment or not; and a clock that is wrong.

use std::process::Command;

use aquifer_engine::alone::run_alone;
use aquifer_functions::restic_push::ResticPush;
use serde_json::json;

use crate::rig::{on_each, pieces};

const PASSWORD: &str = "correct horse";

/// What this machine's own environment must not say.
const NAMES: [&str; 11] = [
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "RESTIC_REST_USERNAME",
    "RESTIC_REST_PASSWORD",
    "WEBDAV_USERNAME",
    "WEBDAV_PASSWORD",
    "ST_AUTH",
    "ST_USER",
    "ST_KEY",
    "OS_AUTH_URL",
    "OS_APPLICATION_CREDENTIAL_ID",
];

/// The command, which cargo builds beside these tests.
fn aquifer() -> std::path::PathBuf {
    let tests = std::env::current_exe().expect("a path");
    let command = tests.ancestors().nth(2).expect("target/debug/deps/test").join("aquifer");
    assert!(command.is_file(), "`{}` is missing: run the tests of the whole workspace", command.display());
    command
}

/// Lists the snapshots; gives whether that succeeded, and all that was said.
fn snapshots(mut command: Command, place: &str, environment: &[(&str, String)]) -> (bool, String) {
    command.args([
        "run",
        "repository-snapshots",
        "--set",
        &format!("repository={place}"),
        "--set-env",
        "password=WORD",
    ]);
    for name in NAMES {
        command.env_remove(name);
    }
    // Nothing of this machine's own is to be found.
    command.env("HOME", "/nonexistent").env("AWS_EC2_METADATA_DISABLED", "true").env("WORD", PASSWORD);
    let output = command.envs(environment.iter().cloned()).output().expect("the command starts");
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_come_from_the_environment_and_are_not_shown() {
    on_each(async |place| {
        let Some((text, environment)) = place.server.text(&place.name) else { return };
        let push = json!({"repository": place.location(), "password": PASSWORD});
        run_alone(ResticPush, push, pieces(b"dump")).await.result.expect("stored");
        let (done, said) = snapshots(Command::new(aquifer()), &text, &environment);
        assert!(done && said.contains("stdin"), "{}: {said}", place.server.called());
        let secret = &environment.last().expect("a secret").1;
        assert!(!said.contains(secret.as_str()), "{said}");

        let (done, said) = snapshots(Command::new(aquifer()), &text, &[]);
        assert!(!done && said.contains(environment[0].0), "without any, on {}: {said}", place.server.called());
        for known in 1..environment.len() {
            let (done, said) = snapshots(Command::new(aquifer()), &text, &environment[..known]);
            let missing = environment[known].0;
            assert!(!done && said.contains(missing), "without `{missing}`, on {}: {said}", place.server.called());
        }
        let mut wrong = environment.clone();
        wrong.last_mut().expect("a secret").1 = "hunter2-not-this".to_owned();
        let (done, said) = snapshots(Command::new(aquifer()), &text, &wrong);
        assert!(!done && !said.contains("hunter2"), "{}: {said}", place.server.called());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_wrong_is_told_as_such() {
    on_each(async |place| {
        let Some((text, environment)) = place.server.text(&place.name) else { return };
        if place.server.called() != "MinIO" {
            return;
        }
        let mut late = Command::new("faketime");
        late.args(["-f", "+2h"]).arg(aquifer());
        let (done, said) = snapshots(late, &text, &environment);
        assert!(!done && said.contains("clock"), "{}: {said}", place.server.called());
    })
    .await;
}
