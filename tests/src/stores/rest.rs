//! restic's own REST server: one that takes everything, and one that only takes new files, over the same folder. Each of their users has
//! a folder of his own.

use std::path::PathBuf;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::folder::files;
use super::watched::{Watched, free_port, installed};
use super::webdav::users as write_users;
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
    let users = folder.path().join("users");
    write_users(&users, USER, PASSWORD);
    let program = format!("{}/rest-server", installed("debian/bin"));
    let serve = async |more: &[&str]| {
        let port = free_port();
        let log = folder.path().join(format!("log of {port}"));
        let (address, data, users) =
            (format!("127.0.0.1:{port}"), data.display().to_string(), users.display().to_string());
        let args = ["--listen", &address, "--path", &data, "--htpasswd-file", &users, "--private-repos"];
        let args = [&args[..], more].concat();
        (port, Watched::start(&program, &args, &[], &log).listens(port, &log).await)
    };
    let (port, server) = serve(&[]).await;
    let (append_only, second) = serve(&["--append-only"]).await;
    Rest { port, append_only, _servers: [server, second], folder }
}

/// A place as the server takes it: at most one folder below the user's.
fn plain(place: &str) -> String {
    place.replace([' ', '/'], "-").replace('ä', "ae")
}

impl Rest {
    fn at(&self, port: u16, place: &str, user: &str, password: &str) -> Value {
        let url = format!("http://127.0.0.1:{port}/{user}/{}/", plain(place));
        json!({"rest": {"url": url, "username": USER, "password": password}})
    }

    fn folder(&self, place: &str) -> PathBuf {
        self.folder.path().join("data").join(USER).join(plain(place))
    }
}

impl StoreServer for Rest {
    fn called(&self) -> &'static str {
        "rest-server"
    }

    fn location(&self, place: &str) -> Value {
        self.at(self.port, place, USER, PASSWORD)
    }

    fn names<'a>(&'a self, place: &'a str) -> Later<'a, Vec<String>> {
        Box::pin(async move { files(&self.folder(place)) })
    }

    fn bytes<'a>(&'a self, place: &'a str, name: &'a str) -> Later<'a, Vec<u8>> {
        Box::pin(async move { std::fs::read(self.folder(place).join(name)).expect("there") })
    }

    fn port(&self) -> Option<u16> {
        Some(self.port)
    }

    fn refused(&self, place: &str) -> Vec<Value> {
        vec![
            self.at(self.port, place, USER, "hunter2-another"),
            // The folder of another user.
            self.at(self.port, place, "somebody-else", PASSWORD),
        ]
    }

    fn append_only(&self, place: &str) -> Option<Value> {
        Some(self.at(self.append_only, place, USER, PASSWORD))
    }

    fn restic(&self, place: &str) -> Option<Vec<(&'static str, String)>> {
        let address = format!("127.0.0.1:{}/{USER}/{}/", self.port, plain(place));
        Some(vec![("RESTIC_REPOSITORY", format!("rest:http://{USER}:{PASSWORD}@{address}"))])
    }

    fn takes_objects(&self) -> bool {
        false
    }

    fn text(&self, place: &str) -> Option<(String, Vec<(&'static str, String)>)> {
        let keys = vec![("RESTIC_REST_USERNAME", USER.to_owned()), ("RESTIC_REST_PASSWORD", PASSWORD.to_owned())];
        Some((format!("rest:http://127.0.0.1:{}/{USER}/{}/", self.port, plain(place)), keys))
    }
}
