//! Files on an SFTP server.
//!
//! Takes names below a folder. Always holds: a file is written beside its place, is on the server's disk where the server can
//! be asked for that, and gets its name by one operation that replaces only what may be replaced; what is given up is removed.

use std::fmt;
use std::io::SeekFrom;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::BytesMut;
use futures::{StreamExt, TryStreamExt};
use opendal::raw::{OpWrite, Timestamp, oio};
use opendal::{Buffer, BytesRange, Error, ErrorKind, Metadata, MetadataBuilder, OperationContext, Result};
use openssh_sftp_client::error::SftpErrorKind;
use openssh_sftp_client::file::TokioCompatFile;
use openssh_sftp_client::metadata::MetaData;
use tokio::io::{AsyncSeekExt, AsyncWriteExt};

use super::link::{Link, Target, Way};
use super::listing::{Entry, Folder, entries, is_told};
use crate::location::PARTS;
use crate::location::part::LEFT_OVER;
use crate::location::spoken::{Page, Protocol};

pub(super) type SftpResult<T> = std::result::Result<T, openssh_sftp_client::Error>;

/// The files below a folder.
pub(super) struct Files {
    way: Way,
    root: PathBuf,
    /// Whether it was looked for what killed programs left.
    swept: AtomicBool,
}

impl fmt::Debug for Files {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Files").field("root", &self.root).finish_non_exhaustive()
    }
}

fn about(found: MetaData) -> Metadata {
    let kind = found.file_type();
    let mut about = match kind {
        Some(kind) if kind.is_file() => MetadataBuilder::file(found.len().unwrap_or_default()),
        Some(kind) if kind.is_dir() => MetadataBuilder::dir(),
        _ => MetadataBuilder::unknown(),
    };
    if let Some(at) = found.modified().and_then(|at| Timestamp::try_from(at.as_system_time()).ok()) {
        about.last_modified(at);
    }
    about.build()
}

pub(super) fn is_missing<T>(result: &SftpResult<T>) -> bool {
    matches!(result, Err(openssh_sftp_client::Error::SftpError(SftpErrorKind::NoSuchFile, _)))
}

impl Files {
    pub(super) fn new(target: Target, root: String) -> Self {
        Self { way: Way::new(target), root: root.into(), swept: AtomicBool::new(false) }
    }

    fn path(&self, name: &str) -> PathBuf {
        if name.is_empty() { self.root.clone() } else { self.root.join(name) }
    }

    /// Does something over the connection.
    async fn with<T>(&self, work: impl AsyncFnOnce(&Link) -> SftpResult<T>) -> Result<T> {
        let link = self.way.link().await?;
        match work(&link).await {
            Ok(done) => Ok(done),
            Err(error) => Err(self.way.failed(&link, error).await),
        }
    }

    /// Makes a folder, and those above it.
    async fn make(&self, folder: &Path) -> Result<()> {
        self.with(async |link| {
            let mut missing = vec![folder.to_owned()];
            while let Some(next) = missing.pop() {
                let made = link.sftp.fs().create_dir(&next).await;
                if is_missing(&made) {
                    let Some(above) = next.parent().filter(|above| !above.as_os_str().is_empty()) else { return made };
                    let above = above.to_owned();
                    missing.extend([next, above]);
                    continue;
                }
                // Most likely it is there already, made by somebody else at this moment.
                if made.is_err() && !link.sftp.fs().metadata(&next).await?.file_type().is_some_and(|kind| kind.is_dir())
                {
                    return made;
                }
            }
            Ok(())
        })
        .await
    }

    /// The size of a file that is there.
    async fn size(&self, path: &Path) -> Result<Option<u64>> {
        self.with(async |link| {
            let found = link.sftp.fs().metadata(path).await;
            if is_missing(&found) { Ok(None) } else { Ok(Some(found?.len().unwrap_or_default())) }
        })
        .await
    }

    /// Removes what killed programs left half-written a day before a part that has just been made, by the server's own clock.
    async fn sweep(&self, link: &Link, part: &Path) -> SftpResult<()> {
        let at = |found: &MetaData| found.modified().map(|at| at.as_system_time());
        let now = at(&link.sftp.fs().metadata(part).await?);
        let mut entries = link.sftp.fs().open_dir(self.path(PARTS)).await?.read_dir().boxed();
        while let Some(entry) = entries.try_next().await? {
            let found = entry.metadata();
            let age = now.zip(at(&found)).and_then(|(now, at)| now.duration_since(at).ok());
            if found.file_type().is_some_and(|kind| kind.is_file()) && age.is_some_and(|age| age > LEFT_OVER) {
                link.sftp.fs().remove_file(self.path(PARTS).join(entry.filename())).await?;
            }
        }
        Ok(())
    }

    async fn remove(&self, path: &Path) -> Result<()> {
        self.with(async |link| {
            let removed = link.sftp.fs().remove_file(path).await;
            if is_missing(&removed) { Ok(()) } else { removed }
        })
        .await
    }
}

impl Protocol for Files {
    const SCHEME: &'static str = "sftp";
    const IN_PIECES: bool = true;
    type Writer = Part;
    type Place = Folder;

    async fn stat(&self, name: &str) -> Result<Metadata> {
        let path = self.path(name);
        self.with(async |link| link.sftp.fs().metadata(&path).await.map(about)).await
    }

    async fn read(&self, name: &str, range: BytesRange) -> Result<Buffer> {
        let path = self.path(name);
        let (mut at, size) = (range.offset(), range.size());
        self.with(async |link| {
            let mut file = link.sftp.open(&path).await?;
            let end = size.map_or(u64::MAX, |size| at.saturating_add(size));
            let mut pieces = Vec::new();
            while at < end {
                // Its own place is wrong after a read that brought less than was asked for.
                file.seek(SeekFrom::Start(at)).await?;
                let want = u32::try_from(end - at).unwrap_or(u32::MAX);
                let Some(piece) = file.read(want, BytesMut::new()).await? else { break };
                at += piece.len() as u64;
                pieces.push(piece.freeze());
            }
            file.close().await?;
            Ok(pieces.into_iter().collect())
        })
        .await
    }

    fn first(&self, folder: &str) -> Folder {
        Folder { name: folder.trim_end_matches('/').to_owned(), linked: false }
    }

    async fn list(&self, at: &Folder) -> Result<Page<Folder>> {
        let path = self.path(&at.name);
        let entries = self.with(async |link| entries(link, &path).await).await?;
        let mut page = Page::of_folder(&at.name);
        for Entry { name, linked, about: found } in entries {
            let name = if at.name.is_empty() { name } else { format!("{}/{name}", at.name) };
            let kind = found.file_type().filter(|kind| !kind.is_symlink() && is_told(&found));
            let Some(kind) = kind else {
                let what = format!("the server does not tell what `{name}` is, or it is a link that leads nowhere");
                return Err(Error::new(ErrorKind::Unexpected, what));
            };
            if !kind.is_dir() {
                page.found.push((name, about(found)));
            } else if linked && at.linked {
                let what = format!("`{name}` leads to a folder, and is itself in one that a link leads to");
                return Err(Error::new(ErrorKind::Unsupported, what));
            } else {
                page.more.push(Folder { name, linked: linked || at.linked });
            }
        }
        Ok(page)
    }

    async fn delete(&self, name: &str) -> Result<()> {
        self.remove(&self.path(name)).await
    }

    fn write(self: Arc<Self>, _: &OperationContext, name: &str, how: &OpWrite) -> Part {
        let mut random = [0; 16];
        let name = name.to_owned();
        // Without a source of chance the write fails when it begins.
        let drawn = getrandom::fill(&mut random).is_ok();
        let part = self.path(&format!("{PARTS}/{}.part", hex::encode(random)));
        Part {
            files: self,
            name,
            new: how.if_not_exists(),
            part: drawn.then_some(part),
            open: None,
            written: 0,
            placing: false,
        }
    }
}

/// A file that is being written.
pub(super) struct Part {
    files: Arc<Files>,
    name: String,
    new: bool,
    part: Option<PathBuf>,
    open: Option<(Arc<Link>, std::pin::Pin<Box<TokioCompatFile>>)>,
    written: u64,
    /// Whether it was tried before to give it its name.
    placing: bool,
}

impl Part {
    fn path(&self) -> Result<&Path> {
        self.part.as_deref().ok_or_else(|| Error::new(ErrorKind::Unexpected, "the system gives no random numbers"))
    }

    /// Opens the part where it is not.
    async fn begin(&mut self) -> Result<()> {
        if self.open.is_some() {
            return Ok(());
        }
        let part = self.path()?.to_owned();
        if let Some(folder) = part.parent() {
            self.files.make(folder).await?;
        }
        let link = self.files.way.link().await?;
        // Of a first attempt that failed, what it has left is of no use.
        match link.sftp.options().write(true).create(true).truncate(true).open(&part).await {
            Ok(mut file) => {
                // Where the server does not let us, its own rule holds.
                _ = file.set_permissions(private()).await;
                if !self.files.swept.swap(true, Ordering::Relaxed) {
                    // What cannot be removed does no harm.
                    _ = self.files.sweep(&link, &part).await;
                }
                self.open = Some((link, Box::pin(TokioCompatFile::new(file))));
                Ok(())
            }
            Err(error) => Err(self.files.way.failed(&link, error).await),
        }
    }

    /// A piece or the end could not be written: told as passing only where it can be begun anew.
    fn broke(&mut self, error: std::io::Error) -> Error {
        self.open = None;
        let what = "the connection broke, or the server's disk is full";
        Error::new(ErrorKind::Unexpected, what).with_temporary(self.written == 0).set_source(error)
    }

    /// Gives the part its name.
    async fn place(&mut self) -> Result<()> {
        let (part, target) = (self.path()?.to_owned(), self.files.path(&self.name));
        let exists = || Error::new(ErrorKind::ConditionNotMatch, "there is such a file already");
        if self.placing {
            // The answer to an earlier attempt was lost.
            let (left, there) = (self.files.size(&part).await?, self.files.size(&target).await?);
            if there == Some(self.written) && (left.is_none() || self.new) {
                return self.files.remove(&part).await;
            }
        }
        if let Some(folder) = target.parent() {
            self.files.make(folder).await?;
        }
        self.placing = true;
        if !self.new {
            let placed = self.files.with(async |link| link.sftp.fs().rename(&part, &target).await).await;
            return match placed {
                Err(error) if error.kind() == ErrorKind::Unexpected && !error.is_temporary() => {
                    let what = "the server does not replace a file by another (`posix-rename`)";
                    Err(if self.files.size(&target).await?.is_some() {
                        Error::new(ErrorKind::Unsupported, what)
                    } else {
                        error
                    })
                }
                placed => placed,
            };
        }
        let linked = self.files.with(async |link| link.sftp.fs().hard_link(&part, &target).await).await;
        match linked {
            Ok(()) => self.files.remove(&part).await,
            Err(error) if error.is_temporary() => Err(error),
            Err(_) if self.files.size(&target).await?.is_some() => Err(exists()),
            // A server or a file system without links: another that does the same at this very moment may be replaced.
            Err(_) => self.files.with(async |link| link.sftp.fs().rename(&part, &target).await).await,
        }
    }
}

fn private() -> openssh_sftp_client::metadata::Permissions {
    let mut mode = openssh_sftp_client::metadata::Permissions::new();
    mode.set_read_by_owner(true).set_write_by_owner(true);
    mode
}

impl oio::Write for Part {
    async fn write(&mut self, content: Buffer) -> Result<()> {
        self.begin().await?;
        let bytes = content.len() as u64;
        let Some((_, file)) = &mut self.open else { return Ok(()) };
        for piece in content {
            if let Err(error) = file.write_all(&piece).await {
                return Err(self.broke(error));
            }
        }
        self.written += bytes;
        Ok(())
    }

    async fn close(&mut self) -> Result<Metadata> {
        if !self.placing {
            self.begin().await?;
        }
        if let Some((link, mut file)) = self.open.take() {
            let stored = async {
                file.flush().await?;
                let file = file.as_mut().as_mut_file();
                if link.sftp.support_fsync() {
                    file.sync_all().await.map_err(std::io::Error::other)?;
                }
                Ok(())
            };
            let stored: std::io::Result<()> = stored.await;
            if let Err(error) = stored {
                self.written = self.written.max(1);
                return Err(self.broke(error));
            }
        }
        self.place().await?;
        Ok(MetadataBuilder::file(self.written).build())
    }

    async fn abort(&mut self) -> Result<()> {
        self.open = None;
        match &self.part {
            Some(part) => self.files.remove(part).await,
            None => Ok(()),
        }
    }
}
