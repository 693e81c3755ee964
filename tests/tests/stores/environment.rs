//! The command as people run it: a text form, and credentials in the environment or not; and a clock that is wrong.

use std::io::{BufRead, BufReader, Write};
use std::process::Command;

use aquifer_engine::alone::run_alone;
use aquifer_functions::restic_push::ResticPush;
use aquifer_functions::upload::Upload;
use aquifer_tests::proxy;
use serde_json::{Value, json};

use crate::rig::{on_each, on_each_for_objects, pieces};

const PASSWORD: &str = "correct horse";

/// What this machine's own environment must not say.
const NAMES: [&str; 23] = [
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
    "B2_ACCOUNT_ID",
    "B2_ACCOUNT_KEY",
    "B2_APPLICATION_KEY_ID",
    "B2_APPLICATION_KEY",
    "AZURE_ACCOUNT_NAME",
    "AZURE_ACCOUNT_KEY",
    "AZURE_ACCOUNT_SAS",
    "AZURE_STORAGE_ACCOUNT",
    "AZURE_STORAGE_KEY",
    "AZURE_STORAGE_SAS_TOKEN",
    "GOOGLE_ACCESS_TOKEN",
    "GOOGLE_APPLICATION_CREDENTIALS",
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
        let command = || {
            let mut command = Command::new(aquifer());
            command.envs(place.server.way());
            command
        };
        let (done, said) = snapshots(command(), &text, &environment);
        assert!(done && said.contains("stdin"), "{}: {said}", place.server.called());
        let secret = &environment.last().expect("a secret").1;
        assert!(!said.contains(secret.as_str()), "{said}");

        let (done, said) = snapshots(command(), &text, &[]);
        assert!(!done && said.contains(environment[0].0), "without any, on {}: {said}", place.server.called());
        for known in 1..environment.len() {
            let (done, said) = snapshots(command(), &text, &environment[..known]);
            let missing = environment[known].0;
            assert!(!done && said.contains(missing), "without `{missing}`, on {}: {said}", place.server.called());
        }
        for others in place.server.other_keys() {
            let (done, said) = snapshots(command(), &text, &others);
            let (last, secret) = others.last().expect("a secret");
            assert!(done && said.contains("stdin"), "with `{last}`, on {}: {said}", place.server.called());
            assert!(!said.contains(secret.as_str()), "{said}");
        }
        let mut wrong = environment.clone();
        wrong.last_mut().expect("a secret").1 = "hunter2-not-this".to_owned();
        let (done, said) = snapshots(command(), &text, &wrong);
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

/// The secrets of a location, each in a file of its own, with white space around.
#[tokio::test(flavor = "multi_thread")]
async fn credentials_come_from_files() {
    let folder = tempfile::tempdir().expect("a folder");
    on_each_for_objects(async |place| {
        let mut location = place.location();
        let fields = location.as_object_mut().and_then(|map| map.values_mut().next()).and_then(Value::as_object_mut);
        let Some(fields) = fields else { return };
        // The server that stands in for Google's takes any.
        if fields.remove("anonymous").is_some() {
            fields.insert("token".to_owned(), json!("hunter2-any"));
        }
        let mut secrets = Vec::new();
        for field in ["secretAccessKey", "accountKey", "password", "token", "key"] {
            if let Some(Value::String(secret)) = fields.remove(field) {
                let file = folder.path().join(place.name.replace('/', "-"));
                std::fs::write(&file, format!("\n {secret}\n")).expect("written");
                fields.insert(format!("{field}File"), json!(file));
                secrets.push(secret);
            }
        }
        if secrets.is_empty() {
            return;
        }
        let params = json!({"location": location, "name": "n"});
        let stored = run_alone(Upload, params, pieces(b"dump")).await;
        stored.result.unwrap_or_else(|failure| panic!("{}: {failure:?}", place.server.called()));
        assert_eq!(place.downloaded("n").await, b"dump");
    })
    .await;
}

/// A server that answers with all that it was asked with: nothing of the credentials is shown, in none of their forms.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_server_says_back_shows_no_credentials() {
    let echo = proxy::open(|mut client| {
        let mut lines = BufReader::new(client.try_clone().ok()?).lines();
        let mut said = String::new();
        while let Some(Ok(line)) = lines.next().filter(|line| line.as_ref().is_ok_and(|line| !line.is_empty())) {
            said += &format!("{line} | ");
        }
        let is_b2 = said.contains("/b2api/");
        // What takes a token gets one, which it must not show either.
        let (status, token) = if said.contains("/auth/v1.0") {
            let port = client.local_addr().ok()?.port();
            let account = format!("X-Storage-Url: http://127.0.0.1:{port}/v1/a");
            ("200 OK", format!("X-Auth-Token: hunter2-token\r\n{account}\r\n"))
        } else {
            ("403 Forbidden", String::new())
        };
        // Only the beginning of an answer is shown.
        let secret = |line: &&str| line.to_lowercase().contains("auth") && !line.contains("HTTP/");
        let said: Vec<&str> = said.split(" | ").filter(secret).collect();
        let said = said.join(" | ");
        let said = if is_b2 { json!({"status": 403, "code": "any", "message": said}).to_string() } else { said };
        let (length, close) = (said.len(), "Connection: close\r\n");
        write!(client, "HTTP/1.1 {status}\r\n{close}{token}Content-Length: {length}\r\n\r\n{said}").ok()
    });
    let basic = "c29tZWJvZHk6aHVudGVyMi1vZi1maWxl";
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("password");
    std::fs::write(&file, "hunter2-of-file\n").expect("written");
    let at = format!("http://127.0.0.1:{echo}");
    for location in [
        json!({"rest": {"url": format!("{at}/a/"), "username": "somebody", "passwordFile": file}}),
        json!({"webdav": {"url": format!("{at}/a/"), "username": "somebody", "passwordFile": file}}),
        json!({"swift": {"container": "c", "authUrl": format!("{at}/auth/v1.0"), "username": "somebody", "passwordFile": file}}),
        json!({"b2": {"bucket": "bucket", "endpoint": at, "keyId": "somebody", "keyFile": file}}),
    ] {
        let task = json!({
            "apiVersion": "aquifer.dev/v1alpha1", "kind": "Task", "metadata": {"name": "it"},
            "spec": {"steps": [{
                "name": "it", "function": "restic-snapshots", "params": {"repository": location, "password": "any"},
            }]},
        });
        let definition = folder.path().join("it.yaml");
        std::fs::write(&definition, task.to_string()).expect("written");
        let ran = Command::new(aquifer()).arg("run").arg(&definition).output().expect("it starts");
        let said = String::from_utf8_lossy(&[ran.stdout, ran.stderr].concat()).into_owned();
        assert!(!ran.status.success() && said.contains("403"), "{location}: {said}");
        assert!(!said.contains("hunter2") && !said.contains(basic), "{location}: {said}");
        assert!(said.contains("***"), "nothing was masked, so this proves nothing: {said}");
    }
}
