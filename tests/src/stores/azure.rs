//! Azurite, which stands in for Azure Blob Storage, and looks at keys and clocks as that does.

use std::process::Command;

use reqwest::Client;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::front::Provider;
use super::watched::{Watched, below, encoded, free_port, installed};
use super::{Later, StoreServer};

const ACCOUNT: &str = "tests";
const CONTAINER: &str = "backups";
/// In base64 and in hexadecimal.
const KEY: &str = "aHVudGVyMi1vZi1henVyZQ==";
const KEY_IN_HEX: &str = "68756e746572322d6f662d617a757265";

/// Signs a text, with the key, in base64.
const SIGN: &str = r#"printf '%s' "$1" | openssl dgst -sha256 -mac HMAC -macopt "hexkey:$2" -binary | base64"#;

pub(super) struct Azure {
    port: u16,
    _server: Watched,
    /// Azure's own name and TLS in front of it, and the way there: restic knows no other server.
    provider: Provider,
    _folder: TempDir,
}

pub(super) async fn start() -> Azure {
    let (folder, port) = (tempfile::tempdir().expect("a folder"), free_port());
    let log = folder.path().join("log");
    let (shown, data) = (port.to_string(), folder.path().display().to_string());
    let args = ["--blobHost", "127.0.0.1", "--blobPort", &shown, "--location", &data, "--silent", "--disableTelemetry"];
    let program = format!("{}/azurite-blob", installed("npm/node_modules/.bin"));
    let server = Watched::start(&program, &args, &[("AZURITE_ACCOUNTS", &format!("{ACCOUNT}:{KEY}"))], &log);
    let server = server.listens(port, &log).await;
    let provider = Provider::start(&format!("DNS:{ACCOUNT}.blob.core.windows.net"), port).await;
    let server = Azure { port, _server: server, provider, _folder: folder };
    server.ask("PUT", "", &[("restype", "container")]).await;
    server
}

fn output(command: &mut Command) -> String {
    let output = command.output().expect("sh, date and openssl are there");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

impl Azure {
    fn url(&self) -> String {
        format!("http://127.0.0.1:{}/{ACCOUNT}/{CONTAINER}", self.port)
    }

    /// A shared access signature for all that there is in the account, for reading and listing.
    fn signature(&self) -> String {
        let until = "2099-01-01T00:00:00Z";
        let text = format!("{ACCOUNT}\nrl\nb\nsco\n\n{until}\n\nhttps,http\n2018-11-09\n");
        let signature = output(Command::new("sh").args(["-c", SIGN, "sh", &text, KEY_IN_HEX]));
        let (until, signature) = (encoded(until, false), encoded(&signature, false));
        format!("sv=2018-11-09&ss=b&srt=sco&sp=rl&se={until}&spr=https,http&sig={signature}")
    }

    /// A signed request without a body.
    async fn ask(&self, method: &str, path: &str, queries: &[(&str, &str)]) -> Vec<u8> {
        self.send(method, path, queries, "").await
    }

    /// A signed request; `queries` in the order of the alphabet, and plain.
    async fn send(&self, method: &str, path: &str, queries: &[(&str, &str)], body: &'static str) -> Vec<u8> {
        let date = output(Command::new("date").args(["-u", "+%a, %d %b %Y %H:%M:%S GMT"]).env("LC_ALL", "C"));
        let path = encoded(path, true);
        let resource: String = queries.iter().map(|(key, value)| format!("\n{key}:{value}")).collect();
        let headers = format!("x-ms-date:{date}\nx-ms-version:2021-08-06\n");
        let length = if body.is_empty() { String::new() } else { body.len().to_string() };
        let lines = format!("{method}\n\n\n{length}{}", "\n".repeat(9));
        let text = format!("{lines}{headers}/{ACCOUNT}/{ACCOUNT}/{CONTAINER}{path}{resource}");
        let signature = output(Command::new("sh").args(["-c", SIGN, "sh", &text, KEY_IN_HEX]));
        let query: Vec<String> =
            queries.iter().map(|(key, value)| format!("{key}={}", encoded(value, false))).collect();
        let answer = Client::new()
            .request(method.parse().expect("a method"), format!("{}{path}?{}", self.url(), query.join("&")))
            .header("x-ms-date", date)
            .header("x-ms-version", "2021-08-06")
            .header("authorization", format!("SharedKey {ACCOUNT}:{signature}"))
            .header("content-length", body.len())
            .body(body)
            .send()
            .await
            .expect("an answer");
        let status = answer.status();
        let body = answer.bytes().await.expect("a whole answer").to_vec();
        assert!(status.is_success(), "{path}: {status} {}", String::from_utf8_lossy(&body));
        body
    }
}

impl StoreServer for Azure {
    fn called(&self) -> &'static str {
        "Azurite"
    }

    fn location(&self, place: &str) -> Value {
        let endpoint = format!("http://127.0.0.1:{}/{ACCOUNT}", self.port);
        json!({"azure": {
            "container": CONTAINER, "prefix": place, "endpoint": endpoint, "accountName": ACCOUNT, "accountKey": KEY,
        }})
    }

    fn names<'a>(&'a self, place: &'a str) -> Later<'a, Vec<String>> {
        Box::pin(async move {
            let queries = [("comp", "list"), ("prefix", &format!("{place}/")), ("restype", "container")];
            let listing = self.ask("GET", "", &queries).await;
            let text = String::from_utf8_lossy(&listing);
            assert!(!text.contains("<NextMarker>"), "the listing holds all");
            let names = text.split("<Name>").skip(1).map(|rest| rest.split("</Name>").next().unwrap_or_default());
            below(names.map(|name| name.replace("&apos;", "'").replace("&amp;", "&")).collect(), place)
        })
    }

    fn bytes<'a>(&'a self, place: &'a str, name: &'a str) -> Later<'a, Vec<u8>> {
        Box::pin(async move { self.ask("GET", &format!("/{place}/{name}"), &[]).await })
    }

    fn leave_part<'a>(&'a self, place: &'a str, name: &'a str) -> Option<Later<'a, ()>> {
        Some(Box::pin(async move {
            let queries = [("blockid", "bGVmdA=="), ("comp", "block")];
            self.send("PUT", &format!("/{place}/{name}"), &queries, "left").await;
        }))
    }

    fn port(&self) -> Option<u16> {
        Some(self.port)
    }

    fn refused(&self, place: &str) -> Vec<Value> {
        let mut location = self.location(place);
        // Also the key is a text that no message may show: `hunter2-another`.
        location["azure"]["accountKey"] = json!("aHVudGVyMi1hbm90aGVy");
        vec![location]
    }

    fn restic(&self, place: &str) -> Option<Vec<(&'static str, String)>> {
        Some(vec![
            ("RESTIC_REPOSITORY", format!("azure:{CONTAINER}:/{place}")),
            ("AZURE_ACCOUNT_NAME", ACCOUNT.to_owned()),
            ("AZURE_ACCOUNT_KEY", KEY.to_owned()),
            ("HTTPS_PROXY", self.provider.proxy()),
            ("--cacert", self.provider.ca_file().display().to_string()),
        ])
    }

    fn text(&self, place: &str) -> Option<(String, Vec<(&'static str, String)>)> {
        let keys = vec![("AZURE_ACCOUNT_NAME", ACCOUNT.to_owned()), ("AZURE_ACCOUNT_KEY", KEY.to_owned())];
        Some((format!("azure:{CONTAINER}:/{place}"), keys))
    }

    fn other_keys(&self) -> Vec<Vec<(&'static str, String)>> {
        let account = |name: &'static str| (name, ACCOUNT.to_owned());
        vec![
            vec![account("AZURE_ACCOUNT_NAME"), ("AZURE_ACCOUNT_SAS", self.signature())],
            vec![account("AZURE_ACCOUNT_NAME"), ("AZURE_ACCOUNT_SAS", format!("?{}", self.signature()))],
            vec![account("AZURE_STORAGE_ACCOUNT"), ("AZURE_STORAGE_KEY", KEY.to_owned())],
            vec![account("AZURE_STORAGE_ACCOUNT"), ("AZURE_STORAGE_SAS_TOKEN", self.signature())],
        ]
    }

    fn way(&self) -> Vec<(&'static str, String)> {
        self.provider.environment()
    }

    /// Debian's newest was built without Azure.
    fn restics(&self) -> &'static [&'static str] {
        &["restic"]
    }

    fn missing(&self) -> Option<Value> {
        let mut location = self.location("n");
        location["azure"]["container"] = json!("no-such-container");
        Some(location)
    }
}
