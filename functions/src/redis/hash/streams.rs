//! The hash of one stream, for the digest of a keyspace.
//!
//! Takes a key. Gives the hash of everything in the stream that is the same on every server that holds it: entries, the last
//! id, groups, consumers, pending entries; never ages, and the counters that came with 7.0 where they are asked for. Always holds: entries and pending
//! ones are read a page at a time, and entries are hashed while they arrive, so none is held.

use aquifer_engine::failure::Failure;
use bytes::Bytes;

use crate::redis::keys::digest::{Hasher, Sum};
use crate::redis::read::chunks::at_once;
use crate::redis::read::pace::Pace;
use crate::redis::read::stream_info::{self, PAGE, after};
use crate::redis::read::work;
use crate::redis::wire::connection::Connection;
use crate::redis::wire::refusal;
use crate::redis::wire::refusal::reading;
use crate::redis::wire::resp::Head;

/// Entries that are asked for at once.
const MOST: u64 = 100;

/// Which of a stream's numbers count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Counters {
    /// All of them.
    All,
    /// Those that servers before 7.0 have, too.
    Old,
}

impl Counters {
    /// How many of a stream's (or group's) numbers count: the first of them is as old as streams are.
    pub(crate) fn of(self, all: usize) -> usize {
        if self == Self::All { all } else { 1 }
    }
}

/// What a stream is hashed to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StreamHash {
    /// Everything.
    pub(crate) whole: u128,
    /// Everything but its groups.
    pub(crate) entries: u128,
}

/// The hash of a stream, `None` where there is none. When a consumer was last seen and when an entry was delivered are left out: these are ages, and no two
/// readings agree about them.
///
/// # Errors
/// The server refuses, or the connection is lost.
pub(crate) async fn stream(
    connection: &mut Connection,
    key: &[u8],
    size: u64,
    counters: Counters,
    pace: &mut Pace,
) -> Result<Option<StreamHash>, Failure> {
    connection.push(&[b"XINFO", b"STREAM", key]);
    connection.flush().await?;
    let Some(info) = stream_info::read(connection, key).await? else { return Ok(None) };
    let mut entries = Entries::default();
    let count = at_once(size, info.length, MOST);
    let text = count.to_string();
    let mut from = Some(Bytes::from_static(b"-"));
    while let Some(first) = from {
        pace.rest().await?;
        pace.asked(count * work::ENTRY);
        connection.push(&[b"XRANGE", key, &first, b"+", b"COUNT", text.as_bytes()]);
        connection.flush().await?;
        let found = match connection.head().await? {
            Head::Array(found) => found,
            Head::Error(error) => return Err(refusal::failure(&error, reading(key))),
            head => return Err(connection.unexpected("`XRANGE`", &head)),
        };
        let mut last = None;
        for _ in 0..found {
            let (Head::Array(2), Head::Bulk(length)) = (connection.head().await?, connection.head().await?) else {
                return Err(connection.unexpected("`XRANGE`", &"no entry"));
            };
            let id = connection.text(length).await?;
            let Head::Array(texts) = connection.head().await? else {
                return Err(connection.unexpected("`XRANGE`", &"no fields"));
            };
            entries.entry(&id, texts);
            for _ in 0..texts {
                match connection.head().await? {
                    Head::Bulk(length) => entries.read(connection, length).await?,
                    head => return Err(connection.unexpected("`XRANGE`", &head)),
                }
            }
            last = Some(id);
        }
        from = last.filter(|_| found >= count).and_then(|id| after(&id));
    }
    let (added, deleted) = info.counters.unwrap_or_default();
    let entries = entries.finish([info.last_text, deleted, added].into_iter().take(counters.of(3)));
    let mut groups = Sum::default();
    for group in stream_info::groups(connection, key).await? {
        let state = [group.last, group.read.unwrap_or_default()];
        let mut one = Group::new(&group.name, state.into_iter().take(counters.of(2)));
        for consumer in stream_info::consumers(connection, key, &group.name).await? {
            one.consumer(&consumer);
        }
        let mut from = Some(Bytes::from_static(b"-"));
        while let Some(first) = from {
            pace.rest().await?;
            pace.asked(PAGE * work::PENDING);
            let page = stream_info::pending(connection, key, &group.name, &first).await?;
            from = page.last().filter(|_| page.len() as u64 >= PAGE).and_then(|entry| after(&entry.id));
            for entry in page {
                one.pending(&entry.id, &entry.consumer, entry.times);
            }
        }
        groups.add(one.finish());
    }
    Ok(Some(whole(entries, groups)))
}

/// The hash of a stream from that of its entries and those of its groups.
pub(crate) fn whole(entries: u128, groups: Sum) -> StreamHash {
    let mut hasher = Hasher::default();
    hasher.update(&entries.to_le_bytes());
    StreamHash { entries, whole: hasher.sum(groups).finish() }
}

/// The hash of a stream's entries, in their order, and of its own state.
#[derive(Debug, Clone, Default)]
pub(crate) struct Entries {
    hasher: Hasher,
    pub(crate) count: u64,
}

impl Entries {
    /// Begins an entry; so many texts follow, each as its length and its bytes.
    pub(crate) fn entry(&mut self, id: &[u8], texts: u64) {
        self.count += 1;
        self.hasher = std::mem::take(&mut self.hasher).text(id);
        self.hasher.number(texts);
    }

    pub(crate) fn length(&mut self, length: u64) {
        self.hasher.number(length);
    }

    pub(crate) fn piece(&mut self, piece: &[u8]) {
        self.hasher.update(piece);
    }

    /// A text that is read in pieces.
    async fn read(&mut self, connection: &mut Connection, length: u64) -> Result<(), Failure> {
        self.hasher.read(connection, length).await
    }

    /// Ends with the last id, the largest deleted id and the number of entries ever added, as far as these count.
    pub(crate) fn finish(self, state: impl Iterator<Item = Bytes>) -> u128 {
        let mut hasher = self.hasher;
        hasher.number(self.count);
        state.fold(hasher, |hasher, text| hasher.text(&text)).finish()
    }
}

/// The hash of a group.
#[derive(Debug, Clone)]
pub(crate) struct Group {
    hasher: Hasher,
    consumers: Sum,
    pending: Sum,
}

impl Group {
    /// Begins with the last delivered id, and the number of entries that were read, as far as these count.
    pub(crate) fn new(name: &[u8], state: impl Iterator<Item = Bytes>) -> Self {
        let hasher = state.fold(Hasher::default().text(name), |hasher, text| hasher.text(&text));
        Self { hasher, consumers: Sum::default(), pending: Sum::default() }
    }

    pub(crate) fn consumer(&mut self, name: &[u8]) {
        self.consumers.add(Hasher::default().text(name).finish());
    }

    /// An entry that was delivered so often and is pending.
    pub(crate) fn pending(&mut self, id: &[u8], consumer: &[u8], times: u64) {
        let mut hasher = Hasher::default().text(id).text(consumer);
        hasher.number(times);
        self.pending.add(hasher.finish());
    }

    pub(crate) fn finish(self) -> u128 {
        self.hasher.sum(self.consumers).sum(self.pending).finish()
    }
}
