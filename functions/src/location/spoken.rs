//! Protocols that the library does not speak, or not well enough, under the library's face.
//!
//! Takes a [`Protocol`]: the few questions that we ask a store. Gives an operator like all others, so that waiting, trying
//! again and reading in pieces are the same everywhere. Always holds: what a server answers becomes one of the library's
//! kinds of errors; what may pass by itself is marked so, and only that.

use std::fmt::Debug;
use std::future::Future;
use std::sync::Arc;

use http::{Request, Response, StatusCode};
use opendal::raw::{
    OpCopy, OpCreateDir, OpDelete, OpList, OpPresign, OpRead, OpRename, OpStat, OpWrite, RpCreateDir, RpPresign,
    RpRead, RpRename, RpStat, Service, ServiceInfo, oio,
};
use opendal::{
    Buffer, BytesRange, Capability, Error, ErrorKind, Metadata, MetadataBuilder, OperationContext, Operator, Result,
};

/// What a store is asked.
pub(super) trait Protocol: Debug + Send + Sync + Unpin + 'static {
    /// Its name.
    const SCHEME: &'static str;

    /// What writes a file there.
    type Writer: oio::Write;

    /// Where a listing stands: a folder, or a page of one.
    type Place: Send + Sync + Unpin + 'static;

    /// Whether a file can be written in several pieces.
    const IN_PIECES: bool;

    /// What is there under a name.
    fn stat(&self, name: &str) -> impl Future<Output = Result<Metadata>> + Send;

    /// A part of a file; fewer bytes only where the file ends.
    fn read(&self, name: &str, range: BytesRange) -> impl Future<Output = Result<Buffer>> + Send;

    /// Where the listing of all below a folder begins; the folder's name ends in a slash.
    fn first(&self, folder: &str) -> Self::Place;

    /// What is found at one place, by one request or little more. A folder that is not there holds nothing.
    fn list(&self, at: &Self::Place) -> impl Future<Output = Result<Page<Self::Place>>> + Send;

    /// Removes a file; one that is not there is removed already.
    fn delete(&self, name: &str) -> impl Future<Output = Result<()>> + Send;

    /// Begins to write a file, which may have to fail where there is one.
    fn write(self: Arc<Self>, context: &OperationContext, name: &str, how: &OpWrite) -> Self::Writer;
}

/// What is found at one place of a listing.
pub(super) struct Page<P> {
    /// Whole names; those of folders, which nobody has to tell, end in a slash.
    pub(super) found: Vec<(String, Metadata)>,
    /// The places that are to be looked at besides.
    pub(super) more: Vec<P>,
}

impl<P> Page<P> {
    /// Begins with the folder itself, so that each step of a listing has something to tell, and none goes on for many folders.
    pub(super) fn of_folder(name: &str) -> Self {
        let name = format!("{}/", name.trim_end_matches('/'));
        Self { found: vec![(name, MetadataBuilder::dir().build())], more: Vec::new() }
    }
}

/// The operator of a protocol.
pub(super) fn operator<P: Protocol>(protocol: P) -> Operator {
    Operator::from_parts(OperationContext::new(), Arc::new(Spoken(Arc::new(protocol))))
}

/// What a server's status says, as an error; the text in front says what was asked.
pub(super) fn refusal(doing: &str, answer: &Response<Buffer>) -> Error {
    let status = answer.status();
    let kind = match status {
        StatusCode::NOT_FOUND | StatusCode::GONE => ErrorKind::NotFound,
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::PROXY_AUTHENTICATION_REQUIRED => {
            ErrorKind::PermissionDenied
        }
        StatusCode::PRECONDITION_FAILED => ErrorKind::ConditionNotMatch,
        StatusCode::RANGE_NOT_SATISFIABLE => ErrorKind::RangeNotSatisfied,
        StatusCode::TOO_MANY_REQUESTS => ErrorKind::RateLimited,
        StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED => ErrorKind::Unsupported,
        _ => ErrorKind::Unexpected,
    };
    let passes = status.is_server_error() && status != StatusCode::NOT_IMPLEMENTED
        || matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT);
    // Some answer with a page.
    let body = answer.body().to_bytes();
    let said =
        String::from_utf8_lossy(&body[..body.len().min(200)]).lines().next().unwrap_or_default().trim().to_owned();
    let said = if said.is_empty() || said.starts_with('<') { String::new() } else { format!(": {said}") };
    Error::new(kind, format!("the server answered {doing} with {status}{said}")).with_temporary(passes)
}

/// A request that is sound by construction, or else an error that says so.
pub(super) fn request(builder: http::request::Builder, body: Buffer) -> Result<Request<Buffer>> {
    builder
        .body(body)
        .map_err(|error| Error::new(ErrorKind::ConfigInvalid, "a request cannot be made of this").set_source(error))
}

fn unsupported<T>() -> Result<T> {
    Err(Error::new(ErrorKind::Unsupported, "the protocol does not know this"))
}

#[derive(Debug)]
struct Spoken<P>(Arc<P>);

/// A file to be read.
struct Reading<P> {
    protocol: Arc<P>,
    name: String,
}

impl<P: Protocol> oio::StreamRead for Reading<P> {
    async fn open(&self, range: BytesRange) -> Result<(RpRead, Box<dyn oio::ReadStreamDyn>)> {
        let read = self.protocol.read(&self.name, range).await?;
        Ok((RpRead::default(), Box::new(read)))
    }
}

/// A folder that is being listed. What waits for a step may give up and ask again: nothing is lost by it.
struct Listing<P: Protocol> {
    protocol: Arc<P>,
    left: Vec<P::Place>,
    found: std::vec::IntoIter<(String, Metadata)>,
}

impl<P: Protocol> oio::List for Listing<P> {
    async fn next(&mut self) -> Result<Option<oio::Entry>> {
        loop {
            if let Some((name, about)) = self.found.next() {
                return Ok(Some(oio::Entry::new(&name, about)));
            }
            let Some(at) = self.left.last() else { return Ok(None) };
            let Page { found, more } = self.protocol.list(at).await?;
            self.left.pop();
            self.left.extend(more);
            self.found = found.into_iter();
        }
    }
}

/// A file to be removed.
struct Removing<P>(Arc<P>);

impl<P: Protocol> oio::OneShotDelete for Removing<P> {
    async fn delete_once(&self, name: String, _: OpDelete) -> Result<()> {
        self.0.delete(&name).await
    }
}

impl<P: Protocol> Service for Spoken<P> {
    type Reader = oio::StreamReader<Reading<P>>;
    type Writer = P::Writer;
    type Lister = Listing<P>;
    type Deleter = oio::OneShotDeleter<Removing<P>>;
    type Copier = ();
    type Composer = ();

    fn info(&self) -> ServiceInfo {
        ServiceInfo::with_scheme(P::SCHEME)
    }

    fn capability(&self) -> Capability {
        Capability {
            stat: true,
            read: true,
            write: true,
            write_can_empty: true,
            write_can_multi: P::IN_PIECES,
            write_with_if_not_exists: true,
            delete: true,
            list: true,
            list_with_recursive: true,
            shared: true,
            ..Capability::default()
        }
    }

    async fn create_dir(&self, _: &OperationContext, _: &str, _: OpCreateDir) -> Result<RpCreateDir> {
        unsupported()
    }

    async fn stat(&self, _: &OperationContext, name: &str, _: OpStat) -> Result<RpStat> {
        self.0.stat(name).await.map(RpStat::new)
    }

    fn read(&self, _: &OperationContext, name: &str, _: OpRead) -> Result<Self::Reader> {
        Ok(oio::StreamReader::new(Reading { protocol: Arc::clone(&self.0), name: name.to_owned() }))
    }

    fn write(&self, context: &OperationContext, name: &str, how: OpWrite) -> Result<Self::Writer> {
        Ok(Arc::clone(&self.0).write(context, name, &how))
    }

    fn delete(&self, _: &OperationContext) -> Result<Self::Deleter> {
        Ok(oio::OneShotDeleter::new(Removing(Arc::clone(&self.0))))
    }

    fn list(&self, _: &OperationContext, folder: &str, how: OpList) -> Result<Self::Lister> {
        if !how.recursive() {
            return unsupported();
        }
        let left = vec![self.0.first(folder)];
        Ok(Listing { protocol: Arc::clone(&self.0), left, found: Vec::new().into_iter() })
    }

    fn copy(&self, _: &OperationContext, _: &str, _: &str, _: OpCopy) -> Result<Self::Copier> {
        unsupported()
    }

    async fn rename(&self, _: &OperationContext, _: &str, _: &str, _: OpRename) -> Result<RpRename> {
        unsupported()
    }

    async fn presign(&self, _: &OperationContext, _: &str, _: OpPresign) -> Result<RpPresign> {
        unsupported()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use opendal::raw::oio::List;

    use super::*;

    /// Folders in folders; each is told once, and each look fails the first time.
    #[derive(Debug, Default)]
    struct Shaky {
        looked: Mutex<Vec<String>>,
    }

    impl Protocol for Shaky {
        const SCHEME: &'static str = "shaky";
        const IN_PIECES: bool = false;
        type Writer = ();
        type Place = String;

        async fn stat(&self, _: &str) -> Result<Metadata> {
            unsupported()
        }

        async fn read(&self, _: &str, _: BytesRange) -> Result<Buffer> {
            unsupported()
        }

        fn first(&self, folder: &str) -> String {
            folder.to_owned()
        }

        async fn list(&self, at: &String) -> Result<Page<String>> {
            let mut looked = self.looked.lock().expect("no panic");
            looked.push(at.clone());
            if looked.iter().filter(|looked| *looked == at).count() == 1 {
                return unsupported();
            }
            let mut page = Page::of_folder(at);
            if at == "f/" {
                page.more = ["f/a/", "f/b/", "f/c/"].map(str::to_owned).to_vec();
            } else if at != "f/b/" {
                page.found.push((format!("{at}n"), MetadataBuilder::file(1).build()));
            }
            Ok(page)
        }

        async fn delete(&self, _: &str) -> Result<()> {
            unsupported()
        }

        fn write(self: Arc<Self>, _: &OperationContext, _: &str, _: &OpWrite) {}
    }

    #[tokio::test]
    async fn a_step_of_a_listing_looks_at_one_folder_and_loses_nothing_by_being_asked_again() {
        let protocol = Arc::new(Shaky::default());
        let left = vec![protocol.first("f/")];
        let mut listing = Listing { protocol: Arc::clone(&protocol), left, found: Vec::new().into_iter() };
        let (mut files, mut looks) = (Vec::new(), 0);
        loop {
            let next = listing.next().await;
            let now = protocol.looked.lock().expect("no panic").len();
            assert!(now <= looks + 1, "one step, and {} looks", now - looks);
            looks = now;
            match next {
                Err(_) => {}
                Ok(None) => break,
                Ok(Some(entry)) if entry.mode().is_file() => files.push(entry.path().to_owned()),
                Ok(Some(_)) => {}
            }
        }
        files.sort();
        assert_eq!((files, looks), (vec!["f/a/n".to_owned(), "f/c/n".to_owned()], 8));
    }
}
