//! A container of Azure Blob Storage.
//!
//! Always holds: a key or a signature that is given is the only one used; without one the usual places are asked (the
//! `AZURE_*` variables and, where no endpoint is named, the machine's identity).

use std::fmt;
use std::path::PathBuf;

use aquifer_engine::failure::Failure;
use aquifer_engine::function::ParamError;
use aquifer_engine::secret::Secret;
use opendal::Operator;
use schemars::JsonSchema;
use serde::Deserialize;

use super::credentials::{check, variable};
use super::http::Http;
use super::kind::{Door, Kind, Opened, Written};
use super::s3::{check_bucket, check_endpoint};
use super::store::failure;
use super::text::container;

/// restic's names first, then those of Azure's own tools.
const NAMES: [&str; 2] = ["AZURE_ACCOUNT_NAME", "AZURE_STORAGE_ACCOUNT"];
const KEYS: [&str; 2] = ["AZURE_ACCOUNT_KEY", "AZURE_STORAGE_KEY"];
const SIGNATURES: [&str; 2] = ["AZURE_ACCOUNT_SAS", "AZURE_STORAGE_SAS_TOKEN"];

/// A container of Azure Blob Storage.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Azure {
    /// The container's name.
    pub container: String,
    /// What stands in front of every object's name; a slash at either end makes no difference.
    #[serde(default)]
    pub prefix: String,
    /// The storage account; unless said, `AZURE_ACCOUNT_NAME`.
    #[serde(default)]
    pub account_name: Option<String>,
    /// The account's key; unless said, `AZURE_ACCOUNT_KEY`.
    #[serde(default)]
    pub account_key: Option<Secret>,
    /// A file that holds the account's key; white space around it does not count.
    #[serde(default)]
    pub account_key_file: Option<PathBuf>,
    /// A shared access signature, in the place of a key; unless said, `AZURE_ACCOUNT_SAS`.
    #[serde(default)]
    pub sas_token: Option<Secret>,
    /// A file that holds the shared access signature; white space around it does not count.
    #[serde(default)]
    pub sas_token_file: Option<PathBuf>,
    /// The server, such as `https://account.blob.core.windows.net`, which is what it is unless said. `AZURE_ENDPOINT_SUFFIX` changes
    /// the part behind `blob.`.
    #[serde(default)]
    pub endpoint: Option<String>,
    /// How the server is reached.
    #[serde(default)]
    pub http: Http,
}

impl Written for Azure {
    const KEY: &'static str = "azure";
    const FORMS: &'static [&'static str] = &["azure://container/prefix", "azure:container:/prefix"];

    fn of_text(text: &str) -> Option<Result<Self, String>> {
        let rest = text.strip_prefix("azure:")?;
        let made = container(text, rest.strip_prefix("//").unwrap_or(rest), "container").map(|(name, prefix)| Self {
            container: name.to_owned(),
            prefix: prefix.to_owned(),
            account_name: None,
            account_key: None,
            account_key_file: None,
            sas_token: None,
            sas_token_file: None,
            endpoint: None,
            http: Http::default(),
        });
        Some(made)
    }
}

impl Kind for Azure {
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
        "the account and its key come from the location itself, or from `AZURE_ACCOUNT_NAME` and `AZURE_ACCOUNT_KEY` or \
         `AZURE_ACCOUNT_SAS`; they must be allowed to read, write, list and delete in the container"
    }

    fn check(&self) -> Result<(), ParamError> {
        check_bucket("container", &self.container)?;
        let key = check("accountKey", (&self.account_key, &self.account_key_file))?;
        let signature = check("sasToken", (&self.sas_token, &self.sas_token_file))?;
        if key && signature {
            return Err(ParamError::new("sasToken", "there are an `accountKey` and a `sasToken`")
                .with_help("leave one of them out"));
        }
        if key && self.account_name.is_none() {
            return Err(ParamError::new("accountName", "there is `accountKey` without `accountName`").with_help(
                "write `accountName` as well, or leave both to `AZURE_ACCOUNT_NAME` and `AZURE_ACCOUNT_KEY`",
            ));
        }
        if self.account_name.as_ref().is_some_and(|name| name.is_empty() || name.contains(['/', '.', ':', '@'])) {
            return Err(ParamError::new("accountName", "it is no account's name").with_help(
                "it is the first word of the server's name, such as `account` in `account.blob.core.windows.net`",
            ));
        }
        self.endpoint.as_ref().map_or(Ok(()), |endpoint| check_endpoint(endpoint, true))
    }

    fn open(&self, door: &Door<'_>) -> Result<Opened, Failure> {
        let account = self.account_name.clone().or_else(|| variable(&NAMES).map(|(_, name)| name));
        let endpoint = match (&self.endpoint, &account) {
            (Some(endpoint), _) => endpoint.clone(),
            (None, Some(account)) => {
                let suffix =
                    variable(&["AZURE_ENDPOINT_SUFFIX"]).map_or("core.windows.net".to_owned(), |(_, named)| named);
                format!("https://{account}.blob.{suffix}")
            }
            (None, None) => {
                return Err(Failure::config(format!("no storage account is known for `{self}`"))
                    .with_help("write `accountName` into the location, or set `AZURE_ACCOUNT_NAME`"));
            }
        };
        let prefix = self.prefix.trim_matches('/');
        let mut builder = opendal::services::Azblob::default()
            .container(&self.container)
            .root(&format!("/{prefix}"))
            .endpoint(endpoint.trim_end_matches('/'));
        if let Some(account) = &account {
            builder = builder.account_name(account);
        }
        let given = self.sas_token.is_some() || self.sas_token_file.is_some();
        let key = match given {
            true => None,
            false => door.secret((&self.account_key, &self.account_key_file), &KEYS)?,
        };
        let signature = match key {
            Some(_) => None,
            None => door.secret((&self.sas_token, &self.sas_token_file), &SIGNATURES)?,
        };
        match (&key, &signature) {
            (Some(_), _) if account.is_none() => {
                return Err(Failure::config(format!("there is a key for `{self}`, and no account that it belongs to"))
                    .with_help("write `accountName` into the location, or set `AZURE_ACCOUNT_NAME`"));
            }
            (Some(key), _) => builder = builder.account_key(key.expose()),
            (None, Some(signature)) => builder = builder.sas_token(signature.expose().trim_start_matches('?')),
            // The machine's own identity belongs to Azure: its tokens are not for somebody else's server.
            (None, None) if self.endpoint.is_some() => {
                return Err(Failure::unauthorized(format!("there is no key for `{self}`")).with_help(self.keys()));
            }
            (None, None) => {}
        }
        let operator =
            Operator::new(builder).map_err(|error| failure(&error, &format!("opening `{self}`"), self.keys()))?;
        Ok(door.dressed(operator).into())
    }
}

impl fmt::Display for Azure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "azure://{}", self.container)?;
        match self.prefix.trim_matches('/') {
            "" => Ok(()),
            prefix => write!(f, "/{prefix}"),
        }
    }
}
