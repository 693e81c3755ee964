//! A bucket of Google Cloud Storage.
//!
//! Always holds: credentials that are given are the only ones used; without them the usual places are asked
//! (`GOOGLE_ACCESS_TOKEN`, `GOOGLE_APPLICATION_CREDENTIALS`, gcloud's own file, and, where no endpoint is named, the machine's
//! service account); what is not a credential is an error rather than passed over.

use std::fmt;
use std::path::PathBuf;

use aquifer_engine::failure::Failure;
use aquifer_engine::function::ParamError;
use aquifer_engine::secret::Secret;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use opendal::Operator;
use schemars::JsonSchema;
use serde::Deserialize;

use super::credentials::{check, variable};
use super::http::Http;
use super::kind::{Door, Kind, Opened, Written};
use super::s3::{check_bucket, check_endpoint};
use super::store::failure;
use super::text::container;

/// A bucket of Google Cloud Storage.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Gcs {
    /// The bucket's name.
    pub bucket: String,
    /// What stands in front of every object's name; a slash at either end makes no difference.
    #[serde(default)]
    pub prefix: String,
    /// The server; Google's own unless said.
    #[serde(default)]
    pub endpoint: Option<String>,
    /// The credentials as JSON, such as a service account's key.
    #[serde(default)]
    pub credentials: Option<Secret>,
    /// A file that holds the credentials; unless said, the one that `GOOGLE_APPLICATION_CREDENTIALS` names.
    #[serde(default)]
    pub credentials_file: Option<PathBuf>,
    /// An access token, in the place of credentials; unless said, `GOOGLE_ACCESS_TOKEN`.
    #[serde(default)]
    pub token: Option<Secret>,
    /// A file that holds the access token; white space around it does not count.
    #[serde(default)]
    pub token_file: Option<PathBuf>,
    /// Whether to ask without any credentials: for public buckets and for servers that stand in for Google's.
    #[serde(default)]
    pub anonymous: bool,
    /// How the server is reached.
    #[serde(default)]
    pub http: Http,
}

impl Written for Gcs {
    const KEY: &'static str = "gcs";
    const FORMS: &'static [&'static str] = &["gs://bucket/prefix", "gs:bucket:/prefix"];

    fn of_text(text: &str) -> Option<Result<Self, String>> {
        let rest = text.strip_prefix("gs:")?;
        let made = container(text, rest.strip_prefix("//").unwrap_or(rest), "bucket").map(|(bucket, prefix)| Self {
            bucket: bucket.to_owned(),
            prefix: prefix.to_owned(),
            endpoint: None,
            credentials: None,
            credentials_file: None,
            token: None,
            token_file: None,
            anonymous: false,
            http: Http::default(),
        });
        Some(made)
    }
}

impl Kind for Gcs {
    fn key(&self) -> &'static str {
        Self::KEY
    }

    fn flows(&self) -> bool {
        true
    }

    fn http(&self) -> Option<&Http> {
        Some(&self.http)
    }

    fn keys(&self) -> &'static str {
        "credentials come from the location itself, or from `GOOGLE_ACCESS_TOKEN` or the file that \
         `GOOGLE_APPLICATION_CREDENTIALS` names; they must be allowed to create, read, list and delete objects \
         (the role Storage Object Admin)"
    }

    fn check(&self) -> Result<(), ParamError> {
        check_bucket("bucket", &self.bucket)?;
        let credentials = check("credentials", (&self.credentials, &self.credentials_file))?;
        let token = check("token", (&self.token, &self.token_file))?;
        if credentials && token || self.anonymous && (credentials || token) {
            let second = if self.anonymous { "anonymous" } else { "token" };
            return Err(ParamError::new(second, format!("there are credentials and `{second}`"))
                .with_help("leave all but one out"));
        }
        self.endpoint.as_ref().map_or(Ok(()), |endpoint| check_endpoint(endpoint, false))
    }

    fn open(&self, door: &Door<'_>) -> Result<Opened, Failure> {
        let prefix = self.prefix.trim_matches('/');
        let mut builder = opendal::services::Gcs::default().bucket(&self.bucket).root(&format!("/{prefix}"));
        if let Some(endpoint) = &self.endpoint {
            // The machine's own account belongs to Google: its tokens are not for somebody else's server.
            builder = builder.endpoint(endpoint.trim_end_matches('/')).disable_vm_metadata();
        }
        if self.anonymous {
            builder = builder.skip_signature();
        } else if self.credentials.is_some() || self.credentials_file.is_some() {
            let from =
                self.credentials_file.as_ref().map_or("credentials".to_owned(), |path| path.display().to_string());
            if let Some(json) = door.secret((&self.credentials, &self.credentials_file), &[])? {
                builder = builder.credential(&coded(&json, &from)?).disable_config_load().disable_vm_metadata();
            }
        } else if let Some(token) = door.secret((&self.token, &self.token_file), &["GOOGLE_ACCESS_TOKEN"])? {
            builder = builder.token(token.expose().to_owned()).disable_config_load().disable_vm_metadata();
        } else if let Some((_, path)) = variable(&["GOOGLE_APPLICATION_CREDENTIALS"])
            && let Some(json) = door.secret((&None, &Some(PathBuf::from(&path))), &[])?
        {
            builder = builder.credential(&coded(&json, &path)?).disable_config_load().disable_vm_metadata();
        }
        let operator =
            Operator::new(builder).map_err(|error| failure(&error, &format!("opening `{self}`"), self.keys()))?;
        Ok(door.dressed(operator).into())
    }
}

/// Credentials as the library takes them, which would pass over what is none.
fn coded(json: &Secret, from: &str) -> Result<String, Failure> {
    let known = serde_json::from_str::<serde_json::Value>(json.expose()).ok().filter(|value| value["type"].is_string());
    match known {
        Some(_) => Ok(BASE64_STANDARD.encode(json.expose())),
        None => Err(Failure::config(format!("`{from}` holds no credentials of Google's"))
            .with_help("they are JSON with a `type`, as `gcloud iam service-accounts keys create` writes them")),
    }
}

impl fmt::Display for Gcs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "gs://{}", self.bucket)?;
        match self.prefix.trim_matches('/') {
            "" => Ok(()),
            prefix => write!(f, "/{prefix}"),
        }
    }
}
