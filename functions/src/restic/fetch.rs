//! A snapshot's file back to a stream.
//!
//! Takes a snapshot, gives its file's bytes in order. Always holds: every chunk was decrypted, unpacked and compared with its id
//! before a byte of it is passed on, and the sum of their lengths with the file's size before the end; reads under way are bounded.

use aquifer_engine::failure::Failure;
use aquifer_engine::stream::StreamType;
use bytes::Bytes;
use futures::TryStreamExt;
use rustic_core::Id;
use rustic_core::repofile::{BlobType, Node, SnapshotFile, Tree};

use super::blobs::{self, Span, blob_in, missing};
use super::index::Index;
use super::index_file::IndexedBlob;
use super::open::Repo;
use super::snapshot::TYPE_ATTRIBUTE;

/// A file in a snapshot.
#[derive(Debug)]
pub(crate) struct Found {
    /// Its path in the snapshot.
    pub(crate) path: String,
    /// Its size in bytes; none where it was stored without (other programs do so with streams).
    pub(crate) size: Option<u64>,
    /// What it holds.
    pub(crate) stream: StreamType,
    content: Vec<Id>,
}

impl Found {
    /// The ids of its chunks, in its order.
    pub(crate) fn content(&self) -> &[Id] {
        &self.content
    }
}

/// A tree of the repository.
///
/// # Errors
/// It is not there, it is damaged, or the store cannot be reached.
pub(crate) async fn read_tree(repo: &Repo, index: &Index, id: &Id) -> Result<Tree, Failure> {
    let bytes = blob(repo, index, BlobType::Tree, id).await?;
    serde_json::from_slice(&bytes)
        .map_err(|error| Failure::corrupt(format!("the tree `{}` is no JSON: {error}", id.to_hex().as_str())))
}

/// One blob, compared with its id.
async fn blob(repo: &Repo, index: &Index, kind: BlobType, id: &Id) -> Result<Bytes, Failure> {
    let (pack, place) = locate(index, kind, id)?;
    let name = super::backend::name(rustic_core::FileType::Pack, &pack);
    let stored = repo.backend().read_range(&name, place.offset.into(), place.length.into()).await.map_err(missing)?;
    let opened = repo.sealer().open(id, &stored, place.unpacked);
    opened.map(Bytes::from).map_err(|failure| failure.during(blob_in(id, &pack)))
}

/// What a file begins with: its first chunk.
///
/// # Errors
/// It is missing or damaged, or the store cannot be reached.
pub(crate) async fn first(repo: &Repo, index: &Index, file: &Found) -> Result<Bytes, Failure> {
    match file.content.first() {
        Some(id) => blob(repo, index, BlobType::Data, id).await,
        None => Ok(Bytes::new()),
    }
}

/// Where a blob lies: its pack, and its place in it.
///
/// # Errors
/// The index does not know it.
pub(crate) fn locate(index: &Index, kind: BlobType, id: &Id) -> Result<(Id, IndexedBlob), Failure> {
    let found = index.find(kind, id).and_then(|place| Some((index.pack(place)?, place)));
    let (pack, place) = found.ok_or_else(|| {
        Failure::corrupt(format!("the index does not know the blob `{}`", id.to_hex().as_str()))
            .with_help("`restic-check` tells what else is missing; an older snapshot may be whole")
    })?;
    let (offset, length, unpacked) = (place.offset, place.length, place.unpacked);
    Ok((pack, IndexedBlob { id: *id, kind, offset, length, unpacked }))
}

/// Finds a file: at `path`, or, where that is not said, the only one that there is.
///
/// # Errors
/// There is none, there are several, or a tree cannot be read.
pub(crate) fn find(repo: &Repo, index: &Index, snapshot: &SnapshotFile, path: Option<&str>) -> Result<Found, Failure> {
    let id = snapshot.id.to_hex();
    let short = &id.as_str()[..8];
    let mut files = Vec::new();
    collect(repo, index, &snapshot.tree, "", path, &mut files)?;
    match (files.pop(), files.len()) {
        (Some((path, node)), 0) => Ok(found(path, &node)),
        (None, _) => Err(match path {
            Some(path) => Failure::not_found(format!("the snapshot `{short}` has no file `{path}`"))
                .with_help(format!("its paths are: {}", snapshot.paths.iter().cloned().collect::<Vec<_>>().join(", "))),
            None => Failure::not_found(format!("the snapshot `{short}` has no file")),
        }),
        (Some((last, _)), more) => {
            Err(Failure::config(format!("the snapshot `{short}` has {} files or more", more + 1))
                .with_help(format!("say which one with `filename`, such as `{last}`")))
        }
    }
}

/// How many files are listed before it is clear that there are several.
const ENOUGH: usize = 3;

fn collect(
    repo: &Repo,
    index: &Index,
    tree: &Id,
    above: &str,
    wanted: Option<&str>,
    files: &mut Vec<(String, Node)>,
) -> Result<(), Failure> {
    for node in repo.backend().wait(read_tree(repo, index, tree))?.nodes {
        let path = format!("{above}/{}", node.name().to_string_lossy());
        let on_the_way = wanted.is_none_or(|wanted| {
            let wanted = wanted.trim_start_matches('/');
            let path = path.trim_start_matches('/');
            wanted == path || wanted.strip_prefix(path).is_some_and(|rest| rest.starts_with('/'))
        });
        if !on_the_way || files.len() >= ENOUGH {
            continue;
        }
        if let Some(subtree) = node.subtree.filter(|_| node.is_dir()) {
            collect(repo, index, &subtree, &path, wanted, files)?;
        } else if node.is_file() {
            files.push((path, node));
        }
    }
    Ok(())
}

fn found(path: String, node: &Node) -> Found {
    let attribute = node.meta.extended_attributes.iter().find(|attribute| attribute.name == TYPE_ATTRIBUTE);
    let text = attribute.and_then(|attribute| String::from_utf8(attribute.value.clone()?).ok());
    let content: Vec<Id> = node.content.iter().flatten().map(|id| **id).collect();
    // restic's `--stdin` and others leave a stream's size at 0.
    let size = Some(node.meta.size).filter(|size| *size > 0 || content.is_empty());
    Found { path, size, stream: text.and_then(|text| text.parse().ok()).unwrap_or_else(StreamType::unknown), content }
}

/// Where the chunks of a file lie, in its order.
fn located(repo: &Repo, index: &Index, content: &[Id]) -> Result<Vec<Span>, Failure> {
    let places = content.iter().map(|id| locate(index, BlobType::Data, id));
    Ok(blobs::spans(repo, places.collect::<Result<Vec<_>, Failure>>()?))
}

/// Passes a file's bytes on in order and gives their number.
///
/// # Errors
/// A chunk is missing or damaged, the store cannot be reached, nobody reads any more, or the step was stopped.
pub(crate) async fn stream(
    repo: &Repo,
    index: &Index,
    file: &Found,
    output: &mut aquifer_engine::pipe::Writer,
) -> Result<u64, Failure> {
    // All of it is located first: a chunk that is missing is told before a byte is passed on.
    let mut reads = blobs::read(repo, located(repo, index, &file.content)?)?;
    let mut bytes = 0;
    while let Some(chunks) = reads.try_next().await? {
        for chunk in chunks {
            bytes += chunk.len() as u64;
            output.write(chunk).await?;
        }
    }
    match file.size {
        Some(size) if size != bytes => {
            Err(Failure::corrupt(format!("`{}` should have {size} bytes, and its chunks have {bytes}", file.path)))
        }
        _ => Ok(bytes),
    }
}

/// Reads chunks that must be in a repository, each compared with its id, and gives how many bytes they have.
///
/// # Errors
/// One is missing or damaged, or the store cannot be reached.
pub(crate) async fn read_all(repo: &Repo, index: &Index, content: &[Id]) -> Result<u64, Failure> {
    let reads = blobs::verify(repo, located(repo, index, content)?)?;
    reads.try_fold(0, async |bytes, more| Ok(bytes + more)).await
}
