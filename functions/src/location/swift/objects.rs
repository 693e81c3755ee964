//! Objects in a container of Swift.
//!
//! Always holds: an object that was sent in parts is removed with them, and with none that may be another's; a listing goes on to its end.

use std::sync::Arc;

use http::{Response, StatusCode};
use opendal::raw::{OpWrite, Timestamp, oio, parse_header_to_str, parse_last_modified};
use opendal::{Buffer, BytesRange, Error, ErrorKind, Metadata, MetadataBuilder, OperationContext, Result};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::client::Client;
use super::upload::Upload;
use crate::location::PARTS;
use crate::location::spoken::{Page, Protocol, refusal};

/// What a name's letters may not be in a path.
const IN_PATH: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b'/');

/// And in a query.
const IN_QUERY: &AsciiSet = &IN_PATH.add(b'/');

/// How many names a listing gives at once.
const PAGE: &str = "10000";

#[derive(Debug)]
pub(super) struct Objects {
    pub(super) client: Client,
    pub(super) container: String,
    /// In front of all names, with a slash at its end where it is not empty.
    pub(super) prefix: String,
}

/// Where a listing stands.
pub(super) struct Place {
    folder: String,
    /// The last name that was told, with the prefix.
    after: String,
}

#[derive(Deserialize)]
struct Listed {
    name: String,
    bytes: u64,
    last_modified: Option<String>,
}

/// One of an object's parts, as its manifest names it.
#[derive(Deserialize)]
struct Segment {
    /// None of bytes that stand in the manifest itself.
    #[serde(default)]
    name: String,
    #[serde(default)]
    sub_slo: bool,
}

/// The parts that an object's manifest names.
pub(super) struct Parts {
    /// Those that lie in the object's own place, by their paths below the account.
    pub(super) own: Vec<String>,
    /// Whether there are others: of a manifest that was copied, or made by another program. Other objects may need them.
    others: bool,
}

/// Whether it was sent in parts.
fn in_parts(answer: &Response<Buffer>) -> bool {
    answer.headers().get("x-static-large-object").is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"true"))
}

impl Objects {
    pub(super) fn new(client: Client, container: &str, prefix: &str) -> Self {
        let prefix = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
        Self { client, container: container.to_owned(), prefix }
    }

    /// An object's path below the account.
    pub(super) fn path(&self, name: &str) -> String {
        let whole = format!("{}/{}{name}", self.container, self.prefix);
        utf8_percent_encode(&whole, IN_PATH).to_string()
    }

    pub(super) async fn head(&self, name: &str) -> Result<Response<Buffer>> {
        self.client.ask("HEAD", &self.path(name), &[], &Buffer::new()).await
    }

    /// The place of an object's parts. A copy of the object, under whatever name, has another one.
    pub(super) fn place(&self, name: &str) -> String {
        let whole = Sha256::digest(format!("{}/{}{name}", self.container, self.prefix));
        format!("{PARTS}/{}", hex::encode(&whole[..16]))
    }

    /// The parts of an object; none where nothing is there, or what was sent at once.
    pub(super) async fn parts_of(&self, name: &str) -> Result<Option<Parts>> {
        let answer = self.head(name).await?;
        match answer.status() {
            StatusCode::NOT_FOUND => return Ok(None),
            status if !status.is_success() => return Err(refusal("a look", &answer)),
            _ if !in_parts(&answer) => return Ok(None),
            _ => {}
        }
        let (container, place) = (format!("{}/", self.container), format!("{}/", self.place(name)));
        let (mut parts, mut left) = (Parts { own: Vec::new(), others: false }, vec![self.path(name)]);
        while let Some(manifest) = left.pop() {
            let query = format!("{manifest}?multipart-manifest=get");
            let answer = self.client.ask("GET", &query, &[], &Buffer::new()).await?;
            if answer.status() == StatusCode::NOT_FOUND {
                continue;
            }
            if !answer.status().is_success() {
                return Err(refusal("a look at an object's parts", &answer));
            }
            let named: Vec<Segment> = serde_json::from_slice(&answer.body().to_bytes()).map_err(|error| {
                Error::new(ErrorKind::Unexpected, "an object's manifest cannot be understood").set_source(error)
            })?;
            for segment in named {
                let name = segment.name.trim_start_matches('/');
                if !name.strip_prefix(&container).is_some_and(|rest| rest.contains(&place)) {
                    parts.others = true;
                    continue;
                }
                let path = utf8_percent_encode(name, IN_PATH).to_string();
                if segment.sub_slo {
                    left.push(path.clone());
                }
                parts.own.push(path);
            }
        }
        Ok(Some(parts))
    }

    /// Removes one object alone, by its path below the account.
    pub(super) async fn remove(&self, path: &str) -> Result<()> {
        let answer = self.client.ask("DELETE", path, &[], &Buffer::new()).await?;
        match answer.status() {
            status if status.is_success() || status == StatusCode::NOT_FOUND => Ok(()),
            _ => Err(refusal("a removal", &answer)),
        }
    }
}

impl Protocol for Objects {
    const SCHEME: &'static str = "swift";
    const IN_PIECES: bool = true;
    type Writer = oio::MultipartWriter<Upload>;
    type Place = Place;

    async fn stat(&self, name: &str) -> Result<Metadata> {
        let answer = self.head(name).await?;
        if !answer.status().is_success() {
            return Err(refusal("a look", &answer));
        }
        let length = parse_header_to_str(answer.headers(), http::header::CONTENT_LENGTH)?;
        let length = length.and_then(|length| length.parse().ok());
        let length = length.ok_or_else(|| Error::new(ErrorKind::Unexpected, "the server tells no size"))?;
        let mut about = MetadataBuilder::file(length);
        if let Some(at) = parse_last_modified(answer.headers())? {
            about.last_modified(at);
        }
        Ok(about.build())
    }

    async fn read(&self, name: &str, range: BytesRange) -> Result<Buffer> {
        let shown = range.to_header();
        let ranged = [("Range", shown.as_str())];
        let headers: &[_] = if range.is_full() { &[] } else { &ranged };
        let answer = self.client.ask("GET", &self.path(name), headers, &Buffer::new()).await?;
        match answer.status() {
            StatusCode::PARTIAL_CONTENT => Ok(answer.into_body()),
            StatusCode::OK if range.is_full() => Ok(answer.into_body()),
            _ => Err(refusal("a read", &answer)),
        }
    }

    fn first(&self, folder: &str) -> Place {
        Place { folder: folder.to_owned(), after: String::new() }
    }

    async fn list(&self, at: &Place) -> Result<Page<Place>> {
        let query = format!(
            "{}?format=json&limit={PAGE}&prefix={}&marker={}",
            utf8_percent_encode(&self.container, IN_QUERY),
            utf8_percent_encode(&format!("{}{}", self.prefix, at.folder), IN_QUERY),
            utf8_percent_encode(&at.after, IN_QUERY)
        );
        let answer = self.client.ask("GET", &query, &[], &Buffer::new()).await?;
        if !answer.status().is_success() {
            return Err(refusal("a listing", &answer));
        }
        let listed: Vec<Listed> = match answer.status() {
            StatusCode::NO_CONTENT => Vec::new(),
            _ => serde_json::from_slice(&answer.body().to_bytes()).map_err(|error| {
                Error::new(ErrorKind::Unexpected, "the server's listing cannot be understood").set_source(error)
            })?,
        };
        let mut page = Page { found: Vec::new(), more: Vec::new() };
        let Some(end) = listed.last() else { return Ok(page) };
        // Such a listing would never end.
        if listed.iter().any(|listed| listed.name <= at.after) {
            let what = "the server's listing does not go forward: it may not know `marker`";
            return Err(Error::new(ErrorKind::Unsupported, what));
        }
        page.more.push(Place { folder: at.folder.clone(), after: end.name.clone() });
        for Listed { name, bytes, last_modified } in listed {
            let mut about = MetadataBuilder::file(bytes);
            // Without a zone, in UTC.
            if let Some(at) = last_modified.and_then(|at| format!("{at}Z").parse::<Timestamp>().ok()) {
                about.last_modified(at);
            }
            if let Some(name) = name.strip_prefix(&self.prefix) {
                page.found.push((name.to_owned(), about.build()));
            }
        }
        Ok(page)
    }

    async fn delete(&self, name: &str) -> Result<()> {
        let Some(parts) = self.parts_of(name).await? else { return self.remove(&self.path(name)).await };
        if parts.others {
            // The server would remove all that the manifest names.
            self.remove(&self.path(name)).await?;
            for part in parts.own {
                // They cost room, and nothing else.
                _ = self.remove(&part).await;
            }
            return Ok(());
        }
        let query = format!("{}?multipart-manifest=delete", self.path(name));
        let answer = self.client.ask("DELETE", &query, &[("Accept", "application/json")], &Buffer::new()).await?;
        // What became of the parts is told in the answer's text.
        let said: serde_json::Value = serde_json::from_slice(&answer.body().to_bytes()).unwrap_or_default();
        match said["Response Status"].as_str() {
            Some(status) if status.starts_with("200") => Ok(()),
            status => Err(Error::new(
                ErrorKind::Unexpected,
                format!("the server answered a removal with {} for the object's parts", status.unwrap_or("nothing")),
            )
            .set_temporary()),
        }
    }

    fn write(self: Arc<Self>, context: &OperationContext, name: &str, how: &OpWrite) -> Self::Writer {
        let upload = Upload::new(self, name, how.if_not_exists());
        oio::MultipartWriter::new(context.executor().clone(), upload, how.concurrent())
    }
}
