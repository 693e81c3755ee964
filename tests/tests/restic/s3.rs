//! The same on an S3 server: what we write there restic reads, and a source that fails leaves nothing that looks like a backup.

use std::process::Command;

use aquifer_engine::alone::{Input, run_alone};
use aquifer_engine::failure::{Failure, FailureKind};
use aquifer_functions::restic_check::ResticCheck;
use aquifer_functions::restic_forget::ResticForget;
use aquifer_functions::restic_pull::ResticPull;
use aquifer_functions::restic_push::ResticPush;
use aquifer_tests::s3_server::{BUCKET, S3Server};
use serde_json::{Value as Json, json};

use crate::rig::{PASSWORD, noise, pieces, words};

fn params(server: &S3Server, more: Json) -> Json {
    let mut location = server.location();
    location["s3"]["prefix"] = json!("/redis/prod/");
    let mut all = json!({"repository": location, "password": PASSWORD});
    all.as_object_mut().expect("a map").extend(more.as_object().expect("a map").clone());
    all
}

/// restic on the same bucket.
fn restic(server: &S3Server, args: &[&str]) -> Vec<u8> {
    let output = Command::new("restic")
        .args(args)
        .arg("--no-cache")
        .env("RESTIC_REPOSITORY", format!("s3:{}/{BUCKET}/redis/prod", server.endpoint()))
        .env("RESTIC_PASSWORD", PASSWORD)
        .env("AWS_ACCESS_KEY_ID", "id")
        .env("AWS_SECRET_ACCESS_KEY", "hunter2-secret-key")
        .output()
        .expect("restic is needed by these tests: install Debian's restic");
    assert!(output.status.success(), "restic {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

async fn leftovers(server: &S3Server, folder: &str) -> Vec<String> {
    let mut names = server.names().await;
    names.retain(|name| name.starts_with(&format!("redis/prod/{folder}/")));
    names
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_holds_a_repository_that_restic_reads() {
    let server = S3Server::start().await;
    let bytes = [noise(20 << 20, 41), words(10 << 20)].concat();
    let push = async |bytes: &[u8]| {
        let params = params(&server, json!({"filename": "dumpfile.resp"}));
        run_alone(ResticPush, params, Input::Finished(pieces(bytes))).await.result.expect("stored")
    };
    assert_eq!(push(&bytes).await["created"], json!(true));
    let again = push(&bytes).await;
    assert_eq!((&again["newBytes"], &again["created"]), (&json!(0), &json!(false)));
    push(&bytes[1 << 20..]).await;
    assert!(restic(&server, &["dump", "latest", "dumpfile.resp"]) == bytes[1 << 20..]);
    let listed: Json = serde_json::from_slice(&restic(&server, &["snapshots", "--json"])).expect("JSON");
    assert_eq!(listed.as_array().map(Vec::len), Some(3));

    let first = again["snapshot"].as_str().expect("an id");
    let outcome = run_alone(ResticPull, params(&server, json!({"snapshot": first})), Input::None).await;
    assert!(outcome.result.is_ok() && outcome.stdout == bytes, "{:?}", outcome.result);

    let forget = params(&server, json!({"keepLast": 1, "prune": true}));
    let outputs = run_alone(ResticForget, forget, Input::None).await.result.expect("forgotten");
    assert_eq!(outputs["removed"], json!(2));
    let check = params(&server, json!({"readData": true}));
    assert_eq!(run_alone(ResticCheck, check, Input::None).await.result.expect("sound")["snapshots"], json!(1));
    restic(&server, &["check", "--read-data"]);
    assert_eq!(leftovers(&server, "locks").await, Vec::<String>::new());
    assert_eq!(server.pending().await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_fails_leaves_no_snapshot_in_a_bucket() {
    let server = S3Server::start().await;
    let lost = Failure::unavailable("the server went away");
    let broken = Input::Broken(pieces(&noise(50_000_000, 42)), lost.clone());
    let outcome = run_alone(ResticPush, params(&server, json!({})), broken).await;
    assert_eq!(outcome.result.expect_err("broken").message, lost.message);
    assert!(!leftovers(&server, "data").await.is_empty(), "it broke in the middle");
    assert_eq!(leftovers(&server, "snapshots").await, Vec::<String>::new());
    assert_eq!(leftovers(&server, "locks").await, Vec::<String>::new());
    assert_eq!(server.pending().await, Vec::<String>::new());
    restic(&server, &["check", "--read-data"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_of_a_bucket_are_told_as_what_they_are() {
    let refusing = S3Server::that_refuses().await;
    let push = |params: Json| run_alone(ResticPush, params, Input::bytes("a"));
    let refused = push(params(&refusing, json!({}))).await.result.expect_err("no key is known");
    assert_eq!(refused.kind, FailureKind::Unauthorized, "{refused:?}");
    assert!(!format!("{refused:?}").contains("hunter2"), "{refused:?}");

    let server = S3Server::start().await;
    let mut elsewhere = params(&server, json!({}));
    elsewhere["repository"]["s3"]["bucket"] = json!("no-such-bucket");
    let missing = push(elsewhere).await.result.expect_err("no bucket");
    assert_eq!(missing.kind, FailureKind::NotFound, "{missing:?}");
    let nothing = run_alone(ResticPull, params(&server, json!({})), Input::None).await;
    let nothing = nothing.result.expect_err("no repository");
    assert!(nothing.kind == FailureKind::NotFound && nothing.message.contains("no restic repository"), "{nothing:?}");
}
