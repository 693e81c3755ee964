//! Servers of WebDAV: Apache's, and rclone's, which is Go's own.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::folder::files;
use super::watched::{Watched, encoded, free_port};
use super::{Later, StoreServer};

const USER: &str = "somebody";
const PASSWORD: &str = "hunter2-of-webdav";

/// A line of a file with users, as `htpasswd -s` writes it.
const HASH: &str = r#"printf '%s:{SHA}' "$1"; printf %s "$2" | openssl dgst -sha1 -binary | base64"#;

/// Where Debian keeps Apache's modules.
const MODULES: &str = "/usr/lib/apache2/modules";

pub(super) struct Webdav {
    called: &'static str,
    port: u16,
    _server: Watched,
    folder: TempDir,
}

/// Writes a file with the one user that there is.
pub(super) fn users(at: &Path, user: &str, password: &str) {
    let hashed = Command::new("sh").args(["-c", HASH, "sh", user, password]).output().expect("sh is there");
    assert!(hashed.status.success(), "openssl: `./test` installs it");
    std::fs::write(at, hashed.stdout).expect("written");
}

pub(super) async fn apache() -> Webdav {
    let (folder, port) = (tempfile::tempdir().expect("a folder"), free_port());
    let (at, data) = (folder.path(), folder.path().join("data"));
    std::fs::create_dir(&data).expect("made");
    users(&at.join("users"), USER, PASSWORD);
    // Started by root, it runs as nobody.
    for folder in [at, &data] {
        std::fs::set_permissions(folder, Permissions::from_mode(0o777)).expect("ours");
    }
    let modules = ["mpm_event", "authn_core", "authn_file", "authz_core", "authz_user", "auth_basic", "dav", "dav_fs"];
    let modules = modules.map(|name| format!("LoadModule {name}_module {MODULES}/mod_{name}.so\n")).concat();
    let shown = at.display();
    let config = format!(
        "{modules}ServerName 127.0.0.1\nListen 127.0.0.1:{port}\nServerRoot {shown}\nDefaultRuntimeDir {shown}\nPidFile {shown}/pid\n\
         ErrorLog /dev/stderr\nUser nobody\nGroup nogroup\nDocumentRoot {shown}/data\nDavLockDB {shown}/locks\n\
         <Location />\n  Dav On\n  AuthType Basic\n  AuthName tests\n  AuthUserFile {shown}/users\n  Require valid-user\n</Location>\n"
    );
    std::fs::write(at.join("config"), config).expect("written");
    let log = at.join("log");
    let arguments = ["-f", &at.join("config").display().to_string(), "-X"];
    let server = Watched::start("/usr/sbin/apache2", &arguments, &[], &log).listens(port, &log).await;
    Webdav { called: "Apache's WebDAV", port, _server: server, folder }
}

pub(super) async fn rclone() -> Webdav {
    let (folder, port) = (tempfile::tempdir().expect("a folder"), free_port());
    let at = folder.path();
    std::fs::create_dir(at.join("data")).expect("made");
    let (data, address) = (at.join("data").display().to_string(), format!("127.0.0.1:{port}"));
    let arguments =
        ["serve", "webdav", "--addr", &address, "--user", USER, "--pass", PASSWORD, "--dir-cache-time", "0", &data];
    let (config, log) = (at.join("no config").display().to_string(), at.join("log"));
    let server = Watched::start("rclone", &arguments, &[("RCLONE_CONFIG", &config)], &log).listens(port, &log).await;
    Webdav { called: "rclone's WebDAV", port, _server: server, folder }
}

impl Webdav {
    fn url(&self, place: &str) -> String {
        format!("http://127.0.0.1:{}/{}", self.port, encoded(place, true))
    }

    fn with(&self, place: &str, password: &str) -> Value {
        json!({"webdav": {"url": self.url(place), "username": USER, "password": password}})
    }

    fn at(&self, place: &str) -> PathBuf {
        self.folder.path().join("data").join(place)
    }
}

impl StoreServer for Webdav {
    fn called(&self) -> &'static str {
        self.called
    }

    fn location(&self, place: &str) -> Value {
        self.with(place, PASSWORD)
    }

    fn names<'a>(&'a self, place: &'a str) -> Later<'a, Vec<String>> {
        Box::pin(async move { files(&self.at(place)) })
    }

    fn bytes<'a>(&'a self, place: &'a str, name: &'a str) -> Later<'a, Vec<u8>> {
        Box::pin(async move { std::fs::read(self.at(place).join(name)).expect("there") })
    }

    fn files(&self, place: &str) -> Option<PathBuf> {
        Some(self.at(place))
    }

    fn port(&self) -> Option<u16> {
        Some(self.port)
    }

    fn refused(&self, place: &str) -> Vec<Value> {
        let mut nobody = self.location(place);
        if let Some(fields) = nobody["webdav"].as_object_mut() {
            fields.retain(|field, _| field == "url");
        }
        vec![self.with(place, "hunter2-another"), nobody]
    }

    fn text(&self, place: &str) -> Option<(String, Vec<(&'static str, String)>)> {
        let keys = vec![("WEBDAV_USERNAME", USER.to_owned()), ("WEBDAV_PASSWORD", PASSWORD.to_owned())];
        Some((format!("webdav:{}", self.url(place)), keys))
    }
}
