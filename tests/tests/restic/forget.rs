//! What stays and what goes: the same as restic's choice, and the data with it.

use aquifer_engine::alone::{Input, run_alone};
use aquifer_functions::restic_forget::ResticForget;
use aquifer_functions::restic_snapshots::ResticSnapshots;
use rustic_core::jiff::tz::{Offset, TimeZone};
use rustic_core::jiff::{SignedDuration, Timestamp, civil};
use serde_json::{Value as Json, json};

use crate::history::{Made, repository_of};
use crate::rig::{Repository, noise, pull, push};

async fn forget(repository: &Repository, more: Json) -> Json {
    run_alone(ResticForget, repository.params(more), Input::None).await.result.expect("forgotten")
}

/// Restic's choice and ours, by the same rules.
async fn assert_same_choice(repository: &Repository, ours: Json, theirs: &[&str]) {
    let mut args = vec!["forget", "--dry-run", "--json"];
    args.extend(theirs);
    let groups: Json = serde_json::from_slice(&repository.restic(&args)).expect("JSON");
    let removed = |group: &Json| group["remove"].as_array().cloned().unwrap_or_default();
    let groups = groups.as_array().expect("groups");
    let mut wanted: Vec<Json> = groups.iter().flat_map(removed).map(|one| one["id"].clone()).collect();
    let mut params = ours.clone();
    params.as_object_mut().expect("a map").insert("dryRun".into(), json!(true));
    let outputs = forget(repository, params).await;
    let found = outputs["removedSnapshots"].as_array().expect("a list");
    let mut found: Vec<Json> = found.iter().map(|one| one["id"].clone()).collect();
    wanted.sort_by_key(ToString::to_string);
    found.sort_by_key(ToString::to_string);
    let only = |some: &[Json], others: &[Json]| -> Vec<String> {
        let only = some.iter().filter(|id| !others.contains(id));
        only.map(|id| {
            repository.snapshots().iter().filter(|one| one["id"] == *id).map(|one| one["time"].to_string()).collect()
        })
        .collect()
    };
    let (ours_only, theirs_only) = (only(&found, &wanted), only(&wanted, &found));
    assert!(found == wanted, "{ours}: only we remove {ours_only:?}, only restic removes {theirs_only:?}");
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
        assert_same_choice(&repository, ours, &theirs).await;
    }
    assert_eq!(repository.snapshots().len(), times.len() + 1, "a dry run removes nothing");
}

/// Three and a bit years: every nine days or so, at odd hours, with days of many and weeks of none, in three time zones.
fn years() -> Vec<Made> {
    let start: Timestamp = "2021-11-20T22:40:00Z".parse().expect("a moment");
    let mut made = Vec::new();
    for number in 0..130_i64 {
        // Every tenth comes in a burst of less than an hour, the others days apart; New Year's days are among them.
        let hours = number / 10 * 91 * 24 + if number % 10 < 4 { number % 10 } else { (number % 10) * 211 };
        let seconds = hours * 3600 + number * 617 % 3600;
        let moment = start.checked_add(SignedDuration::from_secs(seconds)).expect("a moment");
        let offset = Offset::constant([0, 9, -8][(number % 3) as usize]);
        let tags = if number % 17 == 0 { vec!["gold", "old"] } else { vec![["x", "y"][(number % 2) as usize]] };
        made.push(Made {
            time: offset.to_datetime(moment).to_zoned(offset.to_time_zone()).expect("a time"),
            host: ["a", "a", "b"][(number % 3) as usize],
            tags,
        });
    }
    // The days around New Year, of which some belong to a week of the other year.
    for year in 2021..=2024 {
        for (month, day, more) in [(12, 23, 0), (12, 30, 0), (12, 31, 0), (1, 1, 1), (1, 2, 1), (1, 8, 1)] {
            let time = civil::date(year + more, month, day).at(12, 0, day, 0).to_zoned(TimeZone::UTC).expect("a time");
            made.push(Made { time, host: "a", tags: vec!["newyear"] });
        }
    }
    made
}

#[tokio::test(flavor = "multi_thread")]
async fn years_of_snapshots_are_thinned_out_as_by_restic() {
    let repository = repository_of(years());
    for (ours, theirs) in [
        (json!({"keepWeekly": 3, "filter": {"tags": ["newyear"]}}), "--keep-weekly 3 --tag newyear"),
        (json!({"keepWeekly": 20}), "--keep-weekly 20"),
        (json!({"keepWeekly": 150}), "--keep-weekly 150"),
        (json!({"keepMonthly": 12}), "--keep-monthly 12"),
        (json!({"keepYearly": 3}), "--keep-yearly 3"),
        (json!({"keepYearly": 30}), "--keep-yearly 30"),
        (json!({"keepDaily": 40, "groupBy": []}), "--keep-daily 40 --group-by="),
        (json!({"keepHourly": 60, "groupBy": ["host"]}), "--keep-hourly 60 --group-by host"),
        (json!({"keepHourly": 200, "groupBy": ["paths"]}), "--keep-hourly 200 --group-by paths"),
        (json!({"keepMonthly": 6, "groupBy": ["tags"]}), "--keep-monthly 6 --group-by tags"),
        (
            json!({"keepLast": 7, "keepDaily": 14, "keepWeekly": 8, "keepMonthly": 12, "keepYearly": 4}),
            "--keep-last 7 --keep-daily 14 --keep-weekly 8 --keep-monthly 12 --keep-yearly 4",
        ),
        (json!({"keepWithin": "100d", "keepWeekly": 10}), "--keep-within 100d --keep-weekly 10"),
        (json!({"keepWithin": "13h"}), "--keep-within 13h"),
        (json!({"keepTags": ["gold", "x"], "keepLast": 1}), "--keep-tag gold --keep-tag x --keep-last 1"),
        (
            json!({"keepTags": ["newyear"], "keepMonthly": 40, "groupBy": ["host", "tags"]}),
            "--keep-tag newyear --keep-monthly 40 --group-by host,tags",
        ),
    ] {
        assert_same_choice(&repository, ours, &theirs.split(' ').collect::<Vec<_>>()).await;
    }
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
