//! A location and a password to an open repository.
//!
//! Takes what the restic functions' params say; gives a [`Repo`]. Always holds: a location that holds no repository is an error
//! that says so, and is made into one only where that was asked for; a wrong password is told apart from damage; nothing is
//! cached on this machine.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use aquifer_engine::failure::{Failure, FailureKind};
use aquifer_engine::function::{Call, ParamError};
use aquifer_engine::secret::Secret;
use rustic_core::{
    ConfigOptions, Credentials, Id, KeyOptions, OpenStatus, Repository, RepositoryBackends, RepositoryOptions,
    RusticError,
};
use tokio::runtime::Handle;

use super::backend::Backend;
use super::cipher::Cipher;
use super::seal::Sealer;
use super::trouble::Trouble;
use super::unlock::{Tried, Unlocked, unlock};
use crate::location::{Location, Purpose, Store};

/// The zstd level that blobs are compressed with unless the repository's config says another: restic's own default.
const LEVEL: i32 = 3;

/// How to reach a repository: what all restic functions have among their params.
#[derive(Debug, Clone)]
pub(crate) struct Access {
    pub(crate) location: Location,
    pub(crate) password: Option<Secret>,
    pub(crate) password_file: Option<PathBuf>,
}

impl Access {
    /// Checks what types cannot say, when the plan is made.
    ///
    /// # Errors
    /// The param that is wrong.
    pub(crate) fn check(location: &Location, password: Option<&Secret>, file: Option<&Path>) -> Result<(), ParamError> {
        location.check("repository")?;
        match (password, file) {
            (Some(_), Some(_)) => Err(ParamError::new("passwordFile", "there are a `password` and a `passwordFile`")
                .with_help("leave one of them out")),
            (None, None) => Err(ParamError::new("", "there is no `password` and no `passwordFile`")
                .with_help("write one of them: every repository is encrypted")),
            (Some(password), None) if password.expose().is_empty() => {
                Err(ParamError::new("password", "the password is empty")
                    .with_help("the param or the variable that it comes from (`--set-env`) is empty: fill it"))
            }
            _ => Ok(()),
        }
    }

    /// The password; of a file, its text without the white space around it, as restic takes it.
    ///
    /// # Errors
    /// The file cannot be read, or is empty.
    pub(crate) async fn secret(&self, call: &Call) -> Result<Password, Failure> {
        let Some(path) = &self.password_file else {
            let secret = self.password.clone().ok_or_else(|| Failure::config("there is no password"))?;
            return Ok(Password { secret, place: String::new() });
        };
        let shown = path.display();
        let text = tokio::fs::read_to_string(path)
            .await
            .map_err(|error| Failure::from_io(error, format!("reading the password file `{shown}`")))?;
        let password = text.trim();
        if password.is_empty() {
            return Err(Failure::config(format!("the password file `{shown}` is empty")));
        }
        call.hide(password);
        Ok(Password { secret: Secret::new(password), place: format!(" in the file `{shown}`") })
    }

    /// Opens the repository on a blocking thread. `create`: makes it where there is none.
    ///
    /// # Errors
    /// There is none, the password is wrong, the store cannot be reached.
    pub(crate) async fn open(&self, purpose: Purpose, create: bool, call: &Call) -> Result<Repo, Failure> {
        let password = self.secret(call).await?;
        let (location, call) = (self.location.clone(), call.clone());
        let runtime = Handle::current();
        crate::codec::blocking(move || {
            let store = Store::open(&location, purpose, &call).map_err(|failure| match failure.kind {
                FailureKind::NotFound if create => failure
                    .during(format_args!("no repository can be made at `{location}`"))
                    .with_help("name a folder that this user can make and write in `repository`"),
                FailureKind::NotFound => no_repository(&location),
                _ => failure,
            })?;
            Repo::enter(&store, &password, create, &runtime, &call)
        })
        .await
    }
}

/// A password, and where it was given.
#[derive(Debug)]
pub(crate) struct Password {
    secret: Secret,
    /// In words, where it is a file.
    place: String,
}

impl Password {
    /// Its text.
    pub(crate) fn expose(&self) -> &str {
        self.secret.expose()
    }
}

fn no_repository(place: impl std::fmt::Display) -> Failure {
    Failure::not_found(format!("there is no restic repository at `{place}`"))
        .with_help("correct `repository`; `restic-push` makes a new one with `init: true`")
}

/// An open repository.
#[derive(Debug, Clone)]
pub(crate) struct Repo {
    rustic: Arc<Repository<OpenStatus>>,
    backend: Backend,
    sealer: Sealer,
    /// The key that it was opened with.
    key: Option<Id>,
    /// Whether it was made just now.
    pub(crate) created: bool,
}

impl Repo {
    fn enter(store: &Store, password: &Password, create: bool, runtime: &Handle, call: &Call) -> Result<Self, Failure> {
        let begun = Instant::now();
        let mut said = false;
        loop {
            let backend = Backend::new(store.clone(), runtime.clone(), call.cancellation().child_token());
            if let Some(repo) = Self::try_enter(&backend, password, create, call)? {
                return Ok(repo);
            }
            // Two first backups at once are both to be had: the other one's repository is there in a moment, or never.
            if begun.elapsed() > PATIENCE {
                return Err(half_made(&backend.store().shown("")));
            }
            if !std::mem::replace(&mut said, true) {
                call.info(format!(
                    "another program seems to be making a repository at `{}`: waiting for it",
                    backend.store().shown("")
                ));
            }
            backend.wait(async {
                tokio::time::sleep(LOOK_AGAIN).await;
                Ok(())
            })?;
        }
    }

    /// Opens it, or makes it; nothing where another program seems to be making it right now.
    fn try_enter(backend: &Backend, password: &Password, create: bool, call: &Call) -> Result<Option<Self>, Failure> {
        let shown = backend.store().shown("");
        let failed = |error: Box<RusticError>| {
            backend.trouble().failure(&error, &format!("opening the repository at `{shown}`"))
        };
        let backends = RepositoryBackends::new(Arc::new(backend.clone()), None);
        let repository = Repository::new(&RepositoryOptions::default().no_cache(true), &backends).map_err(failed)?;
        let missing = repository.config_id().map_err(failed)?.is_none();
        match (missing, create) {
            (false, _) => {
                let tried = unlock(backend, password.expose())?;
                let Tried { key: Some(Unlocked { master, id }), damaged, .. } = tried else {
                    return Err(not_opened(&shown, password, &tried));
                };
                damaged.into_iter().for_each(|what| call.warn(what));
                let opened = repository.open(&Credentials::Masterkey(master)).map_err(failed)?;
                Self::with(backend.clone(), opened, Some(id), false).map(Some)
            }
            (true, false) => Err(no_repository(shown)),
            (true, true) => {
                if !clear_remains(backend, &shown)? {
                    return Ok(None);
                }
                let credentials = Credentials::password(password.expose());
                let made = repository.init(&credentials, &KeyOptions::default(), &ConfigOptions::default());
                let made = match made {
                    Ok(made) => made,
                    Err(error) => {
                        let failure = failed(error);
                        backend.take_keys_back();
                        // Another program came first: then there is a repository now, and it is as good as ours.
                        return match Self::try_enter(&backend.anew(), password, false, call) {
                            Ok(theirs) => Ok(theirs),
                            Err(_) => Err(failure),
                        };
                    }
                };
                let id = made.key_id().as_ref().map(|id| **id);
                let repo = Self::with(backend.clone(), made, id, true)?;
                // Where the store does not know "only if there is none", the last one wins.
                if !repo.has_its_config()? {
                    repo.backend.take_keys_back();
                    return Self::try_enter(&backend.anew(), password, false, call);
                }
                Ok(Some(repo))
            }
        }
    }

    fn with(backend: Backend, rustic: Repository<OpenStatus>, key: Option<Id>, created: bool) -> Result<Self, Failure> {
        let config = rustic.config();
        let level = config.zstd().map_err(|_| {
            let shown = backend.store().shown("");
            Failure::rejected(format!("the repository at `{shown}` has format version {}", config.version))
                .with_help("versions 1 and 2 are known")
        })?;
        let level = level.map(|level| if level == 0 { LEVEL } else { level });
        let sealer = Sealer::new(Cipher::new(&rustic.key())?, level, config.extra_verify());
        Ok(Self { rustic: Arc::new(rustic), backend, sealer, key, created })
    }

    /// The key that a password opens this repository with, tried anew from what lies there now; none where it opens nothing. For
    /// blocking threads.
    ///
    /// # Errors
    /// The store cannot be reached.
    pub(crate) fn key_of(&self, password: &Password) -> Result<Option<Id>, Failure> {
        Ok(unlock(&self.backend, password.expose())?.key.map(|key| key.id))
    }

    /// The key that it was opened with.
    pub(crate) fn key(&self) -> Option<Id> {
        self.key
    }

    /// Whether the config that lies there now can be read with its key.
    fn has_its_config(&self) -> Result<bool, Failure> {
        let read = self.backend.wait(self.backend.read_all("config"))?;
        Ok(self.sealer.cipher().decrypt(&read).is_ok())
    }

    /// The same, remembering nothing of what went wrong: for a look that may fail without ending the work.
    pub(crate) fn anew(&self) -> Self {
        Self { backend: self.backend.anew(), ..self.clone() }
    }

    /// The library's handle.
    pub(crate) fn rustic(&self) -> &Repository<OpenStatus> {
        &self.rustic
    }

    /// Its files.
    pub(crate) fn backend(&self) -> &Backend {
        &self.backend
    }

    /// What went wrong first.
    pub(crate) fn trouble(&self) -> &Trouble {
        self.backend.trouble()
    }

    /// How its blobs are sealed.
    pub(crate) fn sealer(&self) -> &Sealer {
        &self.sealer
    }

    /// Where it is, for messages.
    pub(crate) fn shown(&self) -> String {
        self.backend.store().shown("")
    }
}

/// Why no key opened.
fn not_opened(shown: &str, password: &Password, tried: &Tried) -> Failure {
    let mut failure = match (tried.usable, tried.damaged.first()) {
        (0, None) => Failure::corrupt(format!("the repository at `{shown}` has no key any more"))
            .with_help("bring its folder `keys` back from a copy: without a key, nothing opens it"),
        (0, Some(first)) => Failure::corrupt(format!("the repository at `{shown}` has no usable key: {first}"))
            .with_help("bring the file back from a copy of the repository: without a key, nothing opens it"),
        _ => Failure::unauthorized(format!(
            "the password{} does not open the repository at `{shown}`",
            password.place
        ))
        .with_help(match tried.damaged.len() {
            // As restic does with its variable; what comes from a file is trimmed.
            0 if password.expose().trim() != password.expose() => {
                "it begins or ends with white space, which counts here: only of a `passwordFile` it is left out"
            }
            0 => "give the one that this repository was made with, or correct the repository's place",
            _ => "it may be the one of a key that cannot be used: bring that file back from a copy, or give another key's password",
        }),
    };
    failure.causes.extend(tried.damaged.iter().cloned());
    failure
}

/// How old a key without a config is before the program that wrote it has surely ended.
const HALF_MADE: jiff::SignedDuration = jiff::SignedDuration::from_secs(120);

/// How long it is waited for another program to make it: until what a killed one left is old enough to be cleared away, and as long again for clocks that differ.
const PATIENCE: Duration = Duration::from_secs(240);

/// How often it is looked whether it is there.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

fn half_made(shown: &str) -> Failure {
    Failure::unavailable(format!("another program seems to be making a repository at `{shown}` right now"))
        .with_help("where none is, remove the files in its folder `keys`: they are of a repository that never was")
}

/// A location without config but with data was a repository: a new key would not open what is there. Keys alone are what a program
/// left that was killed while it made one; left there, the next one would find a key that opens nothing. Not yet where one seems to be at it.
fn clear_remains(backend: &Backend, shown: &str) -> Result<bool, Failure> {
    for folder in ["snapshots", "index", "data"] {
        if !backend.wait(backend.list(folder))?.is_empty() {
            return Err(Failure::corrupt(format!("`{shown}` has a folder `{folder}` with files in it and no `config`"))
                .with_help("it looks like a repository that lost its config, or half of a copy: choose another place, or bring the file back"));
        }
    }
    for (name, _) in backend.wait(backend.list("keys"))? {
        let name = format!("keys/{name}");
        if backend.wait(backend.age(&name))?.is_none_or(|age| age < HALF_MADE) {
            return Ok(false);
        }
        backend.wait(backend.delete(&name))?;
    }
    Ok(true)
}
