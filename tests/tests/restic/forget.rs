//! What stays and what goes: the same as restic's choice, and the data with it.

use aquifer_engine::alone::{Input, run_alone};
use aquifer_functions::restic_forget::ResticForget;
use aquifer_functions::restic_snapshots::ResticSnapshots;
use serde_json::{Value as Json, json};

use crate::rig::{Repository, noise, pull, push};

async fn forget(repository: &Repository, more: Json) -> Json {
    run_alone(ResticForget, repository.params(more), Input::None).await.result.expect("forgotten")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_snapshots_stay_as_by_restic() {
    let repository = Repository::made_by_restic(2);
    let times = [
        "2024-12-31 23:59:59",
        "2025-01-01 00:00:01",
        "2025-03-01 10:00:00",
        "2025-03-31 23:00:00",
        "2025-06-15 12:00:00",
        "2025-06-15 12:30:00",
        "2025-06-15 13:00:00",
        "2025-06-16 01:00:00",
        "2025-06-22 01:00:00",
        "2025-06-23 01:00:00",
        "2025-07-01 00:00:00",
        "2025-07-01 00:00:01",
    ];
    for time in times {
        repository.restic_backup(time.as_bytes(), &["--time", time, "--host", "a"]);
    }
    repository.restic_backup(b"b", &["--time", "2025-01-05 00:00:00", "--host", "b", "--tag", "gold"]);
    for (ours, theirs) in [
        (json!({"keepLast": 3}), vec!["--keep-last", "3"]),
        (json!({"keepHourly": 3, "keepDaily": 2}), vec!["--keep-hourly", "3", "--keep-daily", "2"]),
        (json!({"keepWeekly": 3, "keepMonthly": 4}), vec!["--keep-weekly", "3", "--keep-monthly", "4"]),
        (json!({"keepYearly": 5}), vec!["--keep-yearly", "5"]),
        (json!({"keepWithin": "16d"}), vec!["--keep-within", "16d"]),
        (json!({"keepLast": 1, "groupBy": []}), vec!["--keep-last", "1", "--group-by", ""]),
        (json!({"keepTags": ["gold"], "keepLast": 1}), vec!["--keep-tag", "gold", "--keep-last", "1"]),
    ] {
        let mut args = vec!["forget", "--dry-run", "--json"];
        args.extend(&theirs);
        let groups: Json = serde_json::from_slice(&repository.restic(&args)).expect("JSON");
        let removed = |group: &Json| group["remove"].as_array().cloned().unwrap_or_default();
        let mut wanted: Vec<Json> =
            groups.as_array().expect("groups").iter().flat_map(removed).map(|one| one["id"].clone()).collect();
        let mut params = ours.clone();
        params.as_object_mut().expect("a map").insert("dryRun".into(), json!(true));
        let outputs = forget(&repository, params).await;
        let mut found: Vec<Json> =
            outputs["removedSnapshots"].as_array().expect("a list").iter().map(|one| one["id"].clone()).collect();
        wanted.sort_by_key(ToString::to_string);
        found.sort_by_key(ToString::to_string);
        assert_eq!(found, wanted, "{ours}");
    }
    assert_eq!(repository.snapshots().len(), times.len() + 1, "a dry run removes nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn data_goes_with_the_last_snapshot_that_needs_it() {
    let repository = Repository::nowhere();
    let shared = noise(20 << 20, 31);
    push(&repository, &[shared.clone(), noise(20 << 20, 32)].concat(), json!({})).await.expect("stored");
    push(&repository, &shared, json!({})).await.expect("stored");
    let outputs = forget(&repository, json!({"keepLast": 1, "prune": true})).await;
    assert_eq!((&outputs["kept"], &outputs["removed"]), (&json!(1), &json!(1)));
    assert!(outputs["freedBytes"].as_u64().expect("a number") > 10 << 20, "{outputs}");
    let outcome = pull(&repository, json!({})).await;
    assert!(outcome.result.is_ok() && outcome.stdout == shared);
    repository.assert_sound();
    let again = forget(&repository, json!({"keepLast": 1, "prune": true})).await;
    assert_eq!(again["removed"], json!(0));
    repository.assert_sound();
}

#[tokio::test(flavor = "multi_thread")]
async fn snapshots_are_listed_and_filtered() {
    let repository = Repository::nowhere();
    for (host, tags) in [("a", json!(["x"])), ("b", json!(["x", "y"])), ("a", json!([]))] {
        push(&repository, host.as_bytes(), json!({"host": host, "tags": tags})).await.expect("stored");
    }
    let list = async |filter: Json| {
        let params = repository.params(json!({"filter": filter}));
        run_alone(ResticSnapshots, params, Input::None).await.result.expect("listed")
    };
    let all = list(json!({})).await;
    assert_eq!(all["count"], json!(3));
    assert_eq!(all["latest"], all["snapshots"][2]["id"]);
    assert_eq!(all["snapshots"][1]["tags"], json!(["x", "y"]));
    assert_eq!(all["snapshots"][0]["bytes"], json!(1));
    assert_eq!(list(json!({"host": "a"})).await["count"], json!(2));
    assert_eq!(list(json!({"tags": ["x", "y"]})).await["count"], json!(1));
    assert_eq!(list(json!({"paths": ["/stdin"]})).await["count"], json!(3));
    assert_eq!(list(json!({"host": "c"})).await["latest"], Json::Null);
    let id = all["snapshots"][1]["id"].as_str().expect("an id");
    let outcome = pull(&repository, json!({"snapshot": &id[..10]})).await;
    assert_eq!(outcome.stdout, b"b");
}
