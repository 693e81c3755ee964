//! A container of OpenStack Swift.
//!
//! Always holds: credentials come from the location as a whole, or from the environment as a whole, under the names that Swift's and
//! OpenStack's own tools have; the container is never made.

mod client;
mod login;
mod objects;
mod upload;

use std::fmt;
use std::path::PathBuf;

use aquifer_engine::failure::Failure;
use aquifer_engine::function::ParamError;
use aquifer_engine::secret::Secret;
use schemars::JsonSchema;
use serde::Deserialize;

use super::credentials::check;
use super::http::Http;
use super::kind::{Door, Kind, Opened, Written};
use super::s3::{check_bucket, check_endpoint};
use super::spoken::operator;
use super::text::container;
use client::Client;
use objects::Objects;

/// A container of OpenStack Swift.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Swift {
    /// The container's name.
    pub container: String,
    /// What stands in front of every object's name; a slash at either end makes no difference.
    #[serde(default)]
    pub prefix: String,
    /// Where to sign in: `https://host/auth/v1.0` for Swift's own way, `https://host:5000/v3` for Keystone. Unless said, this and all
    /// below come from `ST_AUTH`, `ST_USER` and `ST_KEY`, or from `OS_AUTH_URL` and the other variables of OpenStack.
    #[serde(default)]
    pub auth_url: Option<String>,
    /// The user; for Swift's own way mostly `account:user`.
    #[serde(default)]
    pub username: Option<String>,
    /// The user's password or key.
    #[serde(default)]
    pub password: Option<Secret>,
    /// A file that holds the user's password or key; white space around it does not count.
    #[serde(default)]
    pub password_file: Option<PathBuf>,
    /// Of Keystone: the name of the user's domain; `Default` unless said.
    #[serde(default)]
    pub user_domain: Option<String>,
    /// Of Keystone: the project's name.
    #[serde(default)]
    pub project: Option<String>,
    /// Of Keystone: the name of the project's domain; `Default` unless said.
    #[serde(default)]
    pub project_domain: Option<String>,
    /// Of Keystone: the id of an application credential, in the place of a user.
    #[serde(default)]
    pub application_credential_id: Option<String>,
    /// The application credential's secret.
    #[serde(default)]
    pub application_credential_secret: Option<Secret>,
    /// A file that holds the application credential's secret; white space around it does not count.
    #[serde(default)]
    pub application_credential_secret_file: Option<PathBuf>,
    /// Of Keystone: the region, where the catalog has more than one.
    #[serde(default)]
    pub region: Option<String>,
    /// How the server is reached.
    #[serde(default)]
    pub http: Http,
}

impl Written for Swift {
    const KEY: &'static str = "swift";
    const FORMS: &'static [&'static str] = &["swift://container/prefix", "swift:container:/prefix"];

    fn of_text(text: &str) -> Option<Result<Self, String>> {
        let rest = text.strip_prefix("swift:")?;
        let made = container(text, rest.strip_prefix("//").unwrap_or(rest), "container");
        Some(made.map(|(name, prefix)| Self {
            container: name.to_owned(),
            prefix: prefix.to_owned(),
            ..Self::default()
        }))
    }
}

impl Kind for Swift {
    fn key(&self) -> &'static str {
        Self::KEY
    }

    fn http(&self) -> Option<&Http> {
        Some(&self.http)
    }

    fn check(&self) -> Result<(), ParamError> {
        check_bucket("container", &self.container)?;
        let password = check("password", (&self.password, &self.password_file))?;
        let secret = (&self.application_credential_secret, &self.application_credential_secret_file);
        let secret = check("applicationCredentialSecret", secret)?;
        let there = [
            ("username", self.username.is_some()),
            ("password", password),
            ("userDomain", self.user_domain.is_some()),
            ("project", self.project.is_some()),
            ("projectDomain", self.project_domain.is_some()),
            ("applicationCredentialId", self.application_credential_id.is_some()),
            ("applicationCredentialSecret", secret),
            ("region", self.region.is_some()),
        ];
        let has = |field: &str| there.iter().any(|(name, there)| *name == field && *there);
        let Some(url) = &self.auth_url else {
            return match there.iter().find(|(_, there)| *there) {
                Some((field, _)) => Err(ParamError::new("authUrl", format!("there is `{field}` without `authUrl`"))
                    .with_help("write `authUrl` as well, or leave all to the `ST_*` or `OS_*` variables")),
                None => Ok(()),
            };
        };
        check_endpoint(url, true).map_err(|error| ParamError { path: "authUrl".to_owned(), ..error })?;
        let application = has("applicationCredentialId") || has("applicationCredentialSecret");
        let (needed, unfit): (&[&str], &[&str]) = match (login::is_version_1(url), application) {
            (true, _) => (
                &["username", "password"],
                &[
                    "userDomain",
                    "project",
                    "projectDomain",
                    "applicationCredentialId",
                    "applicationCredentialSecret",
                    "region",
                ],
            ),
            (false, true) => (
                &["applicationCredentialId", "applicationCredentialSecret"],
                &["username", "password", "userDomain", "project", "projectDomain"],
            ),
            (false, false) => (&["username", "password", "project"], &[]),
        };
        if let Some(field) = needed.iter().find(|field| !has(field)) {
            return Err(ParamError::new(*field, format!("there is `authUrl` without `{field}`"))
                .with_help("a location says all that is needed to sign in, or nothing of it"));
        }
        match unfit.iter().find(|field| has(field)) {
            Some(field) => Err(ParamError::new(*field, format!("`{field}` has no meaning here")).with_help(
                "an application credential belongs to one user and project; Swift's own way (`/v1.0`) knows neither",
            )),
            None => Ok(()),
        }
    }

    fn open(&self, door: &Door<'_>) -> Result<Opened, Failure> {
        let login = match &self.auth_url {
            Some(url) => login::of_location(self, url, door)?,
            None => login::of_environment(&self.to_string(), door)?,
        };
        let (transport, _) = door.transport()?;
        let client = Client::new(login, transport, door.call.clone());
        Ok(operator(Objects::new(client, &self.container, self.prefix.trim_matches('/'))).into())
    }

    fn keys(&self) -> &'static str {
        "credentials come from the location itself, from `ST_AUTH`, `ST_USER` and `ST_KEY`, or from `OS_AUTH_URL` and the other variables \
         of OpenStack; they must be allowed to read, write, list and delete in the container"
    }
}

impl fmt::Display for Swift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "swift://{}", self.container)?;
        match self.prefix.trim_matches('/') {
            "" => Ok(()),
            prefix => write!(f, "/{prefix}"),
        }
    }
}
