//! What goes up comes down, whole or not at all, on every kind of store.

use std::time::{Duration, Instant, SystemTime};

use aquifer_engine::alone::{Input, run_alone};
use aquifer_engine::failure::{Failure, FailureKind};
use aquifer_functions::upload::Upload;
use serde_json::json;

use crate::rig::{begin, chunks, on_each_for_objects, refused, sample};

const MIB: usize = 1 << 20;

#[tokio::test(flavor = "multi_thread")]
async fn every_size_comes_back() {
    on_each_for_objects(async |place| {
        // None, one, one part less and more a byte, a last part that is too small by itself, and one that is not.
        for size in [0, 1, 5 * MIB - 1, 5 * MIB, 5 * MIB + 1, 13 * MIB, 15 * MIB] {
            let (name, bytes) = (format!("of/{size}"), sample(size));
            let outputs = place.upload(&name, &bytes, json!({"partSize": "5MiB"})).await;
            let outputs = outputs.unwrap_or_else(|failure| panic!("{}, {size}: {failure:?}", place.server.called()));
            assert_eq!(outputs["bytes"], size);
            let object = outputs["object"].as_str().expect("a text");
            assert!(object.ends_with(&name) && !object.contains("hunter2"), "{object}");
            assert!(place.server.bytes(&place.name, &name).await == bytes, "{size}: others read the same");
            assert!(place.downloaded(&name).await == bytes, "{size}");
        }
        let all = place.names().await;
        assert_eq!(all.len(), 14, "objects and manifests, and nothing else: {all:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_object_goes_in_many_parts() {
    let bytes = sample(80 * MIB);
    on_each_for_objects(async |place| {
        let began = Instant::now();
        for overwrite in [false, true] {
            let done = place.upload("large", &bytes, json!({"overwrite": overwrite})).await;
            done.unwrap_or_else(|failure| panic!("{}: {failure:?}", place.server.called()));
            assert!(place.downloaded("large").await == bytes);
            assert_eq!(place.names().await, ["large", "large.manifest.json"]);
        }
        assert!(began.elapsed() < Duration::from_secs(120), "{:?}", began.elapsed());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn names_of_all_kinds_stay_what_they_are() {
    on_each_for_objects(async |place| {
        let long = "ä".repeat(120);
        let deep = vec!["abcdefgh"; 25].join("/");
        let names = ["ünï/çödé √.zst", "a+b=c&d;e@f,g", ".hidden", "it's (quoted)", "%41", "a~b!c$d*", &long, &deep];
        for name in names {
            let done = place.upload(name, name.as_bytes(), json!({})).await;
            done.unwrap_or_else(|failure| panic!("{}, {name}: {failure:?}", place.server.called()));
        }
        for name in names {
            assert_eq!(place.downloaded(name).await, name.as_bytes(), "{name}");
        }
        let mut told: Vec<String> =
            names.iter().flat_map(|name| [(*name).to_owned(), format!("{name}.manifest.json")]).collect();
        told.sort();
        assert_eq!(place.names().await, told);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_exists_is_replaced_only_when_called_for() {
    on_each_for_objects(async |place| {
        place.upload("n", b"first", json!({})).await.expect("uploaded");
        refused(&place.upload("n", b"second", json!({})).await, FailureKind::Rejected, "overwrite: true");
        assert_eq!(place.downloaded("n").await, b"first");
        for bytes in [sample(13 * MIB), b"third".to_vec()] {
            place.upload("n", &bytes, json!({"overwrite": true})).await.expect("uploaded");
            assert!(place.downloaded("n").await == bytes);
            assert_eq!(place.names().await, ["n", "n.manifest.json"]);
        }
    })
    .await;
}

/// Two that write one name: the second to complete is told, and the object is the first one's.
#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_appears_meanwhile_is_not_replaced() {
    on_each_for_objects(async |place| {
        for (name, length) in [("small", 10), ("large", 14 * MIB)] {
            let bytes = sample(length);
            let begun = begin(place.params(name, json!({"partSize": "5MiB"})), &bytes, bytes.len() as u64).await;
            place.upload(name, b"of another", json!({})).await.expect("uploaded");
            begun.control.finish();
            refused(&begun.running.await.expect("no panic"), FailureKind::Rejected, "exists");
            begun.feeding.abort();
            assert_eq!(place.downloaded(name).await, b"of another", "{name} on {}", place.server.called());
        }
        assert_eq!(place.names().await, ["large", "large.manifest.json", "small", "small.manifest.json"]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_breaks_leaves_nothing() {
    let bytes = sample(30 * MIB);
    on_each_for_objects(async |place| {
        let died = || Failure::unavailable("the source died");
        for length in [0, 1, bytes.len()] {
            let input = Input::Broken(chunks(&bytes[..length]), died());
            let result = run_alone(Upload, place.params("n", json!({"partSize": "5MiB"})), input).await.result;
            refused(&result, FailureKind::Unavailable, "the source died");
            assert_eq!(place.names().await, [""; 0], "after {length} bytes on {}", place.server.called());
        }
        // Parts that arrived just before the end may keep the name on such a server, as the next test has it.
        let name = if place.server.leave_part("", "").is_some() { "m" } else { "n" };
        // What was there before is what is there after.
        place.upload(name, b"good", json!({})).await.expect("uploaded");
        let input = Input::Broken(chunks(&bytes), died());
        let result = run_alone(Upload, place.params(name, json!({"overwrite": true})), input).await.result;
        refused(&result, FailureKind::Unavailable, "the source died");
        assert_eq!(place.downloaded(name).await, b"good");
        assert_eq!(place.names().await, [name.to_owned(), format!("{name}.manifest.json")]);
    })
    .await;
}

/// Azurite says of a name that has parts and no object that it exists. Azure's own words on it are not known here.
#[tokio::test(flavor = "multi_thread")]
async fn parts_that_keep_a_name_are_told_as_such() {
    on_each_for_objects(async |place| {
        let Some(leaving) = place.server.leave_part(&place.name, "n") else { return };
        leaving.await;
        let result = place.upload("n", b"good", json!({})).await;
        refused(&result, FailureKind::Rejected, "exists, and shows nothing of that name");
        assert_eq!(place.names().await, [""; 0], "{}", place.server.called());
        place.upload("n", b"good", json!({"overwrite": true})).await.expect("uploaded");
        assert_eq!(place.downloaded("n").await, b"good");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_is_stopped_or_dropped_in_the_middle_leaves_nothing() {
    let bytes = sample(60 * MIB);
    on_each_for_objects(async |place| {
        let params = place.params("n", json!({"partSize": "5MiB"}));
        let begun = begin(params.clone(), &bytes, 40 << 20).await;
        let stopped = Instant::now();
        begun.cancel.cancel();
        begun.control.break_off(Failure::cancelled("stopped"));
        refused(&begun.running.await.expect("no panic"), FailureKind::Cancelled, "stopped");
        assert!(stopped.elapsed() < Duration::from_secs(8), "within the grace of a run: {:?}", stopped.elapsed());
        begun.feeding.abort();
        assert_eq!(place.names().await, [""; 0], "{}", place.server.called());

        // What the engine does with a step that does not stop when told to: the future is dropped wherever it is.
        let begun = begin(params, &bytes, 40 << 20).await;
        begun.running.abort();
        assert!(begun.running.await.expect_err("aborted").is_cancelled());
        begun.control.break_off(Failure::cancelled("stopped"));
        begun.feeding.abort();
        place.until_nothing_is_left().await;
    })
    .await;
}

/// What a killed program left is removed by the next that writes, and what may still be written is not.
#[tokio::test(flavor = "multi_thread")]
async fn parts_that_killed_programs_left_are_removed_a_day_later() {
    on_each_for_objects(async |place| {
        let Some(folder) = place.server.files(&place.name) else { return };
        place.upload("first", b"first", json!({})).await.expect("uploaded");
        let parts = folder.join(".aquifer-parts");
        let old = SystemTime::now() - Duration::from_secs(25 * 60 * 60);
        for (name, at) in [("old.part", old), ("young.part", SystemTime::now())] {
            std::fs::File::create(parts.join(name)).and_then(|file| file.set_modified(at)).expect("written");
        }
        place.downloaded("first").await;
        assert!(parts.join("old.part").exists(), "reading removes nothing");
        place.upload("second", b"second", json!({})).await.expect("uploaded");
        let names = place.names().await;
        let pending: Vec<&String> = names.iter().filter(|name| name.starts_with("pending")).collect();
        assert_eq!(pending, ["pending .aquifer-parts/young.part"], "{}", place.server.called());
    })
    .await;
}
