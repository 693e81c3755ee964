//! The hash of one stream, for the digest of a keyspace.
//!
//! Takes a key. Gives the hash of everything in the stream that is the same on every server that holds it: entries, the last
//! id, groups, consumers, pending entries; never ages, and the counters that came with 7.0 where they are asked for. Always holds: entries and pending
//! ones are read a page at a time, and entries are hashed while they arrive, so none is held.

use aquifer_engine::failure::Failure;
use bytes::Bytes;

use super::chunks::at_once;
use super::connection::Connection;
use super::digest::{Hasher, Sum};
use super::pace::Pace;
use super::refusal;
use super::resp::Head;
use super::scan::reading;
use super::stream_info::{self, PAGE, after};
use super::work;

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
    let mut hasher = Hasher::default().text(&info.last_text);
    if let (Counters::All, Some((added, deleted))) = (counters, &info.counters) {
        hasher = hasher.text(deleted).text(added);
    }
    let count = at_once(size, info.length, MOST);
    let text = count.to_string();
    let (mut from, mut entries) = (Some(Bytes::from_static(b"-")), 0);
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
            hasher = hasher.text(&id);
            let Head::Array(fields) = connection.head().await? else {
                return Err(connection.unexpected("`XRANGE`", &"no fields"));
            };
            hasher.number(fields);
            for _ in 0..fields {
                match connection.head().await? {
                    Head::Bulk(length) => hasher.read(connection, length).await?,
                    head => return Err(connection.unexpected("`XRANGE`", &head)),
                }
            }
            last = Some(id);
        }
        entries += found;
        from = last.filter(|_| found >= count).and_then(|id| after(&id));
    }
    hasher.number(entries);
    let mut groups = Sum::default();
    for group in stream_info::groups(connection, key).await? {
        let mut one = Hasher::default().text(&group.name).text(&group.last);
        if counters == Counters::All {
            one = one.text(group.read.as_deref().unwrap_or_default());
        }
        let mut consumers = Sum::default();
        for consumer in stream_info::consumers(connection, key, &group.name).await? {
            consumers.add(Hasher::default().text(&consumer).finish());
        }
        one = one.sum(consumers);
        let mut from = Some(Bytes::from_static(b"-"));
        let mut pending = 0;
        while let Some(first) = from {
            pace.rest().await?;
            pace.asked(PAGE * work::PENDING);
            let page = stream_info::pending(connection, key, &group.name, &first).await?;
            from = page.last().filter(|_| page.len() as u64 >= PAGE).and_then(|entry| after(&entry.id));
            pending += page.len() as u64;
            for entry in page {
                one = one.text(&entry.id).text(&entry.consumer);
                one.number(entry.times);
            }
        }
        one.number(pending);
        groups.add(one.finish());
    }
    Ok(Some(StreamHash { entries: hasher.clone().finish(), whole: hasher.sum(groups).finish() }))
}
