//! A big stream: its entries page by page, then its counters, groups, consumers and what is pending with them.
//!
//! Takes a key. Gives `XADD` for each entry, `XSETID`, and for each group `XGROUP CREATE`, `CREATECONSUMER` and `XCLAIM`. What the
//! stream gets while it is read does no harm: no entry behind the one that was the last at the beginning is written, and groups,
//! which are read last, are set back to it where they are further. Always holds: each page is read with the key's expiry; a
//! stream that was made anew meanwhile counts as changed; pending entries keep when and how often they were delivered.

use aquifer_engine::failure::Failure;
use bytes::Bytes;

use crate::redis::read::big::Attempt;
use crate::redis::read::chunks;
use crate::redis::read::passing;
use crate::redis::read::scan::Dump;
use crate::redis::read::stream_info::{self, Id, Info, after, parse};
use crate::redis::read::values;
use crate::redis::read::work;
use crate::redis::stream::form::LONGEST_NAMES;
use crate::redis::stream::streams::StreamWriter;
use crate::redis::wire::expiry::{self, Expiry};
use crate::redis::wire::refusal;
use crate::redis::wire::refusal::reading;
use crate::redis::wire::resp::Head;

/// Entries that are asked for at once.
const MOST: u64 = 100;

impl Dump<'_> {
    /// Reads a stream.
    pub(super) async fn stream(&mut self, key: &Bytes, size: u64) -> Result<Attempt, Failure> {
        let (first, Some(before)) = self.state(key).await? else { return Ok(Attempt::Changed) };
        if first == Expiry::Gone {
            return Ok(Attempt::Gone);
        }
        let mut to = StreamWriter::new(key);
        to.no_consumers = self.way.no_consumers;
        let at_once = chunks::at_once(size, before.length, MOST);
        if let Some(attempt) = self.entries(key, first, &before, at_once, &mut to).await? {
            return Ok(attempt);
        }
        let more = before.counters.as_ref().and_then(|(added, deleted)| Some((count(added)?, parse(deleted)?)));
        to.state(&mut self.form, before.last, more);
        self.groups(key, &before, &mut to).await?;
        to.claim(&mut self.form);
        // A stream that was deleted and made again begins to count again.
        Ok(match self.state(key).await? {
            (Expiry::Gone, _) => Attempt::Gone,
            (expiry, Some(now)) if expiry.is_as(first, self.facts.clock) && now.goes_on_from(&before) => {
                self.written.lost_pending += to.lost;
                Attempt::Done(first)
            }
            _ => Attempt::Changed,
        })
    }

    /// The key's expiry and what the server says about the stream, of one moment; nothing where it is none.
    async fn state(&mut self, key: &Bytes) -> Result<(Expiry, Option<Info>), Failure> {
        let clock = self.facts.clock;
        self.connection.push(&[b"MULTI"]);
        expiry::ask_timed(self.connection.output(), clock, key);
        self.connection.push(&[b"XINFO", b"STREAM", key]);
        self.connection.push(&[b"EXEC"]);
        self.connection.flush().await?;
        values::begin(&mut self.connection, expiry::timed(clock) + 1, |_| reading(key)).await?;
        let expiry = expiry::read_timed(&mut self.connection, clock, key).await?;
        Ok((expiry, stream_info::read(&mut self.connection, key).await?))
    }

    /// Writes the entries up to the last one; gives how the attempt ended, if it did.
    async fn entries(
        &mut self,
        key: &Bytes,
        first: Expiry,
        before: &Info,
        count: u64,
        to: &mut StreamWriter,
    ) -> Result<Option<Attempt>, Failure> {
        let clock = self.facts.clock;
        let mut from = Some(Bytes::from_static(b"-"));
        let text = count.to_string();
        while let Some(start) = from {
            self.pace.rest().await?;
            self.pace.asked(work::TRANSACTION + count * work::ENTRY);
            self.connection.push(&[b"MULTI"]);
            expiry::ask_timed(self.connection.output(), clock, key);
            self.connection.push(&[b"XRANGE", key, &start, &before.last_text, b"COUNT", text.as_bytes()]);
            self.connection.push(&[b"EXEC"]);
            self.connection.flush().await?;
            values::begin(&mut self.connection, expiry::timed(clock) + 1, |_| reading(key)).await?;
            let expiry = expiry::read_timed(&mut self.connection, clock, key).await?;
            let found = match self.connection.head().await? {
                Head::Array(found) => found,
                Head::Error(error) if error.starts_with("WRONGTYPE") => return Ok(Some(Attempt::Changed)),
                Head::Error(error) => return Err(refusal::failure(&error, reading(key))),
                head => return Err(self.connection.unexpected("`XRANGE`", &head)),
            };
            let mut last = None;
            for _ in 0..found {
                last = Some(self.entry(key, to).await?);
            }
            if expiry == Expiry::Gone {
                return Ok(Some(Attempt::Gone));
            }
            if !expiry.is_as(first, clock) {
                return Ok(Some(Attempt::Changed));
            }
            from = last.filter(|_| found >= count).and_then(|id| after(&id));
            self.note();
        }
        Ok(None)
    }

    /// Writes one entry as it comes; gives its id.
    async fn entry(&mut self, key: &Bytes, to: &mut StreamWriter) -> Result<Bytes, Failure> {
        let (Head::Array(2), Head::Bulk(length)) = (self.connection.head().await?, self.connection.head().await?)
        else {
            return Err(self.connection.unexpected("`XRANGE`", &"no entry"));
        };
        let id = self.connection.text(length).await?;
        let fields = match self.connection.head().await? {
            Head::Array(fields) if fields > 0 && fields % 2 == 0 => fields,
            head => return Err(self.connection.unexpected("`XRANGE`", &head)),
        };
        to.entry(&mut self.form, &id, fields / 2);
        for _ in 0..fields {
            match self.connection.head().await? {
                Head::Bulk(length) => passing::pass(&mut self.connection, &mut self.form, key, length).await?,
                head => return Err(self.connection.unexpected("`XRANGE`", &head)),
            }
        }
        Ok(id)
    }

    async fn groups(&mut self, key: &Bytes, before: &Info, to: &mut StreamWriter) -> Result<(), Failure> {
        for group in stream_info::groups(&mut self.connection, key).await? {
            let Some(last) = parse(&group.last) else {
                return Err(self.connection.unexpected("`XINFO GROUPS`", &group));
            };
            let (last, read) = if last > before.last {
                // It has read all that is written here.
                (before.last, before.counters.as_ref().and_then(|(added, _)| count(added)))
            } else {
                (last, group.read.as_deref().and_then(count))
            };
            bounded(key, key.len() + group.name.len())?;
            to.group(&mut self.form, &group.name, last, read);
            if !to.no_consumers {
                for consumer in stream_info::consumers(&mut self.connection, key, &group.name).await? {
                    bounded(key, key.len() + group.name.len() + consumer.len())?;
                    to.consumer(&mut self.form, &consumer);
                }
            }
            self.pending(key, &group.name, before.last, to).await?;
        }
        Ok(())
    }

    async fn pending(&mut self, key: &Bytes, group: &Bytes, last: Id, to: &mut StreamWriter) -> Result<(), Failure> {
        let mut from = Some(Bytes::from_static(b"-"));
        while let Some(start) = from {
            self.pace.rest().await?;
            self.pace.asked(stream_info::PAGE * (work::PENDING + work::ENTRY));
            let page = stream_info::pending(&mut self.connection, key, group, &start).await?;
            from = page.last().filter(|_| page.len() as u64 >= stream_info::PAGE).and_then(|entry| after(&entry.id));
            let found = page.len();
            let known = page.into_iter().filter_map(|entry| Some((parse(&entry.id)?, entry)));
            let page: Vec<_> = known.filter(|(id, _)| *id <= last).collect();
            if page.len() < found {
                from = None;
            }
            for (_, entry) in &page {
                self.connection.push(&[b"XRANGE", key, &entry.id, &entry.id, b"COUNT", b"1"]);
            }
            self.connection.flush().await?;
            for (id, entry) in page {
                let there = match self.connection.head().await? {
                    Head::Array(0) => false,
                    Head::Array(1) => {
                        self.connection.skip_reply().await?;
                        true
                    }
                    Head::Error(error) => return Err(refusal::failure(&error, reading(key))),
                    head => return Err(self.connection.unexpected("`XRANGE`", &head)),
                };
                to.pending(&mut self.form, &entry.consumer, id, (entry.delivered, entry.times), Some(there));
            }
            self.form.flush_some().await?;
        }
        Ok(())
    }
}

/// Refuses names that nobody would read back.
pub(super) fn bounded(key: &[u8], names: usize) -> Result<(), Failure> {
    if names <= LONGEST_NAMES {
        return Ok(());
    }
    Err(Failure::rejected(format!(
        "{}: it has names of {names} bytes together, and a dump has room for {LONGEST_NAMES} in one command",
        reading(key)
    ))
    .with_help("leave the key out (`filter: {exclude: […]}`), or shorten its names"))
}

/// A number that a server wrote as text.
fn count(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}
