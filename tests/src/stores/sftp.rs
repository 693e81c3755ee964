//! OpenSSH's server, for the user that the tests run as, with keys of its own.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::folder::files;
use super::watched::{Watched, free_port};
use super::{Later, StoreServer};

pub(super) struct Sftp {
    port: u16,
    user: String,
    _server: Watched,
    folder: TempDir,
}

fn key(at: &Path) {
    let made = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(at).status();
    assert!(made.is_ok_and(|made| made.success()), "ssh-keygen: `./test` installs it");
}

pub(super) async fn start() -> Sftp {
    let (folder, port) = (tempfile::tempdir().expect("a folder"), free_port());
    let at = folder.path();
    for name in ["host", "user", "stranger"] {
        key(&at.join(name));
    }
    std::fs::create_dir(at.join("data")).expect("made");
    std::fs::copy(at.join("user.pub"), at.join("authorized")).expect("copied");
    let public = std::fs::read_to_string(at.join("host.pub")).expect("readable");
    std::fs::write(at.join("known"), format!("[127.0.0.1]:* {public}")).expect("written");
    std::fs::write(at.join("known to nobody"), "").expect("written");
    let shown = at.display();
    let config = format!(
        "Port {port}\nListenAddress 127.0.0.1\nHostKey {shown}/host\nAuthorizedKeysFile {shown}/authorized\nPidFile none\n\
         StrictModes no\nUsePAM no\nPasswordAuthentication no\nPermitRootLogin yes\nMaxStartups 100\nSubsystem sftp internal-sftp\n"
    );
    std::fs::write(at.join("config"), config).expect("written");
    // The server wants it, and Debian makes it only when it starts its own.
    _ = std::fs::create_dir_all("/run/sshd");
    let log = at.join("log");
    let arguments = ["-D", "-e", "-f", &at.join("config").display().to_string()];
    let server = Watched::start("/usr/sbin/sshd", &arguments, &[], &log).listens(port, &log).await;
    let user = Command::new("id").arg("-un").output().expect("id is there");
    let user = String::from_utf8_lossy(&user.stdout).trim().to_owned();
    Sftp { port, user, _server: server, folder }
}

impl Sftp {
    fn with(&self, place: &str, key: &str, known: &str) -> Value {
        let at = self.folder.path();
        json!({"sftp": {
            "host": "127.0.0.1", "port": self.port, "username": self.user, "path": at.join("data").join(place),
            "keyFile": at.join(key), "knownHostsFile": at.join(known),
        }})
    }
}

impl StoreServer for Sftp {
    fn called(&self) -> &'static str {
        "OpenSSH"
    }

    fn location(&self, place: &str) -> Value {
        self.with(place, "user", "known")
    }

    fn names<'a>(&'a self, place: &'a str) -> Later<'a, Vec<String>> {
        Box::pin(async move { files(&self.folder.path().join("data").join(place)) })
    }

    fn bytes<'a>(&'a self, place: &'a str, name: &'a str) -> Later<'a, Vec<u8>> {
        Box::pin(async move { std::fs::read(self.folder.path().join("data").join(place).join(name)).expect("there") })
    }

    fn port(&self) -> Option<u16> {
        Some(self.port)
    }

    fn refused(&self, place: &str) -> Vec<Value> {
        vec![self.with(place, "stranger", "known")]
    }

    fn stranger(&self, place: &str) -> Option<Value> {
        Some(self.with(place, "user", "known to nobody"))
    }

    fn files(&self, place: &str) -> Option<PathBuf> {
        Some(self.folder.path().join("data").join(place))
    }

    fn restic(&self, place: &str) -> Option<Vec<(&'static str, String)>> {
        let at = self.folder.path().display();
        let (user, port) = (&self.user, self.port);
        let command = format!(
            "sftp.command=ssh -i {at}/user -o UserKnownHostsFile={at}/known -o IdentitiesOnly=yes -p {port} {user}@127.0.0.1 -s sftp"
        );
        Some(vec![("RESTIC_REPOSITORY", format!("sftp:{user}@127.0.0.1:{at}/data/{place}")), ("-o", command)])
    }
}
