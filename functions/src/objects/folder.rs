//! An object in a folder: a regular file.
//!
//! Takes a folder and a name below it. Always holds: bytes are written into a temporary file of the same file system, which
//! is on the disk before it gets its name (`Store::sync_name` sees to the name itself); a writer that fails or is dropped
//! removes its temporary file; without `overwrite` the name is taken by an operation that does not replace.

use std::io::Write;
use std::path::{Path, PathBuf};

use aquifer_engine::failure::Failure;
use aquifer_engine::function::Call;
use aquifer_engine::pipe::BlockingReader;
use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;

use super::{Written, taken};
use crate::location::PARTS;

/// A file to be.
pub(super) struct Target {
    root: PathBuf,
    path: PathBuf,
}

impl Target {
    pub(super) fn new(root: &Path, name: &str) -> Self {
        Self { root: root.to_owned(), path: root.join(name) }
    }

    fn failed(&self, error: std::io::Error) -> Failure {
        Failure::from_io(error, format!("writing `{}`", self.path.display()))
    }

    /// Writes a stream to its end.
    pub(super) fn write(self, mut input: BlockingReader, overwrite: bool, call: &Call) -> Result<Written, Failure> {
        let mut part = self.part()?;
        let (mut digest, mut bytes) = (Sha256::new(), 0);
        while let Some(chunk) = input.read_chunk()? {
            part.write_all(&chunk).map_err(|error| self.failed(error))?;
            digest.update(&chunk);
            bytes += chunk.len() as u64;
        }
        call.check_cancelled()?;
        let replaced = self.place(part, overwrite)?;
        Ok(Written { bytes, sha256: hex::encode(digest.finalize()), stream: input.stream(), replaced })
    }

    /// Writes a small file, in the place of one that may be there.
    pub(super) fn replace(self, bytes: &[u8]) -> Result<(), Failure> {
        let mut part = self.part()?;
        part.write_all(bytes).map_err(|error| self.failed(error))?;
        self.place(part, true).map(drop)
    }

    fn part(&self) -> Result<NamedTempFile, Failure> {
        let parts = self.root.join(PARTS);
        std::fs::create_dir_all(&parts)
            .and_then(|()| tempfile::Builder::new().suffix(".part").tempfile_in(parts))
            .map_err(|error| self.failed(error))
    }

    /// Gives a complete file its name, and says whether it took the place of another.
    fn place(&self, part: NamedTempFile, overwrite: bool) -> Result<bool, Failure> {
        part.as_file().sync_all().map_err(|error| self.failed(error))?;
        let folder = self.path.parent().unwrap_or(&self.root);
        std::fs::create_dir_all(folder).map_err(|error| self.failed(error))?;
        // A rename would replace the link, not what it points to.
        let there = std::fs::symlink_metadata(&self.path).ok();
        if overwrite && there.as_ref().is_some_and(|found| !found.is_file()) {
            return Err(Failure::rejected(format!("`{}` exists and is no regular file", self.path.display())));
        }
        let placed = if overwrite { part.persist(&self.path) } else { part.persist_noclobber(&self.path) };
        placed.map_err(|error| match error.error.kind() {
            std::io::ErrorKind::AlreadyExists => taken(&self.path.display().to_string()),
            _ => self.failed(error.error),
        })?;
        Ok(there.is_some())
    }
}
