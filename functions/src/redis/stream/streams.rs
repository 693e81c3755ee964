//! The commands that make a stream: entries, state, groups, consumers and what they have pending. A scan and an RDB are written by
//! the same hand, so that one server gives the same bytes by either way.
//!
//! Takes a stream's parts in this order. Gives a [`Form`] commands. Always holds: options that only Redis 7.0 knows are written where
//! the stream needs them, `CREATECONSUMER` where the server that was read knows it (6.2); pending entries that were delivered together
//! share a command. When a consumer was last seen is lost, as it is in the server's own AOF; so is a pending entry whose entry was
//! deleted, of which no command makes another: it is left out, and counted.

use bytes::BytesMut;

use crate::redis::stream::form::Form;
use crate::redis::wire::resp;

/// Ids in one command.
const MOST_IDS: u64 = 100;

/// An id of an entry.
pub(crate) type Id = (u64, u64);

/// A stream being written.
#[derive(Debug, Default)]
pub(crate) struct StreamWriter {
    key: Vec<u8>,
    /// The server that was read has no `XGROUP CREATECONSUMER`: there a consumer without pending entries comes back when it reads.
    pub(crate) no_consumers: bool,
    entries: u64,
    group: Vec<u8>,
    /// What is being claimed: for whom, when it was delivered and how often, the ids as arguments, and how many.
    consumer: Vec<u8>,
    delivered: u64,
    times: u64,
    ids: BytesMut,
    count: u64,
    /// Pending entries whose entry was deleted.
    pub(crate) lost: u64,
    /// Pending entries of which nobody knows whether their entry is there.
    pub(crate) unknown: u64,
}

impl StreamWriter {
    /// Begins. `DEL` was written, or will be.
    pub(crate) fn new(key: &[u8]) -> Self {
        Self { key: key.to_vec(), ..Self::default() }
    }

    /// Begins an entry with this id; so many fields follow as arguments, each with its value.
    pub(crate) fn entry(&mut self, form: &mut Form, id: &[u8], fields: u64) {
        self.entries += 1;
        let out = form.begin_command(3 + 2 * fields);
        resp::all(out, &[&b"XADD"[..], &self.key, id]);
    }

    /// The last id there was; and how many entries were ever added, and the largest id that was deleted, where the server knows.
    pub(crate) fn state(&mut self, form: &mut Form, last: Id, more: Option<(u64, Id)>) {
        if self.entries == 0 {
            // A stream that is there and has no entries: one that goes at once, as the server's own AOF does it.
            let id = text(if last == (0, 0) { (0, 1) } else { last });
            form.command(&[b"XADD", &self.key, b"MAXLEN", b"0", &id, b"x", b"y"]);
        }
        // Else it is what the entries say.
        let more = more.filter(|more| self.entries == 0 || *more != (self.entries, (0, 0)));
        let out = form.begin_command(if more.is_some() { 7 } else { 3 });
        resp::all(out, &[&b"XSETID"[..], &self.key, &text(last)]);
        if let Some((added, deleted)) = more {
            resp::argument(out, b"ENTRIESADDED");
            resp::number_argument(out, added);
            resp::argument(out, b"MAXDELETEDID");
            resp::argument(out, &text(deleted));
        }
    }

    /// A group: its name, the last id that it was given, and how many entries it has read, where that is known.
    pub(crate) fn group(&mut self, form: &mut Form, name: &[u8], last: Id, read: Option<u64>) {
        self.claim(form);
        name.clone_into(&mut self.group);
        let out = form.begin_command(if read.is_some() { 7 } else { 5 });
        resp::all(out, &[&b"XGROUP"[..], b"CREATE", &self.key, name, &text(last)]);
        if let Some(read) = read {
            resp::argument(out, b"ENTRIESREAD");
            resp::number_argument(out, read);
        }
    }

    /// A consumer of the group.
    pub(crate) fn consumer(&mut self, form: &mut Form, name: &[u8]) {
        if !self.no_consumers {
            self.claim(form);
            form.command(&[b"XGROUP", b"CREATECONSUMER", &self.key, &self.group, name]);
        }
    }

    /// What a consumer of the group has pending: since when, how often it was delivered, and whether the entry is still there.
    pub(crate) fn pending(
        &mut self,
        form: &mut Form,
        consumer: &[u8],
        id: Id,
        (delivered, times): (u64, u64),
        there: Option<bool>,
    ) {
        if there == Some(false) {
            self.lost += 1;
            return;
        }
        self.unknown += u64::from(there.is_none());
        let same = (delivered, times) == (self.delivered, self.times) && self.consumer == consumer;
        if !same || self.count >= MOST_IDS {
            self.claim(form);
            consumer.clone_into(&mut self.consumer);
            (self.delivered, self.times) = (delivered, times);
        }
        self.count += 1;
        resp::argument(&mut self.ids, &text(id));
    }

    /// Writes what was collected, so that another command may follow.
    pub(crate) fn claim(&mut self, form: &mut Form) {
        let count = std::mem::take(&mut self.count);
        if count == 0 {
            return;
        }
        let out = form.begin_command(5 + count + 6);
        resp::all(out, &[&b"XCLAIM"[..], &self.key, &self.group, &self.consumer, b"0"]);
        out.extend_from_slice(&self.ids);
        self.ids.clear();
        resp::argument(out, b"TIME");
        resp::number_argument(out, self.delivered);
        resp::argument(out, b"RETRYCOUNT");
        resp::number_argument(out, self.times);
        resp::argument(out, b"FORCE");
        resp::argument(out, b"JUSTID");
    }
}

/// An id as servers write it.
pub(crate) fn text(id: Id) -> BytesMut {
    let mut out = BytesMut::with_capacity(41);
    resp::decimal(&mut out, id.0);
    out.extend_from_slice(b"-");
    resp::decimal(&mut out, id.1);
    out
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;

    /// What a group of these consumers is written as, each with an entry that is there and one that is not.
    async fn written(no_consumers: bool) -> (String, u64) {
        let (to, mut from) = mpsc::channel(8);
        let mut form = Form::part(to);
        let mut stream = StreamWriter { no_consumers, ..StreamWriter::new(b"k") };
        stream.group(&mut form, b"g", (9, 0), None);
        stream.consumer(&mut form, b"idle");
        stream.consumer(&mut form, b"busy");
        stream.pending(&mut form, b"busy", (1, 0), (5, 1), Some(true));
        stream.pending(&mut form, b"busy", (2, 0), (5, 1), Some(false));
        stream.pending(&mut form, b"busy", (3, 0), (5, 1), None);
        stream.claim(&mut form);
        form.end_part().await.expect("somebody reads");
        let mut text = String::new();
        while let Some(piece) = from.recv().await {
            text += &piece.escape_ascii().to_string();
        }
        assert_eq!(stream.unknown, 1);
        (text, stream.lost)
    }

    #[tokio::test]
    async fn what_a_server_may_not_know_or_cannot_make_is_left_out() {
        let (text, lost) = written(false).await;
        assert_eq!((text.matches("CREATECONSUMER").count(), text.matches("XCLAIM").count(), lost), (2, 1, 1), "{text}");
        assert!(text.contains("1-0") && !text.contains("2-0") && text.contains("3-0"), "{text}");
        let (text, _) = written(true).await;
        assert!(!text.contains("CREATECONSUMER") && text.contains("XCLAIM"), "{text}");
    }
}
