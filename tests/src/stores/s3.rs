//! Servers of S3: `moto_server`, which is Python and looks at no key, and MinIO.
//!
//! What is really there is asked by `curl`, which signs by itself.

use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::watched::{Watched, below, encoded, free_port, installed};
use super::{Later, StoreServer};

pub(super) const BUCKET: &str = "backups";
pub(super) const SECRET: &str = "hunter2-secret-key";
pub(super) const ID: &str = "the-key";

/// The names that the tests send in parts: MinIO lists what is pending only by the whole name.
const SENT_IN_PARTS: [&str; 3] = ["n", "large", "small"];

pub(super) struct S3 {
    called: &'static str,
    looks_at_keys: bool,
    port: u16,
    _server: Watched,
    _folder: TempDir,
}

pub(super) async fn moto() -> S3 {
    let (folder, port) = (tempfile::tempdir().expect("a folder"), free_port());
    let log = folder.path().join("log");
    let server = Watched::start("moto_server", &["-H", "127.0.0.1", "-p", &port.to_string()], &[], &log);
    S3::with("moto", false, port, server.listens(port, &log).await, folder)
}

pub(super) async fn minio() -> S3 {
    let (folder, port) = (tempfile::tempdir().expect("a folder"), free_port());
    let log = folder.path().join("log");
    let program = format!("{}/minio", installed("go/bin"));
    let data = folder.path().join("data").display().to_string();
    let args =
        ["server", "--quiet", "--address", &format!("127.0.0.1:{port}"), "--console-address", "127.0.0.1:0", &data];
    let more = [("MINIO_ROOT_USER", ID), ("MINIO_ROOT_PASSWORD", SECRET), ("MINIO_BROWSER", "off")];
    let server = Watched::start(&program, &args, &more, &log);
    S3::with("MinIO", true, port, server.listens(port, &log).await, folder)
}

impl S3 {
    fn with(called: &'static str, looks_at_keys: bool, port: u16, server: Watched, folder: TempDir) -> Self {
        let server = Self { called, looks_at_keys, port, _server: server, _folder: folder };
        // It listens a moment before it is ready.
        server.ask(&["--retry", "30", "--retry-delay", "1", "-X", "PUT"], BUCKET);
        server
    }

    fn ask(&self, more: &[&str], path: &str) -> Vec<u8> {
        let output = Command::new("curl")
            .args(["-sS", "--fail", "--aws-sigv4", "aws:amz:us-east-1:s3", "--user", &format!("{ID}:{SECRET}")])
            // What curl signs by itself is a body that is not looked at.
            .args(["-H", "x-amz-content-sha256: UNSIGNED-PAYLOAD"])
            .args(more)
            .arg(format!("http://127.0.0.1:{}/{path}", self.port))
            .output()
            .expect("curl: `./test` installs it");
        assert!(output.status.success(), "{path} of {}: {}", self.called, String::from_utf8_lossy(&output.stderr));
        output.stdout
    }

    fn keys(&self, query: &str) -> Vec<String> {
        let listing = self.ask(&[], &format!("{BUCKET}?{query}"));
        let text = String::from_utf8_lossy(&listing);
        assert!(!text.contains("<IsTruncated>true"), "the listing of the tests holds all");
        let keys = text.split("<Key>").skip(1).map(|rest| rest.split("</Key>").next().unwrap_or_default());
        keys.map(|key| key.replace("&#39;", "'").replace("&#34;", "\"").replace("&quot;", "\"").replace("&amp;", "&"))
            .collect()
    }
}

impl StoreServer for S3 {
    fn called(&self) -> &'static str {
        self.called
    }

    fn location(&self, place: &str) -> Value {
        json!({"s3": {
            "bucket": BUCKET, "prefix": place, "endpoint": format!("http://127.0.0.1:{}", self.port),
            "accessKeyId": ID, "secretAccessKey": SECRET,
        }})
    }

    fn names<'a>(&'a self, place: &'a str) -> Later<'a, Vec<String>> {
        Box::pin(async move {
            let prefix = encoded(&format!("{place}/"), false);
            let mut names = below(self.keys(&format!("list-type=2&prefix={prefix}")), place);
            for name in SENT_IN_PARTS {
                let pending = self.keys(&format!("prefix={prefix}{name}&uploads="));
                names.extend(below(pending, place).into_iter().map(|name| format!("pending {name}")));
            }
            names
        })
    }

    fn bytes<'a>(&'a self, place: &'a str, name: &'a str) -> Later<'a, Vec<u8>> {
        Box::pin(async move { self.ask(&[], &format!("{BUCKET}/{}", encoded(&format!("{place}/{name}"), true))) })
    }

    fn port(&self) -> Option<u16> {
        Some(self.port)
    }

    fn refused(&self, place: &str) -> Vec<Value> {
        let mut location = self.location(place);
        location["s3"]["secretAccessKey"] = json!("hunter2-another");
        self.looks_at_keys.then_some(location).into_iter().collect()
    }

    fn missing(&self) -> Option<Value> {
        let mut location = self.location("n");
        location["s3"]["bucket"] = json!("no-such-bucket");
        Some(location)
    }

    fn restic(&self, place: &str) -> Option<Vec<(&'static str, String)>> {
        Some(vec![
            ("RESTIC_REPOSITORY", format!("s3:http://127.0.0.1:{}/{BUCKET}/{place}", self.port)),
            ("AWS_ACCESS_KEY_ID", ID.to_owned()),
            ("AWS_SECRET_ACCESS_KEY", SECRET.to_owned()),
        ])
    }

    fn text(&self, place: &str) -> Option<(String, Vec<(&'static str, String)>)> {
        let keys = vec![("AWS_ACCESS_KEY_ID", ID.to_owned()), ("AWS_SECRET_ACCESS_KEY", SECRET.to_owned())];
        self.looks_at_keys.then(|| (format!("s3:http://127.0.0.1:{}/{BUCKET}/{place}", self.port), keys))
    }
}
