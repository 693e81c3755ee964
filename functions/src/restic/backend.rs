//! A repository's files in a [`Store`]: the backend that `rustic_core` reads and writes through, and so do we.
//!
//! Takes a file's type and id, gives its place in restic's layout (`data/ab/abcd…`, `snapshots/…`, `config`). Always holds: a
//! listing that is not complete is an error (a prune that believes it would delete what is needed); a file is whole under its name
//! and durable when a write returns; every wait ends when the step is told to stop; the first failure is remembered.

use std::collections::HashMap;
use std::future::Future;
use std::io::{Read, Seek};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aquifer_engine::failure::{Failure, FailureKind};
use bytes::Bytes;
use futures::TryStreamExt;
use opendal::Buffer;
use rustic_core::{BytesList, ErrorKind, FileType, Id, ReadBackend, RusticError, RusticResult, WriteBackend};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::seal::id_of;
use super::trouble::Trouble;
use crate::location::{PARTS, Part, Store};

/// How long the taking away of what must not stay may take.
const LAST: Duration = Duration::from_secs(10);

/// A repository's files.
#[derive(Debug, Clone)]
pub(crate) struct Backend {
    store: Store,
    runtime: Handle,
    cancel: CancellationToken,
    trouble: Trouble,
    /// Whether its lock is lost.
    lost: Arc<AtomicBool>,
    /// The key files that were written through it: where making a repository fails, they are taken away again.
    keys: Arc<Mutex<Vec<String>>>,
}

/// A file's name below the repository.
pub(crate) fn name(kind: FileType, id: &Id) -> String {
    let hex = id.to_hex();
    match kind {
        FileType::Config => "config".to_owned(),
        FileType::Pack => format!("data/{}/{}", &hex.as_str()[..2], hex.as_str()),
        other => format!("{}/{}", other.dirname(), hex.as_str()),
    }
}

impl Backend {
    /// For use on blocking threads of `runtime`, until `cancel` says to stop.
    pub(crate) fn new(store: Store, runtime: Handle, cancel: CancellationToken) -> Self {
        Self { store, runtime, cancel, trouble: Trouble::default(), lost: Arc::default(), keys: Arc::default() }
    }

    /// One for the same place that remembers nothing yet.
    pub(crate) fn anew(&self) -> Self {
        Self::new(self.store.clone(), self.runtime.clone(), self.cancel.clone())
    }

    /// The memory of what went wrong first.
    pub(crate) fn trouble(&self) -> &Trouble {
        &self.trouble
    }

    /// The store underneath.
    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    /// Takes away the keys that were written through it.
    pub(crate) fn take_keys_back(&self) {
        let keys = std::mem::take(&mut *self.keys.lock().unwrap_or_else(PoisonError::into_inner));
        for name in keys {
            // Also after the word to stop: a key that is left behind would be in the way of the next attempt.
            _ = self.runtime.block_on(tokio::time::timeout(LAST, self.store.operator().delete(&name)));
        }
    }

    /// The runtime that does the waiting.
    pub(crate) fn runtime(&self) -> &Handle {
        &self.runtime
    }

    /// Ends all use of the repository for a reason: what waits is woken, and nothing new begins.
    pub(crate) fn end(&self, why: Failure) {
        self.trouble.tell(why);
        self.lost.store(true, Ordering::Relaxed);
        self.cancel.cancel();
    }

    /// Fails once the use of the repository has ended.
    ///
    /// # Errors
    /// Why it has ended.
    pub(crate) fn check_ended(&self) -> Result<(), Failure> {
        if self.cancel.is_cancelled() { Err(self.ended()) } else { Ok(()) }
    }

    fn ended(&self) -> Failure {
        self.trouble.check().err().unwrap_or_else(|| Failure::cancelled("stopped"))
    }

    /// Waits for a request, or for the word to stop. For blocking threads.
    pub(crate) fn wait<T>(&self, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        let done = self.runtime.block_on(async {
            tokio::select! {
                biased;
                () = self.cancel.cancelled() => Err(self.ended()),
                done = work => done,
            }
        });
        self.remembered(done)
    }

    /// Writes one file, durable and whole, or not at all. A write into a folder is not broken off: it ends by itself, and leaves no
    /// part of a file behind.
    ///
    /// # Errors
    /// The store refused it or cannot be reached.
    pub(crate) async fn write(&self, name: &str, content: impl Into<Buffer>) -> Result<(), Failure> {
        self.check_lock()?;
        let write = self.store.put(name, content.into());
        let done = if self.store.folder().is_some() {
            write.await
        } else {
            tokio::select! {
                biased;
                () = self.cancel.cancelled() => Err(self.ended()),
                done = write => done,
            }
        };
        self.remembered(done)
    }

    /// Told to stop, what was stored may still be written down; without a lock, nothing may.
    fn check_lock(&self) -> Result<(), Failure> {
        if self.lost.load(Ordering::Relaxed) { Err(self.ended()) } else { Ok(()) }
    }

    fn remembered<T>(&self, done: Result<T, Failure>) -> Result<T, Failure> {
        done.inspect_err(|failure| self.trouble.tell(failure.clone()))
    }

    /// Does something with a file of a folder that has no name yet. For blocking threads.
    ///
    /// # Errors
    /// The file system refuses it.
    pub(crate) fn with_part<T>(&self, work: impl FnOnce() -> std::io::Result<T>) -> Result<T, Failure> {
        let doing = || format!("writing below `{}`", self.store.shown(PARTS));
        self.remembered(work().map_err(|error| Failure::from_io(error, doing())))
    }

    /// Makes such a file durable under its name. As any write into a folder it is not broken off.
    ///
    /// # Errors
    /// The file system refuses it, or the lock is lost; then nothing is left of it.
    pub(crate) async fn place(&self, part: Part, name: &str) -> Result<(), Failure> {
        self.check_lock()?;
        let own = name.to_owned();
        let placed = tokio::task::spawn_blocking(move || part.place(&own, true)).await;
        self.remembered(match placed {
            Ok(placed) => {
                placed.map_err(|error| Failure::from_io(error, format!("writing `{}`", self.store.shown(name))))
            }
            Err(_) => Err(Failure::cancelled("the program is ending")),
        })
    }

    /// Encrypts a file other than a pack, writes it under its id and gives the id.
    ///
    /// # Errors
    /// The store refused it or cannot be reached.
    pub(crate) async fn save(&self, folder: &str, sealed: Vec<u8>) -> Result<Id, Failure> {
        let id = id_of(&sealed);
        self.write(&format!("{folder}/{}", id.to_hex().as_str()), sealed).await?;
        Ok(id)
    }

    /// Reads a part of a file.
    ///
    /// # Errors
    /// The file is not there or shorter, or the store cannot be reached.
    pub(crate) async fn read_range(&self, name: &str, offset: u64, length: u64) -> Result<Bytes, Failure> {
        if self.store.folder().is_some() {
            let (own, name) = (self.clone(), name.to_owned());
            let read = tokio::task::spawn_blocking(move || own.read_in_folder(&name, offset, length)).await;
            let read = read.map_err(|_| Failure::cancelled("the program is ending"))?;
            return read.unwrap_or_else(|| Err(Failure::internal("a folder is none any more")));
        }
        let read = self.store.operator().read_with(name).range(offset..offset + length).await;
        let read = read.map_err(|error| self.store.failed(&error, &format!("reading `{}`", self.store.shown(name))));
        let bytes = read?.to_bytes();
        self.whole(bytes.len(), name, offset, length)?;
        Ok(bytes)
    }

    /// The same for blocking threads, where the repository is a folder: there and then. Nothing where it is none.
    pub(crate) fn read_in_folder(&self, name: &str, offset: u64, length: u64) -> Option<Result<Bytes, Failure>> {
        let read = read_part(&self.store.folder()?.join(name), offset, length);
        let read = read.map_err(|error| Failure::from_io(error, format!("reading `{}`", self.store.shown(name))));
        Some(read.and_then(|bytes| {
            self.whole(bytes.len(), name, offset, length)?;
            Ok(bytes.into())
        }))
    }

    /// Looks whether as many bytes of a file came as were asked for.
    ///
    /// # Errors
    /// The file is shorter.
    pub(super) fn whole(&self, bytes: usize, name: &str, offset: u64, length: u64) -> Result<(), Failure> {
        if bytes as u64 == length {
            return Ok(());
        }
        Err(Failure::corrupt(format!(
            "reading `{}`: {bytes} bytes at {offset} instead of {length}: the file is shorter than the index says",
            self.store.shown(name),
        )))
    }

    /// Reads a whole file.
    ///
    /// # Errors
    /// The file is not there, or the store cannot be reached.
    pub(crate) async fn read_all(&self, name: &str) -> Result<Bytes, Failure> {
        let read = self.store.operator().read(name).await;
        Ok(read
            .map_err(|error| self.store.failed(&error, &format!("reading `{}`", self.store.shown(name))))?
            .to_bytes())
    }

    /// How long ago a file was written; none where the store does not say.
    ///
    /// # Errors
    /// The file is not there, or the store cannot be reached.
    pub(crate) async fn age(&self, name: &str) -> Result<Option<jiff::SignedDuration>, Failure> {
        let about = self.store.operator().stat(name).await;
        let about =
            about.map_err(|error| self.store.failed(&error, &format!("looking at `{}`", self.store.shown(name))))?;
        let written =
            about.last_modified().and_then(|at| jiff::Timestamp::from_second(at.into_inner().as_second()).ok());
        Ok(written.map(|at| jiff::Timestamp::now().duration_since(at)))
    }

    /// Removes a file.
    ///
    /// # Errors
    /// The store refused it or cannot be reached.
    pub(crate) async fn delete(&self, name: &str) -> Result<(), Failure> {
        let deleted = self.store.operator().delete(name).await;
        deleted.map_err(|error| self.store.failed(&error, &format!("removing `{}`", self.store.shown(name))))
    }

    /// The packs that are there, and how many bytes they have. What has no id for a name is none.
    ///
    /// # Errors
    /// The listing is not complete.
    pub(crate) async fn packs(&self) -> Result<HashMap<Id, u64>, Failure> {
        let listed = self.list("data").await?;
        Ok(listed.into_iter().filter_map(|(name, size)| Some((name.parse().ok()?, size))).collect())
    }

    /// The names and sizes of all files below a folder of the repository.
    ///
    /// # Errors
    /// The listing is not complete.
    pub(crate) async fn list(&self, folder: &str) -> Result<Vec<(String, u64)>, Failure> {
        let shown = self.store.shown(folder);
        if let Some(root) = self.store.folder() {
            let root = root.join(folder);
            let listed = tokio::task::spawn_blocking(move || list_folder(&root)).await;
            return listed
                .map_err(|_| Failure::cancelled("the program is ending"))?
                .map_err(|error| Failure::from_io(error, format!("listing `{shown}`")));
        }
        let failed = |error| self.store.failed(&error, &format!("listing `{shown}`"));
        let lister = self.store.operator().lister_with(&format!("{folder}/")).recursive(true).await.map_err(failed)?;
        let entries = lister.try_filter(|entry| futures::future::ready(entry.metadata().is_file()));
        let file = |entry: opendal::Entry| (entry.name().to_owned(), entry.metadata().content_length());
        entries.map_ok(file).try_collect().await.map_err(failed)
    }
}

/// A part of a file, or what there is of it. Its room is not filled with zeros first, as it would be by way of the library.
fn read_part(path: &Path, offset: u64, length: u64) -> std::io::Result<Vec<u8>> {
    let mut file = std::fs::File::open(path)?;
    file.seek(std::io::SeekFrom::Start(offset))?;
    // An index may say any length.
    let there = file.metadata()?.len().saturating_sub(offset).min(length);
    let mut bytes = Vec::with_capacity(usize::try_from(there).unwrap_or(0));
    file.take(length).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// A folder's files, and those of its folders. One that is not there has none: restic makes them as it needs them.
fn list_folder(folder: &Path) -> std::io::Result<Vec<(String, u64)>> {
    let mut found = Vec::new();
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(found),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        match entry.metadata() {
            Ok(about) if about.is_dir() => found.extend(list_folder(&entry.path())?),
            Ok(about) => found.push((entry.file_name().to_string_lossy().into_owned(), about.len())),
            // Removed since it was listed: by another process, which is as if it had been removed before.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

/// A failure on its way through `rustic_core`.
fn told(failure: Failure) -> Box<RusticError> {
    let kind = if failure.kind == FailureKind::Corrupt { ErrorKind::Repository } else { ErrorKind::Backend };
    RusticError::with_source(kind, failure.message.clone(), failure)
}

impl ReadBackend for Backend {
    fn location(&self) -> String {
        self.store.shown("")
    }

    fn list_with_size(&self, kind: FileType) -> RusticResult<Vec<(Id, u32)>> {
        let listed = if kind == FileType::Config {
            self.wait(async {
                match self.store.operator().stat("config").await {
                    Ok(about) => Ok(vec![(Id::default().to_hex().as_str().to_owned(), about.content_length())]),
                    Err(error) if error.kind() == opendal::ErrorKind::NotFound => Ok(Vec::new()),
                    Err(mut error) => {
                        // The answer to a look has no words; the one to a read says what is wrong with the keys or the clock.
                        if error.kind() == opendal::ErrorKind::PermissionDenied
                            && let Err(more) = self.store.operator().read("config").await
                        {
                            error = more;
                        }
                        Err(self
                            .store
                            .failed(&error, &format!("looking for a repository at `{}`", self.store.shown(""))))
                    }
                }
            })
        } else {
            self.wait(self.list(kind.dirname()))
        };
        // What has no id for a name is no file of the repository: half-written ones of other programs, mostly.
        let ids = listed.map_err(told)?.into_iter().filter_map(|(name, size)| Some((name.parse::<Id>().ok()?, size)));
        ids.map(|(id, size)| {
            let size = u32::try_from(size).map_err(|_| {
                told(Failure::corrupt(format!("`{}` has more than 4 GiB", self.store.shown(&name(kind, &id)))))
            })?;
            Ok((id, size))
        })
        .collect()
    }

    fn read_full(&self, kind: FileType, id: &Id) -> RusticResult<Bytes> {
        let name = name(kind, id);
        let doing = format!("reading `{}`", self.store.shown(&name));
        self.wait(async {
            let read = self.store.operator().read(&name).await;
            Ok(read.map_err(|error| self.store.failed(&error, &doing))?.to_bytes())
        })
        .map_err(told)
    }

    fn read_partial(&self, kind: FileType, id: &Id, _: bool, offset: u32, length: u32) -> RusticResult<Bytes> {
        self.wait(self.read_range(&name(kind, id), offset.into(), length.into())).map_err(told)
    }

    fn warmup_path(&self, kind: FileType, id: &Id) -> String {
        name(kind, id)
    }
}

impl WriteBackend for Backend {
    fn write_bytes(&self, kind: FileType, id: &Id, _: bool, content: BytesList) -> RusticResult<()> {
        let content: Buffer = content.into_vec().into_iter().collect();
        match kind {
            // The one write that makes a repository: of two programs that do it at once, one is told that it came second.
            FileType::Config => return self.wait(self.store.put_new("config", content)).map_err(told),
            FileType::Key => {
                self.keys.lock().unwrap_or_else(PoisonError::into_inner).push(name(kind, id));
            }
            _ => {}
        }
        self.runtime.block_on(self.write(&name(kind, id), content)).map_err(told)
    }

    fn remove(&self, kind: FileType, id: &Id, _: bool) -> RusticResult<()> {
        let name = name(kind, id);
        let doing = format!("removing `{}`", self.store.shown(&name));
        self.wait(async {
            self.store.operator().delete(&name).await.map_err(|error| self.store.failed(&error, &doing))
        })
        .map_err(told)
    }
}
