//! Stored blobs read from their packs, those that lie side by side in one read.
//!
//! Takes blobs and where they lie, gives what an [`Opener`] makes of them, in the same order. Always holds: each was decrypted,
//! unpacked and compared with its id before anything is given out of it; what is under way or waits to be taken has 16 MiB at the
//! most, before and after it is unpacked, unless one blob alone has more than its read's share.

use std::any::Any;
use std::num::NonZero;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError, mpsc};

use aquifer_engine::failure::{Failure, FailureKind};
use bytes::{Buf, Bytes, BytesMut};
use futures::StreamExt;
use futures::stream::BoxStream;
use rustic_core::{FileType, Id};
use tokio::sync::oneshot;

use super::index_file::IndexedBlob;
use super::open::Repo;
use super::seal::Unpacker;

/// How blobs of one repository are read.
#[derive(Debug, Clone, Copy)]
struct Pace {
    /// How many bytes one read asks for at the most where blobs lie side by side, and how many they have at the most once
    /// unpacked: words may be a thousand times what is stored of them.
    span: u64,
    /// How many reads may be under way, or wait to be taken.
    ahead: usize,
    /// How many of them are under way, each on a thread.
    threads: usize,
}

impl Pace {
    /// Both kinds hold the same bytes. Where asking costs next to nothing, pieces are small: what was just read is then still near
    /// the processor when it is opened, and many are ready for whoever takes them in bursts.
    fn of(repo: &Repo) -> Self {
        if repo.backend().store().folder().is_some() {
            let cores = std::thread::available_parallelism().map_or(2, NonZero::get);
            Self { span: 1 << 20, ahead: 16, threads: (cores + 1).min(8) }
        } else {
            Self { span: 4 << 20, ahead: 4, threads: 4 }
        }
    }
}

/// How many bytes that nobody wants are read rather than asking twice.
const GAP: u64 = 64 << 10;

/// One read: blobs of one pack, in the order in which they are wanted.
#[derive(Debug)]
pub(crate) struct Span {
    pub(super) pack: Id,
    offset: u64,
    length: u64,
    /// How many bytes its blobs have once unpacked.
    plain: u64,
    blobs: Vec<IndexedBlob>,
}

impl Span {
    /// Cuts what was read into its blobs, and has each opened.
    ///
    /// # Errors
    /// The first that does not open.
    pub(super) fn each<T>(
        &self,
        mut stored: BytesMut,
        mut open: impl FnMut(&IndexedBlob, BytesMut) -> Result<T, Failure>,
    ) -> Result<Vec<T>, Failure> {
        let mut at = self.offset;
        let mut open = |blob: &IndexedBlob| {
            stored.advance((u64::from(blob.offset) - at) as usize);
            at = u64::from(blob.offset) + u64::from(blob.length);
            let opened = open(blob, stored.split_to(blob.length as usize));
            opened.map_err(|failure| failure.during(blob_in(&blob.id, &self.pack)))
        };
        self.blobs.iter().map(&mut open).collect()
    }
}

/// What opens the blobs of a span; each thread has one.
pub(crate) trait Opener: Send + 'static {
    /// What it makes of a span.
    type Made: Send + 'static;

    /// Opens what was read.
    ///
    /// # Errors
    /// A blob is damaged, or another one than its id says.
    fn open(&mut self, span: &Span, stored: BytesMut) -> Result<Self::Made, Failure>;
}

/// Gives the plain bytes of each blob.
pub(crate) struct Plain(Repo, Unpacker);

impl Opener for Plain {
    type Made = Vec<Bytes>;

    fn open(&mut self, span: &Span, stored: BytesMut) -> Result<Vec<Bytes>, Failure> {
        span.each(stored, |blob, stored| self.0.sealer().open_in_place(&blob.id, stored, blob.unpacked, &mut self.1))
    }
}

/// Looks whether each blob opens, and gives how many plain bytes they have.
struct Whole(Repo, Unpacker);

impl Opener for Whole {
    type Made = u64;

    fn open(&mut self, span: &Span, stored: BytesMut) -> Result<u64, Failure> {
        let opened = span.each(stored, |blob, mut stored| {
            self.0.sealer().examine(&blob.id, &mut stored, blob.unpacked, &mut self.1)
        });
        Ok(opened?.into_iter().sum())
    }
}

/// The reads that it takes to have blobs of a repository in this order.
pub(crate) fn spans(repo: &Repo, blobs: impl IntoIterator<Item = (Id, IndexedBlob)>) -> Vec<Span> {
    let most = Pace::of(repo).span;
    let mut spans: Vec<Span> = Vec::new();
    for (pack, blob) in blobs {
        let (offset, length, plain) = (u64::from(blob.offset), u64::from(blob.length), blob.plain());
        match spans.last_mut() {
            Some(last)
                if last.pack == pack
                    && (last.offset + last.length..=last.offset + last.length + GAP).contains(&offset)
                    && offset + length - last.offset <= most
                    && last.plain + plain <= most =>
            {
                last.length = offset + length - last.offset;
                last.plain += plain;
                last.blobs.push(blob);
            }
            _ => spans.push(Span { pack, offset, length, plain, blobs: vec![blob] }),
        }
    }
    spans
}

/// What was made of spans, in order.
pub(crate) type Reads<T> = BoxStream<'static, Result<T, Failure>>;

/// The plain bytes of the blobs of these spans, in order, with reads under way ahead.
///
/// # Errors
/// The machine gives no threads, or no room to unpack.
pub(crate) fn read(repo: &Repo, spans: Vec<Span>) -> Result<Reads<Vec<Bytes>>, Failure> {
    read_by(repo, spans, || Ok(Plain(repo.clone(), Unpacker::new()?)))
}

/// How many plain bytes the blobs of each of these spans have, all of which were opened.
///
/// # Errors
/// As [`read`].
pub(crate) fn verify(repo: &Repo, spans: Vec<Span>) -> Result<Reads<u64>, Failure> {
    read_by(repo, spans, || Ok(Whole(repo.clone(), Unpacker::new()?)))
}

/// What openers make of these spans, in order, with reads under way ahead.
///
/// # Errors
/// An opener cannot be made, or the machine gives no threads.
pub(crate) fn read_by<O: Opener>(
    repo: &Repo,
    spans: Vec<Span>,
    opener: impl Fn() -> Result<O, Failure>,
) -> Result<Reads<O::Made>, Failure> {
    let (jobs, queue) = mpsc::channel();
    let queue = Arc::new(Mutex::new(queue));
    // Threads of their own, for all reads: they go on while whoever takes the blobs waits for somebody else.
    let pace = Pace::of(repo);
    for _ in 0..pace.threads.min(spans.len()) {
        let (repo, opener, queue) = (repo.clone(), opener()?, queue.clone());
        let begun = std::thread::Builder::new().name("aquifer-read".into()).spawn(move || work(&repo, opener, &queue));
        begun.map_err(|error| Failure::unavailable(format!("no thread can be started: {error}")))?;
    }
    let begin = move |span| {
        let (answer, answered) = oneshot::channel();
        // Where no thread is left to take it, the answer says so.
        _ = jobs.send(Job { span, answer });
        answered
    };
    let reads = futures::stream::iter(spans).map(begin).buffered(pace.ahead).map(|answered| match answered {
        Ok(Ok(made)) => made,
        Ok(Err(panic)) => std::panic::resume_unwind(panic),
        Err(_) => Err(Failure::cancelled("the program is ending")),
    });
    Ok(reads.boxed())
}

type Answer<T> = Result<Result<T, Failure>, Box<dyn Any + Send>>;

struct Job<T> {
    span: Span,
    answer: oneshot::Sender<Answer<T>>,
}

/// One of the threads: reads and opens spans until there are no more, or nobody wants them.
fn work<O: Opener>(repo: &Repo, mut opener: O, queue: &Mutex<mpsc::Receiver<Job<O::Made>>>) {
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
    while let Ok(Job { span, mut answer }) = next() {
        let done = catch_unwind(AssertUnwindSafe(|| {
            let read = stored(repo, &span, &mut answer)?;
            read.map(|stored| opener.open(&span, stored)).transpose()
        }));
        match done.map(Result::transpose) {
            Ok(Some(made)) => _ = answer.send(Ok(made)),
            Ok(None) => return,
            Err(panic) => {
                _ = answer.send(Err(panic));
                return;
            }
        }
    }
}

/// Reads a span; nothing where nobody wants it any more.
fn stored<T>(repo: &Repo, span: &Span, answer: &mut oneshot::Sender<T>) -> Result<Option<BytesMut>, Failure> {
    let (backend, name) = (repo.backend(), super::backend::name(FileType::Pack, &span.pack));
    if let Some(read) = backend.read_in_folder(&name, span.offset, span.length) {
        // Without a copy: nobody else holds them.
        return read.map(BytesMut::from).map(Some).map_err(missing);
    }
    let read = backend.runtime().block_on(async {
        tokio::select! {
            biased;
            () = answer.closed() => None,
            read = backend.read_range(&name, span.offset, span.length) => Some(read),
        }
    });
    read.transpose().map(|read| read.map(BytesMut::from)).map_err(missing)
}

/// A pack that is not there: the repository is damaged, and what to do next is not a matter of the place.
pub(crate) fn missing(failure: Failure) -> Failure {
    if !matches!(failure.kind, FailureKind::NotFound | FailureKind::Corrupt) {
        return failure;
    }
    let failure = Failure { kind: FailureKind::Corrupt, ..failure }.during("the repository is damaged".to_owned());
    failure
        .with_help("an older snapshot may be whole; `restic-check` (the task `repository-check`) tells what is missing")
}

/// A blob, for messages.
pub(crate) fn blob_in(id: &Id, pack: &Id) -> String {
    format!("the blob `{}` in the pack `{}`", id.to_hex().as_str(), pack.to_hex().as_str())
}
