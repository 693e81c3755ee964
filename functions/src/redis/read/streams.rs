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
use crate::redis::wire::expiry::{self, Expiry};
use crate::redis::wire::refusal;
use crate::redis::wire::refusal::reading;
use crate::redis::wire::resp::{self, Head};

/// Entries that are asked for at once.
const MOST: u64 = 100;

impl Dump<'_> {
    /// Reads a stream.
    pub(super) async fn stream(&mut self, key: &Bytes, size: u64) -> Result<Attempt, Failure> {
        let (first, Some(before)) = self.state(key).await? else { return Ok(Attempt::Changed) };
        if first == Expiry::Gone {
            return Ok(Attempt::Gone);
        }
        let entries = match self.entries(key, first, &before, chunks::at_once(size, before.length, MOST)).await? {
            Ok(entries) => entries,
            Err(attempt) => return Ok(attempt),
        };
        if entries == 0 {
            // A stream that is there and has no entries: one that goes at once, as the server's own AOF does it.
            let id = if before.last == (0, 0) { "0-1".into() } else { before.last_text.clone() };
            self.form.command(&[b"XADD", key, b"MAXLEN", b"0", &id, b"x", b"y"]);
        }
        match &before.counters {
            Some((added, deleted)) => {
                let words = [&b"ENTRIESADDED"[..], added, b"MAXDELETEDID", deleted];
                self.form.command(&[&[b"XSETID", &key[..], &before.last_text], &words[..]].concat());
            }
            None => self.form.command(&[b"XSETID", key, &before.last_text]),
        }
        self.groups(key, &before).await?;
        // A stream that was deleted and made again begins to count again.
        Ok(match self.state(key).await? {
            (Expiry::Gone, _) => Attempt::Gone,
            (expiry, Some(now)) if expiry.is_as(first, self.facts.clock) && now.goes_on_from(&before) => {
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

    /// Writes the entries up to the last one; gives how many, or how the attempt ended.
    async fn entries(
        &mut self,
        key: &Bytes,
        first: Expiry,
        before: &Info,
        count: u64,
    ) -> Result<Result<u64, Attempt>, Failure> {
        let clock = self.facts.clock;
        let (mut from, mut entries) = (Some(Bytes::from_static(b"-")), 0);
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
                Head::Error(error) if error.starts_with("WRONGTYPE") => return Ok(Err(Attempt::Changed)),
                Head::Error(error) => return Err(refusal::failure(&error, reading(key))),
                head => return Err(self.connection.unexpected("`XRANGE`", &head)),
            };
            let mut last = None;
            for _ in 0..found {
                last = Some(self.entry(key).await?);
            }
            if expiry == Expiry::Gone {
                return Ok(Err(Attempt::Gone));
            }
            if !expiry.is_as(first, clock) {
                return Ok(Err(Attempt::Changed));
            }
            entries += found;
            from = last.filter(|_| found >= count).and_then(|id| after(&id));
            self.note();
        }
        Ok(Ok(entries))
    }

    /// Writes one entry as it comes; gives its id.
    async fn entry(&mut self, key: &Bytes) -> Result<Bytes, Failure> {
        let (Head::Array(2), Head::Bulk(length)) = (self.connection.head().await?, self.connection.head().await?)
        else {
            return Err(self.connection.unexpected("`XRANGE`", &"no entry"));
        };
        let id = self.connection.text(length).await?;
        let fields = match self.connection.head().await? {
            Head::Array(fields) if fields > 0 => fields,
            head => return Err(self.connection.unexpected("`XRANGE`", &head)),
        };
        let out = self.form.begin_command(3 + fields);
        resp::all(out, &[&b"XADD"[..], key, &id]);
        for _ in 0..fields {
            match self.connection.head().await? {
                Head::Bulk(length) => passing::pass(&mut self.connection, &mut self.form, key, length).await?,
                head => return Err(self.connection.unexpected("`XRANGE`", &head)),
            }
        }
        Ok(id)
    }

    async fn groups(&mut self, key: &Bytes, before: &Info) -> Result<(), Failure> {
        for group in stream_info::groups(&mut self.connection, key).await? {
            let further = parse(&group.last).is_some_and(|last| last > before.last);
            let (last, read) = if further {
                // It has read all that is written here.
                (before.last_text.clone(), before.counters.as_ref().map(|(added, _)| added.clone()))
            } else {
                (group.last, group.read)
            };
            match &read {
                Some(read) => self.form.command(&[b"XGROUP", b"CREATE", key, &group.name, &last, b"ENTRIESREAD", read]),
                None => self.form.command(&[b"XGROUP", b"CREATE", key, &group.name, &last]),
            }
            // Older servers know no such command; there a consumer without pending entries comes back when it reads.
            if self.facts.at_least((6, 2)) {
                for consumer in stream_info::consumers(&mut self.connection, key, &group.name).await? {
                    self.form.command(&[b"XGROUP", b"CREATECONSUMER", key, &group.name, &consumer]);
                }
            }
            self.pending(key, &group.name, before.last).await?;
        }
        Ok(())
    }

    async fn pending(&mut self, key: &Bytes, group: &Bytes, last: Id) -> Result<(), Failure> {
        let mut from = Some(Bytes::from_static(b"-"));
        while let Some(start) = from {
            self.pace.rest().await?;
            self.pace.asked(stream_info::PAGE * (work::PENDING + work::ENTRY));
            let page = stream_info::pending(&mut self.connection, key, group, &start).await?;
            from = page.last().filter(|_| page.len() as u64 >= stream_info::PAGE).and_then(|entry| after(&entry.id));
            let found = page.len();
            let page: Vec<_> = page.into_iter().filter(|entry| parse(&entry.id).is_some_and(|id| id <= last)).collect();
            if page.len() < found {
                from = None;
            }
            for entry in &page {
                self.connection.push(&[b"XRANGE", key, &entry.id, &entry.id, b"COUNT", b"1"]);
            }
            self.connection.flush().await?;
            let mut there = Vec::with_capacity(page.len());
            for entry in page {
                match self.connection.head().await? {
                    Head::Array(0) => self.written.lost_pending += 1,
                    Head::Array(1) => {
                        self.connection.skip_reply().await?;
                        there.push(entry);
                    }
                    Head::Error(error) => return Err(refusal::failure(&error, reading(key))),
                    head => return Err(self.connection.unexpected("`XRANGE`", &head)),
                }
            }
            for same in there.chunk_by(|one, other| one.is_with(other)) {
                let out = self.form.begin_command(11 + same.len() as u64);
                resp::all(out, &[&b"XCLAIM"[..], key, group, &same[0].consumer, b"0"]);
                same.iter().for_each(|entry| resp::argument(out, &entry.id));
                resp::argument(out, b"TIME");
                resp::number_argument(out, same[0].delivered);
                resp::argument(out, b"RETRYCOUNT");
                resp::number_argument(out, same[0].times);
                resp::argument(out, b"FORCE");
                resp::argument(out, b"JUSTID");
            }
            self.form.flush_some().await?;
        }
        Ok(())
    }
}
