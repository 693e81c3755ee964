//! `fake-gcs-server`, which stands in for Google Cloud Storage, and asks for no credentials; and in front of it, under Google's own names,
//! something that does, and gives a token for a service account's signed word.

use std::path::PathBuf;
use std::process::Command;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::front::{First, Provider, front};
use super::watched::{Watched, below, encoded, free_port, installed};
use super::{Later, StoreServer};

const BUCKET: &str = "backups";

pub(super) struct Gcs {
    port: u16,
    _server: Watched,
    provider: Provider,
    folder: TempDir,
}

const TOKEN: &str = "hunter2-of-google";
const ACCOUNT: &str = "backups@tests.iam.gserviceaccount.com";

fn answered(first: &First) -> Option<(&'static str, Value)> {
    if first.head.starts_with("POST /token ") {
        // What it was signed with is not looked at, only who says so.
        let claims = first.body.split("assertion=").nth(1).and_then(|word| word.split('.').nth(1)).unwrap_or_default();
        let claims: Value = serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(claims).ok()?).ok()?;
        return Some(match claims["iss"] == ACCOUNT {
            true => ("200 OK", json!({"access_token": TOKEN, "expires_in": 3600, "token_type": "Bearer"})),
            false => ("400 Bad Request", json!({"error": "invalid_grant"})),
        });
    }
    if first.header("authorization") == format!("Bearer {TOKEN}") {
        return None;
    }
    let why = json!({"domain": "global", "reason": "authError", "message": "Invalid Credentials"});
    Some(("401 Unauthorized", json!({"error": {"code": 401, "message": "Invalid Credentials", "errors": [why]}})))
}

/// Writes a service account's key; gives its path.
fn account(folder: &TempDir) -> PathBuf {
    let made = Command::new("openssl").args(["genpkey", "-algorithm", "RSA", "-quiet"]).output();
    let made = made.expect("openssl: `./test` installs it");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let key = json!({
        "type": "service_account", "project_id": "tests", "private_key_id": "a", "client_email": ACCOUNT, "client_id": "1",
        "private_key": String::from_utf8_lossy(&made.stdout), "token_uri": "https://oauth2.googleapis.com/token",
    });
    let path = folder.path().join("account.json");
    std::fs::write(&path, key.to_string()).expect("written");
    path
}

pub(super) async fn start() -> Gcs {
    let (folder, port) = (tempfile::tempdir().expect("a folder"), free_port());
    let log = folder.path().join("log");
    let shown = port.to_string();
    let public = format!("127.0.0.1:{port}");
    let args =
        ["-scheme", "http", "-host", "127.0.0.1", "-port", &shown, "-backend", "memory", "-public-host", &public];
    let server = Watched::start(&format!("{}/fake-gcs-server", installed("go/bin")), &args, &[], &log);
    let server = server.listens(port, &log).await;
    account(&folder);
    let names = "DNS:storage.googleapis.com,DNS:oauth2.googleapis.com";
    let provider = Provider::start(names, front(port, None, answered)).await;
    let server = Gcs { port, _server: server, provider, folder };
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

    fn text(&self, place: &str) -> Option<(String, Vec<(&'static str, String)>)> {
        Some((format!("gs:{BUCKET}:/{place}"), vec![("GOOGLE_ACCESS_TOKEN", TOKEN.to_owned())]))
    }

    fn other_keys(&self) -> Vec<Vec<(&'static str, String)>> {
        let file = self.folder.path().join("account.json").display().to_string();
        vec![vec![("GOOGLE_APPLICATION_CREDENTIALS", file)]]
    }

    fn way(&self) -> Vec<(&'static str, String)> {
        self.provider.environment()
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
