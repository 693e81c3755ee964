//! Lists the keys of a restic repository, adds and removes them, and changes its password.
//!
//! Takes what to do, and where it needs one a new password. Always holds: one password or the other opens the repository at every
//! moment; the key that it was opened with is not removed but for a new one that was tried; no password is shown.

use std::path::PathBuf;

use aquifer_engine::failure::{Failure, FailureKind};
use aquifer_engine::function::{Call, Function, ParamError};
use aquifer_engine::ports::Action;
use aquifer_engine::secret::Secret;
use aquifer_engine::stream::{Accepts, Produces, StreamType, Streams};
use rustic_core::Id;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::codec::blocking;
use crate::location::{Location, Purpose};
use crate::restic::keys::{self, Change, Changed, Key};
use crate::restic::lock::locked;
use crate::restic::open::{Access, Repo};
use crate::restic_push::ten_minutes;
use crate::units::Period;

/// `restic-key`.
#[derive(Debug, Clone, Copy)]
pub struct ResticKey;

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum KeyAction {
    /// List the keys.
    List,
    /// Add one for `newPassword`; the password that there was opens the repository, too.
    Add,
    /// Take `newPassword` in the place of the password.
    Rotate,
    /// Remove the key `key`.
    Remove,
}

/// Its params.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ResticKeyParams {
    /// Where the repository is.
    pub repository: Location,
    /// The repository's password, as it is: white space around it counts, other than in a `passwordFile`.
    #[serde(default)]
    pub password: Option<Secret>,
    /// A file that holds the password; white space around it does not count.
    #[serde(default)]
    pub password_file: Option<PathBuf>,
    /// What to do.
    pub action: KeyAction,
    /// The new password, for `add` and `rotate`.
    #[serde(default)]
    pub new_password: Option<Secret>,
    /// A file that holds the new password; white space around it does not count.
    #[serde(default)]
    pub new_password_file: Option<PathBuf>,
    /// The key that is to go, for `remove`: its id, or how that begins.
    #[serde(default)]
    pub key: Option<String>,
    /// How long to wait for locks of others.
    #[serde(default = "ten_minutes")]
    pub lock_timeout: Period,
}

/// What it gives to later steps.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ResticKeyOutputs {
    /// The keys that there are in the end, oldest first.
    pub keys: Vec<Key>,
    /// The id of the key that was added; nothing where none was.
    pub added: Option<String>,
    /// The ids of those that were removed.
    pub removed: Vec<String>,
}

impl ResticKeyParams {
    fn access(&self) -> Access {
        Access {
            location: self.repository.clone(),
            password: self.password.clone(),
            password_file: self.password_file.clone(),
        }
    }

    /// The same place, with the new password.
    fn new_access(&self) -> Access {
        Access {
            location: self.repository.clone(),
            password: self.new_password.clone(),
            password_file: self.new_password_file.clone(),
        }
    }
}

impl Function for ResticKey {
    const NAME: &'static str = "restic-key";
    const SUMMARY: &'static str = "List, add and remove the keys of a restic repository, or change its password.";
    const REPEAT: &'static str = "Adds no second key where the new password opens the repository already; `rotate` finds that it is done; `remove` fails, for the key is gone.";
    type Params = ResticKeyParams;
    type Ports = Action;
    type Outputs = ResticKeyOutputs;

    fn streams(_: Option<&ResticKeyParams>) -> Streams {
        Streams { stdin: Accepts::Any, stdout: Produces::Exactly(StreamType::unknown()) }
    }

    fn check(params: &ResticKeyParams) -> Result<(), ParamError> {
        Access::check(&params.repository, params.password.as_ref(), params.password_file.as_deref())?;
        let wrong = |path: &str, what: &str, help: &str| Err(ParamError::new(path, what).with_help(help));
        let wants_new = matches!(params.action, KeyAction::Add | KeyAction::Rotate);
        let wants_key = params.action == KeyAction::Remove;
        match (&params.new_password, &params.new_password_file, &params.key) {
            (Some(_), Some(_), _) => {
                wrong("newPasswordFile", "there are a `newPassword` and a `newPasswordFile`", "leave one of them out")
            }
            (Some(_), ..) | (_, Some(_), _) if !wants_new => {
                wrong("newPassword", "nothing is done with it", "write `action: rotate` or `action: add`")
            }
            (None, None, _) if wants_new => {
                wrong("newPassword", "there is no new password", "write `newPassword` or `newPasswordFile`")
            }
            (Some(new), ..) if new.expose().is_empty() => wrong(
                "newPassword",
                "the new password is empty",
                "the param or the variable that it comes from (`--set-env`) is empty: fill it",
            ),
            (_, _, Some(_)) if !wants_key => wrong("key", "nothing is done with it", "write `action: remove`"),
            (_, _, None) if wants_key => wrong("key", "it is not said which key is to go", "`action: list` lists them"),
            (_, _, Some(key)) if !is_id(key) => {
                wrong("key", "it is no id", "write an id or its first characters in lower-case hexadecimal")
            }
            _ => Ok(()),
        }
    }

    async fn run(&self, params: ResticKeyParams, _: Action, call: &Call) -> Result<ResticKeyOutputs, Failure> {
        let purpose = if params.action == KeyAction::List { Purpose::Read } else { Purpose::Update };
        let opened = params.access().open(purpose, false, call).await;
        // An attempt whose end was not told would else fail for ever.
        let opened = match opened {
            Err(failure) if failure.kind == FailureKind::Unauthorized && params.action == KeyAction::Rotate => {
                let repo = params.new_access().open(purpose, false, call).await.map_err(|_| failure)?;
                call.info("nothing to do: the new password opens the repository, and the old one does not");
                return outputs(repo, Changed::default(), call).await;
            }
            opened => opened,
        };
        let repo = opened?;
        let change = match params.action {
            KeyAction::List => return outputs(repo, Changed::default(), call).await,
            KeyAction::Add => Change::Add(params.new_access().secret(call).await?),
            KeyAction::Rotate => {
                let (old, new) = (params.access().secret(call).await?, params.new_access().secret(call).await?);
                if old.expose() == new.expose() {
                    return Err(Failure::config("the new password is the old one").with_help("choose another one"));
                }
                Change::Rotate { old, new }
            }
            KeyAction::Remove => Change::Remove(params.key.unwrap_or_default()),
        };
        let inner = repo.clone();
        let (kind, patience) = (change.lock(), Some(params.lock_timeout.0));
        let work = |lock| {
            blocking(move || {
                let _lock = lock;
                change.make(&inner)
            })
        };
        let changed = locked(&repo, kind, patience, call, work).await?;
        outputs(repo, changed, call).await
    }
}

fn is_id(key: &str) -> bool {
    !key.is_empty() && key.len() <= 64 && key.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// What was done, and the keys that there are now.
async fn outputs(repo: Repo, changed: Changed, call: &Call) -> Result<ResticKeyOutputs, Failure> {
    let hex = |id: &Id| id.to_hex().as_str().to_owned();
    let (added, removed) = (changed.added.as_ref().map(hex), changed.removed.iter().map(hex).collect::<Vec<_>>());
    for (verb, id) in added.iter().map(|id| ("added", id)).chain(removed.iter().map(|id| ("removed", id))) {
        call.info(format!("{verb} the key {}", &id[..8]));
    }
    let keys = blocking(move || keys::list(&repo, changed.now)).await?;
    for key in &keys {
        let part = |text: &Option<String>| text.clone().unwrap_or_else(|| "?".to_owned());
        let current = if key.current { ", which opens it" } else { "" };
        let (created, host) = (part(&key.created), part(&key.host));
        call.info(format!("key {} of {created} by {}@{host}{current}", &key.id[..8], part(&key.username)));
    }
    Ok(ResticKeyOutputs { keys, added, removed })
}
