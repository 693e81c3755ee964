//! What is refused: an object that exists, wrong keys, buckets and servers that are not there.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use aquifer_engine::alone::{Input, run_alone};
use aquifer_engine::failure::{Failure, FailureKind};
use aquifer_engine::pipe::pipe;
use aquifer_engine::ports::OpenEnds;
use aquifer_engine::registry::Registry;
use aquifer_engine::stream::StreamType;
use aquifer_functions::download::Download;
use aquifer_functions::upload::Upload;
use aquifer_tests::s3_server::S3Server;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::rig::{Place, call, refused, sample};

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_exists_is_replaced_only_when_called_for() {
    for place in Place::both().await {
        place.upload("n", b"first", json!({})).await.expect("uploaded");
        refused(&place.upload("n", b"second", json!({})).await, FailureKind::Rejected, "overwrite: true");
        assert_eq!(place.downloaded("n").await, b"first");
        let large = sample(13 << 20);
        place.upload("n", &large, json!({"overwrite": true})).await.expect("uploaded");
        assert!(place.downloaded("n").await == large);
        assert_eq!(place.everything().await, ["n", "n.manifest.json"]);
    }
}

/// Two that write one name: the second to complete is told, and the object is the first one's.
#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_appears_meanwhile_is_not_replaced() {
    for place in Place::both().await {
        for (name, length) in [("small", 10), ("large", 20 << 20)] {
            let registry = Registry::new().with(Upload);
            let (mut writer, mut ends) = pipe(1, 8 << 20, &StreamType::unknown(), None);
            let (reader, control) = ends.remove(0);
            let prepared = registry.get("upload").expect("registered").prepare(place.params(name, json!({})));
            let ends = OpenEnds { stdin: Some(reader), stdout: None };
            let running = tokio::spawn(prepared.expect("sound").run(ends, call(CancellationToken::new())));
            let bytes = sample(length);
            writer.write(bytes.into()).await.expect("taken");
            // Its first look at the name is over once it reads.
            while control.level().read == 0 {
                tokio::task::yield_now().await;
            }
            place.put(name, b"of another".as_slice()).await;
            control.finish();
            refused(&running.await.expect("no panic"), FailureKind::Rejected, "exists");
            assert_eq!(place.get(name).await.expect("there"), b"of another");
        }
        assert_eq!(place.everything().await, ["large", "small"], "no manifest, and no parts");
    }
}

async fn both(location: &Value) -> [Result<Value, Failure>; 2] {
    let params = json!({"location": location, "name": "n"});
    [
        run_alone(Upload, params.clone(), Input::bytes("x")).await.result,
        run_alone(Download, params, Input::None).await.result,
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_keys_are_told_as_such() {
    let server = S3Server::that_refuses().await;
    for result in both(&server.location()).await {
        refused(&result, FailureKind::Unauthorized, "InvalidAccessKeyId");
        refused(&result, FailureKind::Unauthorized, "AWS_ACCESS_KEY_ID");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_or_a_folder_that_is_not_there_is_told() {
    let server = S3Server::start().await;
    let mut location = server.location();
    location["s3"]["bucket"] = json!("no-such-bucket");
    for result in both(&location).await {
        refused(&result, FailureKind::NotFound, "NoSuchBucket");
    }
    let folder = tempfile::tempdir().expect("a folder");
    let missing = json!(folder.path().join("missing"));
    let [upload, download] = both(&missing).await;
    upload.expect("a folder is made");
    download.expect("it was there, then");
    std::fs::remove_dir_all(folder.path().join("missing")).expect("removed");
    let params = json!({"location": missing, "name": "n"});
    let result = run_alone(Download, params, Input::None).await.result;
    refused(&result, FailureKind::NotFound, "missing");
    assert!(!folder.path().join("missing").exists(), "reading makes nothing");
    std::fs::write(folder.path().join("file"), "").expect("written");
    for result in both(&json!(folder.path().join("file"))).await {
        refused(&result, FailureKind::Rejected, "no folder");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_not_there_is_told_soon() {
    // Bound, and not listened on for longer than it takes to know a free port.
    let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port").port();
    let location = json!({"s3": {
        "bucket": "backups", "endpoint": format!("http://127.0.0.1:{port}"),
        "accessKeyId": "id", "secretAccessKey": "hunter2-secret-key",
    }});
    let begun = Instant::now();
    for result in both(&location).await {
        refused(&result, FailureKind::Unavailable, &port.to_string());
    }
    assert!(begun.elapsed() < Duration::from_secs(40), "{:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_regular_file_is_neither_read_nor_replaced() {
    let place = Place::folder();
    let Place::Folder(folder) = &place else { unreachable!("a folder was made") };
    std::fs::create_dir(folder.path().join("n")).expect("made");
    for overwrite in [false, true] {
        let result = place.upload("n", b"x", json!({"overwrite": overwrite})).await;
        refused(&result, FailureKind::Rejected, "no regular file");
    }
    refused(&place.download("n", json!({"unverified": true})).await.result, FailureKind::Rejected, "no regular file");
    std::fs::write(folder.path().join("other"), "other").expect("written");
    std::os::unix::fs::symlink("other", folder.path().join("link")).expect("linked");
    let result = place.upload("link", b"x", json!({"overwrite": true})).await;
    refused(&result, FailureKind::Rejected, "no regular file");
    assert_eq!(std::fs::read(folder.path().join("other")).expect("there"), b"other");
}
