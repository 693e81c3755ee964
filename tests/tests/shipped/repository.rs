//! The tasks that look after a repository.

use aquifer_engine::alone::{Input, run_alone};
use aquifer_engine::catalog::Inputs;
use aquifer_engine::event::Status;
use aquifer_engine::report::Report;
use aquifer_functions::restic_push::ResticPush;
use aquifer_tests::redis_server::RedisServer;
use serde_json::{Value as Json, json};
use tempfile::TempDir;

use crate::redis::fill;
use crate::{catalog, played};

const PASSWORD: &str = "correct horse";

/// A repository with some snapshots in it: of each, how many bytes it has.
async fn repository(snapshots: &[usize]) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for (number, bytes) in snapshots.iter().enumerate() {
        let params =
            json!({"repository": folder.path().join("r"), "password": PASSWORD, "tags": [format!("n{number}")]});
        let stored =
            run_alone(ResticPush, params, Input::bytes(aquifer_tests::streams::noise(*bytes, number as u64))).await;
        stored.result.expect("stored");
    }
    folder
}

async fn play(folder: &TempDir, task: &str, more: &[(&str, &str)]) -> Report {
    let place = folder.path().join("r").display().to_string();
    let mut inputs = Inputs::default().with_text("repository", place).with_text("password", PASSWORD);
    for (name, value) in more {
        inputs = inputs.with_text(*name, *value);
    }
    played(&catalog(), task, &inputs).await
}

fn outputs(report: &Report) -> Json {
    assert_eq!(report.status, Status::Succeeded, "{report:#?}");
    serde_json::to_value(report.pipelines[0].steps[0].outputs.clone()).expect("JSON")
}

#[tokio::test(flavor = "multi_thread")]
async fn old_snapshots_go_by_rule_after_a_dry_run_that_says_why() {
    let folder = repository(&[1000, 2000, 3000, 4000]).await;
    let rules =
        [("keepLast", "2"), ("keepTags", r#"["n0"]"#), ("keepYearly", "unlimited"), ("keepWithinMonthly", "1y6m")];
    let tried = outputs(&play(&folder, "repository-forget", &[&rules[..], &[("dryRun", "true")]].concat()).await);
    assert_eq!(tried["removed"], json!(1));
    let reasons: Vec<&Json> =
        tried["keptSnapshots"].as_array().expect("a list").iter().map(|one| &one["reasons"]).collect();
    assert_eq!(
        reasons,
        [
            &json!(["has tags [n0]", "oldest yearly snapshot", "oldest monthly within 1y6m"]),
            &json!(["last snapshot"]),
            &json!(["last snapshot", "yearly snapshot", "monthly within 1y6m"])
        ]
    );
    let done = outputs(&play(&folder, "repository-forget", &rules).await);
    assert_eq!(done["removedSnapshots"], tried["removedSnapshots"]);
    assert_eq!(outputs(&play(&folder, "repository-snapshots", &[]).await)["count"], json!(3));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_of_the_data_is_checked() {
    let folder = repository(&[1000, 2000]).await;
    let all = outputs(&play(&folder, "repository-check", &[]).await);
    let mut read = 0;
    for number in 1..=3 {
        let part = json!({"number": number, "of": 3}).to_string();
        read += outputs(&play(&folder, "repository-check", &[("part", &part)]).await)["packsRead"]
            .as_u64()
            .expect("a number");
    }
    assert_eq!((json!(read), &all["packsRead"]), (all["packsRead"].clone(), &json!(4)));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_dump_goes_into_two_repositories_and_each_is_tidied_by_itself() {
    let server = RedisServer::start();
    fill(&server);
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).display().to_string();
    let run = async |second_password: &str| {
        let inputs = Inputs::default()
            .with_text("redis", server.socket_url())
            .with_text("repository", path("r"))
            .with_text("password", PASSWORD)
            .with_text("secondRepository", path("second"))
            .with_text("secondPassword", second_password)
            .with_text("keepLast", "1");
        played(&catalog(), "redis-backup-two", &inputs).await
    };
    let statuses = |report: &Report| {
        ["first", "second", "forget-first", "forget-second"]
            .map(|step| report.steps().find(|one| one.step == step).expect("the step").status)
    };
    for _ in 0..2 {
        let report = run("another horse").await;
        assert_eq!(report.status, Status::Succeeded, "{report:#?}");
    }
    let report = run("a wrong one").await;
    assert_eq!(report.status, Status::Failed);
    assert_eq!(report.first_failure.as_ref().map(|first| first.step.as_str()), Some("second"));
    assert_eq!(statuses(&report), [Status::Succeeded, Status::Failed, Status::Succeeded, Status::Skipped]);
    // What both hold is what the server holds.
    let mut digests = Vec::new();
    for (name, password) in [("r", PASSWORD), ("second", "another horse")] {
        let inputs = Inputs::default().with_text("repository", path(name)).with_text("password", password);
        let listed = outputs(&played(&catalog(), "repository-snapshots", &inputs).await);
        assert_eq!(listed["count"], json!(1), "{name}");
        let report = played(&catalog(), "redis-verify", &inputs).await;
        assert_eq!(report.status, Status::Succeeded, "{report:#?}");
        let verified = report.steps().find_map(|step| step.outputs.get("digest").cloned());
        digests.push(verified.expect("a digest"));
    }
    assert_eq!(digests[0], digests[1]);
}
