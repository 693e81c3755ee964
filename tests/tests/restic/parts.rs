//! Checking a repository in parts: the parts are restic's, all of them are all of it, and damage is found in its own part.

use std::fs;
use std::path::{Path, PathBuf};

use aquifer_engine::alone::{Input, run_alone};
use aquifer_engine::failure::{Failure, FailureKind};
use aquifer_functions::restic_check::ResticCheck;
use rustic_core::jiff::Timestamp;
use serde_json::{Value as Json, json};

use crate::rig::{Repository, noise, push, words};

async fn check(repository: &Repository, part: Json) -> Result<Json, Failure> {
    run_alone(ResticCheck, repository.params(json!({"readData": true, "part": part})), Input::None).await.result
}

/// A repository of some forty packs, by us and by restic.
async fn many_packs() -> Repository {
    let repository = Repository::made_by_restic(2);
    for seed in 0..14 {
        push(&repository, &noise(20_000, seed), json!({})).await.expect("stored");
    }
    for seed in 14..20 {
        repository.restic_backup(&[noise(5000, seed), words(5000)].concat(), &[]);
    }
    assert!(repository.files("data").len() >= 40);
    repository
}

fn size(path: &PathBuf) -> u64 {
    fs::metadata(path).expect("there").len()
}

/// The number of a pack's part, by its name.
fn number_of(pack: &Path, of: u64) -> u64 {
    let name = pack.file_name().expect("a name").to_string_lossy().into_owned();
    u64::from_str_radix(&name[..2], 16).expect("hexadecimal") % of + 1
}

/// Changes a file's bytes, however restic has protected it.
fn change(file: &Path, how: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(file).expect("there");
    how(&mut bytes);
    fs::remove_file(file).expect("removed");
    fs::write(file, bytes).expect("written");
}

#[tokio::test(flavor = "multi_thread")]
async fn so_many_runs_read_every_pack_once_and_the_ones_that_restic_reads() {
    let repository = many_packs().await;
    let packs = repository.files("data");
    for of in [1, 3, 7] {
        let (mut count, mut bytes) = (0, 0);
        for number in 1..=of {
            let read = check(&repository, json!({"number": number, "of": of})).await.expect("sound");
            assert_eq!(read["part"], json!({"number": number, "of": of}));
            let mine = packs.iter().filter(|pack| number_of(pack, of) == number);
            assert_eq!(read["bytesRead"], json!(mine.clone().map(size).sum::<u64>()));
            assert_eq!(read["packsRead"], json!(mine.count()));
            count += read["packsRead"].as_u64().expect("a number");
            bytes += read["bytesRead"].as_u64().expect("a number");
            let subset = format!("--read-data-subset={number}/{of}");
            let said = String::from_utf8(repository.newest_restic(&["check", &subset])).expect("a text");
            let same = format!("read group #{number} of {} data packs", read["packsRead"]);
            assert!(said.contains(&same) || (of == 1 && said.contains("read all data")), "{same}: {said}");
        }
        assert_eq!((count, bytes), (packs.len() as u64, packs.iter().map(size).sum()));
    }
    let all = check(&repository, Json::Null).await.expect("sound");
    assert_eq!((&all["packsRead"], &all["part"]), (&json!(packs.len()), &Json::Null));
    let none = run_alone(ResticCheck, repository.params(json!({})), Input::None).await.result.expect("sound");
    assert_eq!((&none["packsRead"], &none["bytesRead"]), (&json!(0), &json!(0)));
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_is_found_in_its_part_and_in_no_other_as_by_restic() {
    let repository = many_packs().await;
    let mut packs = repository.files("data");
    // Trees are read by every check.
    packs.retain(|pack| size(pack) > 20_000);
    let of = 3;
    let (first, last) = (&packs[0], packs.last().expect("one"));
    for (pack, what) in [(first, "data"), (last, "header"), (first, "length"), (last, "other blobs")] {
        let whole = fs::read(pack).expect("there");
        let other = packs.iter().find(|other| other != &pack && size(other) == whole.len() as u64);
        change(pack, |bytes| match what {
            "data" => bytes[20] ^= 1,
            "header" => *bytes.iter_mut().rev().nth(10).expect("long enough") ^= 1,
            "length" => *bytes.last_mut().expect("long enough") ^= 1,
            _ => *bytes = fs::read(other.expect("one of the same length")).expect("there"),
        });
        for number in 1..=of {
            let found = check(&repository, json!({"number": number, "of": of})).await;
            assert_eq!(found.is_err(), number_of(pack, of) == number, "{what} {number}: {found:?}");
            if let Err(failure) = found {
                let id = pack.file_name().expect("a name").to_string_lossy().into_owned();
                assert!(failure.kind == FailureKind::Corrupt && failure.message.contains(&id), "{failure:?}");
            }
            let subset = format!("--read-data-subset={number}/{of}");
            let theirs = repository.newest_command(&["check", &subset]).output().expect("restic");
            assert_eq!(theirs.status.success(), number_of(pack, of) != number, "{what} {number}: {theirs:?}");
        }
        change(pack, |bytes| *bytes = whole);
    }
    check(&repository, Json::Null).await.expect("mended");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_day_reads_the_next_part() {
    let repository = many_packs().await;
    let today = || u64::try_from(Timestamp::now().as_second() / 86_400).expect("after 1970");
    let before = today();
    let read = check(&repository, json!({"of": 7, "by": "day"})).await.expect("sound");
    let number = read["part"]["number"].as_u64().expect("a number");
    assert!([before % 7 + 1, today() % 7 + 1].contains(&number), "{read}");
    let total: u64 = repository.files("data").iter().map(size).sum();
    let read = check(&repository, json!({"size": total.div_ceil(4), "by": "week"})).await.expect("sound");
    assert_eq!(read["part"]["of"], json!(4));
    let bytes = read["bytesRead"].as_u64().expect("a number");
    assert!(bytes > 0 && bytes < total * 3 / 4, "{bytes} of {total}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_of_no_data_is_refused() {
    let repository = Repository::nowhere();
    for (params, told) in [
        (json!({"part": {"of": 7, "by": "day"}}), "no data is read"),
        (json!({"readData": true, "part": {"of": 7}}), "which part"),
    ] {
        let refused = run_alone(ResticCheck, repository.params(params), Input::None).await.result.expect_err("refused");
        assert!(refused.kind == FailureKind::Config && refused.message.contains(told), "{refused:?}");
    }
}
