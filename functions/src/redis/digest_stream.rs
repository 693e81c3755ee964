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
    pub(crate) fn of<const N: usize>(self, names: [&'static str; N]) -> impl Iterator<Item = &'static str> {
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
    let mut entries = Entries::default();
    let mut from = Some(Bytes::from_static(b"-"));
    while let Some(first) = from {
        let page = page(connection, &[b"XRANGE", key, &first, b"+", b"COUNT", ENTRIES], key).await?;
        from = page.last().and_then(|last| after(&text(last)));
        for entry in page {
            let [id, Reply::Array(fields)] = &entry[..] else {
                return Err(connection.unexpected("`XRANGE`", &"something else"));
            };
            let id = id.bytes().map_or(&b""[..], |id| id);
            entries.entry(id, fields.len() as u64);
            for part in fields {
                let part = part.bytes().map_or(&b""[..], |part| part);
                entries.length(part.len() as u64);
                entries.piece(part);
            }
        }
    }
    let state = counters.of(["last-generated-id", "max-deleted-entry-id", "entries-added"]);
    let entries = entries.finish(state.map(|name| field(&info, name)));
    let mut groups = Sum::default();
    for group in page(connection, &[b"XINFO", b"GROUPS", key], key).await? {
        let group = fields(Reply::Array(group));
        let name = field(&group, "name");
        let state = counters.of(["last-delivered-id", "entries-read"]);
        let mut one = Group::new(&name, state.map(|name| field(&group, name)));
        for consumer in page(connection, &[b"XINFO", b"CONSUMERS", key, &name], key).await? {
            one.consumer(&field(&fields(Reply::Array(consumer)), "name"));
        }
        let mut from = Some(Bytes::from_static(b"-"));
        while let Some(first) = from {
            let page = page(connection, &[b"XPENDING", key, &name, &first, b"+", ENTRIES], key).await?;
            from = page.last().and_then(|last| after(&text(last)));
            for entry in page {
                // Id, consumer, milliseconds since it was delivered, how often it was.
                let [id, consumer, _, Reply::Integer(times)] = &entry[..] else {
                    return Err(connection.unexpected("`XPENDING`", &"something else"));
                };
                let part = |reply: &Reply| reply.bytes().cloned().unwrap_or_default();
                one.pending(&part(id), &part(consumer), times.unsigned_abs());
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
