//! A file on its way to a server of WebDAV.
//!
//! Always holds: it is sent beside its place, and its size there is what was sent before it gets its name; what is given up is removed;
//! what killed programs left a day ago or earlier is removed as well.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use http::{StatusCode, header};
use opendal::raw::oio;
use opendal::{Buffer, Error, ErrorKind, Metadata, MetadataBuilder, Result};

use tokio::time::{sleep, timeout};

use super::server::Server;
use crate::location::PARTS;
use crate::location::flow::Flow;
use crate::location::part::LEFT_OVER;
use crate::location::spoken::{Protocol, refusal, request};

/// How long the server may take to end a request that is given up.
const ENDING: Duration = Duration::from_secs(5);

/// When what a broken request left is looked for again.
const LATER: [Duration; 3] = [Duration::from_millis(200), Duration::from_millis(400), Duration::from_millis(800)];

/// A file that is being written.
pub(crate) struct Part {
    server: Arc<Server>,
    name: String,
    /// Whether it must not replace another.
    new: bool,
    part: Option<String>,
    /// The first piece, which is all of most files.
    held: Option<Buffer>,
    flow: Option<Flow>,
    sent: u64,
    stored: bool,
    /// Whether a request that went on for many pieces broke.
    broken: bool,
    /// Whether it was tried before to give it its name.
    placing: bool,
}

impl Part {
    pub(super) fn new(server: Arc<Server>, name: &str, new: bool) -> Self {
        let mut random = [0; 16];
        // Without a source of chance the write fails when it begins.
        let part = getrandom::fill(&mut random).is_ok().then(|| format!("{PARTS}/{}.part", hex::encode(random)));
        let name = name.to_owned();
        Self { server, name, new, part, held: None, flow: None, sent: 0, stored: false, broken: false, placing: false }
    }

    fn part(&self) -> Result<&str> {
        self.part.as_deref().ok_or_else(|| Error::new(ErrorKind::Unexpected, "the system gives no random numbers"))
    }

    /// What comes before the first byte.
    async fn begin(&self) -> Result<()> {
        let part = self.part()?;
        if !self.server.swept.swap(true, Ordering::Relaxed) {
            // What cannot be looked for or removed does no harm.
            _ = sweep(&self.server).await;
        }
        self.server.make_for(part).await
    }

    /// Sends the only piece that there is; it may be sent again.
    async fn store_at_once(&mut self) -> Result<()> {
        self.begin().await?;
        let content = self.held.clone().unwrap_or_default();
        let bytes = content.len() as u64;
        let head = self.server.head("PUT", &self.server.address(self.part()?)).header(header::CONTENT_LENGTH, bytes);
        let answer = self.server.send(head, content).await?;
        if !answer.status().is_success() {
            self.server.forget();
            // Somebody may have removed the folder: it is made when this is tried again.
            let again = matches!(answer.status(), StatusCode::CONFLICT | StatusCode::NOT_FOUND);
            let error = refusal("a write", &answer);
            return Err(if again { error.set_temporary() } else { error });
        }
        self.sent = bytes;
        self.check().await
    }

    /// Whether the server has stored what was sent, whatever it said.
    async fn check(&self) -> Result<()> {
        match self.server.size(self.part()?).await? {
            Some(bytes) if bytes == self.sent => Ok(()),
            found => Err(Error::new(
                ErrorKind::Unexpected,
                format!(
                    "the server stored {} bytes of {}, and said that all is well",
                    found.unwrap_or_default(),
                    self.sent
                ),
            )),
        }
    }

    /// Ends a request that went on for many pieces. Some servers do not know such, and store less or nothing.
    async fn end(&mut self, flow: Flow) -> Result<()> {
        // It cannot be begun anew from here.
        self.broken = true;
        let answer = flow.finish().await.map_err(Error::set_persistent)?;
        self.broken = false;
        if !answer.status().is_success() {
            return Err(refusal("a write", &answer).set_persistent());
        }
        self.check().await.map_err(Error::set_persistent)
    }

    /// Gives the part its name.
    async fn place(&mut self) -> Result<()> {
        let part = self.part()?.to_owned();
        if self.placing {
            // The answer to an earlier attempt was lost.
            let (left, there) = (self.server.size(&part).await?, self.server.size(&self.name).await?);
            if left.is_none() && there == Some(self.sent) {
                return Ok(());
            }
        }
        self.server.make_for(&self.name).await?;
        self.placing = true;
        let head = self
            .server
            .head("MOVE", &self.server.address(&part))
            .header("Destination", self.server.address(&self.name))
            .header("Overwrite", if self.new { "F" } else { "T" });
        let answer = self.server.send(head, Buffer::new()).await?;
        match answer.status() {
            // Some of it, or all, was refused, though the status is one of success.
            status if status.is_success() && status != StatusCode::MULTI_STATUS => Ok(()),
            StatusCode::PRECONDITION_FAILED if self.new => {
                Err(Error::new(ErrorKind::ConditionNotMatch, "there is such a file already"))
            }
            _ => {
                self.server.forget();
                Err(refusal("giving the file its name", &answer))
            }
        }
    }
}

/// Removes what killed programs left half-written; what cannot be removed does no harm.
async fn sweep(server: &Server) -> Result<()> {
    let listed = server.entries(&format!("{PARTS}/")).await?;
    // By the server's own clock.
    let Some(now) = listed.now else { return Ok(()) };
    for found in listed.found.iter().filter(|found| found.about.is_file()) {
        let age = found.about.last_modified().map(|at| now.into_inner().duration_since(at.into_inner()));
        if age.and_then(|age| Duration::try_from(age).ok()).is_some_and(|age| age > LEFT_OVER) {
            _ = server.delete(&found.path).await;
        }
    }
    Ok(())
}

impl oio::Write for Part {
    async fn write(&mut self, content: Buffer) -> Result<()> {
        if self.held.is_none() && self.flow.is_none() {
            self.held = Some(content);
            return Ok(());
        }
        if self.flow.is_none() {
            self.begin().await?;
            let head = self.server.head("PUT", &self.server.address(self.part()?));
            let (head, _) = request(head, Buffer::new())?.into_parts();
            self.flow = Some(Flow::begin(&self.server.line, head));
        }
        let Some(flow) = &mut self.flow else { return Ok(()) };
        for piece in self.held.take().into_iter().chain([content]) {
            let bytes = piece.len() as u64;
            if let Err(error) = flow.push(piece).await {
                (self.flow, self.broken) = (None, true);
                return Err(error.set_persistent());
            }
            self.sent += bytes;
        }
        Ok(())
    }

    async fn close(&mut self) -> Result<Metadata> {
        if !self.stored {
            match self.flow.take() {
                Some(flow) => self.end(flow).await?,
                None => self.store_at_once().await?,
            }
            (self.stored, self.held) = (true, None);
        }
        self.place().await?;
        Ok(MetadataBuilder::file(self.sent).build())
    }

    async fn abort(&mut self) -> Result<()> {
        // A body that breaks off is noticed late, and what the server has of it would outlive the removal below.
        if let Some(flow) = self.flow.take() {
            self.broken |= !matches!(timeout(ENDING, flow.finish()).await, Ok(Ok(_)));
        }
        let Some(part) = &self.part else { return Ok(()) };
        let mut removed = self.server.delete(part).await;
        // A server may keep what it has of a request that broke, once it has noticed, and let it go only then.
        for wait in if self.broken { &LATER[..] } else { &[] } {
            sleep(*wait).await;
            removed = self.server.delete(part).await;
        }
        removed
    }
}
