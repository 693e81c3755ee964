//! A location and a password to an open repository.
//!
//! Takes what the restic functions' params say; gives a [`Repo`]. Always holds: a location that holds no repository is an error
//! that says so, and is made into one only where that was asked for; a wrong password is told apart from damage; nothing is
//! cached on this machine.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use aquifer_engine::failure::Failure;
use aquifer_engine::function::{Call, ParamError};
use aquifer_engine::secret::Secret;
use rustic_core::{
    ConfigOptions, Credentials, KeyOptions, OpenStatus, Repository, RepositoryBackends, RepositoryOptions, RusticError,
};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::backend::Backend;
use super::cipher::Cipher;
use super::seal::Sealer;
use super::trouble::Trouble;
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
                Err(ParamError::new("password", "the password is empty"))
            }
            _ => Ok(()),
        }
    }

    /// The password; of a file, its first line, as restic takes it.
    async fn secret(&self, call: &Call) -> Result<Secret, Failure> {
        let Some(path) = &self.password_file else {
            return self.password.clone().ok_or_else(|| Failure::config("there is no password"));
        };
        let shown = path.display();
        let text = tokio::fs::read_to_string(path)
            .await
            .map_err(|error| Failure::from_io(error, format!("reading the password file `{shown}`")))?;
        let password = text.lines().next().unwrap_or_default();
        if password.is_empty() {
            return Err(Failure::config(format!("the first line of the password file `{shown}` is empty")));
        }
        call.hide(password);
        Ok(Secret::new(password))
    }

    /// Opens the repository on a blocking thread. `create`: makes it where there is none.
    ///
    /// # Errors
    /// There is none, the password is wrong, the store cannot be reached.
    pub(crate) async fn open(&self, purpose: Purpose, create: bool, call: &Call) -> Result<Repo, Failure> {
        let password = self.secret(call).await?;
        let location = self.location.clone();
        let (runtime, cancel) = (Handle::current(), call.cancellation().clone());
        crate::codec::blocking(move || {
            let store = Store::open(&location, purpose).map_err(|failure| match failure.kind {
                aquifer_engine::failure::FailureKind::NotFound => no_repository(&location),
                _ => failure,
            })?;
            Repo::open(store, &password, create, runtime, cancel)
        })
        .await
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
    /// Whether it was made just now.
    pub(crate) created: bool,
}

impl Repo {
    fn open(
        store: Store,
        password: &Secret,
        create: bool,
        runtime: Handle,
        cancel: CancellationToken,
    ) -> Result<Self, Failure> {
        let backend = Backend::new(store, runtime, cancel);
        let shown = backend.store().shown("");
        let failed = |error: Box<RusticError>| {
            let failure = backend.trouble().failure(&error, &format!("opening the repository at `{shown}`"));
            if error.is_incorrect_password() {
                Failure::unauthorized(format!("the password does not open the repository at `{shown}`"))
            } else {
                failure
            }
        };
        let backends = RepositoryBackends::new(Arc::new(backend.clone()), None);
        let repository = Repository::new(&RepositoryOptions::default().no_cache(true), &backends).map_err(failed)?;
        let credentials = Credentials::password(password.expose());
        let missing = repository.config_id().map_err(failed)?.is_none();
        let rustic = match (missing, create) {
            (false, _) => repository.open(&credentials).map_err(failed)?,
            (true, true) => {
                refuse_remains(&backend, &shown)?;
                repository.init(&credentials, &KeyOptions::default(), &ConfigOptions::default()).map_err(failed)?
            }
            (true, false) => return Err(no_repository(shown)),
        };
        let config = rustic.config();
        let level = config.zstd().map_err(|_| {
            Failure::rejected(format!("the repository at `{shown}` has format version {}", config.version))
                .with_help("versions 1 and 2 are known")
        })?;
        let level = level.map(|level| if level == 0 { LEVEL } else { level });
        let sealer = Sealer::new(Cipher::new(&rustic.key())?, level, config.extra_verify());
        Ok(Self { rustic: Arc::new(rustic), backend, sealer, created: missing })
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

/// A location without config but with keys or packs was a repository: a new key would not open what is there.
fn refuse_remains(backend: &Backend, shown: &str) -> Result<(), Failure> {
    for folder in ["keys", "snapshots", "index", "data"] {
        if !backend.wait(backend.list(folder))?.is_empty() {
            return Err(Failure::corrupt(format!("`{shown}` has a folder `{folder}` with files in it and no `config`"))
                .with_help("it looks like a repository that lost its config, or half of a copy: choose another place, or bring the file back"));
        }
    }
    Ok(())
}
