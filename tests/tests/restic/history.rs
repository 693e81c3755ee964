//! A repository with years of snapshots in it, made in no time.
//!
//! Takes what each snapshot is to look like; gives a repository that restic and we read alike. Always holds: restic made the
//! repository and the first snapshot; the others are copies of it with another time, host, tags and paths, written by `rustic_core`.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use rustic_core::jiff::Zoned;
use rustic_core::repofile::StringList;
use rustic_core::{
    BytesList, Credentials, ErrorKind, FileType, Id, ReadBackend, Repository as Rustic, RepositoryBackends,
    RepositoryOptions, RusticError, RusticResult, WriteBackend,
};

use crate::rig::{PASSWORD, Repository};

/// What tells a snapshot from another.
pub(crate) struct Made {
    pub(crate) time: Zoned,
    pub(crate) host: &'static str,
    pub(crate) tags: Vec<&'static str>,
    pub(crate) paths: Vec<&'static str>,
}

/// A repository with these snapshots only.
pub(crate) fn repository_of(history: Vec<Made>) -> Repository {
    let repository = Repository::made_by_restic(2);
    repository.restic_backup(b"content", &["--time", "2020-01-01 00:00:00"]);
    let backends = RepositoryBackends::new(Arc::new(Folder(repository.path())), None);
    let opened = Rustic::new(&RepositoryOptions::default().no_cache(true), &backends).expect("a repository");
    let opened = opened.open(&Credentials::password(PASSWORD)).expect("opened");
    let first = opened.get_all_snapshots().expect("listed").pop().expect("the first one");
    let copies = history.into_iter().map(|made| {
        let mut copy = first.clone();
        let list = |names: Vec<&str>| {
            let mut list = StringList::default();
            names.into_iter().for_each(|name| list.add(name.to_owned()));
            list
        };
        (copy.time, copy.hostname) = (made.time, made.host.to_owned());
        (copy.tags, copy.paths) = (list(made.tags), list(made.paths));
        copy
    });
    opened.save_snapshots(copies.collect()).expect("saved");
    opened.delete_snapshots(&[first.id]).expect("removed");
    repository
}

/// A folder, plainly.
#[derive(Debug)]
struct Folder(PathBuf);

impl Folder {
    fn file(&self, kind: FileType, id: &Id) -> PathBuf {
        let hex = id.to_hex();
        match kind {
            FileType::Config => self.0.join("config"),
            FileType::Pack => self.0.join("data").join(&hex.as_str()[..2]).join(hex.as_str()),
            other => self.0.join(other.dirname()).join(hex.as_str()),
        }
    }
}

fn told(error: std::io::Error) -> Box<RusticError> {
    RusticError::with_source(ErrorKind::Backend, "the folder", error)
}

impl ReadBackend for Folder {
    fn location(&self) -> String {
        self.0.display().to_string()
    }

    fn list_with_size(&self, kind: FileType) -> RusticResult<Vec<(Id, u32)>> {
        if kind == FileType::Config {
            return Ok(vec![(Id::default(), 0)]);
        }
        let mut found = Vec::new();
        for entry in std::fs::read_dir(self.0.join(kind.dirname())).map_err(told)? {
            let entry = entry.map_err(told)?;
            if let Ok(id) = entry.file_name().to_string_lossy().parse() {
                let size = entry.metadata().map_err(told)?.len();
                found.push((id, u32::try_from(size).expect("a small file")));
            }
        }
        Ok(found)
    }

    fn read_full(&self, kind: FileType, id: &Id) -> RusticResult<Bytes> {
        std::fs::read(self.file(kind, id)).map(Bytes::from).map_err(told)
    }

    fn read_partial(&self, kind: FileType, id: &Id, _: bool, offset: u32, length: u32) -> RusticResult<Bytes> {
        let whole = self.read_full(kind, id)?;
        Ok(whole.slice(offset as usize..(offset + length) as usize))
    }

    fn warmup_path(&self, kind: FileType, id: &Id) -> String {
        self.file(kind, id).display().to_string()
    }
}

impl WriteBackend for Folder {
    fn write_bytes(&self, kind: FileType, id: &Id, _: bool, content: BytesList) -> RusticResult<()> {
        std::fs::write(self.file(kind, id), content.into_vec().concat()).map_err(told)
    }

    fn remove(&self, kind: FileType, id: &Id, _: bool) -> RusticResult<()> {
        std::fs::remove_file(self.file(kind, id)).map_err(told)
    }
}
