//! What a second backup of nearly the same stream adds.

use serde_json::{Value as Json, json};

use crate::rig::{Repository, noise, pull, push};

/// A dump of this many small keys, of which one in so many has another value.
fn dump(keys: usize, changed: Option<usize>) -> Vec<u8> {
    let values = noise(keys * 8, 11);
    let line = |(key, value): (usize, &[u8])| {
        let salt = if changed.is_some_and(|every| key % every == 7) { "new" } else { "old" };
        format!("SET key:{key:09} {salt}:{}\r\n", value.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
    };
    values.chunks(8).enumerate().map(line).collect::<String>().into_bytes()
}

fn number(outputs: &Json, name: &str) -> u64 {
    outputs[name].as_u64().unwrap_or_else(|| panic!("{outputs}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn fine_chunks_add_what_changed() {
    let repository = Repository::nowhere();
    let (keys, every) = (200_000, 1000);
    let (first, second) = (dump(keys, None), dump(keys, Some(every)));
    let fine = json!({"chunks": "fine"});
    let stored = push(&repository, &first, fine.clone()).await.expect("stored");
    let again = push(&repository, &second, fine.clone()).await.expect("stored");
    // A chunk of 10 KiB has some 280 of these keys, and no two changes are closer.
    let share = number(&again, "newBytes") as f64 / first.len() as f64;
    assert!((0.2..0.32).contains(&share), "{share}");
    assert!(number(&again, "storedBytes") < number(&stored, "storedBytes") * 4 / 10, "{stored} {again}");
    // As the repository says, nearly all of it is new.
    let coarse = Repository::nowhere();
    push(&coarse, &first, json!({})).await.expect("stored");
    let all = push(&coarse, &second, json!({})).await.expect("stored");
    assert!(number(&all, "newBytes") > first.len() as u64 * 9 / 10, "{all}");

    assert_eq!(pull(&repository, json!({})).await.stdout, second);
    assert_eq!(repository.restic(&["dump", "latest", "stdin"]), second, "restic reads them");
    repository.assert_sound();
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_changed_adds_nothing_but_the_snapshot() {
    let repository = Repository::nowhere();
    let bytes = dump(50_000, None);
    push(&repository, &bytes, json!({"chunks": "fine", "host": "a"})).await.expect("stored");
    let (data, index) = (repository.files("data"), repository.files("index"));
    let again = push(&repository, &bytes, json!({"chunks": "fine", "host": "a"})).await.expect("stored");
    assert_eq!((number(&again, "newBytes"), number(&again, "storedBytes")), (0, 0));
    assert_eq!((repository.files("data"), repository.files("index")), (data.clone(), index));
    let snapshots = repository.snapshots();
    assert!(snapshots.len() == 2 && snapshots[0]["tree"] == snapshots[1]["tree"], "{snapshots:?}");
    // Another host's, or another file's, is no earlier one of it: its times are not its own.
    for other in [json!({"chunks": "fine", "host": "b"}), json!({"chunks": "fine", "host": "a", "filename": "b"})] {
        assert!(number(&push(&repository, &bytes, other).await.expect("stored"), "storedBytes") > 0);
    }
    repository.assert_sound();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_snapshot_that_cannot_be_read_stops_no_backup() {
    let repository = Repository::nowhere();
    let bytes = dump(20_000, None);
    push(&repository, &bytes, json!({})).await.expect("stored");
    let damaged = repository.files("snapshots").pop().expect("one");
    std::fs::write(&damaged, noise(200, 3)).expect("damaged");
    let stored = push(&repository, &bytes, json!({})).await.expect("stored all the same");
    std::fs::remove_file(damaged).expect("removed");
    let outcome = pull(&repository, json!({"snapshot": stored["snapshot"]})).await;
    assert!(outcome.result.is_ok() && outcome.stdout == bytes);
}

/// restic counts the blobs of a pack with 16 bits when it prunes.
#[tokio::test(flavor = "multi_thread")]
async fn a_pack_of_tiny_chunks_is_closed_before_it_has_too_many() {
    let repository = Repository::made_by_restic(2);
    let key = repository.master_key();
    repository.change_config(&key, |config| {
        config["chunker"] = json!("FixedSize");
        config["chunk_size"] = json!(100);
    });
    let bytes = noise(2_050_000, 34);
    push(&repository, &bytes, json!({})).await.expect("stored");
    let mut counts = Vec::new();
    for index in repository.files("index") {
        let id = index.file_name().expect("a name").to_string_lossy().into_owned();
        let index: serde_json::Value =
            serde_json::from_slice(&repository.newest_restic(&["cat", "index", &id])).expect("JSON");
        let packs = index["packs"].as_array().expect("a list");
        counts.extend(packs.iter().map(|pack| pack["blobs"].as_array().expect("a list").len()));
    }
    counts.sort_unstable();
    assert_eq!(counts, [1, 500, 20_000], "the tree, and 20,500 chunks");
    assert!(pull(&repository, json!({})).await.stdout == bytes);
    repository.assert_sound();
}
