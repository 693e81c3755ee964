//! A folder on a server of WebDAV.
//!
//! Always holds: a file is sent under a name of its own beside the place, and gets its name by the server's `MOVE` when it is complete;
//! a folder that is only read is never made.

mod listing;
mod part;
mod server;

use std::fmt;
use std::path::PathBuf;

use aquifer_engine::failure::Failure;
use aquifer_engine::function::ParamError;
use aquifer_engine::secret::Secret;
use schemars::JsonSchema;
use serde::Deserialize;

use super::credentials::{check, pair};
use super::http::Http;
use super::kind::{Door, Kind, Opened, Written};
use super::s3::check_endpoint;
use super::spoken::operator;
use super::text::address;
use server::Server;

/// A folder on a server of WebDAV.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Webdav {
    /// The folder's address, such as `https://cloud.example/dav/backups/`. It is made where something is written.
    pub url: String,
    /// The user; unless said, `WEBDAV_USERNAME`.
    #[serde(default)]
    pub username: Option<String>,
    /// The user's password; unless said, `WEBDAV_PASSWORD`.
    #[serde(default)]
    pub password: Option<Secret>,
    /// A file that holds the user's password; white space around it does not count.
    #[serde(default)]
    pub password_file: Option<PathBuf>,
    /// How the server is reached.
    #[serde(default)]
    pub http: Http,
}

impl Written for Webdav {
    const KEY: &'static str = "webdav";
    const FORMS: &'static [&'static str] = &["webdav:https://host/path/"];

    fn of_text(text: &str) -> Option<Result<Self, String>> {
        let rest = text.strip_prefix("webdav:")?;
        let read = || {
            address(rest)?;
            let url = if rest.contains("://") { rest.to_owned() } else { format!("https://{rest}") };
            Ok(Self { url, username: None, password: None, password_file: None, http: Http::default() })
        };
        Some(read())
    }
}

impl Kind for Webdav {
    fn key(&self) -> &'static str {
        Self::KEY
    }

    fn check(&self) -> Result<(), ParamError> {
        check_endpoint(&self.url, true).map_err(|error| ParamError { path: "url".to_owned(), ..error })?;
        let password = check("password", (&self.password, &self.password_file))?;
        pair(("username", self.username.is_some()), ("password", password), "`WEBDAV_USERNAME` and `WEBDAV_PASSWORD`")
    }

    fn http(&self) -> Option<&Http> {
        Some(&self.http)
    }

    fn open(&self, door: &Door<'_>) -> Result<Opened, Failure> {
        let given = (&self.username, (&self.password, &self.password_file));
        let basic = door.basic(&self.to_string(), given, ["WEBDAV_USERNAME", "WEBDAV_PASSWORD"])?;
        let server = Server::new(&self.url, basic, door.transport()?)
            .ok_or_else(|| Failure::config(format!("the address of `{self}` is no URL")))?;
        Ok(operator(server).into())
    }

    fn keys(&self) -> &'static str {
        "the user and the password come from the location itself, or from `WEBDAV_USERNAME` and `WEBDAV_PASSWORD`; the user must be \
         allowed to make, write, move and delete files and folders there"
    }
}

impl fmt::Display for Webdav {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "webdav:{}/", self.url.trim_end_matches('/'))
    }
}
