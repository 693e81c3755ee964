//! What these tests share: a repository in a folder, our functions on it, and restic on the same one.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use aes256ctr_poly1305aes::aead::Aead;
use aes256ctr_poly1305aes::{Aes256CtrPoly1305Aes, Key};
use aquifer_engine::alone::{Input, Outcome, run_alone};
use aquifer_engine::failure::Failure;
use aquifer_functions::restic_pull::ResticPull;
use aquifer_functions::restic_push::ResticPush;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::{Value as Json, json};
use sha2::Digest as _;
use tempfile::TempDir;

pub(crate) use aquifer_tests::streams::noise;

/// Everybody's password here.
pub(crate) const PASSWORD: &str = "correct horse";

/// A repository's place in a folder that goes away with it.
pub(crate) struct Repository {
    folder: TempDir,
}

impl Repository {
    /// A place where there is no repository yet.
    pub(crate) fn nowhere() -> Self {
        Self { folder: tempfile::tempdir().expect("a folder") }
    }

    /// A repository made by restic.
    pub(crate) fn made_by_restic(version: u32) -> Self {
        let repository = Self::nowhere();
        repository.restic(&["init", "--repository-version", &version.to_string()]);
        repository
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("repository")
    }

    /// Params with the repository and its password, and what else is given.
    pub(crate) fn params(&self, more: Json) -> Json {
        let mut all = json!({"repository": self.path(), "password": PASSWORD});
        all.as_object_mut().expect("a map").extend(more.as_object().expect("a map").clone());
        all
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        self.command_of("restic", args)
    }

    /// A command of the newest restic.
    pub(crate) fn newest_command(&self, args: &[&str]) -> Command {
        self.command_of(&aquifer_tests::stores::debian_newest("restic-newest"), args)
    }

    /// What the newest restic says to a command, which must succeed.
    pub(crate) fn newest_restic(&self, args: &[&str]) -> Vec<u8> {
        said(self.newest_command(args), args)
    }

    /// A command of a restic: its name, or where it is.
    pub(crate) fn command_of(&self, program: &str, args: &[&str]) -> Command {
        let mut command = Command::new(program);
        let cache = self.folder.path().join("cache");
        command.args(args).env("RESTIC_REPOSITORY", self.path()).env("RESTIC_PASSWORD", PASSWORD);
        command.env("RESTIC_CACHE_DIR", cache).stdin(Stdio::null());
        command
    }

    /// What restic says to a command, which must succeed.
    pub(crate) fn restic(&self, args: &[&str]) -> Vec<u8> {
        said(self.command(args), args)
    }

    /// Stores bytes with restic.
    pub(crate) fn restic_backup(&self, bytes: &[u8], more: &[&str]) {
        let mut command = self.command(&["backup", "--stdin", "--quiet"]);
        let mut child = command.args(more).stdin(Stdio::piped()).spawn().expect("restic is needed");
        let mut stdin = child.stdin.take().expect("piped");
        std::thread::scope(|scope| {
            scope.spawn(move || std::io::Write::write_all(&mut stdin, bytes).expect("restic reads"));
            assert!(child.wait().expect("waited for").success());
        });
    }

    /// The snapshots, as restic lists them.
    pub(crate) fn snapshots(&self) -> Vec<Json> {
        let listed: Json = serde_json::from_slice(&self.restic(&["snapshots", "--json"])).expect("JSON");
        listed.as_array().cloned().unwrap_or_default()
    }

    /// Its master key, which restic shows only while the config is sound.
    pub(crate) fn master_key(&self) -> Vec<u8> {
        let master: Json = serde_json::from_slice(&self.newest_restic(&["cat", "masterkey"])).expect("JSON");
        let part = |text: &Json| STANDARD.decode(text.as_str().expect("a text")).expect("base64");
        [part(&master["encrypt"]), part(&master["mac"]["k"]), part(&master["mac"]["r"])].concat()
    }

    /// Changes its config, which is encrypted with its master key.
    pub(crate) fn change_config(&self, key: &[u8], change: impl FnOnce(&mut Json)) {
        let cipher = Aes256CtrPoly1305Aes::new(Key::from_slice(key));
        let path = self.path().join("config");
        let sealed = std::fs::read(&path).expect("read");
        let plain = cipher.decrypt(sealed[..16].into(), &sealed[16..]).expect("of this key");
        let mut config: Json = serde_json::from_slice(&plain).expect("JSON");
        change(&mut config);
        _ = std::fs::remove_file(&path);
        std::fs::write(&path, sealed_with(key, &config)).expect("written");
    }

    /// Puts a lock there, as another program would.
    pub(crate) fn put_lock(&self, key: &[u8], lock: &Json) -> PathBuf {
        let sealed = sealed_with(key, lock);
        let name: String = sha2::Sha256::digest(&sealed).iter().map(|byte| format!("{byte:02x}")).collect();
        let path = self.path().join("locks").join(name);
        std::fs::write(&path, sealed).expect("written");
        path
    }

    /// Restic's own opinion of the repository, all data read.
    pub(crate) fn assert_sound(&self) {
        self.restic(&["check", "--read-data"]);
        assert_eq!(self.files("locks"), Vec::<PathBuf>::new(), "no lock is left");
        assert_eq!(self.files(".aquifer-parts"), Vec::<PathBuf>::new(), "no half-written file is left");
    }

    /// The locks that are there: not those that are still being written.
    pub(crate) fn locks(&self) -> Vec<PathBuf> {
        let mut found = self.files("locks");
        found.retain(|path| path.file_name().is_some_and(|name| name.len() == 64));
        found
    }

    /// The files below a folder of the repository.
    pub(crate) fn files(&self, folder: &str) -> Vec<PathBuf> {
        files(&self.path().join(folder))
    }
}

fn sealed_with(key: &[u8], json: &Json) -> Vec<u8> {
    let nonce = [7; 16];
    let cipher = Aes256CtrPoly1305Aes::new(Key::from_slice(key));
    [&nonce[..], &cipher.encrypt((&nonce).into(), json.to_string().as_bytes()).expect("sealed")].concat()
}

fn said(mut command: Command, args: &[&str]) -> Vec<u8> {
    let output = command.output().expect("restic is needed by these tests: `./test` installs it");
    assert!(output.status.success(), "restic {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// The files below a folder.
pub(crate) fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            found.extend(files(&entry.path()));
        } else {
            found.push(entry.path());
        }
    }
    found
}

/// Bytes that compress well.
pub(crate) fn words(length: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(length + 24);
    let mut number = 0_u64;
    while bytes.len() < length {
        bytes.extend_from_slice(format!("SET key:{number:09} value\r\n").as_bytes());
        number += 1;
    }
    bytes.truncate(length);
    bytes
}

/// In pieces of an odd size.
pub(crate) fn pieces(bytes: &[u8]) -> Vec<Bytes> {
    bytes.chunks(100_003).map(Bytes::copy_from_slice).collect()
}

pub(crate) async fn push(repository: &Repository, bytes: &[u8], more: Json) -> Result<Json, Failure> {
    run_alone(ResticPush, repository.params(more), Input::Finished(pieces(bytes))).await.result
}

pub(crate) async fn pull(repository: &Repository, more: Json) -> Outcome {
    run_alone(ResticPull, repository.params(more), Input::None).await
}

/// Waits until something holds, which takes an event somewhere else.
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(60), "{what}: not within a minute");
        std::thread::yield_now();
    }
}
