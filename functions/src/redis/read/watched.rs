//! Big lists and strings, read in pieces that together are the value of one moment.
//!
//! Takes a key. Gives `RPUSH` or `APPEND` for each piece. Always holds: the key is watched (`WATCH`) from before the first piece
//! to behind the last one, so that what was read is what the key held all that time, or counts as changed.

use std::collections::VecDeque;

use aquifer_engine::failure::Failure;
use bytes::Bytes;

use crate::redis::keys::tally::Kind;
use crate::redis::read::big::Attempt;
use crate::redis::read::chunks::{self, Parts};
use crate::redis::read::passing;
use crate::redis::read::scan::Dump;
use crate::redis::read::work;
use crate::redis::wire::expiry::Expiry;
use crate::redis::wire::refusal;
use crate::redis::wire::refusal::reading;
use crate::redis::wire::reply::Reply;
use crate::redis::wire::resp::{self, Head};

/// Bytes of a string that are read at once.
const PIECE: u64 = 256 << 10;

impl Dump<'_> {
    /// Reads a list.
    pub(super) async fn list(&mut self, parts: &Parts) -> Result<Attempt, Failure> {
        self.watch(&parts.key).await?;
        let length = match self.connection.ask(&[b"LLEN", &parts.key]).await? {
            Reply::Integer(length) => length.unsigned_abs(),
            _ => 0,
        };
        self.in_pieces(parts, length, parts.count, parts.work()).await
    }

    /// Reads a string.
    pub(super) async fn pieces(&mut self, key: &Bytes) -> Result<Attempt, Failure> {
        self.watch(key).await?;
        let length = match self.connection.ask(&[b"STRLEN", key]).await? {
            Reply::Integer(length) => length.unsigned_abs(),
            _ => 0,
        };
        let clock = self.facts.clock;
        let parts = Parts { key: key.clone(), kind: Kind::String, clock, length, count: PIECE };
        self.in_pieces(&parts, length, PIECE, work::read(PIECE)).await
    }

    async fn in_pieces(&mut self, parts: &Parts, length: u64, each: u64, work: u64) -> Result<Attempt, Failure> {
        let (mut next, mut under_way) = (0, 0);
        let mut asked = VecDeque::new();
        let mut written = 0;
        loop {
            while next < length && self.pace.allows(under_way) {
                if parts.kind == Kind::List {
                    parts.ask_list(self.connection.output(), next);
                } else {
                    let last = (next + each - 1).to_string();
                    let first = next.to_string();
                    self.connection.push(&[b"GETRANGE", &parts.key, first.as_bytes(), last.as_bytes()]);
                }
                next += each;
                under_way += work;
                asked.push_back(());
                self.pace.asked(work);
            }
            self.connection.flush().await?;
            if asked.pop_front().is_none() {
                if next >= length {
                    break;
                }
                self.pace.rest().await?;
                continue;
            }
            under_way -= work;
            written += self.piece(parts).await?;
            self.note();
        }
        Ok(match self.unchanged(&parts.key).await? {
            Some(Expiry::Gone) => Attempt::Gone,
            Some(expiry) if written == length && length > 0 => Attempt::Done(expiry),
            _ => Attempt::Changed,
        })
    }

    /// Writes one piece; gives how many elements or bytes it has.
    async fn piece(&mut self, parts: &Parts) -> Result<u64, Failure> {
        match self.connection.head().await? {
            Head::Array(elements) => {
                chunks::write(&mut self.connection, &mut self.form, parts, elements).await?;
                Ok(elements)
            }
            Head::Bulk(0) => self.connection.bulk_end().await.map(|()| 0),
            Head::Bulk(length) => {
                let out = self.form.begin_command(3);
                resp::argument(out, b"APPEND");
                resp::argument(out, &parts.key);
                passing::pass(&mut self.connection, &mut self.form, &parts.key, length).await?;
                Ok(length)
            }
            // It is something else by now, which the end will show too.
            Head::Error(error) if error.starts_with("WRONGTYPE") => Ok(0),
            Head::Error(error) => Err(refusal::failure(&error, reading(&parts.key))),
            head => Err(self.connection.unexpected("reading a piece", &head)),
        }
    }
}
