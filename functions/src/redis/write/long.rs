//! Long commands of a stream, passed on to the server in pieces.
//!
//! Takes a command's beginning and the parser that has the rest. Always holds: however long an argument is, only a piece
//! of it is held; where what stands behind it turns out to be of another form than a dump has, the connection is given up
//! with the command half sent.

use aquifer_engine::failure::Failure;
use bytes::{Bytes, BytesMut};

use crate::redis::keys::lifetimes::When;
use crate::redis::keys::tally::Kind;
use crate::redis::stream::long::{Long, LongAct, LongText};
use crate::redis::stream::parser::Parser;
use crate::redis::wire::connection::Connection;
use crate::redis::wire::resp;
use crate::redis::write::fleet::Fleet;
use crate::redis::write::load::{Loader, OnConflict, at};
use crate::redis::write::old;
use crate::redis::write::replies::{Pending, What};

impl Loader {
    /// Carries out a long command.
    ///
    /// # Errors
    /// As [`Loader::carry_out`]; also where the stream is cut off in it.
    pub(crate) async fn carry_out_long(&mut self, long: Long, parser: &mut Parser) -> Result<(), Failure> {
        match &long.act {
            LongAct::Set { timed } => self.long_set(&long, *timed, parser).await,
            LongAct::Restore { kind, expiry, options, .. } => {
                self.long_restore(&long, *kind, *expiry, *options, parser).await
            }
            LongAct::Part { .. } => self.long_part(&long, parser).await,
        }
    }

    async fn long_part(&mut self, long: &Long, parser: &mut Parser) -> Result<(), Failure> {
        let LongAct::Part { kind, name, arguments, entry } = &long.act else { return Ok(()) };
        let target = self.begin_part(long.key.clone(), *kind, long.offset).await?;
        let wanted = target.is_some();
        if let Some(target) = target
            && let Some(out) = self.begin_long(*arguments, name, &target, long.offset).await?
        {
            resp::argument(out, &target);
            entry.iter().for_each(|(id, _)| resp::argument(out, id));
        }
        let (mut texts, mut bytes) = (0, 0);
        while let Some(text) = parser.next_text(*kind).await? {
            match text {
                LongText::Score(score, _) => {
                    if wanted && let Some(connection) = self.long_goes_to() {
                        resp::argument(connection.output().rest(), &score);
                    }
                }
                LongText::Text(_, length) => {
                    (texts, bytes) = (texts + 1, bytes + length);
                    self.pass(length, wanted, parser).await?;
                }
            }
        }
        if !wanted {
            return Ok(());
        }
        let elements = match kind {
            Kind::String => bytes,
            Kind::Stream => 1,
            // Of hashes and sorted sets the server's answer counts.
            _ => texts,
        };
        self.sent_long(long, What::Part { kind: *kind, elements: Some(elements) }).await
    }

    async fn long_set(&mut self, long: &Long, timed: bool, parser: &mut Parser) -> Result<(), Failure> {
        let (key, offset) = (&long.key, long.offset);
        let Some(mut what) = self.begin_value(key, Kind::String, None, offset).await? else { return Ok(()) };
        let timed = timed && !long.lifetimes.drops();
        if self.old && timed {
            return Err(old::too_long(at(key, offset)));
        }
        let nx = self.on_conflict != OnConflict::Replace;
        let count = 3 + 2 * u64::from(timed) + u64::from(nx);
        if let Some(out) = self.begin_long(count, b"SET", key, offset).await? {
            resp::argument(out, key);
        }
        let length = parser.argument().await?.unwrap_or(0);
        self.pass(length, true, parser).await?;
        if let Some(expiry) = parser.expiry_behind(long).await? {
            // Sent all the same: the server drops it, and its answer keeps the count of answers right.
            if let What::Value { expired, .. } = &mut what {
                *expired = self.has_passed(When::At(expiry));
            }
            if let Some(connection) = self.long_goes_to() {
                resp::argument(connection.output().rest(), b"PXAT");
                resp::number_argument(connection.output().rest(), expiry);
            }
        }
        if nx && let Some(connection) = self.long_goes_to() {
            resp::argument(connection.output().rest(), b"NX");
        }
        self.sent_long(long, what).await
    }

    async fn long_restore(
        &mut self,
        long: &Long,
        kind: Kind,
        expiry: Option<u64>,
        options: u64,
        parser: &mut Parser,
    ) -> Result<(), Failure> {
        let (key, offset) = (&long.key, long.offset);
        let what = self.begin_value(key, kind, expiry.map(When::At), offset).await?;
        let replace = self.on_conflict == OnConflict::Replace;
        // Of the two options that a stream has one is always passed on, and behind them the hint.
        let count = 4 + options - u64::from(!replace);
        if what.is_some()
            && let Some(out) = self.begin_long(count, b"RESTORE", key, offset).await?
        {
            resp::argument(out, key);
            resp::number_argument(out, expiry.unwrap_or(0));
        }
        let length = parser.argument().await?.unwrap_or(0);
        self.pass(length, what.is_some(), parser).await?;
        let hint = parser.options_behind(long).await?;
        let Some(what) = what else { return Ok(()) };
        if let Some(connection) = self.long_goes_to() {
            resp::argument(connection.output().rest(), b"ABSTTL");
            if replace {
                resp::argument(connection.output().rest(), b"REPLACE");
            }
            if let Some(hint) = hint {
                resp::argument(connection.output().rest(), hint.word.as_bytes());
                resp::argument(connection.output().rest(), &hint.number);
            }
        }
        self.sent_long(long, what).await
    }

    /// Passes one argument on, its length first.
    async fn pass(&mut self, length: u64, wanted: bool, parser: &mut Parser) -> Result<(), Failure> {
        if wanted && let Some(connection) = self.long_goes_to() {
            resp::length(connection.output().rest(), length);
        }
        let mut left = length;
        // The line end is taken with the last piece, and nothing is a piece too.
        loop {
            let piece = parser.piece(&mut left).await?;
            if wanted && let Some(connection) = self.long_goes_to() {
                connection.output().rest().extend_from_slice(&piece);
                connection.send_some().await?;
            }
            if left == 0 {
                break;
            }
        }
        if wanted && let Some(connection) = self.long_goes_to() {
            connection.output().rest().extend_from_slice(b"\r\n");
        }
        Ok(())
    }

    /// Begins a long command, its key to follow; `None` in a dry run. In a cluster, the server that takes the key is asked for
    /// before, because the command cannot be sent twice.
    async fn begin_long(
        &mut self,
        count: u64,
        name: &[u8],
        key: &Bytes,
        offset: u64,
    ) -> Result<Option<&mut BytesMut>, Failure> {
        self.let_pass(key, offset).await?;
        let mut at = 0;
        if self.fleet.as_ref().is_some_and(Fleet::is_cluster) {
            self.settle().await?;
            let Some(fleet) = &mut self.fleet else { return Ok(None) };
            let asking;
            (at, asking) = fleet.locate(key).await?;
            if asking {
                fleet.nodes[at].connection.push(&[b"ASKING"]);
                let pending =
                    Pending { key: key.clone(), offset, size: 0, again: None, what: What::Asking, held: Vec::new() };
                self.sent(at, pending).await?;
            }
        }
        let Some(fleet) = &mut self.fleet else { return Ok(None) };
        self.sending = Some(at);
        Ok(Some(fleet.nodes[at].connection.output().begin(count, name)))
    }

    /// Where the long command that was begun goes.
    fn long_goes_to(&mut self) -> Option<&mut Connection> {
        let at = self.sending?;
        self.fleet.as_mut().map(|fleet| &mut fleet.nodes[at].connection)
    }

    async fn sent_long(&mut self, long: &Long, what: What) -> Result<(), Failure> {
        let Some(at) = self.sending.take() else { return self.carried_out_dry(long.key.clone(), what) };
        let pending =
            Pending { key: long.key.clone(), offset: long.offset, size: 0, again: None, what, held: Vec::new() };
        self.sent(at, pending).await?;
        // A long command keeps the server busy for long enough; the next one waits for it.
        self.settle().await
    }
}
