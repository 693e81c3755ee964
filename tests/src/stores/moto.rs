//! `moto_server`: an S3 server of Python, whose keys are not looked at.

use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::watched::{Watched, free_port};
use super::{Later, StoreServer};

const BUCKET: &str = "backups";

/// The server does not look whether it is right, only that it is there.
const SIGNED: &str = "AWS4-HMAC-SHA256 Credential=id/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0";

pub(super) struct Moto {
    _server: Watched,
    _folder: TempDir,
    port: u16,
}

pub(super) async fn start() -> Moto {
    let (folder, port) = (tempfile::tempdir().expect("a folder"), free_port());
    let log = folder.path().join("log");
    let server = Watched::start("moto_server", &["-H", "127.0.0.1", "-p", &port.to_string()], &[], &log);
    let server = Moto { _server: server.listens(port, &log).await, _folder: folder, port };
    server.request(Method::PUT, BUCKET).await;
    server
}

impl Moto {
    async fn request(&self, method: Method, path: &str) -> Vec<u8> {
        let url = format!("http://127.0.0.1:{}/{path}", self.port);
        let answer = Client::new().request(method, url).header("authorization", SIGNED).send().await.expect("an answer");
        assert_eq!(answer.status(), StatusCode::OK, "{path}");
        answer.bytes().await.expect("a whole answer").to_vec()
    }
}

/// The keys in a listing of S3's.
pub(super) fn keys(listing: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(listing);
    let keys = text.split("<Key>").skip(1).map(|rest| rest.split("</Key>").next().unwrap_or_default());
    keys.map(|key| key.replace("&#39;", "'").replace("&#34;", "\"").replace("&quot;", "\"").replace("&amp;", "&")).collect()
}

/// The names below a place, of all that are there.
pub(super) fn below(all: Vec<String>, place: &str) -> Vec<String> {
    let mut names: Vec<String> =
        all.into_iter().filter_map(|name| Some(name.strip_prefix(&format!("{place}/"))?.to_owned())).collect();
    names.sort();
    names
}

impl StoreServer for Moto {
    fn called(&self) -> &'static str {
        "moto"
    }

    fn location(&self, place: &str) -> Value {
        json!({"s3": {
            "bucket": BUCKET, "prefix": place, "endpoint": format!("http://127.0.0.1:{}", self.port),
            "accessKeyId": "id", "secretAccessKey": "hunter2-secret-key",
        }})
    }

    fn names<'a>(&'a self, place: &'a str) -> Later<'a, Vec<String>> {
        Box::pin(async move {
            let mut names = below(keys(&self.request(Method::GET, &format!("{BUCKET}?list-type=2")).await), place);
            let pending = below(keys(&self.request(Method::GET, &format!("{BUCKET}?uploads")).await), place);
            names.extend(pending.into_iter().map(|name| format!("pending {name}")));
            names
        })
    }

    fn bytes<'a>(&'a self, place: &'a str, name: &'a str) -> Later<'a, Vec<u8>> {
        Box::pin(async move { self.request(Method::GET, &format!("{BUCKET}/{place}/{name}")).await })
    }

    fn port(&self) -> Option<u16> {
        Some(self.port)
    }

    fn missing(&self) -> Option<Value> {
        let mut location = self.location("n");
        location["s3"]["bucket"] = json!("no-such-bucket");
        Some(location)
    }

    fn restic(&self, place: &str) -> Option<Vec<(&'static str, String)>> {
        Some(vec![
            ("RESTIC_REPOSITORY", format!("s3:http://127.0.0.1:{}/{BUCKET}/{place}", self.port)),
            ("AWS_ACCESS_KEY_ID", "id".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "hunter2-secret-key".to_owned()),
        ])
    }
}
