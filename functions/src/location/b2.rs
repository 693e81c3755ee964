//! A bucket of Backblaze B2, by the S3 protocol that B2 speaks too.
//!
//! Takes an application key. Its login tells which of B2's servers the account belongs to, so that no address has to be written. Always
//! holds: a key that is given is the only one used, else the environment's; objects lie at the names that restic's own `b2` gives them;
//! no write carries a condition, since B2 refuses those.

mod late;
mod login;

use std::fmt;
use std::path::PathBuf;

use aquifer_engine::failure::Failure;
use aquifer_engine::function::ParamError;
use aquifer_engine::secret::Secret;
use schemars::JsonSchema;
use serde::Deserialize;

use super::credentials::{check, pair, variable};
use super::http::Http;
use super::kind::{Door, Kind, Opened, Written};
use super::s3::{check_bucket, check_endpoint};
use super::store::failure;
use super::text::container;
use login::Account;

/// Where to log in.
const LOGIN: &str = "https://api.backblazeb2.com";

/// restic's names first, then those of Backblaze's own tool.
const IDS: [&str; 2] = ["B2_ACCOUNT_ID", "B2_APPLICATION_KEY_ID"];
const KEYS: [&str; 2] = ["B2_ACCOUNT_KEY", "B2_APPLICATION_KEY"];

/// A bucket of Backblaze B2.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct B2 {
    /// The bucket's name.
    pub bucket: String,
    /// What stands in front of every object's name; a slash at either end makes no difference.
    #[serde(default)]
    pub prefix: String,
    /// The application key's id; unless said, `B2_ACCOUNT_ID` or `B2_APPLICATION_KEY_ID`. B2's S3 protocol does not take the account's master key.
    #[serde(default)]
    pub key_id: Option<String>,
    /// The application key; unless said, `B2_ACCOUNT_KEY` or `B2_APPLICATION_KEY`.
    #[serde(default)]
    pub key: Option<Secret>,
    /// A file that holds the application key; white space around it does not count.
    #[serde(default)]
    pub key_file: Option<PathBuf>,
    /// Where to log in; `https://api.backblazeb2.com` unless said.
    #[serde(default)]
    pub endpoint: Option<String>,
    /// How the server is reached.
    #[serde(default)]
    pub http: Http,
}

impl B2 {
    /// The key's id and the key.
    ///
    /// # Errors
    /// There is none, only half of it, or its file cannot be read.
    fn credentials(&self, door: &Door<'_>) -> Result<(String, Secret), Failure> {
        let given = (&self.key, &self.key_file);
        let missing = |what: &str| Failure::unauthorized(format!("{what} for `{self}`")).with_help(self.keys());
        if let Some(id) = &self.key_id {
            let key = door.secret(given, &[])?.ok_or_else(|| missing("there is no application key"))?;
            return Ok((id.clone(), key));
        }
        // What belongs together is taken together; some tools have the id under the first name and the key under the second.
        let whole = (0..2).find(|at| variable(&IDS[*at..=*at]).is_some() && variable(&KEYS[*at..=*at]).is_some());
        let (ids, keys) = whole.map_or((&IDS[..], &KEYS[..]), |at| (&IDS[at..=at], &KEYS[at..=at]));
        let key = door.secret((&None, &None), keys)?;
        match (variable(ids), key) {
            (Some((_, id)), Some(key)) => Ok((id, key)),
            (Some((id, _)), None) => Err(missing(&format!("`{id}` is set, and there is no application key"))),
            (None, Some(_)) => Err(missing("there is an application key without its id")),
            (None, None) => Err(missing("there is no application key")),
        }
    }
}

impl Written for B2 {
    const KEY: &'static str = "b2";
    const FORMS: &'static [&'static str] = &["b2://bucket/prefix", "b2:bucket:/prefix"];

    fn of_text(text: &str) -> Option<Result<Self, String>> {
        let rest = text.strip_prefix("b2:")?;
        let made = container(text, rest.strip_prefix("//").unwrap_or(rest), "bucket");
        Some(made.map(|(bucket, prefix)| Self {
            bucket: bucket.to_owned(),
            prefix: prefix.to_owned(),
            ..Self::default()
        }))
    }
}

impl Kind for B2 {
    fn key(&self) -> &'static str {
        Self::KEY
    }

    fn http(&self) -> Option<&Http> {
        Some(&self.http)
    }

    fn keys(&self) -> &'static str {
        "the key comes from the location itself, or from `B2_ACCOUNT_ID` and `B2_ACCOUNT_KEY` (or `B2_APPLICATION_KEY_ID` and \
         `B2_APPLICATION_KEY`); it must be an application key, not the account's master key, and be allowed to list, read, write and \
         delete files of the bucket"
    }

    fn check(&self) -> Result<(), ParamError> {
        check_bucket("bucket", &self.bucket)?;
        let key = check("key", (&self.key, &self.key_file))?;
        if self.key_id.as_ref().is_some_and(String::is_empty) {
            return Err(ParamError::new("keyId", "`keyId` is empty").with_help("leave it out, or set it"));
        }
        pair(("keyId", self.key_id.is_some()), ("key", key), "the `B2_*` variables")?;
        self.endpoint.as_ref().map_or(Ok(()), |endpoint| check_endpoint(endpoint, false))
    }

    fn open(&self, door: &Door<'_>) -> Result<Opened, Failure> {
        let (id, key) = self.credentials(door)?;
        let account = Account {
            login: self.endpoint.as_deref().unwrap_or(LOGIN).trim_end_matches('/').to_owned(),
            basic: door
                .basic(&self.to_string(), (&Some(id.clone()), (&Some(key.clone()), &None)), KEYS)?
                .map(Secret::new),
            id,
            key,
            bucket: self.bucket.clone(),
            prefix: self.prefix.trim_matches('/').to_owned(),
            transport: door.transport()?.0,
        };
        let operator =
            late::operator(account).map_err(|error| failure(&error, &format!("opening `{self}`"), self.keys()))?;
        Ok(Opened { operator: door.dressed(operator), folder: None, conditional: false })
    }
}

impl fmt::Display for B2 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "b2://{}", self.bucket)?;
        match self.prefix.trim_matches('/') {
            "" => Ok(()),
            prefix => write!(f, "/{prefix}"),
        }
    }
}
