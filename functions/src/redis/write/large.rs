//! Long commands of a stream, passed on to the server in pieces.
//!
//! Takes a command's beginning and the parser that has the rest. Always holds: however long an argument is, only a piece
//! of it is held; the form has to be the one that a dump has, because what stands behind the long argument decides about
//! what was sent before it; where it turns out to be another, the connection is given up with the command half sent.

use aquifer_engine::failure::Failure;
use bytes::{Bytes, BytesMut};

use crate::redis::keys::tally::Kind;
use crate::redis::stream::census::part;
use crate::redis::stream::form::LONGEST_LIBRARY;
use crate::redis::stream::parser::{Large, Parser};
use crate::redis::stream::wrong::refused;
use crate::redis::stream::wrong::wrong;
use crate::redis::wire::connection::Connection;
use crate::redis::wire::resp::{self, show};
use crate::redis::write::fleet::Fleet;
use crate::redis::write::load::{Loader, OnConflict, at};
use crate::redis::write::old;
use crate::redis::write::replies::{Pending, What};

/// No option or number is longer.
const SHORT: u64 = 64;

impl Loader {
    /// Carries out a long command.
    ///
    /// # Errors
    /// As [`Loader::command`]; also where the stream is cut off in it.
    pub(crate) async fn large(&mut self, large: Large, parser: &mut Parser) -> Result<(), Failure> {
        let [name, first] = large.args.clone();
        let name = name.to_ascii_uppercase();
        match (&name[..], large.count) {
            (b"SET", 3 | 5) => self.large_set(&large, first, parser).await,
            (b"RESTORE", 6 | 8) => self.large_restore(&large, first, parser).await,
            (b"FUNCTION", 3..=4) => self.large_functions(&large, parser).await,
            _ => match part(&name, &first) {
                Some((kind, 1)) => {
                    let target = self.begin_part(first.clone(), kind, large.offset).await?;
                    let wanted = target.is_some();
                    if let Some(target) = target
                        && let Some(out) = self.begin_large(large.count, &name, &target, large.offset).await?
                    {
                        resp::argument(out, &target);
                    }
                    let mut elements = Some(large.count - 2);
                    if kind == Kind::Stream {
                        // An id, or an option that may take entries away again.
                        let id = parser.short(SHORT).await?;
                        let plain = id.first().is_some_and(u8::is_ascii_digit) && name == b"XADD"[..];
                        elements = Some(1).filter(|_| plain);
                        parser.give_back(id);
                    }
                    if kind == Kind::SortedSet {
                        // A score, or an option that changes what the answer counts.
                        let score = parser.short(SHORT).await?;
                        elements = elements.filter(|_| !score.first().is_some_and(u8::is_ascii_alphabetic));
                        parser.give_back(score);
                    }
                    let mut bytes = 0;
                    while let Some(length) = parser.argument().await? {
                        bytes += length;
                        self.pass(length, wanted, parser).await?;
                    }
                    if wanted {
                        let elements = if kind == Kind::String { Some(bytes) } else { elements };
                        self.sent_large(first, large.offset, What::Part { kind, elements }).await?;
                    }
                    Ok(())
                }
                _ => Err(refused(large.offset, &name)),
            },
        }
    }

    async fn large_set(&mut self, large: &Large, key: Bytes, parser: &mut Parser) -> Result<(), Failure> {
        let Some(mut what) = self.begin_value(&key, Kind::String, None, large.offset).await? else { return Ok(()) };
        if self.old && large.count == 5 && !large.lifetimes.drops() {
            return Err(old::too_long(at(&key, large.offset)));
        }
        let nx = self.on_conflict != OnConflict::Replace;
        let dropped = if large.lifetimes.drops() { large.count - 3 } else { 0 };
        let count = large.count - dropped + u64::from(nx);
        if let Some(out) = self.begin_large(count, b"SET", &key, large.offset).await? {
            resp::argument(out, &key);
        }
        let length = parser.argument().await?.unwrap_or(0);
        self.pass(length, true, parser).await?;
        if large.count == 5 {
            let (word, number) = (parser.short(SHORT).await?, parser.short(SHORT).await?);
            let number_read = resp::number(&number).and_then(|number| u64::try_from(number).ok());
            let (true, Some(expiry)) = (word.eq_ignore_ascii_case(b"PXAT"), number_read) else {
                return Err(wrong(large.offset, format_args!("`SET` of a long value with {}", show(&word))));
            };
            if let Some(expiry) = large.lifetimes.moment(expiry) {
                // Sent all the same: the server drops it, and its answer keeps the count of answers right.
                if let What::Value { expired, .. } = &mut what {
                    *expired = self.has_passed(expiry);
                }
                if let Some(connection) = self.large_goes_to() {
                    resp::argument(connection.output().rest(), &word);
                    resp::number_argument(connection.output().rest(), expiry);
                }
            }
        }
        if nx && let Some(connection) = self.large_goes_to() {
            resp::argument(connection.output().rest(), b"NX");
        }
        self.sent_large(key, large.offset, what).await
    }

    async fn large_restore(&mut self, large: &Large, key: Bytes, parser: &mut Parser) -> Result<(), Failure> {
        let ttl = parser.short(SHORT).await?;
        let Some(expiry) = resp::number(&ttl).and_then(|ttl| u64::try_from(ttl).ok()) else {
            return Err(wrong(large.offset, format_args!("{} is no expiry", show(&ttl))));
        };
        let expiry = if expiry == 0 { 0 } else { large.lifetimes.moment(expiry).unwrap_or(0) };
        let mut left = parser.argument().await?.unwrap_or(0);
        let piece = parser.piece(&mut left).await?;
        let kind = Kind::of_payload(piece.first().copied().unwrap_or(u8::MAX));
        let what = self.begin_value(&key, kind, Some(expiry).filter(|at| *at > 0), large.offset).await?;
        let replace = self.on_conflict == OnConflict::Replace;
        if what.is_some()
            && let Some(out) =
                self.begin_large(large.count - 1 + u64::from(replace), b"RESTORE", &key, large.offset).await?
        {
            resp::argument(out, &key);
            resp::number_argument(out, expiry);
            resp::length(out, piece.len() as u64 + left);
            out.extend_from_slice(&piece);
        }
        self.pieces(left, what.is_some(), parser).await?;
        let (mut words, mut hint) = (Vec::new(), None);
        for _ in 4..large.count {
            let word = parser.short(SHORT).await?.to_ascii_uppercase();
            if hint.as_ref().is_some_and(|(_, number)| *number == b""[..]) {
                hint = hint.map(|(name, _)| (name, word));
            } else if word == b"IDLETIME" || word == b"FREQ" {
                hint = Some((word, Vec::new()));
            } else {
                words.push(word);
            }
        }
        words.sort_unstable();
        let hinted = hint.as_ref().is_none_or(|(_, number)| resp::number(number).is_some());
        if words != [&b"ABSTTL"[..], b"REPLACE"] || !hinted {
            return Err(wrong(
                large.offset,
                "`RESTORE` of a long value without `REPLACE` and `ABSTTL`, or with more than these and one hint",
            ));
        }
        let Some(what) = what else { return Ok(()) };
        if let Some(connection) = self.large_goes_to() {
            resp::argument(connection.output().rest(), b"ABSTTL");
            if replace {
                resp::argument(connection.output().rest(), b"REPLACE");
            }
            if let Some((name, number)) = hint {
                resp::argument(connection.output().rest(), &name);
                resp::argument(connection.output().rest(), &number);
            }
        }
        self.sent_large(key, large.offset, what).await
    }

    /// Libraries of functions are code, so these are kept whole.
    async fn large_functions(&mut self, large: &Large, parser: &mut Parser) -> Result<(), Failure> {
        let [name, first] = &large.args;
        let mut args = vec![name.clone(), first.clone()];
        for _ in 2..large.count {
            args.push(parser.short(LONGEST_LIBRARY).await?);
        }
        let args: Vec<&[u8]> = args.iter().map(|arg| &arg[..]).collect();
        self.function(&args, large.offset).await
    }

    /// Passes one argument on, its length first.
    async fn pass(&mut self, length: u64, wanted: bool, parser: &mut Parser) -> Result<(), Failure> {
        if wanted && let Some(connection) = self.large_goes_to() {
            resp::length(connection.output().rest(), length);
        }
        if length == 0 {
            // The line end is taken with the last piece, and nothing is a piece too.
            parser.piece(&mut 0).await?;
            if wanted && let Some(connection) = self.large_goes_to() {
                connection.output().rest().extend_from_slice(b"\r\n");
            }
            return Ok(());
        }
        self.pieces(length, wanted, parser).await
    }

    /// Passes the rest of an argument on, and its line end.
    async fn pieces(&mut self, mut left: u64, wanted: bool, parser: &mut Parser) -> Result<(), Failure> {
        while left > 0 {
            let piece = parser.piece(&mut left).await?;
            if wanted && let Some(connection) = self.large_goes_to() {
                connection.output().rest().extend_from_slice(&piece);
                connection.send_some().await?;
            }
        }
        if wanted && let Some(connection) = self.large_goes_to() {
            connection.output().rest().extend_from_slice(b"\r\n");
        }
        Ok(())
    }

    /// Begins a long command, its key to follow; `None` in a dry run. In a cluster, the server that takes the key is asked for
    /// before, because the command cannot be sent twice.
    async fn begin_large(
        &mut self,
        count: u64,
        name: &[u8],
        key: &Bytes,
        offset: u64,
    ) -> Result<Option<&mut BytesMut>, Failure> {
        let mut at = 0;
        if self.fleet.as_ref().is_some_and(Fleet::is_cluster) {
            self.settle().await?;
            let Some(fleet) = &mut self.fleet else { return Ok(None) };
            let asking;
            (at, asking) = fleet.locate(key).await?;
            if asking {
                fleet.nodes[at].connection.push(&[b"ASKING"]);
                let pending = Pending { key: key.clone(), offset, size: 0, again: None, what: What::Asking };
                self.sent(at, pending).await?;
            }
        }
        let Some(fleet) = &mut self.fleet else { return Ok(None) };
        self.sending = Some(at);
        Ok(Some(fleet.nodes[at].connection.output().begin(count, name)))
    }

    /// Where the long command that was begun goes.
    fn large_goes_to(&mut self) -> Option<&mut Connection> {
        let at = self.sending?;
        self.fleet.as_mut().map(|fleet| &mut fleet.nodes[at].connection)
    }

    async fn sent_large(&mut self, key: Bytes, offset: u64, what: What) -> Result<(), Failure> {
        let Some(at) = self.sending.take() else { return self.count(what) };
        self.sent(at, Pending { key, offset, size: 0, again: None, what }).await?;
        // A long command keeps the server busy for long enough; the next one waits for it.
        self.settle().await
    }
}
