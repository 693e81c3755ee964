//! What a server of WebDAV says about files and folders.
//!
//! Takes the answer to a `PROPFIND`. Gives what is there. Always holds: what cannot be understood, or is not below what was asked for, is
//! an error rather than left out.

use opendal::raw::Timestamp;
use opendal::{Buffer, Error, ErrorKind, Metadata, MetadataBuilder, Result};
use percent_encoding::percent_decode_str;
use quick_xml::Reader;
use quick_xml::events::Event;
use serde::Deserialize;
use serde::de::IgnoredAny;

/// What is asked for.
pub(super) const QUESTION: &str = r#"<?xml version="1.0" encoding="utf-8"?><D:propfind xmlns:D="DAV:"><D:prop><D:resourcetype/><D:getcontentlength/><D:getlastmodified/></D:prop></D:propfind>"#;

#[derive(Deserialize)]
struct Multistatus {
    #[serde(default)]
    response: Vec<Response>,
}

#[derive(Deserialize)]
struct Response {
    href: String,
    #[serde(default)]
    propstat: Vec<Propstat>,
}

#[derive(Deserialize)]
struct Propstat {
    status: String,
    #[serde(default)]
    prop: Prop,
}

#[derive(Deserialize, Default)]
struct Prop {
    getcontentlength: Option<String>,
    getlastmodified: Option<String>,
    resourcetype: Option<Sort>,
}

#[derive(Deserialize)]
struct Sort {
    collection: Option<IgnoredAny>,
}

/// One file or folder.
pub(super) struct Found {
    /// Its path on the server, plain, without a slash at its end.
    pub(super) path: String,
    pub(super) about: Metadata,
}

fn wrong(what: impl Into<String>) -> Error {
    Error::new(ErrorKind::Unexpected, format!("the server's listing cannot be understood: {}", what.into()))
}

impl Response {
    fn found(self) -> Result<Found> {
        // Some give the whole address.
        let path = match self.href.split_once("://") {
            Some((_, rest)) => rest.find('/').map_or("/", |at| &rest[at..]),
            None => &self.href,
        };
        let path = percent_decode_str(path.trim()).decode_utf8().map_err(|_| wrong("a name is not UTF-8"))?;
        let path = path.trim_end_matches('/').to_owned();
        let (mut size, mut at, mut folder, mut known) = (None, None, false, false);
        for Propstat { prop, .. } in self.propstat.into_iter().filter(|stat| stat.status.contains(" 200")) {
            known = true;
            folder |= prop.resourcetype.is_some_and(|sort| sort.collection.is_some());
            size = size.or(prop.getcontentlength);
            at = at.or(prop.getlastmodified);
        }
        if !known {
            return Err(wrong(format!("it says nothing about `{}`", path.escape_debug())));
        }
        let mut about = if folder {
            MetadataBuilder::dir()
        } else {
            let size = size.and_then(|size| size.trim().parse().ok());
            MetadataBuilder::file(size.ok_or_else(|| wrong(format!("`{}` has no size", path.escape_debug())))?)
        };
        if let Some(at) = at.and_then(|at| Timestamp::parse_rfc2822(at.trim()).ok()) {
            about.last_modified(at);
        }
        Ok(Found { path, about: about.build() })
    }
}

/// The name of a document's first element, without its prefix.
fn root(text: &str) -> Option<String> {
    let mut reader = Reader::from_str(text);
    loop {
        match reader.read_event().ok()? {
            Event::Start(element) | Event::Empty(element) => {
                let name: &str = element.local_name().into_inner();
                return Some(name.to_owned());
            }
            Event::Eof => return None,
            _ => {}
        }
    }
}

/// Reads the answer to a `PROPFIND`.
///
/// # Errors
/// It cannot be understood.
pub(super) fn read(answer: &Buffer) -> Result<Vec<Found>> {
    let bytes = answer.to_bytes();
    let text = std::str::from_utf8(&bytes).map_err(|_| wrong("it is not UTF-8"))?;
    // The words of any other document would be passed over, and nothing would be there.
    let is_one = root(text).is_some_and(|name| name == "multistatus");
    let parsed = if is_one { quick_xml::de::from_str::<Multistatus>(text).map_err(Some) } else { Err(None) };
    let parsed = parsed.map_err(|why| {
        let what = "the server's answer is none of WebDAV: it may not speak it at this address";
        let error = Error::new(ErrorKind::Unsupported, what);
        match why {
            Some(why) => error.set_source(why),
            None => error,
        }
    })?;
    parsed.response.into_iter().map(Response::found).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(inside: &str) -> Result<Vec<Found>> {
        read(&Buffer::from(format!(r#"<?xml version="1.0"?><d:multistatus xmlns:d="DAV:">{inside}</d:multistatus>"#)))
    }

    fn entry(href: &str, prop: &str, status: &str) -> String {
        format!(
            "<d:response><d:href>{href}</d:href><d:propstat><d:prop>{prop}</d:prop><d:status>HTTP/1.1 {status}</d:status></d:propstat>\
             <d:propstat><d:prop><d:getcontentlength/></d:prop><d:status>HTTP/1.1 404 Not Found</d:status></d:propstat></d:response>"
        )
    }

    #[test]
    fn files_and_folders_are_told_apart_whatever_the_prefix() {
        let folder = entry("/a%20b/", "<x:resourcetype xmlns:x='DAV:'><x:collection/></x:resourcetype>", "200 OK");
        let size = "<d:resourcetype/><d:getcontentlength>7</d:getcontentlength>\
                    <d:getlastmodified>Sat, 28 Nov 2026 03:40:12 GMT</d:getlastmodified>";
        let file = entry("https://host/a%20b/&amp;%C3%A4%25", size, "200 OK");
        let found = of(&format!("{folder}{file}")).expect("sound");
        let told: Vec<_> = found
            .iter()
            .map(|found| (found.path.as_str(), found.about.is_dir(), found.about.content_length()))
            .collect();
        assert_eq!(told, [("/a b", true, 0), ("/a b/&ä%", false, 7)]);
        assert!(found[1].about.last_modified().is_some());
        assert!(of("").expect("sound").is_empty());
    }

    #[test]
    fn what_cannot_be_understood_is_an_error() {
        for inside in [
            entry("/a", "<d:resourcetype/>", "200 OK"),
            entry("/a", "<d:resourcetype/><d:getcontentlength>x</d:getcontentlength>", "200 OK"),
            entry("/a", "<d:getcontentlength>7</d:getcontentlength>", "403 Forbidden"),
            entry("/%FF", "<d:getcontentlength>7</d:getcontentlength>", "200 OK"),
            "<d:response>".to_owned(),
        ] {
            assert!(of(&inside).is_err(), "{inside}");
        }
        assert!(
            read(&Buffer::from("<html><body>hello</body></html>")).is_err_and(|e| e.kind() == ErrorKind::Unsupported)
        );
    }
}
