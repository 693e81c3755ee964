//! The commands that make a stream: entries, state, groups, consumers and what they have pending.
//!
//! Always holds: options that only Redis 7.0 knows are written where the stream needs them; pending entries that were
//! delivered together share a command. When a consumer was last seen is lost, as it is in the server's own AOF; so is, on
//! a server from 7.0 on, a pending entry whose entry was deleted, which is counted.

use aquifer_engine::failure::Failure;
use bytes::BytesMut;

use super::commands::Commands;
use super::visit::{Id, State, Stream};
use crate::redis::wire::resp;

/// Ids in one command.
const MOST_IDS: u64 = 100;

/// What is being claimed.
#[derive(Debug, Default)]
pub(crate) struct Claims {
    group: Vec<u8>,
    consumer: Vec<u8>,
    /// Arguments.
    ids: BytesMut,
    count: u64,
    delivered: i64,
    times: u64,
    /// Pending entries whose entry was deleted.
    pub(crate) lost: u64,
    /// Pending entries of which nobody knows whether their entry is there.
    pub(crate) unknown: u64,
}

impl Commands<'_> {
    /// Writes a part of a stream.
    pub(super) async fn part(&mut self, part: Stream<'_>) -> Result<(), Failure> {
        match part {
            Stream::Entry { id, fields } => {
                self.begin();
                self.elements += 1;
                let out = self.form.begin_command(3 + 2 * fields);
                resp::argument(out, b"XADD");
                resp::argument(out, self.key);
                resp::argument(out, &text(id));
            }
            Stream::State(state) => self.stream_state(state),
            Stream::Group { name, last, read } => {
                self.claim();
                name.clone_into(&mut self.claims.group);
                let read = read.and_then(|read| u64::try_from(read).ok());
                let out = self.form.begin_command(if read.is_some() { 7 } else { 5 });
                [&b"XGROUP"[..], b"CREATE", self.key, name, &text(last)]
                    .iter()
                    .for_each(|arg| resp::argument(out, arg));
                if let Some(read) = read {
                    resp::argument(out, b"ENTRIESREAD");
                    resp::number_argument(out, read);
                }
            }
            Stream::Consumer { name, .. } => {
                self.claim();
                name.clone_into(&mut self.claims.consumer);
                self.form.command(&[b"XGROUP", b"CREATECONSUMER", self.key, &self.claims.group, name]);
            }
            Stream::Pending { id, delivered, times, there } => {
                self.claims.lost += u64::from(there == Some(false));
                self.claims.unknown += u64::from(there.is_none());
                if (delivered, times) != (self.claims.delivered, self.claims.times) || self.claims.count >= MOST_IDS {
                    self.claim();
                }
                (self.claims.delivered, self.claims.times) = (delivered, times);
                self.claims.count += 1;
                resp::argument(&mut self.claims.ids, &text(id));
            }
        }
        self.form.flush_some().await
    }

    fn stream_state(&mut self, state: State) {
        let entries = self.elements;
        if !self.begun {
            // A stream that is there and has no entries: one that goes at once, as the server's own AOF does it.
            self.begin();
            let id = text(if state.last == (0, 0) { (0, 1) } else { state.last });
            self.form.command(&[b"XADD", self.key, b"MAXLEN", b"0", &id, b"x", b"y"]);
        }
        let more = state.more.filter(|more| entries == 0 || more.added != entries || more.deleted != (0, 0));
        let out = self.form.begin_command(if more.is_some() { 7 } else { 3 });
        [&b"XSETID"[..], self.key, &text(state.last)].iter().for_each(|arg| resp::argument(out, arg));
        if let Some(more) = more {
            resp::argument(out, b"ENTRIESADDED");
            resp::number_argument(out, more.added);
            resp::argument(out, b"MAXDELETEDID");
            resp::argument(out, &text(more.deleted));
        }
    }

    /// Writes what was collected for one consumer.
    pub(super) fn claim(&mut self) {
        let count = std::mem::take(&mut self.claims.count);
        if count == 0 {
            return;
        }
        let claims = &mut self.claims;
        let out = self.form.begin_command(5 + count + 6);
        [&b"XCLAIM"[..], self.key, &claims.group, &claims.consumer, b"0"]
            .iter()
            .for_each(|arg| resp::argument(out, arg));
        out.extend_from_slice(&claims.ids);
        claims.ids.clear();
        resp::argument(out, b"TIME");
        resp::number_argument(out, u64::try_from(claims.delivered).unwrap_or(0));
        resp::argument(out, b"RETRYCOUNT");
        resp::number_argument(out, claims.times);
        resp::argument(out, b"FORCE");
        resp::argument(out, b"JUSTID");
    }
}

fn text(id: Id) -> BytesMut {
    let mut out = BytesMut::with_capacity(41);
    resp::decimal(&mut out, id.0);
    out.extend_from_slice(b"-");
    resp::decimal(&mut out, id.1);
    out
}
