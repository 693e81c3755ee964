//! A folder, as the simplest of all servers.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{Later, StoreServer};

pub(super) struct Folder(TempDir);

pub(super) fn start() -> Folder {
    Folder(tempfile::tempdir().expect("a folder"))
}

/// The files below a folder, by their paths in it, in order; those that are still being written as pending.
pub(super) fn files(folder: &Path) -> Vec<String> {
    let (mut found, mut left) = (Vec::new(), vec![PathBuf::from(folder)]);
    while let Some(next) = left.pop() {
        for entry in std::fs::read_dir(next).into_iter().flatten() {
            let entry = entry.expect("an entry").path();
            if entry.is_dir() {
                left.push(entry);
                continue;
            }
            let name = entry.strip_prefix(folder).expect("below").display().to_string();
            found.push(if name.starts_with(".aquifer-parts/") { format!("pending {name}") } else { name });
        }
    }
    found.sort();
    found
}

impl StoreServer for Folder {
    fn called(&self) -> &'static str {
        "a folder"
    }

    fn location(&self, place: &str) -> Value {
        json!({"folder": self.0.path().join(place)})
    }

    fn names<'a>(&'a self, place: &'a str) -> Later<'a, Vec<String>> {
        Box::pin(async move { files(&self.0.path().join(place)) })
    }

    fn bytes<'a>(&'a self, place: &'a str, name: &'a str) -> Later<'a, Vec<u8>> {
        Box::pin(async move { std::fs::read(self.0.path().join(place).join(name)).expect("there") })
    }

    fn files(&self, place: &str) -> Option<PathBuf> {
        Some(self.0.path().join(place))
    }

    fn restic(&self, place: &str) -> Option<Vec<(&'static str, String)>> {
        Some(vec![("RESTIC_REPOSITORY", self.0.path().join(place).display().to_string())])
    }
}
