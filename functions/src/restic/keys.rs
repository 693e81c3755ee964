//! A repository's keys: each is its master key, encrypted with a password.
//!
//! Takes an open repository and passwords. Always holds: the key that the repository was opened with is never removed by its id, so
//! there is always one; a new key was tried by opening the repository with it before an old one goes; whatever ends a change of
//! password in between, the old password or the new one opens the repository.

use aquifer_engine::failure::Failure;
use rustic_core::repofile::KeyFile;
use rustic_core::{FileType, Id, KeyOptions};
use schemars::JsonSchema;
use serde::Serialize;

use super::backend::name;
use super::lock::{Kind, hostname, username};
use super::open::{Password, Repo};

/// A key, as far as it is not secret.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Key {
    /// Its id.
    pub id: String,
    /// The host that it was made on, where that is known.
    pub host: Option<String>,
    /// The user that it was made by, where that is known.
    pub username: Option<String>,
    /// When it was made, where that is known.
    pub created: Option<String>,
    /// Whether it is the one that the repository was opened with.
    pub current: bool,
}

/// What is to be done.
#[derive(Debug)]
pub(crate) enum Change {
    /// A key for a password.
    Add(Password),
    /// A new password in the place of the old one.
    Rotate { old: Password, new: Password },
    /// A key removed, by its id or how that begins.
    Remove(String),
}

impl Change {
    /// What it excludes: as with restic, nobody is at work while a key goes.
    pub(crate) fn lock(&self) -> Kind {
        if matches!(self, Self::Add(_)) { Kind::Shared } else { Kind::Exclusive }
    }

    /// Does it.
    ///
    /// # Errors
    /// As those of its kind.
    pub(crate) fn make(&self, repo: &Repo) -> Result<Changed, Failure> {
        match self {
            Self::Add(password) => add(repo, password),
            Self::Rotate { old, new } => rotate(repo, old, new),
            Self::Remove(which) => remove(repo, which),
        }
    }
}

/// How long the taking away of what must not stay may take.
const LAST: std::time::Duration = std::time::Duration::from_secs(10);

/// What was done.
#[derive(Debug, Default)]
pub(crate) struct Changed {
    pub(crate) added: Option<Id>,
    pub(crate) removed: Vec<Id>,
    /// The key that took the place of the one that the repository was opened with.
    pub(crate) now: Option<Id>,
}

/// The id of the key that the repository was opened with.
fn current(repo: &Repo) -> Result<Id, Failure> {
    repo.key().ok_or_else(|| Failure::internal("it is not known which key opened the repository"))
}

/// All keys, oldest first, of damaged ones their ids alone. For blocking threads, as all of these. One that `now` names counts as the
/// current one.
///
/// # Errors
/// The store cannot be reached.
pub(crate) fn list(repo: &Repo, now: Option<Id>) -> Result<Vec<Key>, Failure> {
    let backend = repo.backend();
    let current = now.map_or_else(|| current(repo), Ok)?;
    let mut keys = Vec::new();
    for (file, _) in backend.wait(backend.list("keys"))? {
        let Ok(id) = file.parse::<Id>() else { continue };
        let text = backend.wait(backend.read_all(&name(FileType::Key, &id)))?;
        // That one is damaged was told when the repository was opened; listed, it can be removed.
        let key: Option<KeyFile> = serde_json::from_slice(&text).ok();
        let created = key.as_ref().and_then(|key| Some(key.created.as_ref()?.timestamp()));
        let (host, username) = key.map(|key| (key.hostname, key.username)).unwrap_or_default();
        keys.push((
            created,
            Key {
                id: file,
                host,
                username,
                created: created.map(|created| created.to_string()),
                current: id == current,
            },
        ));
    }
    keys.sort_by(|(a, one), (b, other)| (a, &one.id).cmp(&(b, &other.id)));
    Ok(keys.into_iter().map(|(_, key)| key).collect())
}

/// Adds a key for a password, unless one opens the repository already, and tries it. Gives its id, and whether it is new.
///
/// # Errors
/// It could not be stored, or does not open the repository; then it is not there.
fn ensure(repo: &Repo, password: &Password) -> Result<(Id, bool), Failure> {
    if let Some(id) = repo.key_of(password)? {
        return Ok((id, false));
    }
    let mut options = KeyOptions::default();
    options.hostname = Some(hostname());
    options.username = Some(username());
    options.with_created = true;
    let added = repo.rustic().add_key(password.expose(), &options);
    let id = *added.map_err(|error| repo.trouble().failure(&error, "storing the new key"))?;
    match repo.key_of(password) {
        Ok(Some(found)) => Ok((found, true)),
        tried => {
            // Also after the word to stop: a key of a password that was said not to work must not stay.
            let name = name(FileType::Key, &id);
            let gone = repo.backend().runtime().block_on(tokio::time::timeout(LAST, repo.backend().delete(&name)));
            let gone = if gone.is_ok_and(|deleted| deleted.is_ok()) {
                "it was taken away again".to_owned()
            } else {
                format!("it could not be taken away again: remove `{}`", repo.backend().store().shown(&name))
            };
            Err(match tried {
                Err(failure) => {
                    failure.during(format!("trying the new key (which {})", gone.trim_start_matches("it ")))
                }
                Ok(_) => Failure::corrupt(format!("the new key does not open the repository; {gone}"))
                    .with_help("the password that it was opened with still does; look at the disk or the store"),
            })
        }
    }
}

/// Adds a key for a password.
///
/// # Errors
/// As [`ensure`].
fn add(repo: &Repo, password: &Password) -> Result<Changed, Failure> {
    let (id, is_new) = ensure(repo, password)?;
    Ok(Changed { added: is_new.then_some(id), ..Changed::default() })
}

/// Takes a new password in the place of the one that the repository was opened with, which opens nothing afterwards.
///
/// # Errors
/// The new key could not be stored or tried: then all is as before. An old one could not be removed: then both open it.
fn rotate(repo: &Repo, old: &Password, new: &Password) -> Result<Changed, Failure> {
    let (id, is_new) = ensure(repo, new)?;
    let mut changed = Changed { added: is_new.then_some(id), removed: Vec::new(), now: Some(id) };
    let mut next = Some(current(repo)?);
    // Several keys may have the old password.
    while let Some(old_key) = next {
        if old_key == id || changed.removed.contains(&old_key) {
            return Err(Failure::internal("the old password still opens the repository after its key was removed"));
        }
        remove_file(repo, &old_key).map_err(|failure| {
            failure.during("the new password opens the repository, and so does the old one still: removing its key")
        })?;
        changed.removed.push(old_key);
        next = repo.key_of(old)?;
    }
    Ok(changed)
}

/// Removes a key by its id, or by how that begins.
///
/// # Errors
/// There is none, there are several, or it is the one that the repository was opened with.
fn remove(repo: &Repo, which: &str) -> Result<Changed, Failure> {
    let keys = list(repo, None)?;
    let found: Vec<&Key> = keys.iter().filter(|key| key.id.starts_with(which)).collect();
    let shown = || keys.iter().map(|key| format!("`{}`", &key.id[..8])).collect::<Vec<_>>().join(", ");
    let [key] = found[..] else {
        return Err(match found.len() {
            0 => Failure::not_found(format!("the repository at `{}` has no key `{which}`", repo.shown()))
                .with_help(format!("its keys are {}", shown())),
            several => Failure::config(format!("`{which}` is the beginning of {several} keys' ids"))
                .with_help("write more of the id"),
        });
    };
    if key.current {
        return Err(Failure::config(format!(
            "the key `{}` is the one that the repository was opened with",
            &key.id[..8]
        ))
        .with_help("give the password of another key, which is to stay; for a new password use the action `rotate`"));
    }
    let id: Id = key.id.parse().map_err(|_| Failure::internal("a key's name is no id"))?;
    remove_file(repo, &id)?;
    Ok(Changed { removed: vec![id], ..Changed::default() })
}

fn remove_file(repo: &Repo, id: &Id) -> Result<(), Failure> {
    repo.backend().wait(repo.backend().delete(&name(FileType::Key, id)))
}
