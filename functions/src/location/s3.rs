//! A bucket of S3, or of a server that speaks S3's protocol.
//!
//! Always holds: keys that are given are the only ones used; without them the usual places are asked (the `AWS_*` variables,
//! the shared configuration, and, where no endpoint is named, the machine's own role).

use std::fmt;

use crate::shared::yes;
use aquifer_engine::function::ParamError;
use aquifer_engine::secret::Secret;
use opendal::Operator;
use schemars::JsonSchema;
use serde::Deserialize;
use url::Url;

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
    /// The token of a temporary key; only with `accessKeyId` and `secretAccessKey`.
    #[serde(default)]
    pub session_token: Option<Secret>,
    /// Whether the bucket stands in the host's name (`bucket.host`) rather than in the path.
    #[serde(default)]
    pub virtual_host: bool,
    /// Whether the server knows conditional writes (`If-None-Match`). Without them, two that write one name at the same moment are not told
    /// of each other.
    #[serde(default = "yes")]
    pub conditional: bool,
}

impl S3 {
    /// A bucket with nothing else said.
    pub(super) fn new(bucket: &str) -> Self {
        Self {
            bucket: bucket.to_owned(),
            prefix: String::new(),
            endpoint: None,
            region: None,
            access_key_id: None,
            secret_access_key: None,
            session_token: None,
            virtual_host: false,
            conditional: true,
        }
    }

    pub(super) fn check(&self) -> Result<(), ParamError> {
        if self.bucket.is_empty() || self.bucket.contains('/') {
            return Err(ParamError::new("s3.bucket", format!("`{}` is no bucket's name", self.bucket))
                .with_help("what stands behind the bucket's name goes into `prefix`"));
        }
        let missing = |has: &str, lacks: &str| {
            Err(ParamError::new(format!("s3.{lacks}"), format!("there is `{has}` without `{lacks}`"))
                .with_help(format!("write `{lacks}` as well, or leave all keys to the `AWS_*` variables")))
        };
        match (&self.access_key_id, &self.secret_access_key) {
            (Some(_), None) => return missing("accessKeyId", "secretAccessKey"),
            (None, Some(_)) => return missing("secretAccessKey", "accessKeyId"),
            // With keys from elsewhere it would be mixed with a key that it does not belong to.
            (None, None) if self.session_token.is_some() => return missing("sessionToken", "accessKeyId"),
            _ => {}
        }
        let Some(endpoint) = &self.endpoint else { return Ok(()) };
        let wrong = |why: &str| {
            // What is wrong with it may be that it holds a password.
            Err(ParamError::new("s3.endpoint", format!("the endpoint {why}"))
                .with_help("write it as `https://host:port`; keys go into `accessKeyId` and `secretAccessKey`"))
        };
        match Url::parse(endpoint) {
            Err(_) => wrong("is no URL"),
            Ok(url) if !matches!(url.scheme(), "http" | "https") => wrong("is neither `http` nor `https`"),
            Ok(url) if !url.username().is_empty() || url.password().is_some() => wrong("has credentials in it"),
            Ok(url) if url.path() != "/" || url.query().is_some() || url.fragment().is_some() => {
                wrong("has something behind the host")
            }
            Ok(_) => Ok(()),
        }
    }

    /// The prefix without the slashes around it.
    fn bare_prefix(&self) -> &str {
        self.prefix.trim_matches('/')
    }

    /// Sets up the client; nothing is sent yet.
    pub(super) fn operator(&self) -> opendal::Result<Operator> {
        let mut builder =
            opendal::services::S3::default().bucket(&self.bucket).root(&format!("/{}", self.bare_prefix()));
        if let Some(endpoint) = &self.endpoint {
            // The machine's role belongs to Amazon: its keys are not for somebody else's server.
            builder = builder.endpoint(endpoint.trim_end_matches('/')).disable_ec2_metadata();
        }
        match &self.region {
            Some(region) => builder = builder.region(region),
            None if self.endpoint.is_some() => builder = builder.region("us-east-1"),
            None => {}
        }
        if let (Some(id), Some(secret)) = (&self.access_key_id, &self.secret_access_key) {
            builder = builder.access_key_id(id).secret_access_key(secret.expose()).disable_config_load();
        }
        if let Some(token) = &self.session_token {
            builder = builder.session_token(token.expose());
        }
        if self.virtual_host {
            builder = builder.enable_virtual_host_style();
        }
        Operator::new(builder)
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
