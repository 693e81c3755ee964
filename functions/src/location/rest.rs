//! A server of restic's REST protocol: for repositories only.
//!
//! Always holds: the server's own layout is its own affair (`data/ab/abcd…` here is `data/abcd…` there); what is there is never
//! overwritten; a server that only takes new files refuses every removal but that of locks, which is told as what it is.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use aquifer_engine::failure::Failure;
use aquifer_engine::function::ParamError;
use aquifer_engine::secret::Secret;
use http::{Method, Request, Response, StatusCode, header};
use opendal::raw::{OpWrite, oio, parse_content_length, parse_last_modified};
use opendal::{
    Buffer, BytesRange, Error, ErrorKind, HttpTransporter, Metadata, MetadataBuilder, OperationContext, Result,
};
use schemars::JsonSchema;
use serde::Deserialize;

use super::credentials::{check, pair};
use super::http::Http;
use super::kind::{Door, Kind, Opened, Written};
use super::s3::check_endpoint;
use super::spoken::{Page, Protocol, operator, refusal, request};
use super::text::address;

/// The form of listings that has sizes in it.
const LISTING: &str = "application/vnd.x.restic.rest.v2";

/// A repository on a server of restic's REST protocol, such as restic's rest-server or `rclone serve restic`. It takes
/// repositories only.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rest {
    /// The repository's address, such as `https://backup.example:8000/host/`.
    pub url: String,
    /// The user; unless said, `RESTIC_REST_USERNAME`.
    #[serde(default)]
    pub username: Option<String>,
    /// The user's password; unless said, `RESTIC_REST_PASSWORD`.
    #[serde(default)]
    pub password: Option<Secret>,
    /// A file that holds the user's password; white space around it does not count.
    #[serde(default)]
    pub password_file: Option<PathBuf>,
    /// How the server is reached.
    #[serde(default)]
    pub http: Http,
}

impl Written for Rest {
    const KEY: &'static str = "rest";
    const FORMS: &'static [&'static str] = &["rest:https://host:8000/path/"];

    fn of_text(text: &str) -> Option<std::result::Result<Self, String>> {
        let rest = text.strip_prefix("rest:")?;
        let read = || {
            address(rest)?;
            let url = if rest.contains("://") { rest.to_owned() } else { format!("https://{rest}") };
            Ok(Self { url, username: None, password: None, password_file: None, http: Http::default() })
        };
        Some(read())
    }
}

impl Kind for Rest {
    fn key(&self) -> &'static str {
        Self::KEY
    }

    fn check(&self) -> std::result::Result<(), ParamError> {
        check_endpoint(&self.url, true).map_err(|error| ParamError { path: "url".to_owned(), ..error })?;
        let password = check("password", (&self.password, &self.password_file))?;
        pair(
            ("username", self.username.is_some()),
            ("password", password),
            "`RESTIC_REST_USERNAME` and `RESTIC_REST_PASSWORD`",
        )
    }

    fn http(&self) -> Option<&Http> {
        Some(&self.http)
    }

    fn only_repositories(&self) -> bool {
        true
    }

    fn open(&self, door: &Door<'_>) -> std::result::Result<Opened, Failure> {
        let given = (&self.username, (&self.password, &self.password_file));
        let basic = door.basic(&self.to_string(), given, ["RESTIC_REST_USERNAME", "RESTIC_REST_PASSWORD"])?;
        let url = format!("{}/", self.url.trim_end_matches('/'));
        let (transport, _) = door.transport()?;
        Ok(operator(Server { url, basic, transport }).into())
    }

    fn keys(&self) -> &'static str {
        "the user and the password come from the location itself, or from `RESTIC_REST_USERNAME` and `RESTIC_REST_PASSWORD`; a \
         server that only takes new files (`--append-only`) removes nothing but locks: remove snapshots and data with \
         restic on the server itself"
    }
}

impl fmt::Display for Rest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rest:{}/", self.url.trim_end_matches('/'))
    }
}

/// A connection to a server.
struct Server {
    /// The repository's address, with a slash at its end.
    url: String,
    basic: Option<String>,
    transport: HttpTransporter,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("url", &self.url).finish_non_exhaustive()
    }
}

/// A file of a listing.
#[derive(Deserialize)]
struct Listed {
    name: String,
    size: u64,
}

impl Server {
    async fn ask(
        &self,
        method: Method,
        path: &str,
        dress: impl FnOnce(http::request::Builder) -> http::request::Builder,
        body: Buffer,
    ) -> Result<Response<Buffer>> {
        // The server lays its packs out by itself.
        let path = match path.strip_prefix("data/").and_then(|name| name.split_once('/')) {
            Some((_, name)) => format!("data/{name}"),
            None => path.to_owned(),
        };
        let mut builder = Request::builder().method(method).uri(format!("{}{path}", self.url));
        if let Some(basic) = &self.basic {
            builder = builder.header(header::AUTHORIZATION, basic);
        }
        self.transport.send(request(dress(builder), body)?).await
    }

    /// Makes the folders of a new repository; servers that make them as they need them may say no.
    async fn make(&self) -> Result<()> {
        self.ask(Method::POST, "?create=true", |builder| builder, Buffer::new()).await.map(drop)
    }
}

impl Protocol for Server {
    const SCHEME: &'static str = "rest";
    const IN_PIECES: bool = false;
    type Writer = oio::OneShotWriter<File>;
    type Place = String;

    async fn stat(&self, name: &str) -> Result<Metadata> {
        let answer = self.ask(Method::HEAD, name, |builder| builder, Buffer::new()).await?;
        if answer.status() != StatusCode::OK {
            return Err(refusal("a look", &answer));
        }
        let length = parse_content_length(answer.headers())?
            .ok_or_else(|| Error::new(ErrorKind::Unexpected, "the server does not say how large the file is"))?;
        let mut about = MetadataBuilder::file(length);
        if let Some(at) = parse_last_modified(answer.headers())? {
            about.last_modified(at);
        }
        Ok(about.build())
    }

    async fn read(&self, name: &str, range: BytesRange) -> Result<Buffer> {
        let ranged = |builder: http::request::Builder| match range.is_full() {
            true => builder,
            false => builder.header(header::RANGE, range.to_header()),
        };
        let answer = self.ask(Method::GET, name, ranged, Buffer::new()).await?;
        match answer.status() {
            StatusCode::PARTIAL_CONTENT => Ok(answer.into_body()),
            StatusCode::OK if range.is_full() => Ok(answer.into_body()),
            StatusCode::OK => Err(Error::new(ErrorKind::Unsupported, "the server gives files only as a whole")),
            _ => Err(refusal("a read", &answer)),
        }
    }

    fn first(&self, folder: &str) -> String {
        folder.to_owned()
    }

    async fn list(&self, folder: &String) -> Result<Page<String>> {
        let mut page = Page { found: Vec::new(), more: Vec::new() };
        let accepting = |builder: http::request::Builder| builder.header(header::ACCEPT, LISTING);
        let answer = self.ask(Method::GET, folder, accepting, Buffer::new()).await?;
        match answer.status() {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => return Ok(page),
            _ => return Err(refusal("a listing", &answer)),
        }
        // A folder without files may be `null`.
        let listed: Option<Vec<Listed>> = serde_json::from_slice(&answer.body().to_bytes()).map_err(|error| {
            let what = "the server's listing cannot be read: it may not know version 2 of restic's REST protocol";
            Error::new(ErrorKind::Unsupported, what).set_source(error)
        })?;
        let file = |listed: Listed| (format!("{folder}{}", listed.name), MetadataBuilder::file(listed.size).build());
        page.found.extend(listed.unwrap_or_default().into_iter().map(file));
        Ok(page)
    }

    async fn delete(&self, name: &str) -> Result<()> {
        let answer = self.ask(Method::DELETE, name, |builder| builder, Buffer::new()).await?;
        match answer.status() {
            status if status.is_success() || status == StatusCode::NOT_FOUND => Ok(()),
            _ => Err(refusal("a removal", &answer)),
        }
    }

    fn write(self: Arc<Self>, _: &OperationContext, name: &str, how: &OpWrite) -> Self::Writer {
        oio::OneShotWriter::new(File { server: self, name: name.to_owned(), new: how.if_not_exists() })
    }
}

/// A file to be written.
struct File {
    server: Arc<Server>,
    name: String,
    new: bool,
}

impl File {
    /// The size of the file that is there, if any is.
    async fn there(&self) -> Result<Option<u64>> {
        match self.server.stat(&self.name).await {
            Ok(about) => Ok(Some(about.content_length())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl oio::OneShotWrite for File {
    async fn write_once(&self, content: Buffer) -> Result<Metadata> {
        let exists = || Error::new(ErrorKind::ConditionNotMatch, "there is such a file already");
        if self.new && self.there().await?.is_some() {
            return Err(exists());
        }
        // The first file of a repository that is being made.
        if self.name.starts_with("keys/") {
            self.server.make().await?;
        }
        let bytes = content.len() as u64;
        let typed = |builder: http::request::Builder| {
            builder.header(header::CONTENT_LENGTH, bytes).header(header::CONTENT_TYPE, "application/octet-stream")
        };
        let answer = self.server.ask(Method::POST, &self.name, typed, content).await?;
        if answer.status().is_success() {
            return Ok(MetadataBuilder::file(bytes).build());
        }
        // Servers take nothing twice. Files are named by their content, so what is there is what was to be written: most
        // likely by an attempt before, whose answer was lost.
        if matches!(answer.status(), StatusCode::FORBIDDEN | StatusCode::CONFLICT) {
            match self.there().await? {
                Some(_) if self.new => return Err(exists()),
                Some(found) if found == bytes && self.name != "config" => {
                    return Ok(MetadataBuilder::file(bytes).build());
                }
                _ => {}
            }
        }
        Err(refusal("a write", &answer))
    }
}
