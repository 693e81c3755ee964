//! The hash of one stream, for the digest of a keyspace.
//!
//! Takes a key. Gives the hash of everything in the stream that is not an age: entries, ids and counters, groups,
//! consumers, pending entries. Always holds: entries and pending ones are read a page at a time.

use aquifer_engine::failure::Failure;
use bytes::Bytes;

use super::connection::{Connection, Reply};
use super::digest::{Hasher, Sum, field, fields};
use super::scan::reading;

/// Entries of a stream, or pending ones of a group, that are asked for at once.
const ENTRIES: &[u8] = b"500";

/// Which of a stream's numbers count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Counters {
    /// All of them.
    All,
    /// Those that servers before 7.0 have, too.
    Old,
}

impl Counters {
    /// Those of these names that count: the first one is as old as streams are.
    fn of<const N: usize>(self, names: [&'static str; N]) -> impl Iterator<Item = &'static str> {
        names.into_iter().take(if self == Self::All { N } else { 1 })
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

/// The hash of a stream, `None` where there is none: its entries, last id, counters, groups, consumers and what is pending with whom. When a consumer
/// was last seen and when an entry was delivered are left out: these are ages, and no two readings agree about them.
///
/// # Errors
/// The server refuses, or the connection is lost.
pub(crate) async fn stream(
    connection: &mut Connection,
    key: &[u8],
    counters: Counters,
) -> Result<Option<StreamHash>, Failure> {
    let info = match connection.ask(&[b"XINFO", b"STREAM", key]).await? {
        Reply::Error(error) if error.contains("no such key") || error.starts_with("WRONGTYPE") => {
            return Ok(None);
        }
        reply => fields(connection.accepted(reply, reading(key))?),
    };
    let mut hasher = Hasher::default();
    for name in counters.of(["last-generated-id", "max-deleted-entry-id", "entries-added"]) {
        hasher = hasher.text(&field(&info, name));
    }
    let mut count = 0;
    let mut from = Some(Bytes::from_static(b"-"));
    while let Some(first) = from {
        let entries = page(connection, &[b"XRANGE", key, &first, b"+", b"COUNT", ENTRIES], key).await?;
        from = entries.last().and_then(|last| after(&text(last)));
        count += entries.len() as u64;
        for entry in entries {
            hasher = whole(hasher, &Reply::Array(entry));
        }
    }
    hasher.number(count);
    let mut groups = Sum::default();
    for group in page(connection, &[b"XINFO", b"GROUPS", key], key).await? {
        let group = fields(Reply::Array(group));
        let name = field(&group, "name");
        let mut one = Hasher::default().text(&name);
        for name in counters.of(["last-delivered-id", "entries-read"]) {
            one = one.text(&field(&group, name));
        }
        let mut consumers = Sum::default();
        for consumer in page(connection, &[b"XINFO", b"CONSUMERS", key, &name], key).await? {
            let consumer = fields(Reply::Array(consumer));
            consumers.add(Hasher::default().text(&field(&consumer, "name")).finish());
        }
        one = one.sum(consumers);
        let mut from = Some(Bytes::from_static(b"-"));
        let mut pending = 0;
        while let Some(first) = from {
            let page = page(connection, &[b"XPENDING", key, &name, &first, b"+", ENTRIES], key).await?;
            from = page.last().and_then(|last| after(&text(last)));
            for entry in page {
                // Id, consumer, milliseconds since it was delivered, how often it was.
                for place in [0, 1, 3] {
                    one = entry.get(place).into_iter().fold(one, whole);
                }
                pending += 1;
            }
        }
        one.number(pending);
        groups.add(one.finish());
    }
    Ok(Some(StreamHash { entries: hasher.clone().finish(), whole: hasher.sum(groups).finish() }))
}

/// An array of arrays.
async fn page(connection: &mut Connection, args: &[&[u8]], key: &[u8]) -> Result<Vec<Vec<Reply>>, Failure> {
    let reply = connection.ask(args).await?;
    let reply = connection.accepted(reply, reading(key))?;
    let items = reply.items().and_then(|items| items.into_iter().map(Reply::items).collect());
    items.ok_or_else(|| connection.unexpected("reading a stream", &"no list of lists"))
}

fn text(entry: &[Reply]) -> Bytes {
    entry.first().and_then(Reply::bytes).cloned().unwrap_or_default()
}

/// The id behind this one: where a page that ended with it goes on. `None` behind the very last one.
fn after(id: &[u8]) -> Option<Bytes> {
    let (milliseconds, sequence) = std::str::from_utf8(id).ok()?.split_once('-')?;
    let (milliseconds, sequence): (u64, u64) = (milliseconds.parse().ok()?, sequence.parse().ok()?);
    let (milliseconds, sequence) = match sequence.checked_add(1) {
        Some(sequence) => (milliseconds, sequence),
        None => (milliseconds.checked_add(1)?, 0),
    };
    Some(format!("{milliseconds}-{sequence}").into())
}

/// Everything in a reply, in its order.
fn whole(hasher: Hasher, reply: &Reply) -> Hasher {
    match reply {
        Reply::Array(items) => {
            let mut hasher = hasher;
            hasher.number(items.len() as u64);
            items.iter().fold(hasher, whole)
        }
        Reply::Integer(number) => hasher.text(number.to_string().as_bytes()),
        reply => hasher.text(reply.bytes().map_or(&b""[..], |bytes| bytes)),
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
