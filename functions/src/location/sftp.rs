//! A folder on another machine, over SFTP: through the `ssh` program, with its keys, its agent and its configuration.
//!
//! Always holds: a host whose key is not known is an error, never a question and never trusted; a file gets its name when it is
//! complete, by an operation of the server's; nothing asks for a password.

mod files;
mod link;
mod listing;

use std::fmt;
use std::path::PathBuf;

use aquifer_engine::failure::Failure;
use aquifer_engine::function::ParamError;
use schemars::JsonSchema;
use serde::Deserialize;
use url::Url;

use super::kind::{Door, Kind, Opened, Written};
use super::spoken::operator;
use files::Files;
use link::Target;

/// A folder on another machine, over SFTP.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Sftp {
    /// The host's name or address, or what `ssh`'s configuration calls it.
    pub host: String,
    /// The port; unless said, what `ssh`'s configuration says, or 22.
    #[serde(default)]
    pub port: Option<u16>,
    /// The user; unless said, what `ssh`'s configuration says, or the one that this runs as.
    #[serde(default)]
    pub username: Option<String>,
    /// The folder: from the root where it begins with a slash, else from the user's home. It is made where something is written.
    pub path: String,
    /// A file with the private key, which must have no passphrase; unless said, `ssh`'s own keys and its agent.
    #[serde(default)]
    pub key_file: Option<PathBuf>,
    /// A file with the keys of hosts; unless said, `ssh`'s own.
    #[serde(default)]
    pub known_hosts_file: Option<PathBuf>,
}

impl Written for Sftp {
    const KEY: &'static str = "sftp";
    const FORMS: &'static [&'static str] = &["sftp:user@host:/path", "sftp://user@host:22//path"];

    fn of_text(text: &str) -> Option<Result<Self, String>> {
        let rest = text.strip_prefix("sftp:")?;
        let made = |user: &str, host: &str, port, path: &str| Self {
            host: host.to_owned(),
            port,
            username: Some(user.to_owned()).filter(|user| !user.is_empty()),
            path: path.to_owned(),
            key_file: None,
            known_hosts_file: None,
        };
        let read = || {
            if rest.starts_with("//") {
                // As restic has it: one slash ends the host, and the path begins behind it.
                let url = Url::parse(text).map_err(|error| format!("the address is no URL: {error}"))?;
                if url.password().is_some() || url.query().is_some() || url.fragment().is_some() {
                    return Err("credentials and options have no place in the text form".to_owned());
                }
                let host = url.host_str().ok_or("the address names no host")?;
                let plain = |text: &str| percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned();
                let path = plain(url.path().strip_prefix('/').unwrap_or_default());
                return Ok(made(&plain(url.username()), host.trim_matches(['[', ']']), url.port(), &path));
            }
            let (at, path) = rest.split_once(':').ok_or_else(|| format!("`{text}` names no folder behind its host"))?;
            let (user, host) = at.rsplit_once('@').unwrap_or(("", at));
            Ok(made(user, host, None, path))
        };
        Some(read())
    }
}

impl Kind for Sftp {
    fn key(&self) -> &'static str {
        Self::KEY
    }

    fn check(&self) -> Result<(), ParamError> {
        // `ssh` would take what begins with a hyphen for one of its options.
        let sound = |text: &str| {
            !text.is_empty() && !text.starts_with('-') && !text.contains(|c: char| c.is_whitespace() || c.is_control())
        };
        if !sound(&self.host) || self.host.contains(['@', '/']) {
            return Err(ParamError::new("host", format!("`{}` is no host", self.host.escape_debug()))
                .with_help("the user and the path have fields of their own"));
        }
        if self.username.as_ref().is_some_and(|user| !sound(user) || user.contains('@')) {
            return Err(ParamError::new("username", "it is no user's name"));
        }
        if self.path.is_empty() || self.path.contains(['\0', '\n']) {
            return Err(ParamError::new("path", "the folder's path is empty, or holds what no path does")
                .with_help("write `.` for the user's home"));
        }
        Ok(())
    }

    fn open(&self, _: &Door<'_>) -> Result<Opened, Failure> {
        let root = match self.path.trim_end_matches('/') {
            "" => "/".to_owned(),
            path => path.to_owned(),
        };
        let target = Target {
            host: self.host.clone(),
            port: self.port,
            user: self.username.clone(),
            key_file: self.key_file.clone(),
            known_hosts_file: self.known_hosts_file.clone(),
        };
        Ok(operator(Files::new(target, root)).into())
    }

    fn keys(&self) -> &'static str {
        "the keys are those of `ssh`: `keyFile`, its agent, or its own files; no password is asked for. A host's key that is not known \
         is added with `ssh-keyscan -p PORT HOST >> ~/.ssh/known_hosts`, once its fingerprint was compared with the server's"
    }
}

impl fmt::Display for Sftp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sftp://")?;
        if let Some(user) = &self.username {
            write!(f, "{user}@")?;
        }
        if self.host.contains(':') {
            write!(f, "[{}]", self.host)?
        } else {
            f.write_str(&self.host)?
        }
        if let Some(port) = self.port {
            write!(f, ":{port}")?;
        }
        write!(f, "/{}", self.path)
    }
}
