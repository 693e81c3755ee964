//! A folder on this machine, or one that is mounted.
//!
//! Always holds: a folder that is only read is never made; what killed programs left half-written is cleared away.

use std::fmt;
use std::path::{Path, PathBuf};

use aquifer_engine::failure::Failure;
use aquifer_engine::function::ParamError;
use opendal::Operator;
use schemars::JsonSchema;
use serde::Deserialize;

use super::kind::{Door, Kind, Opened, Written};
use super::part::{PARTS, sweep};
use super::store::Purpose;

/// The folder's path.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Folder(pub PathBuf);

impl Written for Folder {
    const KEY: &'static str = "folder";
    const FORMS: &'static [&'static str] = &["/path/of/a/folder"];

    fn of_text(text: &str) -> Option<Result<Self, String>> {
        if let Some(path) = text.strip_prefix("file://") {
            return Some(match path.starts_with('/') {
                true => Ok(Self(path.into())),
                false => Err(format!("`{text}` names a folder on another host; write `file:///path`")),
            });
        }
        text.strip_prefix("local:").map(|path| Ok(Self(path.into())))
    }
}

impl Kind for Folder {
    fn key(&self) -> &'static str {
        ""
    }

    fn check(&self) -> Result<(), ParamError> {
        if self.0.as_os_str().is_empty() {
            return Err(ParamError::new("", "the folder's path is empty").with_help(super::forms()));
        }
        Ok(())
    }

    fn open(&self, door: &Door<'_>) -> Result<Opened, Failure> {
        let folder =
            std::path::absolute(&self.0).map_err(|error| Failure::from_io(error, format!("finding `{self}`")))?;
        let operator = open(&folder, door.purpose)?;
        Ok(Opened { operator, folder: Some(folder), conditional: false })
    }

    fn keys(&self) -> &'static str {
        "the user that this runs as must be allowed to read and write the folder and the files in it"
    }
}

impl fmt::Display for Folder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.display().fmt(f)
    }
}

/// Why a folder cannot be made. It is the user that is wrong more often than the path.
fn unmade(error: std::io::Error, folder: &Path) -> Failure {
    let denied = error.kind() == std::io::ErrorKind::PermissionDenied;
    let failure = Failure::from_io(error, format!("making `{}`", folder.display()));
    if !denied {
        return failure;
    }
    let user = nix::unistd::geteuid();
    failure.with_help(format!("let the user that this runs as ({user}) write there, or run it as one that may"))
}

fn open(folder: &Path, purpose: Purpose) -> Result<Operator, Failure> {
    let shown = folder.display();
    let root = folder.to_str().ok_or_else(|| Failure::config(format!("the folder's path `{shown}` is not UTF-8")))?;
    match std::fs::metadata(folder) {
        Ok(found) if !found.is_dir() => return Err(Failure::rejected(format!("`{shown}` is no folder"))),
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && purpose == Purpose::Write => {
            std::fs::create_dir_all(folder).map_err(|error| unmade(error, folder))?;
        }
        Err(error) => return Err(Failure::from_io(error, format!("looking at `{shown}`"))),
    }
    let mut builder = opendal::services::Fs::default().root(root);
    if purpose != Purpose::Read {
        sweep(folder);
        let parts = folder.join(PARTS);
        std::fs::create_dir_all(&parts).map_err(|error| unmade(error, &parts))?;
        builder = builder.atomic_write_dir(&format!("{}/{PARTS}", root.trim_end_matches('/')));
    }
    Operator::new(builder)
        .map_err(|error| Failure::config(format!("opening `{shown}`: {}", error.message())).caused_by(&error))
}
