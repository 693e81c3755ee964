//! `fake-gcs-server`, which stands in for Google Cloud Storage, and asks for no credentials.

use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::watched::{Watched, below, encoded, free_port, installed};
use super::{Later, StoreServer};

const BUCKET: &str = "backups";

pub(super) struct Gcs {
    port: u16,
    _server: Watched,
    _folder: TempDir,
}

pub(super) async fn start() -> Gcs {
    let (folder, port) = (tempfile::tempdir().expect("a folder"), free_port());
    let log = folder.path().join("log");
    let shown = port.to_string();
    let public = format!("127.0.0.1:{port}");
    let args =
        ["-scheme", "http", "-host", "127.0.0.1", "-port", &shown, "-backend", "memory", "-public-host", &public];
    let server = Watched::start(&format!("{}/fake-gcs-server", installed("go/bin")), &args, &[], &log);
    let server = Gcs { port, _server: server.listens(port, &log).await, _folder: folder };
    let made = Client::new().post(format!("{}/b", server.api())).body(json!({"name": BUCKET}).to_string()).send().await;
    assert_eq!(made.expect("an answer").status(), StatusCode::OK);
    server
}

impl Gcs {
    fn api(&self) -> String {
        format!("http://127.0.0.1:{}/storage/v1", self.port)
    }

    async fn get(&self, path: &str) -> Vec<u8> {
        let url = format!("{}/b/{BUCKET}/{path}", self.api());
        let answer = Client::new().get(&url).send().await.expect("an answer");
        assert_eq!(answer.status(), StatusCode::OK, "{url}");
        answer.bytes().await.expect("a whole answer").to_vec()
    }
}

impl StoreServer for Gcs {
    fn called(&self) -> &'static str {
        "fake-gcs-server"
    }

    fn location(&self, place: &str) -> Value {
        let endpoint = format!("http://127.0.0.1:{}", self.port);
        json!({"gcs": {"bucket": BUCKET, "prefix": place, "endpoint": endpoint, "anonymous": true}})
    }

    fn names<'a>(&'a self, place: &'a str) -> Later<'a, Vec<String>> {
        Box::pin(async move {
            let path = format!("o?maxResults=10000&prefix={}", encoded(&format!("{place}/"), false));
            let listed: Value = serde_json::from_slice(&self.get(&path).await).expect("JSON");
            assert!(listed["nextPageToken"].as_str().is_none_or(str::is_empty), "the listing holds all");
            let items = listed["items"].as_array().cloned().unwrap_or_default();
            below(items.iter().filter_map(|item| Some(item["name"].as_str()?.to_owned())).collect(), place)
        })
    }

    fn bytes<'a>(&'a self, place: &'a str, name: &'a str) -> Later<'a, Vec<u8>> {
        Box::pin(async move { self.get(&format!("o/{}?alt=media", encoded(&format!("{place}/{name}"), false))).await })
    }

    fn port(&self) -> Option<u16> {
        Some(self.port)
    }

    fn restic(&self, place: &str) -> Option<Vec<(&'static str, String)>> {
        Some(vec![
            ("RESTIC_REPOSITORY", format!("gs:{BUCKET}:/{place}")),
            ("STORAGE_EMULATOR_HOST", format!("http://127.0.0.1:{}", self.port)),
            ("GOOGLE_ACCESS_TOKEN", "any".to_owned()),
            ("GOOGLE_PROJECT_ID", "any".to_owned()),
        ])
    }

    /// Debian 12's knows no other server than Google's.
    fn restics(&self) -> &'static [&'static str] {
        &["restic-newest"]
    }

    fn missing(&self) -> Option<Value> {
        let mut location = self.location("n");
        location["gcs"]["bucket"] = json!("no-such-bucket");
        Some(location)
    }
}
