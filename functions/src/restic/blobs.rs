//! Stored blobs read from their packs, those that lie side by side in one read.
//!
//! Takes blobs and where they lie, gives them as they are stored and unpacked. Always holds: each was decrypted, unpacked and
//! compared with its id before it is given out; no more than [`AHEAD`] reads of at most [`SPAN`] bytes are under way, unless one blob
//! alone is larger.

use aquifer_engine::failure::{Failure, FailureKind};
use bytes::{Buf, Bytes, BytesMut};
use futures::{Stream, StreamExt};
use rustic_core::{FileType, Id};
use tokio::task::JoinError;
use tokio_util::task::AbortOnDropHandle;

use super::index_file::IndexedBlob;
use super::open::Repo;

/// How many reads may be under way.
const AHEAD: usize = 4;

/// How many bytes one read asks for at the most where blobs lie side by side, and how many they have at the most once
/// unpacked: words may be a thousand times what is stored of them.
const SPAN: u64 = 4 << 20;

/// How many bytes that nobody wants are read rather than asking twice.
const GAP: u64 = 64 << 10;

/// One read: blobs of one pack, in the order in which they are wanted.
#[derive(Debug)]
pub(crate) struct Span {
    pack: Id,
    offset: u64,
    length: u64,
    /// How many bytes its blobs have once unpacked.
    plain: u64,
    blobs: Vec<IndexedBlob>,
}

/// A blob that was read.
#[derive(Debug)]
pub(crate) struct Opened {
    /// Where it lies.
    pub(crate) blob: IndexedBlob,
    /// Its bytes in the pack.
    pub(crate) stored: Bytes,
    /// Its plain bytes.
    pub(crate) plain: Vec<u8>,
}

/// The reads that it takes to have blobs in this order.
pub(crate) fn spans(blobs: impl IntoIterator<Item = (Id, IndexedBlob)>) -> Vec<Span> {
    let mut spans: Vec<Span> = Vec::new();
    for (pack, blob) in blobs {
        let (offset, length, plain) = (u64::from(blob.offset), u64::from(blob.length), blob.plain());
        match spans.last_mut() {
            Some(last)
                if last.pack == pack
                    && (last.offset + last.length..=last.offset + last.length + GAP).contains(&offset)
                    && offset + length - last.offset <= SPAN
                    && last.plain + plain <= SPAN =>
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

/// The plain bytes of the blobs of these spans, in order, with reads under way ahead.
pub(crate) fn read(repo: &Repo, spans: Vec<Span>) -> impl Stream<Item = Result<Vec<Bytes>, Failure>> {
    // Tasks of their own: they go on while whoever takes the blobs waits for somebody else. Dropped, they end.
    let begin = |span| AbortOnDropHandle::new(tokio::spawn(read_plain(repo.clone(), span)));
    futures::stream::iter(spans).map(begin).buffered(AHEAD).map(|ended| {
        match ended.map_err(JoinError::try_into_panic) {
            Ok(read) => read,
            Err(Ok(panic)) => std::panic::resume_unwind(panic),
            Err(Err(_)) => Err(Failure::cancelled("the program is ending")),
        }
    })
}

/// The blobs of these spans as they are stored too, in order, and the pack of each span, with reads under way ahead.
pub(crate) fn read_stored(repo: &Repo, spans: Vec<Span>) -> impl Stream<Item = Result<(Id, Vec<Opened>), Failure>> {
    futures::stream::iter(spans).map(|span| read_one(repo.clone(), span)).buffered(AHEAD)
}

async fn stored(repo: &Repo, span: &Span) -> Result<Bytes, Failure> {
    let name = super::backend::name(FileType::Pack, &span.pack);
    repo.backend().read_range(&name, span.offset, span.length).await.map_err(missing)
}

/// Reads one span and opens its blobs where they lie, on a blocking thread.
async fn read_plain(repo: Repo, span: Span) -> Result<Vec<Bytes>, Failure> {
    let stored = stored(&repo, &span).await?;
    crate::codec::blocking(move || {
        // Without a copy, where nobody else holds them.
        let mut stored = BytesMut::from(stored);
        let mut at = span.offset;
        let open = |blob: &IndexedBlob| {
            stored.advance((u64::from(blob.offset) - at) as usize);
            at = u64::from(blob.offset) + u64::from(blob.length);
            let plain = repo.sealer().open_in_place(&blob.id, stored.split_to(blob.length as usize), blob.unpacked);
            plain.map_err(|failure| failure.during(blob_in(&blob.id, &span.pack)))
        };
        span.blobs.iter().map(open).collect()
    })
    .await
}

/// Reads one span and opens its blobs, the opening on a blocking thread.
async fn read_one(repo: Repo, span: Span) -> Result<(Id, Vec<Opened>), Failure> {
    let stored = stored(&repo, &span).await?;
    crate::codec::blocking(move || {
        let open = |blob: &IndexedBlob| {
            let from = (u64::from(blob.offset) - span.offset) as usize;
            let stored = stored.slice(from..from + blob.length as usize);
            let plain = repo.sealer().open(&blob.id, &stored, blob.unpacked);
            let plain = plain.map_err(|failure| failure.during(blob_in(&blob.id, &span.pack)))?;
            Ok(Opened { blob: *blob, stored, plain })
        };
        Ok((span.pack, span.blobs.iter().map(open).collect::<Result<_, Failure>>()?))
    })
    .await
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
