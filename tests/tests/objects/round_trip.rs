//! What goes up comes down, of any size and under any name.

use std::process::Command;

use aquifer_engine::failure::FailureKind;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::rig::{Place, refused, sample};

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_size_comes_back_and_is_described() {
    let mib = 1 << 20;
    for place in Place::both().await {
        // None, one, one part less and more a byte, a last part that is too small by itself, and one that is not.
        for size in [0, 1, 5 * mib - 1, 5 * mib, 5 * mib + 1, 13 * mib, 15 * mib] {
            let (name, bytes) = (format!("of/{size}"), sample(size));
            let outputs = place.upload(&name, &bytes, json!({"partSize": "5MiB"})).await.expect("uploaded");
            assert_eq!(outputs["bytes"], size);
            assert_eq!(outputs["sha256"], sha256(&bytes));
            assert_eq!(outputs["type"], "application/octet-stream");
            let object = outputs["object"].as_str().expect("a text");
            assert!(object.ends_with(&name) && !object.contains("hunter2"), "{object}");
            assert!(place.get(&name).await.expect("there") == bytes, "{size}: others read the same");
            let manifest = place.get(&format!("{name}.manifest.json")).await.expect("there");
            let manifest: Value = serde_json::from_slice(&manifest).expect("JSON");
            assert_eq!((&manifest["bytes"], &manifest["sha256"]), (&outputs["bytes"], &outputs["sha256"]));
            assert!(place.downloaded(&name).await == bytes, "{size}");
        }
        let all = place.everything().await;
        assert_eq!(all.len(), 14, "objects and manifests, and nothing else: {all:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_megabytes_go_in_many_parts() {
    let bytes = sample(120 << 20);
    for place in Place::both().await {
        let outputs = place.upload("large", &bytes, json!({})).await.expect("uploaded");
        assert_eq!(outputs["sha256"], sha256(&bytes));
        assert!(place.downloaded("large").await == bytes);
        assert_eq!(place.everything().await, ["large", "large.manifest.json"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn names_of_all_kinds_stay_what_they_are() {
    for place in Place::both().await {
        let long = "ä".repeat(120);
        let names = ["ünï/çödé √.zst", "a+b=c&d?e#f%20g", ".hidden", "x/.manifest.json.old", "it's \"quoted\"", &long];
        for name in names {
            place
                .upload(name, name.as_bytes(), json!({}))
                .await
                .unwrap_or_else(|failure| panic!("{name}: {failure:?}"));
            assert_eq!(place.downloaded(name).await, name.as_bytes(), "{name}");
        }
        if let Place::Folder(folder) = &place {
            for name in names {
                assert_eq!(std::fs::read(folder.path().join(name)).expect("a file of that name"), name.as_bytes());
            }
        }
        for name in ["", "/a", "../a", "a/../../b", "a//b", "a\nb", "a.manifest.json", ".aquifer-parts/x"] {
            refused(&place.upload(name, b"x", json!({})).await, FailureKind::Config, "name");
        }
    }
}

/// Keys from the environment, and the short form: what the shipped tasks use.
#[tokio::test(flavor = "multi_thread")]
async fn a_prefix_stands_in_front_of_every_name() {
    let place = Place::bucket().await;
    let Place::Bucket(server) = &place else { unreachable!("a bucket was made") };
    let mut location = server.location();
    location["s3"]["prefix"] = json!("/deep/prefix/");
    let params = json!({"location": location, "name": "n"});
    place.upload("n", b"bytes", params.clone()).await.expect("uploaded");
    assert_eq!(server.names().await, ["deep/prefix/n", "deep/prefix/n.manifest.json"]);
    assert_eq!(place.download("n", params).await.stdout, b"bytes");
}

#[tokio::test]
async fn a_file_is_private_and_its_folder_is_made() {
    let place = Place::folder();
    place.upload("a/b/c", b"x", json!({})).await.expect("uploaded");
    let Place::Folder(folder) = &place else { unreachable!("a folder was made") };
    let shown =
        Command::new("stat").args(["-c", "%a"]).arg(folder.path().join("a/b/c")).output().expect("stat is there");
    assert_eq!(String::from_utf8_lossy(&shown.stdout).trim(), "600");
}
