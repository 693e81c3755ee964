//! What a server says about a stream: its counters, groups, consumers and pending entries.
//!
//! Takes replies to `XINFO` and `XPENDING`. Gives what is in them, whatever the server's version. Always holds: entries, which
//! `XINFO STREAM` shows two of, are never held, however long they are.

use aquifer_engine::failure::Failure;
use bytes::Bytes;

use crate::redis::read::values;
use crate::redis::wire::connection::Connection;
use crate::redis::wire::expiry;
use crate::redis::wire::refusal;
use crate::redis::wire::refusal::reading;
use crate::redis::wire::reply::Reply;
use crate::redis::wire::reply::{field, fields};
use crate::redis::wire::resp::Head;

/// Pending entries that are asked for at once.
pub(crate) const PAGE: u64 = 100;

/// How often a page is asked for until the server's clock shows the same millisecond before and after it.
const ATTEMPTS: u32 = 8;

/// An id of an entry.
pub(crate) type Id = (u64, u64);

/// What stands in `XINFO STREAM`.
#[derive(Debug, Clone)]
pub(crate) struct Info {
    pub(crate) length: u64,
    pub(crate) last: Id,
    pub(crate) last_text: Bytes,
    /// Entries ever added, and the largest id that was deleted (7.0).
    pub(crate) counters: Option<(Bytes, Bytes)>,
}

/// A group.
#[derive(Debug, Clone)]
pub(crate) struct Group {
    pub(crate) name: Bytes,
    pub(crate) last: Bytes,
    /// Entries that it has read, where the server knows (7.0).
    pub(crate) read: Option<Bytes>,
}

/// An entry that is pending.
#[derive(Debug, Clone)]
pub(crate) struct Pending {
    pub(crate) id: Bytes,
    pub(crate) consumer: Bytes,
    /// When it was delivered last, in milliseconds of Unix time.
    pub(crate) delivered: u64,
    pub(crate) times: u64,
}

impl Info {
    /// True where this may be the same stream a little later.
    pub(crate) fn goes_on_from(&self, before: &Self) -> bool {
        let added = |info: &Self| info.counters.as_ref().and_then(|(added, _)| crate::redis::wire::resp::number(added));
        self.last >= before.last && added(self) >= added(before)
    }
}

/// An id as numbers.
pub(crate) fn parse(id: &[u8]) -> Option<Id> {
    let (milliseconds, sequence) = std::str::from_utf8(id).ok()?.split_once('-')?;
    Some((milliseconds.parse().ok()?, sequence.parse().ok()?))
}

/// The id behind this one: where a page that ended with it goes on. `None` behind the very last one.
pub(crate) fn after(id: &[u8]) -> Option<Bytes> {
    let (milliseconds, sequence) = parse(id)?;
    let (milliseconds, sequence) = match sequence.checked_add(1) {
        Some(sequence) => (milliseconds, sequence),
        None => (milliseconds.checked_add(1)?, 0),
    };
    Some(format!("{milliseconds}-{sequence}").into())
}

/// Reads the reply to `XINFO STREAM`; `None` where there is no such stream.
///
/// # Errors
/// The server refuses, or the connection is lost.
pub(crate) async fn read(connection: &mut Connection, key: &[u8]) -> Result<Option<Info>, Failure> {
    let count = match connection.head().await? {
        Head::Array(count) => count,
        Head::Error(error) if error.contains("no such key") || error.starts_with("WRONGTYPE") => return Ok(None),
        Head::Error(error) => return Err(refusal::failure(&error, reading(key))),
        head => return Err(connection.unexpected("`XINFO STREAM`", &head)),
    };
    let (mut length, mut last, mut added, mut deleted) = (0, Bytes::new(), None, None);
    for _ in 0..count / 2 {
        let name = connection.reply().await?;
        let text = |reply: Reply| match reply {
            Reply::Integer(number) => Some(Bytes::from(number.to_string())),
            reply => reply.bytes().cloned(),
        };
        match name.bytes().map_or(&b""[..], |name| name) {
            b"length" => {
                if let Reply::Integer(number) = connection.reply().await? {
                    length = number.unsigned_abs();
                }
            }
            b"last-generated-id" => last = text(connection.reply().await?).unwrap_or_default(),
            b"entries-added" => added = text(connection.reply().await?),
            b"max-deleted-entry-id" => deleted = text(connection.reply().await?),
            _ => connection.skip_reply().await?,
        }
    }
    let Some(id) = parse(&last) else { return Err(connection.unexpected("`XINFO STREAM`", &last)) };
    Ok(Some(Info { length, last: id, last_text: last, counters: added.zip(deleted) }))
}

/// The groups of a stream; none where there is no such stream.
///
/// # Errors
/// The server refuses, or the connection is lost.
pub(crate) async fn groups(connection: &mut Connection, key: &[u8]) -> Result<Vec<Group>, Failure> {
    let group = |reply: Reply| {
        let found = fields(reply);
        let read = Some(field(&found, "entries-read")).filter(|read| !read.is_empty());
        Group { name: field(&found, "name"), last: field(&found, "last-delivered-id"), read }
    };
    Ok(list(connection, &[b"XINFO", b"GROUPS", key], key).await?.into_iter().map(group).collect())
}

/// The names of a group's consumers.
///
/// # Errors
/// The server refuses, or the connection is lost.
pub(crate) async fn consumers(connection: &mut Connection, key: &[u8], group: &[u8]) -> Result<Vec<Bytes>, Failure> {
    let found = list(connection, &[b"XINFO", b"CONSUMERS", key, group], key).await?;
    Ok(found.into_iter().map(|consumer| field(&fields(consumer), "name")).collect())
}

async fn list(connection: &mut Connection, args: &[&[u8]], key: &[u8]) -> Result<Vec<Reply>, Failure> {
    match connection.ask(args).await? {
        // Gone meanwhile, which the end will show too.
        Reply::Error(error) if is_gone(&error) => Ok(Vec::new()),
        reply => Ok(connection.accepted(reply, reading(key))?.items().unwrap_or_default()),
    }
}

fn is_gone(error: &str) -> bool {
    error.contains("no such key") || error.starts_with("WRONGTYPE") || error.starts_with("NOGROUP")
}

/// A page of a group's pending entries, from this id on.
///
/// # Errors
/// The server refuses, or the connection is lost.
pub(crate) async fn pending(
    connection: &mut Connection,
    key: &[u8],
    group: &[u8],
    from: &[u8],
) -> Result<Vec<Pending>, Failure> {
    let count = PAGE.to_string();
    let mut attempt = 0;
    loop {
        attempt += 1;
        connection.push(&[b"MULTI"]);
        connection.push(&[b"TIME"]);
        connection.push(&[b"XPENDING", key, group, from, b"+", count.as_bytes()]);
        connection.push(&[b"TIME"]);
        connection.push(&[b"EXEC"]);
        connection.flush().await?;
        values::begin(connection, 3, |_| reading(key)).await?;
        let before = expiry::time(connection).await?;
        let page = connection.reply().await?;
        let now = expiry::time(connection).await?;
        let page = match page {
            Reply::Error(error) if is_gone(&error) => return Ok(Vec::new()),
            page => connection.accepted(page, reading(key))?.items().unwrap_or_default(),
        };
        // The server tells how long ago it was, in whole milliseconds of a clock that goes on meanwhile.
        if before != now && attempt < ATTEMPTS {
            continue;
        }
        let entry = |reply: Reply| {
            let Reply::Array(items) = reply else { return None };
            let [Reply::Bulk(id), Reply::Bulk(consumer), Reply::Integer(idle), Reply::Integer(times)] = &items[..]
            else {
                return None;
            };
            let (id, consumer, times) = (id.clone(), consumer.clone(), times.unsigned_abs());
            Some(Pending { id, consumer, delivered: before.saturating_add_signed(-*idle), times })
        };
        let page: Option<Vec<Pending>> = page.into_iter().map(entry).collect();
        return page.ok_or_else(|| connection.unexpected("`XPENDING`", &"something else"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_of_a_stream_goes_on_behind_its_last_id() {
        assert_eq!(after(b"5-7").as_deref(), Some(&b"5-8"[..]));
        assert_eq!(after(b"5-18446744073709551615").as_deref(), Some(&b"6-0"[..]));
        assert_eq!(after(b"18446744073709551615-18446744073709551615"), None);
    }
}
