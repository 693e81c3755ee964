//! An opened location: objects by name, and failures in the project's own terms.
//!
//! Always holds: a single request that fails for a passing reason is sent again a few times, within bounds; what was
//! written into a folder is on the disk, and so is its name; nothing is created for a store that is only read.

use std::path::{Path, PathBuf};
use std::time::Duration;

use aquifer_engine::failure::{Failure, FailureKind};
use opendal::layers::{RetryLayer, TimeoutLayer};
use opendal::{ErrorKind, Operator};

use super::Location;

/// Below a folder: where files are written before they get their names. On the same file system, so that the last step is a rename.
const PARTS: &str = ".aquifer-parts";

/// How long one request may take that carries no data, and how long one may go without moving any. A server that has hung
/// is told apart from one that is slow.
const REQUEST: Duration = Duration::from_secs(60);

/// What a store is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Reading only: what is not there is an error, and is not made.
    Read,
    /// Reading and writing: a missing folder is made.
    Write,
}

/// An opened location.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    operator: Operator,
    shown: String,
    folder: Option<PathBuf>,
}

impl Store {
    /// Opens a location. Nothing is sent to a server yet.
    ///
    /// # Errors
    /// A folder that does not exist or cannot be made; a bucket without a region.
    pub(crate) fn open(location: &Location, purpose: Purpose) -> Result<Self, Failure> {
        let shown = location.to_string();
        let (operator, folder) = match location {
            Location::Folder(folder) => {
                let folder = std::path::absolute(folder)
                    .map_err(|error| Failure::from_io(error, format!("finding `{shown}`")))?;
                (open_folder(&folder, purpose)?, Some(folder))
            }
            Location::S3(s3) => {
                let operator = s3.operator().map_err(|error| {
                    let failure = failure(&error, &format!("opening `{shown}`"));
                    if s3.region.is_none() { failure.with_help("write `region`, or set `AWS_REGION`") } else { failure }
                })?;
                (operator, None)
            }
        };
        let operator = operator
            .layer(TimeoutLayer::new().with_timeout(REQUEST).with_io_timeout(REQUEST))
            .layer(RetryLayer::new().with_max_times(4).with_min_delay(Duration::from_millis(200)).with_jitter());
        Ok(Self { operator, shown, folder })
    }

    /// The library's handle.
    pub(crate) fn operator(&self) -> &Operator {
        &self.operator
    }

    /// Where an object lies, for messages.
    pub(crate) fn shown(&self, name: &str) -> String {
        if name.is_empty() { self.shown.clone() } else { format!("{}/{name}", self.shown.trim_end_matches('/')) }
    }

    /// The folder, where it is one.
    pub(crate) fn folder(&self) -> Option<&Path> {
        self.folder.as_deref()
    }

    /// Makes sure that a name which was just written is on the disk too: a rename alone may be lost with the power.
    ///
    /// # Errors
    /// The folder cannot be synchronized.
    pub(crate) async fn sync_name(&self, name: &str) -> Result<(), Failure> {
        let Some(parent) = self.folder.as_ref().and_then(|folder| folder.join(name).parent().map(Path::to_owned))
        else {
            return Ok(());
        };
        let shown = parent.display().to_string();
        let synced = tokio::task::spawn_blocking(move || std::fs::File::open(parent)?.sync_all()).await;
        synced
            .map_err(|_| Failure::cancelled("the program is ending"))?
            .map_err(|error| Failure::from_io(error, format!("synchronizing `{shown}`")))
    }
}

fn open_folder(folder: &Path, purpose: Purpose) -> Result<Operator, Failure> {
    let shown = folder.display();
    let root = folder.to_str().ok_or_else(|| Failure::config(format!("the folder's path `{shown}` is not UTF-8")))?;
    match std::fs::metadata(folder) {
        Ok(found) if !found.is_dir() => return Err(Failure::rejected(format!("`{shown}` is no folder"))),
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && purpose == Purpose::Write => {
            std::fs::create_dir_all(folder).map_err(|error| Failure::from_io(error, format!("making `{shown}`")))?;
        }
        Err(error) => return Err(Failure::from_io(error, format!("looking at `{shown}`"))),
    }
    let mut builder = opendal::services::Fs::default().root(root);
    if purpose == Purpose::Write {
        builder = builder.atomic_write_dir(&format!("{}/{PARTS}", root.trim_end_matches('/')));
    }
    Operator::new(builder).map_err(|error| failure(&error, &format!("opening `{shown}`")))
}

/// A store's error as a failure; `doing` says what was tried.
pub(crate) fn failure(error: &opendal::Error, doing: &str) -> Failure {
    let kind = match error.kind() {
        ErrorKind::NotFound => FailureKind::NotFound,
        ErrorKind::PermissionDenied => FailureKind::Unauthorized,
        ErrorKind::ConfigInvalid => FailureKind::Config,
        ErrorKind::AlreadyExists
        | ErrorKind::ConditionNotMatch
        | ErrorKind::IsADirectory
        | ErrorKind::NotADirectory => FailureKind::Rejected,
        ErrorKind::Unsupported => FailureKind::Rejected,
        _ => FailureKind::Unavailable,
    };
    let message = error.message().lines().next().unwrap_or_default();
    let failure = Failure::new(
        kind,
        format!("{doing}: {}", if message.is_empty() { error.kind().into_static() } else { message }),
    );
    match std::error::Error::source(error) {
        Some(source) => failure.caused_by(source),
        None => failure,
    }
}
