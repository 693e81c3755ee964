//! The requests to a server of WebDAV.
//!
//! Takes names below a folder. Always holds: folders are listed one by one, since few servers tell everything at once; a folder is
//! made only where a file is written into it.

use std::collections::HashSet;
use std::fmt;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};

use http::{Method, Request, Response, StatusCode, header};
use opendal::raw::{OpWrite, Timestamp, parse_header_to_str};
use opendal::{Buffer, BytesRange, Error, ErrorKind, HttpTransporter, Metadata, OperationContext, Result};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use url::Url;

use super::listing::{Found, QUESTION, read};
use super::part::Part;
use crate::location::spoken::{Page, Protocol, refusal, request};
use crate::location::transport::Line;

/// What a name's letters may not be in an address.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b'/');

/// A folder on a server.
pub(super) struct Server {
    /// Its address, with a slash at its end.
    url: String,
    /// Its path, plain, with a slash at its end.
    path: String,
    basic: Option<String>,
    transport: HttpTransporter,
    pub(super) line: Line,
    /// Folders that were seen or made.
    known: Mutex<HashSet<String>>,
    /// Whether it was looked for what killed programs left.
    pub(super) swept: AtomicBool,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("url", &self.url).finish_non_exhaustive()
    }
}

/// A folder's listing, and the server's clock.
pub(super) struct Listed {
    pub(super) found: Vec<Found>,
    pub(super) now: Option<Timestamp>,
}

impl Server {
    /// Gives none where the address is no URL.
    pub(super) fn new(url: &str, basic: Option<String>, (transport, line): (HttpTransporter, Line)) -> Option<Self> {
        let parsed = Url::parse(url.trim_end_matches('/')).ok()?;
        let url = format!("{}/", parsed.as_str().trim_end_matches('/'));
        let path = percent_decode_str(parsed.path()).decode_utf8().ok()?;
        let path = format!("{}/", path.trim_end_matches('/'));
        let (known, swept) = (Mutex::default(), AtomicBool::new(false));
        Some(Self { url, path, basic, transport, line, known, swept })
    }

    /// A name's address.
    pub(super) fn address(&self, name: &str) -> String {
        format!("{}{}", self.url, utf8_percent_encode(name, ESCAPED))
    }

    /// A request that is yet to get what belongs to it.
    pub(super) fn head(&self, method: &str, address: &str) -> http::request::Builder {
        let builder = Request::builder().method(method).uri(address);
        match &self.basic {
            Some(basic) => builder.header(header::AUTHORIZATION, basic),
            None => builder,
        }
    }

    pub(super) async fn send(&self, builder: http::request::Builder, body: Buffer) -> Result<Response<Buffer>> {
        self.transport.send(request(builder, body)?).await
    }

    /// Looks at what is there, and at what it holds.
    async fn find(&self, name: &str, depth: u8) -> Result<Listed> {
        let head = self
            .head("PROPFIND", &self.address(name))
            .header("Depth", u32::from(depth))
            .header(header::CONTENT_TYPE, "application/xml; charset=utf-8");
        let answer = self.send(head, Buffer::from(QUESTION)).await?;
        if answer.status() != StatusCode::MULTI_STATUS {
            return Err(refusal("a look", &answer));
        }
        let now = parse_header_to_str(answer.headers(), header::DATE)?;
        let now = now.and_then(|now| Timestamp::parse_rfc2822(now).ok());
        Ok(Listed { found: read(answer.body())?, now })
    }

    /// What a folder holds: names, of folders without a slash at their end; a folder that is not there holds nothing.
    pub(super) async fn entries(&self, folder: &str) -> Result<Listed> {
        let mut listed = match self.find(folder, 1).await {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Listed { found: Vec::new(), now: None }),
            listed => listed?,
        };
        let whole = format!("{}{folder}", self.path);
        let whole = whole.trim_end_matches('/');
        listed.found.retain(|found| found.path != whole);
        for found in &mut listed.found {
            let below = found.path.strip_prefix(whole).and_then(|rest| rest.strip_prefix('/'));
            let Some(below) = below.filter(|below| !below.is_empty() && !below.contains('/')) else {
                let what = format!("the server lists `{}` in `{whole}/`", found.path.escape_debug());
                return Err(Error::new(ErrorKind::Unexpected, what));
            };
            found.path =
                if folder.is_empty() { below.to_owned() } else { format!("{}/{below}", folder.trim_end_matches('/')) };
        }
        Ok(listed)
    }

    /// Makes the folder of a file, and those above it.
    pub(super) async fn make_for(&self, name: &str) -> Result<()> {
        let folder = match name.rsplit_once('/') {
            Some((folder, _)) => format!("{folder}/"),
            None => String::new(),
        };
        let mut missing = vec![self.address(&folder)];
        if self.known.lock().unwrap_or_else(PoisonError::into_inner).contains(&missing[0]) {
            return Ok(());
        }
        let mut tried = HashSet::new();
        while let Some(next) = missing.pop() {
            let answer = self.send(self.head("MKCOL", &next), Buffer::new()).await?;
            match answer.status() {
                status if status.is_success() => {}
                // It is there already. The server's own root may be in no hand of ours.
                StatusCode::METHOD_NOT_ALLOWED => {}
                StatusCode::CONFLICT if tried.insert(next.clone()) => {
                    let Some(above) = above(&next) else { return Err(refusal("making a folder", &answer)) };
                    missing.extend([next, above]);
                    continue;
                }
                _ => return Err(refusal("making a folder", &answer)),
            }
            self.known.lock().unwrap_or_else(PoisonError::into_inner).insert(next);
        }
        Ok(())
    }

    /// Somebody else has removed a folder that was known.
    pub(super) fn forget(&self) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// The size of a file that is there.
    pub(super) async fn size(&self, name: &str) -> Result<Option<u64>> {
        match self.stat(name).await {
            Ok(about) => Ok(Some(about.content_length())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// The address of the folder above.
fn above(address: &str) -> Option<String> {
    let (rest, _) = address.trim_end_matches('/').rsplit_once('/')?;
    // What is left is the host alone.
    if rest.ends_with('/') || !rest.contains("://") { None } else { Some(format!("{rest}/")) }
}

impl Protocol for Server {
    const SCHEME: &'static str = "webdav";
    const IN_PIECES: bool = true;
    type Writer = Part;
    type Place = String;

    async fn stat(&self, name: &str) -> Result<Metadata> {
        let mut found = self.find(name, 0).await?.found;
        match (found.pop(), found.is_empty()) {
            (Some(found), true) => Ok(found.about),
            _ => Err(Error::new(ErrorKind::Unexpected, "the server does not say what is there")),
        }
    }

    async fn read(&self, name: &str, range: BytesRange) -> Result<Buffer> {
        let mut head = self.head(Method::GET.as_str(), &self.address(name));
        if !range.is_full() {
            head = head.header(header::RANGE, range.to_header());
        }
        let answer = self.send(head, Buffer::new()).await?;
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
        let mut page = Page::of_folder(folder);
        for Found { path, about } in self.entries(folder).await?.found {
            if about.is_dir() { page.more.push(format!("{path}/")) } else { page.found.push((path, about)) }
        }
        Ok(page)
    }

    async fn delete(&self, name: &str) -> Result<()> {
        let answer = self.send(self.head("DELETE", &self.address(name)), Buffer::new()).await?;
        match answer.status() {
            // Some of it, or all, was refused.
            StatusCode::MULTI_STATUS => Err(refusal("a removal", &answer)),
            status if status.is_success() || status == StatusCode::NOT_FOUND => Ok(()),
            _ => Err(refusal("a removal", &answer)),
        }
    }

    fn write(self: Arc<Self>, _: &OperationContext, name: &str, how: &OpWrite) -> Part {
        Part::new(self, name, how.if_not_exists())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn above_the_first_folder_is_the_servers_root_and_nothing_above_that() {
        let steps = std::iter::successors(Some("http://h:1/a/b/".to_owned()), |last| above(last));
        assert_eq!(steps.collect::<Vec<_>>(), ["http://h:1/a/b/", "http://h:1/a/", "http://h:1/"]);
    }
}
