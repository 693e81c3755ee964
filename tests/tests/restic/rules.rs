//! Which snapshots stay, and why: the same as the newest restic says, for many rules on 500 snapshots of three years.

use std::process::Command;
use std::sync::{Arc, Mutex};

use aquifer_engine::alone::{Input, run_alone};
use aquifer_functions::restic_forget::ResticForget;
use rustic_core::jiff::tz::{Offset, TimeZone};
use rustic_core::jiff::{SignedDuration, Timestamp, civil};
use serde_json::{Value as Json, json};

use crate::history::{Made, repository_of};
use crate::rig::Repository;

/// What both must agree in of a snapshot. Of two of the same moment either may be the one that stays: they differ in no more than
/// their ids.
type Seen = (Timestamp, String, Vec<String>);

fn seen(snapshot: &Json, host: &str, reasons: &Json) -> Seen {
    let time = snapshot["time"].as_str().expect("a time").parse().expect("a moment");
    let reasons = reasons.as_array().into_iter().flatten().map(|reason| reason.as_str().expect("a text").to_owned());
    (time, snapshot[host].as_str().expect("a host").to_owned(), reasons.collect())
}

/// Restic's choice and ours, with all reasons.
async fn assert_same_choice(repository: &Repository, ours: Json, theirs: &str) {
    let args = ["forget", "--dry-run", "--json"].into_iter().chain(theirs.split(' ')).collect::<Vec<_>>();
    let groups: Json = serde_json::from_slice(&repository.newest_restic(&args)).expect("JSON");
    let (mut kept, mut removed) = (Vec::new(), Vec::new());
    for group in groups.as_array().expect("groups") {
        let list = |name: &str| group[name].as_array().cloned().unwrap_or_default();
        kept.extend(list("reasons").iter().map(|one| seen(&one["snapshot"], "hostname", &one["matches"])));
        removed.extend(list("remove").iter().map(|one| seen(one, "hostname", &Json::Null)));
    }
    let mut params = ours.clone();
    params.as_object_mut().expect("a map").insert("dryRun".into(), json!(true));
    let outputs = run_alone(ResticForget, repository.params(params), Input::None).await.result.expect("judged");
    let list = |name: &str| -> Vec<Seen> {
        outputs[name].as_array().expect("a list").iter().map(|one| seen(one, "host", &one["reasons"])).collect()
    };
    // What we keep beyond restic's rules has its own reason, and would go by them.
    let (beyond, ours_kept): (Vec<Seen>, Vec<Seen>) =
        list("keptSnapshots").into_iter().partition(|one| one.2 == ["newest that is not of the future"]);
    let mut ours_removed = list("removedSnapshots");
    ours_removed.extend(beyond.into_iter().map(|one| (one.0, one.1, Vec::new())));
    for (what, mut found, mut wanted) in [("kept", ours_kept, kept), ("removed", ours_removed, removed)] {
        found.sort();
        wanted.sort();
        let only = |some: &[Seen], others: &[Seen]| {
            some.iter().filter(|one| !others.contains(one)).take(5).cloned().collect::<Vec<_>>()
        };
        let (ours_only, theirs_only) = (only(&found, &wanted), only(&wanted, &found));
        assert!(found == wanted, "{ours}, {what}: only by us {ours_only:#?}, only by restic {theirs_only:#?}");
    }
}

/// Numbers that look like chance and are the same each time.
fn chance() -> impl FnMut(u64) -> u64 {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    move |below| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    }
}

/// 500 snapshots from three years back to three weeks ahead of now: bursts, gaps, equal times, clocks of several offsets.
fn years() -> Vec<Made> {
    let mut chance = chance();
    let berlin = TimeZone::get("Europe/Berlin").expect("the system's time zones");
    let now = Timestamp::now();
    let back = |seconds: u64| now.checked_sub(SignedDuration::from_secs(seconds.cast_signed())).expect("a moment");
    let hosts = ["a", "b", "web-3"];
    let tags: [&[&str]; 6] = [&[], &["x"], &["y"], &["x", "y"], &["gold"], &["gold", "old"]];
    let paths: [&[&str]; 3] = [&["/stdin"], &["/dumpfile.resp"], &["/etc", "/home"]];
    let mut made = Vec::new();
    let mut add = |time: Timestamp, zone: TimeZone, which: [u64; 3]| {
        made.push(Made {
            time: time.to_zoned(zone),
            host: hosts[which[0] as usize],
            tags: tags[which[1] as usize].to_vec(),
            paths: paths[which[2] as usize].to_vec(),
        });
    };
    let which =
        |chance: &mut dyn FnMut(u64) -> u64| [chance(3) * chance(2), chance(6), chance(3) * chance(2) * chance(2)];
    for number in 0..400 {
        // Most of them young; every fourth within hours of the one before.
        let age = if number % 4 == 3 { chance(90_000) } else { chance(3 * 365 * 86_400) * chance(1000) / 1000 };
        let zone = match chance(4) {
            0 => TimeZone::UTC,
            1 => Offset::from_seconds([-8, 9, 1, 2][chance(4) as usize] * 3600).expect("an offset").to_time_zone(),
            2 => Offset::from_seconds(5 * 3600 + 45 * 60).expect("an offset").to_time_zone(),
            _ => berlin.clone(),
        };
        let (time, which) = (back(age), which(&mut chance));
        add(time, zone.clone(), which);
        // The same moment again, once in twenty.
        if number % 20 == 0 {
            add(time, zone, which);
        }
    }
    // Hours that were not there, or twice: the nights in which Berlin changes its clocks.
    for (year, month, day) in [(2024, 3, 31), (2024, 10, 27), (2025, 3, 30), (2025, 10, 26), (2026, 3, 29)] {
        for minutes in [-61, -1, 0, 1, 30, 59, 61, 119, 121] {
            let night = civil::date(year, month, day).at(1, 0, 0, 0).to_zoned(TimeZone::UTC).expect("a time");
            let time = night.timestamp().checked_add(SignedDuration::from_mins(minutes)).expect("a moment");
            add(time, berlin.clone(), [0, 0, 0]);
        }
    }
    // The days around New Year, of which some belong to a week of the other year.
    for year in 2023..=2025 {
        for (month, day, more) in [(12, 23, 0), (12, 30, 0), (12, 31, 0), (1, 1, 1), (1, 2, 1), (1, 8, 1)] {
            let time = civil::date(year + more, month, day).at(12, 0, day, 0).to_zoned(TimeZone::UTC).expect("a time");
            add(time.timestamp(), TimeZone::UTC, [1, 1, 1]);
        }
    }
    // Clocks that went wrong: of the future.
    while made.len() < 500 {
        let ahead = SignedDuration::from_secs(chance(21 * 86_400).cast_signed() + 3600);
        let time = now.checked_add(ahead).expect("a moment").to_zoned(berlin.clone());
        made.push(Made { time, host: "b", tags: vec!["x"], paths: vec!["/stdin"] });
    }
    assert_eq!(made.len(), 500);
    made
}

/// One rule set in our words and in restic's.
fn rules() -> Vec<(Json, String)> {
    let mut rules = Vec::new();
    for (ours, theirs) in [
        (json!({"keepLast": 3}), "--keep-last 3"),
        (json!({"keepLast": "unlimited"}), "--keep-last unlimited"),
        (json!({"keepWeekly": 20}), "--keep-weekly 20"),
        (json!({"keepYearly": 2, "filter": {"paths": ["/dumpfile.resp"]}}), "--keep-yearly 2 --path /dumpfile.resp"),
        (json!({"keepMonthly": "unlimited", "groupBy": ["host"]}), "--keep-monthly unlimited --group-by host"),
        (json!({"keepHourly": 60, "groupBy": ["paths"]}), "--keep-hourly 60 --group-by paths"),
        (json!({"keepMonthly": 6, "groupBy": ["tags"]}), "--keep-monthly 6 --group-by tags"),
        (json!({"keepDaily": 9, "groupBy": ["host", "paths", "tags"]}), "--keep-daily 9 --group-by host,paths,tags"),
        (
            json!({"keepLast": 7, "keepDaily": 14, "keepWeekly": 8, "keepMonthly": 12, "keepYearly": 4}),
            "--keep-last 7 --keep-daily 14 --keep-weekly 8 --keep-monthly 12 --keep-yearly 4",
        ),
        (json!({"keepWithin": "100d", "keepWeekly": 10}), "--keep-within 100d --keep-weekly 10"),
        (json!({"keepTags": ["gold", "x,y"], "keepLast": 1}), "--keep-tag gold --keep-tag x,y --keep-last 1"),
        (json!({"keepLast": 2, "filter": {"anyTags": ["gold,old", "y"]}}), "--keep-last 2 --tag gold,old --tag y"),
        (json!({"keepLast": 2, "filter": {"tags": ["x", "y"]}}), "--keep-last 2 --tag x,y"),
        (json!({"keepDaily": 2, "filter": {"host": ["b", "web-3"]}}), "--keep-daily 2 --host b --host web-3"),
        (json!({"keepDaily": 2, "filter": {"host": "a"}}), "--keep-daily 2 --host a"),
        (
            json!({"keepWithinHourly": "2d", "keepWithinDaily": "1m", "keepWithinWeekly": "3m", "keepWithinMonthly": "1y", "keepWithinYearly": "10y"}),
            "--keep-within-hourly 2d --keep-within-daily 1m --keep-within-weekly 3m --keep-within-monthly 1y --keep-within-yearly 10y",
        ),
        (
            json!({"keepWithinDaily": "1y 5m 7d 2h", "keepDaily": 5, "groupBy": []}),
            "--keep-within-daily 1y5m7d2h --keep-daily 5 --group-by=",
        ),
    ] {
        rules.push((ours, theirs.to_owned()));
    }
    // Each kind by itself, with few and with more than there are; and each kind within spans that end at odd moments.
    for kind in ["Hourly", "Daily", "Weekly", "Monthly", "Yearly"] {
        let lower = kind.to_lowercase();
        for count in [1, 5, 1000] {
            rules.push((
                json!({format!("keep{kind}"): count, "groupBy": []}),
                format!("--keep-{lower} {count} --group-by="),
            ));
        }
        for span in ["13m", "1y7m31d"] {
            let ours = json!({format!("keepWithin{kind}"): span});
            rules.push((ours, format!("--keep-within-{lower} {span}")));
        }
    }
    // Months that are too short, nights in which the clocks change, and more than there is.
    for span in ["1m", "6m", "11m31d", "2y", "35h", "9999y", "99999h"] {
        rules.push((json!({"keepWithin": span, "groupBy": []}), format!("--keep-within {span} --group-by=")));
        rules.push((json!({"keepWithin": span}), format!("--keep-within {span}")));
    }
    rules
}

#[tokio::test(flavor = "multi_thread")]
async fn years_of_snapshots_are_thinned_out_as_by_restic() {
    let repository = repository_of(years());
    for (ours, theirs) in rules() {
        assert_same_choice(&repository, ours, &theirs).await;
    }
    assert_eq!(repository.snapshots().len(), 500, "a dry run removes nothing");
}

/// Spans of the calendar that begin and end on either side of a change of the clocks.
#[tokio::test(flavor = "multi_thread")]
async fn spans_end_where_restic_ends_them() {
    let zone = TimeZone::get("Europe/Berlin").expect("the system's time zones");
    // Each group's newest is at an odd moment, and the others lie around so many months and days before it.
    let mut made = Vec::new();
    for (host, newest) in [
        ("summer", civil::date(2025, 7, 15).at(12, 0, 0, 0)),
        ("winter", civil::date(2025, 1, 15).at(12, 0, 0, 0)),
        ("gap", civil::date(2025, 9, 30).at(2, 30, 0, 0)),
        ("twice", civil::date(2025, 4, 27).at(2, 30, 0, 0)),
        ("short", civil::date(2025, 5, 31).at(0, 30, 0, 0)),
        ("leap", civil::date(2024, 2, 29).at(23, 59, 59, 0)),
    ] {
        let newest = newest.to_zoned(zone.clone()).expect("a time");
        made.push(Made { time: newest.clone(), host, tags: vec![], paths: vec!["/stdin"] });
        for months in [1, 3, 6, 12] {
            // Around that moment, and around a day before it.
            for minutes in (-26 * 60..-22 * 60).chain(-180..180).step_by(30) {
                let time = newest.checked_sub(rustic_core::jiff::Span::new().months(months)).expect("a time");
                let time = time.timestamp().checked_add(SignedDuration::from_mins(minutes)).expect("a moment");
                if time < newest.timestamp() {
                    made.push(Made { time: time.to_zoned(zone.clone()), host, tags: vec![], paths: vec!["/stdin"] });
                }
            }
        }
    }
    let repository = repository_of(made);
    for span in ["1m", "3m", "6m", "1y", "1m1d", "182d", "2m31d", "1y1h", "6m1d1h"] {
        let ours = json!({"keepWithin": span, "keepWithinHourly": span});
        assert_same_choice(&repository, ours, &format!("--keep-within {span} --keep-within-hourly {span}")).await;
    }
}

/// The same on machines of other time zones: restic takes a clock of this machine's offset for one of its time zone.
#[test]
fn the_machines_time_zone_counts_as_by_restic() {
    let test = std::env::current_exe().expect("this program");
    let runs: Arc<Mutex<Vec<String>>> = Arc::default();
    std::thread::scope(|scope| {
        for zone in ["Europe/Berlin", "America/Los_Angeles"] {
            let (test, runs) = (test.clone(), Arc::clone(&runs));
            scope.spawn(move || {
                let args = ["--exact", "rules::spans_end_where_restic_ends_them"];
                let output = Command::new(test).args(args).env("TZ", zone).output().expect("it starts");
                let said = String::from_utf8_lossy(&output.stdout).into_owned();
                assert!(output.status.success() && said.contains("1 passed"), "{zone}: {said}");
                runs.lock().expect("sound").push(said);
            });
        }
    });
    assert_eq!(runs.lock().expect("sound").len(), 2);
}

/// Where restic would leave nothing of a group, and says so, we keep its newest, and what was read back.
#[tokio::test(flavor = "multi_thread")]
async fn what_we_keep_beyond_restic_has_its_own_reason() {
    let day = |day: i8, tags: Vec<&'static str>| Made {
        time: civil::date(2025, 6, day).at(12, 0, 0, 0).to_zoned(TimeZone::UTC).expect("a time"),
        host: "a",
        tags,
        paths: vec!["/stdin"],
    };
    let repository = repository_of(vec![
        day(1, vec!["verified:data"]),
        day(2, vec!["verified:data"]),
        day(3, vec![]),
        day(4, vec![]),
    ]);
    let params = repository.params(json!({"keepTags": ["gold"]}));
    let outputs = run_alone(ResticForget, params, Input::None).await.result.expect("forgotten");
    let kept = outputs["keptSnapshots"].as_array().expect("a list");
    let kept: Vec<(&str, &Json)> =
        kept.iter().map(|one| (one["time"].as_str().expect("a time"), &one["reasons"])).collect();
    let (verified, newest) = (json!(["newest with verified:data"]), json!(["newest of its group"]));
    assert_eq!(kept, [("2025-06-02T12:00:00Z", &verified), ("2025-06-04T12:00:00Z", &newest)]);
    assert_eq!(repository.snapshots().len(), 2);
}

/// A clock that was ahead, or whoever makes a snapshot of the future, displaces nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_of_the_future_displaces_no_real_one() {
    let made = |year: i16, month: i8, tags: Vec<&'static str>| Made {
        time: civil::date(year, month, 1).at(12, 0, 0, 0).to_zoned(TimeZone::UTC).expect("a time"),
        host: "a",
        tags,
        paths: vec!["/stdin"],
    };
    let repository = repository_of(vec![
        made(2025, 1, vec!["verified:data"]),
        made(2025, 2, vec!["verified:data"]),
        made(2025, 3, vec![]),
        made(2131, 1, vec!["verified:data"]),
    ]);
    let params = repository.params(json!({"keepLast": 1}));
    let outputs = run_alone(ResticForget, params, Input::None).await.result.expect("forgotten");
    let kept = outputs["keptSnapshots"].as_array().expect("a list");
    let kept: Vec<(&str, &Json)> =
        kept.iter().map(|one| (one["time"].as_str().expect("a time"), &one["reasons"])).collect();
    let (verified, newest) = (json!(["newest with verified:data"]), json!(["newest that is not of the future"]));
    let ahead = json!(["last snapshot", "newest with verified:data"]);
    assert_eq!(
        kept,
        [("2025-02-01T12:00:00Z", &verified), ("2025-03-01T12:00:00Z", &newest), ("2131-01-01T12:00:00Z", &ahead)]
    );
}
