//! A bucket of S3, or of a server that speaks S3's protocol.
//!
//! Always holds: keys that are given are the only ones used; without them the usual places are asked (the `AWS_*` variables,
//! the shared configuration, and, where no endpoint is named, the machine's own role).

use std::fmt;
use std::path::PathBuf;

use aquifer_engine::failure::Failure;
use aquifer_engine::function::ParamError;
use aquifer_engine::secret::Secret;
use opendal::Operator;
use schemars::JsonSchema;
use serde::Deserialize;
use url::Url;

use super::credentials::{check, pair, variable};
use super::http::Http;
use super::kind::{Door, Kind, Opened, Written};
use super::store::failure;
use super::text::{address, container};
use crate::shared::yes;

/// A bucket, and how to reach it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct S3 {
    /// The bucket's name.
    pub bucket: String,
    /// What stands in front of every object's name; a slash at either end makes no difference.
    #[serde(default)]
    pub prefix: String,
    /// The server, such as `https://minio.example:9000`; Amazon's own unless said.
    #[serde(default)]
    pub endpoint: Option<String>,
    /// The region. Unless said: `AWS_REGION`, or `us-east-1` where there is an `endpoint`.
    #[serde(default)]
    pub region: Option<String>,
    /// The access key's id; without it, keys are sought where Amazon's own tools look for them.
    #[serde(default)]
    pub access_key_id: Option<String>,
    /// The access key's secret.
    #[serde(default)]
    pub secret_access_key: Option<Secret>,
    /// A file that holds the access key's secret; white space around it does not count.
    #[serde(default)]
    pub secret_access_key_file: Option<PathBuf>,
    /// The token of a temporary key; only with `accessKeyId` and its secret.
    #[serde(default)]
    pub session_token: Option<Secret>,
    /// Whether the bucket stands in the host's name (`bucket.host`) rather than in the path, as a server of one's own mostly has it.
    #[serde(default)]
    pub virtual_host: bool,
    /// Whether the server knows conditional writes (`If-None-Match`). Without them, two that write one name at the same moment are not told
    /// of each other.
    #[serde(default = "yes")]
    pub conditional: bool,
    /// How the server is reached.
    #[serde(default)]
    pub http: Http,
}

impl S3 {
    /// A bucket with nothing else said.
    fn new(bucket: &str) -> Self {
        Self {
            bucket: bucket.to_owned(),
            prefix: String::new(),
            endpoint: None,
            region: None,
            access_key_id: None,
            secret_access_key: None,
            secret_access_key_file: None,
            session_token: None,
            virtual_host: false,
            conditional: true,
            http: Http::default(),
        }
    }

    /// The prefix without the slashes around it.
    fn bare_prefix(&self) -> &str {
        self.prefix.trim_matches('/')
    }
}

/// Checks the name of a bucket or container.
///
/// # Errors
/// It is none.
pub(super) fn check_bucket(field: &str, name: &str) -> Result<(), ParamError> {
    if name.is_empty() || name.contains(['/', ':', '?', '#', '%']) || name.chars().any(char::is_whitespace) {
        return Err(ParamError::new(field, format!("`{}` is no {field}'s name", name.escape_debug()))
            .with_help(format!("what stands behind the {field}'s name goes into `prefix`")));
    }
    Ok(())
}

/// Checks a server's address; `path`: whether there may be something behind the host.
///
/// # Errors
/// It is none, or has credentials in it.
pub(super) fn check_endpoint(endpoint: &str, path: bool) -> Result<(), ParamError> {
    let wrong = |why: &str| {
        // What is wrong with it may be that it holds a password.
        Err(ParamError::new("endpoint", format!("the endpoint {why}"))
            .with_help("write it as `https://host:port`; credentials have fields of their own"))
    };
    match Url::parse(endpoint) {
        Err(_) => wrong("is no URL"),
        Ok(url) if !matches!(url.scheme(), "http" | "https") => wrong("is neither `http` nor `https`"),
        Ok(url) if !url.username().is_empty() || url.password().is_some() => wrong("has credentials in it"),
        Ok(url) if (!path && url.path() != "/") || url.query().is_some() || url.fragment().is_some() => {
            wrong("has something behind the host")
        }
        Ok(_) => Ok(()),
    }
}

impl Written for S3 {
    const KEY: &'static str = "s3";
    const FORMS: &'static [&'static str] = &["s3://bucket/prefix", "s3:https://host/bucket/prefix"];

    fn of_text(text: &str) -> Option<Result<Self, String>> {
        if let Some(rest) = text.strip_prefix("s3://") {
            let (bucket, prefix) = match container(text, rest, "bucket") {
                Ok(cut) => cut,
                Err(why) => return Some(Err(why)),
            };
            return Some(Ok(Self { prefix: prefix.to_owned(), ..Self::new(bucket) }));
        }
        let rest = text.strip_prefix("s3:")?;
        let read = || {
            let (url, path) = address(rest)?;
            let (bucket, prefix) = container(text, path.trim_start_matches('/'), "bucket")?;
            let endpoint = Some(url.as_str().trim_end_matches('/').to_owned());
            Ok(Self { endpoint, prefix: prefix.to_owned(), ..Self::new(bucket) })
        };
        Some(read())
    }
}

impl Kind for S3 {
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
        "keys come from the location itself, or from `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`; \
         they must be allowed to read, write, list and delete below the prefix"
    }

    fn check(&self) -> Result<(), ParamError> {
        check_bucket("bucket", &self.bucket)?;
        let secret = check("secretAccessKey", (&self.secret_access_key, &self.secret_access_key_file))?;
        let id = self.access_key_id.is_some();
        pair(("accessKeyId", id), ("secretAccessKey", secret), "the `AWS_*` variables")?;
        // With keys from elsewhere it would be mixed with a key that it does not belong to.
        if self.session_token.is_some() && !id {
            return Err(ParamError::new("accessKeyId", "there is `sessionToken` without `accessKeyId`")
                .with_help("write the key as well, or leave all to the `AWS_*` variables"));
        }
        self.endpoint.as_ref().map_or(Ok(()), |endpoint| check_endpoint(endpoint, false))
    }

    fn open(&self, door: &Door<'_>) -> Result<Opened, Failure> {
        let mut builder =
            opendal::services::S3::default().bucket(&self.bucket).root(&format!("/{}", self.bare_prefix()));
        if let Some(endpoint) = &self.endpoint {
            // The machine's role belongs to Amazon: its keys are not for somebody else's server.
            builder = builder.endpoint(endpoint.trim_end_matches('/')).disable_ec2_metadata();
        }
        match &self.region {
            Some(region) => builder = builder.region(region),
            // Amazon's own tools take both names.
            None => match variable(&["AWS_REGION", "AWS_DEFAULT_REGION"]) {
                Some((_, region)) => builder = builder.region(&region),
                None if self.endpoint.is_some() => builder = builder.region("us-east-1"),
                None => {}
            },
        }
        match &self.access_key_id {
            Some(id) => {
                let given = (&self.secret_access_key, &self.secret_access_key_file);
                if let Some(secret) = door.secret(given, &[])? {
                    builder = builder.access_key_id(id).secret_access_key(secret.expose()).disable_config_load();
                }
            }
            // The library reads them by itself.
            None => {
                for name in ["AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"] {
                    door.secret((&None, &None), &[name])?;
                }
            }
        }
        if let Some(token) = &self.session_token {
            builder = builder.session_token(token.expose());
        }
        if self.virtual_host {
            builder = builder.enable_virtual_host_style();
        }
        let operator = Operator::new(builder).map_err(|error| {
            if self.region.is_none() && error.message().contains("region") {
                return Failure::config(format!("no region is known for `{self}`"))
                    .with_help("write `region` into the location, or set `AWS_REGION`");
            }
            failure(&error, &format!("opening `{self}`"), self.keys())
        })?;
        Ok(Opened { operator: door.dressed(operator), folder: None, conditional: self.conditional })
    }
}

impl fmt::Display for S3 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.endpoint {
            Some(endpoint) => write!(f, "s3:{}/{}", endpoint.trim_end_matches('/'), self.bucket)?,
            None => write!(f, "s3://{}", self.bucket)?,
        }
        match self.bare_prefix() {
            "" => Ok(()),
            prefix => write!(f, "/{prefix}"),
        }
    }
}
