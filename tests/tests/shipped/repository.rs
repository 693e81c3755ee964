//! The tasks that look after a repository.

use aquifer_engine::alone::{Input, run_alone};
use aquifer_engine::catalog::Inputs;
use aquifer_engine::event::Status;
use aquifer_engine::report::Report;
use aquifer_functions::restic_push::ResticPush;
use serde_json::{Value as Json, json};
use tempfile::TempDir;

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
    let rules = [("keepLast", "2"), ("keepTags", r#"["n0"]"#), ("keepYearly", "unlimited")];
    let tried = outputs(&play(&folder, "repository-forget", &[&rules[..], &[("dryRun", "true")]].concat()).await);
    assert_eq!(tried["removed"], json!(1));
    let reasons: Vec<&Json> =
        tried["keptSnapshots"].as_array().expect("a list").iter().map(|one| &one["reasons"]).collect();
    assert_eq!(
        reasons,
        [
            &json!(["has tags [n0]", "oldest yearly snapshot"]),
            &json!(["last snapshot"]),
            &json!(["last snapshot", "yearly snapshot"])
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
