//! The removal of locks, and of all that a repository is.
//!
//! Takes an open repository. Always holds: a lock that somebody may hold is removed only where that was asked for; of a repository
//! that is removed, what it is opened with goes last, so that what was broken off can be ended by doing it again; but for its key files, which then open nothing.

use aquifer_engine::failure::Failure;
use futures::{StreamExt, TryStreamExt};
use rustic_core::Id;

use super::lock_file::Content;
use super::open::Repo;

/// How many files are removed at once.
const AT_ONCE: usize = 16;

/// A lock that was found.
#[derive(Debug)]
pub(crate) struct Found {
    /// Whose it is, in words.
    pub(crate) owner: String,
    /// Whether it was removed.
    pub(crate) removed: bool,
}

/// Removes locks that nobody holds any more, or `all`.
///
/// # Errors
/// The store refused it or cannot be reached.
pub(crate) async fn locks(repo: &Repo, all: bool) -> Result<Vec<Found>, Failure> {
    let backend = repo.backend();
    let mut found = Vec::new();
    for (file, _) in backend.list("locks").await? {
        let Ok(id) = file.parse::<Id>() else { continue };
        let name = format!("locks/{file}");
        let read = match backend.store().operator().read(&name).await {
            Ok(bytes) => bytes.to_vec(),
            // Released since it was listed.
            Err(error) if error.kind() == opendal::ErrorKind::NotFound => continue,
            Err(error) => return Err(backend.store().failed(&error, "reading the repository's locks")),
        };
        let content = repo.sealer().open_file(&read).ok();
        let content = content.and_then(|json| serde_json::from_slice::<Content>(&json).ok());
        let removed = all || content.as_ref().is_some_and(|content| content.is_stale(&id));
        if removed {
            backend.delete(&name).await?;
        }
        let unknown = || "a lock that cannot be read, perhaps in the middle of being written".to_owned();
        found.push(Found { owner: content.map_or_else(unknown, |content| content.owner()), removed });
    }
    Ok(found)
}

/// How much was removed of a repository.
#[derive(Debug, Default)]
pub(crate) struct Wiped {
    /// How many snapshots it had.
    pub(crate) snapshots: u64,
    /// How many files were removed in all.
    pub(crate) files: u64,
    /// How many bytes they had.
    pub(crate) bytes: u64,
}

/// Removes all files of a repository but those of its lock, and of its folder nothing else. Under an exclusive lock.
///
/// # Errors
/// The store refused it or cannot be reached; then some of it is gone, and doing it again goes on.
pub(crate) async fn wipe(repo: &Repo) -> Result<Wiped, Failure> {
    let mut wiped = Wiped::default();
    // Snapshots first: what is half removed must not look like a backup.
    for folder in ["snapshots", "index", "data"] {
        let listed = repo.backend().list(folder).await?;
        if folder == "snapshots" {
            wiped.snapshots = listed.len() as u64;
        }
        for (_, bytes) in &listed {
            (wiped.files, wiped.bytes) = (wiped.files + 1, wiped.bytes + bytes);
        }
        let names = listed.into_iter().map(|(name, _)| match folder {
            "data" => format!("data/{}/{name}", name.get(..2).unwrap_or_default()),
            _ => format!("{folder}/{name}"),
        });
        remove(repo, names.collect()).await?;
    }
    let keys = repo.backend().list("keys").await?;
    // Without its config it is no repository any more, whoever has a key.
    remove(repo, vec!["config".to_owned()]).await?;
    remove(repo, keys.into_iter().map(|(name, _)| format!("keys/{name}")).collect()).await?;
    Ok(wiped)
}

async fn remove(repo: &Repo, names: Vec<String>) -> Result<(), Failure> {
    let removals = futures::stream::iter(names).map(|name| async move { repo.backend().delete(&name).await });
    removals.buffer_unordered(AT_ONCE).try_collect().await
}
