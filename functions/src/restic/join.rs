//! The files of several snapshots as the one file of a new one: nothing of them is read for it, and nothing stored again.
//!
//! Takes snapshots in order, gives what a new one is made of. Always holds: each of them has one file and nothing is lost of it; all files are
//! of one type, and streams of a cluster's shards are all there, in order; each chunk is in the index, in a pack that is there and
//! long enough, and the chunks' lengths add up to what the files should have.

use std::collections::HashSet;

use aquifer_engine::failure::Failure;
use aquifer_engine::stream::StreamType;
use bytes::Bytes;
use rustic_core::Id;
use rustic_core::jiff::Timestamp;
use rustic_core::repofile::{BlobType, SnapshotFile};

use super::archive::Archived;
use super::cipher::OVERHEAD;
use super::fetch::{self, Found};
use super::index::Index;
use super::open::Repo;
use super::pack::Added;
use super::select;
use crate::redis::stream::form::MEDIA_TYPE;
use crate::redis::stream::joined::Joined;

/// The most chunks that a file may have: its tree has some 70 bytes for each, and is held whole by whoever reads it, restic included.
const MOST_CHUNKS: usize = 16 << 20;

/// What a new snapshot is made of.
#[derive(Debug)]
pub(crate) struct Whole {
    pub(crate) archived: Archived,
    /// What its file holds.
    pub(crate) stream: StreamType,
    /// When the first part was begun.
    pub(crate) time: Timestamp,
}

/// The snapshots that are to be joined, in order.
///
/// # Errors
/// One is not there, stands there twice, or has not this tag.
pub(crate) fn parts(repo: &Repo, which: &[String], tag: &str) -> Result<Vec<SnapshotFile>, Failure> {
    let parts = select::these(repo, which)?;
    let mut seen = HashSet::new();
    for part in &parts {
        let id = part.id.to_hex();
        let short = &id.as_str()[..8];
        if !part.tags.contains(tag) {
            return Err(Failure::config(format!("the snapshot `{short}` does not have the tag `{tag}`"))
                .with_help("name only snapshots that were stored with it: all that have it are removed in the end"));
        }
        if !seen.insert(part.id) {
            return Err(Failure::config(format!("the snapshot `{short}` is named twice"))
                .with_help("name each part once, in order"));
        }
    }
    Ok(parts)
}

/// Puts the files behind each other. For blocking threads.
///
/// # Errors
/// One has no file or several, files do not go together, or something of them is missing.
pub(crate) fn join(repo: &Repo, index: &Index, parts: &[SnapshotFile]) -> Result<Whole, Failure> {
    let (mut files, mut content, mut bytes) = (Vec::new(), Vec::new(), 0);
    for part in parts {
        let file = only_file(repo, index, part)?;
        let id = part.id.to_hex();
        let during = |failure: Failure| failure.during(format!("the snapshot `{}`", &id.as_str()[..8]));
        bytes += measured(index, &file).map_err(during)?;
        content.extend_from_slice(file.content());
        if content.len() > MOST_CHUNKS {
            return Err(Failure::config(format!("together the parts have more than {MOST_CHUNKS} chunks"))
                .with_help("push them with `chunks: repository`, which cuts larger ones"));
        }
        files.push(file);
    }
    let stream = one_type(&files)?;
    if stream.base() == MEDIA_TYPE {
        let first = |file| repo.backend().wait(fetch::first(repo, index, file));
        let joined = Joined::all(&files.iter().map(first).collect::<Result<Vec<Bytes>, Failure>>()?)?;
        if !joined && files.len() > 1 {
            return Err(Failure::config("each part is a dump by itself, and several behind each other are none")
                .with_help("shards of a cluster become one where `redis-dump` is told `joined: true`"));
        }
    }
    let said = |of: fn(&rustic_core::repofile::SnapshotSummary) -> u64| -> u64 {
        parts.iter().filter_map(|part| part.summary.as_ref()).map(of).sum()
    };
    // What the parts added, for they are the backup and this only gives it a name.
    let added = Added { blobs: said(|sum| sum.data_blobs), stored: said(|sum| sum.data_added_packed) };
    let new_bytes = said(|sum| sum.data_added_files);
    let time = parts.iter().map(|part| part.time.timestamp()).min().unwrap_or_else(Timestamp::now);
    Ok(Whole { archived: Archived { content, bytes, new_bytes, added }, stream, time })
}

/// The one file of a snapshot.
fn only_file(repo: &Repo, index: &Index, part: &SnapshotFile) -> Result<Found, Failure> {
    fetch::find(repo, index, part, None)
        .map_err(|failure| failure.with_help("each part is a snapshot of one file, as `restic-push` stores it"))
}

/// How many bytes a file has by its chunks, all of which must be there.
fn measured(index: &Index, file: &Found) -> Result<u64, Failure> {
    let mut bytes = 0;
    for id in file.content() {
        let (_, blob) = fetch::locate(index, BlobType::Data, id)?;
        let stored = u64::from(blob.length);
        bytes += if blob.unpacked > 0 { blob.unpacked.into() } else { stored.saturating_sub(OVERHEAD as u64) };
    }
    match file.size {
        Some(size) if size != bytes => {
            Err(Failure::corrupt(format!("`{}` should have {size} bytes, and its chunks have {bytes}", file.path)))
        }
        _ => Ok(bytes),
    }
}

/// What all of the files hold.
fn one_type(files: &[Found]) -> Result<StreamType, Failure> {
    let Some(first) = files.first() else { return Err(Failure::internal("nothing is to be joined")) };
    if let Some(other) = files.iter().find(|file| file.stream != first.stream) {
        return Err(Failure::config(format!(
            "the parts hold different things: `{}` is `{}`, and `{}` is `{}`",
            first.path, first.stream, other.path, other.stream
        )));
    }
    if files.len() > 1 && !first.stream.wraps().is_empty() {
        return Err(Failure::config(format!(
            "the parts are `{}`: behind each other they could not be read",
            first.stream
        ))
        .with_help("push them neither compressed nor encrypted: the repository does both"));
    }
    Ok(first.stream.clone())
}

/// The snapshots that are to go once the new one is stored: all that have the tag.
pub(crate) fn with_tag(there: &[SnapshotFile], tag: &str, stays: &Id) -> std::collections::BTreeSet<Id> {
    there.iter().filter(|snapshot| snapshot.tags.contains(tag)).map(|one| *one.id).filter(|id| id != stays).collect()
}
