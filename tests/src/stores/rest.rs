//! A server of restic's REST protocol: rclone's. One that takes everything, and one that only takes new files, over the same folder.

use serde_json::{Value, json};
use tempfile::TempDir;

use super::folder::files;
use super::watched::{Watched, free_port};
use super::{Later, StoreServer};

const USER: &str = "somebody";
const PASSWORD: &str = "hunter2-of-rest";

/// A running server.
pub(super) struct Rest {
    port: u16,
    _servers: [Watched; 2],
    folder: TempDir,
    append_only: u16,
}

pub(super) async fn start() -> Rest {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    std::fs::create_dir(&data).expect("made");
    let serve = async |more: &[&str]| {
        let port = free_port();
        let log = folder.path().join(format!("log of {port}"));
        let address = format!("127.0.0.1:{port}");
        let shown = data.display().to_string();
        let args = ["serve", "restic", "--addr", &address, "--user", USER, "--pass", PASSWORD];
        let args = [&args[..], more, &[&shown]].concat();
        let config = folder.path().join("no config").display().to_string();
        (port, Watched::start("rclone", &args, &[("RCLONE_CONFIG", &config)], &log).listens(port, &log).await)
    };
    let (port, server) = serve(&[]).await;
    let (append_only, second) = serve(&["--append-only"]).await;
    Rest { port, append_only, _servers: [server, second], folder }
}

/// A place without what only some servers take in an address.
fn plain(place: &str) -> String {
    place.replace(' ', "-").replace('ä', "ae")
}

impl Rest {
    fn at(&self, port: u16, place: &str, password: &str) -> Value {
        let url = format!("http://127.0.0.1:{port}/{}/", plain(place));
        json!({"rest": {"url": url, "username": USER, "password": password}})
    }
}

impl StoreServer for Rest {
    fn called(&self) -> &'static str {
        "rclone serve restic"
    }

    fn location(&self, place: &str) -> Value {
        self.at(self.port, place, PASSWORD)
    }

    fn names<'a>(&'a self, place: &'a str) -> Later<'a, Vec<String>> {
        Box::pin(async move { files(&self.folder.path().join("data").join(plain(place))) })
    }

    fn bytes<'a>(&'a self, place: &'a str, name: &'a str) -> Later<'a, Vec<u8>> {
        let path = self.folder.path().join("data").join(plain(place)).join(name);
        Box::pin(async move { std::fs::read(path).expect("there") })
    }

    fn port(&self) -> Option<u16> {
        Some(self.port)
    }

    fn refused(&self, place: &str) -> Option<Value> {
        Some(self.at(self.port, place, "hunter2-another"))
    }

    fn append_only(&self, place: &str) -> Option<Value> {
        Some(self.at(self.append_only, place, PASSWORD))
    }

    fn restic(&self, place: &str) -> Option<Vec<(&'static str, String)>> {
        let address = format!("127.0.0.1:{}/{}/", self.port, plain(place));
        Some(vec![("RESTIC_REPOSITORY", format!("rest:http://{USER}:{PASSWORD}@{address}"))])
    }

    fn takes_objects(&self) -> bool {
        false
    }

    fn text(&self, place: &str) -> Option<(String, Vec<(&'static str, String)>)> {
        let keys = vec![("RESTIC_REST_USERNAME", USER.to_owned()), ("RESTIC_REST_PASSWORD", PASSWORD.to_owned())];
        Some((format!("rest:http://127.0.0.1:{}/{}/", self.port, plain(place)), keys))
    }
}
