//! What these tests share: a folder and a bucket under one face, and running the two functions on either.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use aquifer_engine::alone::{Input, Outcome, run_alone};
use aquifer_engine::event::Level;
use aquifer_engine::failure::Failure;
use aquifer_engine::function::{Call, RunInfo, Voice};
use aquifer_engine::report::Report;
use aquifer_engine::secret::Redactor;
use aquifer_functions::download::Download;
use aquifer_functions::upload::Upload;
use aquifer_tests::s3_server::S3Server;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

pub(crate) use aquifer_tests::streams::{chunks, pieces, refused, sample};

/// A place for objects, and what is really in it.
pub(crate) enum Place {
    Folder(TempDir),
    Bucket(Box<S3Server>),
}

impl Place {
    pub(crate) fn folder() -> Self {
        Self::Folder(tempfile::tempdir().expect("a folder"))
    }

    pub(crate) async fn bucket() -> Self {
        Self::Bucket(Box::new(S3Server::start().await))
    }

    pub(crate) async fn both() -> [Self; 2] {
        [Self::folder(), Self::bucket().await]
    }

    pub(crate) fn location(&self) -> Value {
        match self {
            Self::Folder(folder) => json!(folder.path()),
            Self::Bucket(server) => server.location(),
        }
    }

    pub(crate) async fn get(&self, name: &str) -> Option<Vec<u8>> {
        match self {
            Self::Folder(folder) => std::fs::read(folder.path().join(name)).ok(),
            Self::Bucket(server) => server.get(name).await,
        }
    }

    pub(crate) async fn put(&self, name: &str, bytes: impl Into<Vec<u8>>) {
        match self {
            Self::Folder(folder) => std::fs::write(folder.path().join(name), bytes.into()).expect("written"),
            Self::Bucket(server) => server.put(name, bytes).await,
        }
    }

    pub(crate) async fn delete(&self, name: &str) {
        match self {
            Self::Folder(folder) => std::fs::remove_file(folder.path().join(name)).expect("removed"),
            Self::Bucket(server) => server.delete(name).await,
        }
    }

    /// Everything that is there, in order: objects, manifests, and parts of what did not become one.
    pub(crate) async fn everything(&self) -> Vec<String> {
        let mut all = match self {
            Self::Folder(folder) => files(folder.path()),
            Self::Bucket(server) => {
                let mut all = server.names().await;
                all.extend(server.pending().await.into_iter().map(|name| format!("pending {name}")));
                all
            }
        };
        all.sort();
        all
    }

    pub(crate) async fn upload(&self, name: &str, bytes: &[u8], more: Value) -> Result<Value, Failure> {
        run_alone(Upload, self.params(name, more), pieces(bytes)).await.result
    }

    pub(crate) async fn download(&self, name: &str, more: Value) -> Outcome {
        run_alone(Download, self.params(name, more), Input::None).await
    }

    /// The bytes of an object that must be sound.
    pub(crate) async fn downloaded(&self, name: &str) -> Vec<u8> {
        let outcome = self.download(name, json!({})).await;
        outcome.result.expect("a sound object");
        outcome.stdout
    }

    pub(crate) fn params(&self, name: &str, more: Value) -> Value {
        let mut params = json!({"location": self.location(), "name": name});
        params.as_object_mut().expect("a map").extend(more.as_object().expect("a map").clone());
        params
    }
}

/// The files below a folder, by their paths in it.
pub(crate) fn files(folder: &Path) -> Vec<String> {
    let (mut found, mut left) = (Vec::new(), vec![PathBuf::from(folder)]);
    while let Some(next) = left.pop() {
        for entry in std::fs::read_dir(next).expect("readable") {
            let entry = entry.expect("an entry").path();
            match entry.is_dir() {
                true => left.push(entry),
                false => found.push(entry.strip_prefix(folder).expect("below").display().to_string()),
            }
        }
    }
    found
}

struct Deaf;

impl Voice for Deaf {
    fn say(&self, _: &str, _: Level, _: &str) {}

    fn note(&self, _: &str, _: String) {}

    fn so_far(&self) -> Report {
        unreachable!("neither function asks for the run so far")
    }
}

/// A call that is stopped by `cancel`.
pub(crate) fn call(cancel: CancellationToken) -> Call {
    let started = "2026-11-23T10:00:00Z".parse().expect("a time");
    let run = RunInfo { id: "run".into(), task: "task".into(), started };
    Call::new(Arc::new(run), "step", cancel, Redactor::default(), Arc::new(Deaf))
}
