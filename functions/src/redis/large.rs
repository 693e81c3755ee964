//! Long commands of a stream, passed on to the server in pieces.
//!
//! Takes a command's beginning and the parser that has the rest. Always holds: however long an argument is, only a piece
//! of it is held; the form has to be the one that a dump has, because what stands behind the long argument decides about
//! what was sent before it; where it turns out to be another, the connection is given up with the command half sent.

use aquifer_engine::failure::Failure;
use bytes::Bytes;

use super::libraries::LONGEST_LIBRARY;
use super::load::{Loader, OnConflict, refused, wrong};
use super::parser::{Large, Parser};
use super::parts::{is_field_expiry, part};
use super::replies::{Pending, What};
use super::resp::{self, show};
use super::tally::Kind;

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
            (b"RESTORE", 6) => self.large_restore(&large, first, parser).await,
            (b"FUNCTION", 3..=4) => self.large_functions(&large, parser).await,
            _ => match part(&name, &first) {
                Some((kind, 1)) => {
                    let target = self.begin_part(first.clone(), kind, is_field_expiry(&name), large.offset).await?;
                    let wanted = target.is_some();
                    if let (Some(target), Some(connection)) = (target, &mut self.connection) {
                        self.half_sent = true;
                        let out = connection.output();
                        resp::arguments(out, large.count);
                        resp::argument(out, &name);
                        resp::argument(out, &target);
                    }
                    while let Some(length) = parser.argument().await? {
                        self.pass(length, wanted, parser).await?;
                    }
                    if wanted {
                        // What options a `ZADD` has was not looked at.
                        let counts = !matches!(kind, Kind::SortedSet | Kind::String) && !is_field_expiry(&name);
                        let elements = Some(large.count - 2).filter(|_| counts);
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
        let nx = self.on_conflict != OnConflict::Replace;
        if let Some(connection) = &mut self.connection {
            self.half_sent = true;
            let out = connection.output();
            resp::arguments(out, large.count + u64::from(nx));
            resp::argument(out, b"SET");
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
            // Sent all the same: the server drops it, and its answer keeps the count of answers right.
            if let What::Value { expired, .. } = &mut what {
                *expired = self.has_passed(expiry);
            }
            if let Some(connection) = &mut self.connection {
                resp::argument(connection.output(), &word);
                resp::argument(connection.output(), &number);
            }
        }
        if nx && let Some(connection) = &mut self.connection {
            resp::argument(connection.output(), b"NX");
        }
        self.sent_large(key, large.offset, what).await
    }

    async fn large_restore(&mut self, large: &Large, key: Bytes, parser: &mut Parser) -> Result<(), Failure> {
        let ttl = parser.short(SHORT).await?;
        let Some(expiry) = resp::number(&ttl).and_then(|ttl| u64::try_from(ttl).ok()) else {
            return Err(wrong(large.offset, format_args!("{} is no expiry", show(&ttl))));
        };
        let mut left = parser.argument().await?.unwrap_or(0);
        let piece = parser.piece(&mut left).await?;
        let kind = Kind::of_payload(piece.first().copied().unwrap_or(u8::MAX));
        let what = self.begin_value(&key, kind, Some(expiry).filter(|at| *at > 0), large.offset).await?;
        let replace = self.on_conflict == OnConflict::Replace;
        if what.is_some()
            && let Some(connection) = &mut self.connection
        {
            self.half_sent = true;
            let out = connection.output();
            resp::arguments(out, 5 + u64::from(replace));
            resp::argument(out, b"RESTORE");
            resp::argument(out, &key);
            resp::argument(out, &ttl);
            resp::length(out, piece.len() as u64 + left);
            out.extend_from_slice(&piece);
        }
        self.pieces(left, what.is_some(), parser).await?;
        let mut words =
            [parser.short(SHORT).await?.to_ascii_uppercase(), parser.short(SHORT).await?.to_ascii_uppercase()];
        words.sort_unstable();
        if words != [&b"ABSTTL"[..], b"REPLACE"] {
            return Err(wrong(large.offset, "`RESTORE` of a long value without `REPLACE` and `ABSTTL`"));
        }
        let Some(what) = what else { return Ok(()) };
        if let Some(connection) = &mut self.connection {
            resp::argument(connection.output(), b"ABSTTL");
            if replace {
                resp::argument(connection.output(), b"REPLACE");
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
        if wanted && let Some(connection) = &mut self.connection {
            resp::length(connection.output(), length);
        }
        if length == 0 {
            // The line end is taken with the last piece, and nothing is a piece too.
            parser.piece(&mut 0).await?;
            if wanted && let Some(connection) = &mut self.connection {
                connection.output().extend_from_slice(b"\r\n");
            }
            return Ok(());
        }
        self.pieces(length, wanted, parser).await
    }

    /// Passes the rest of an argument on, and its line end.
    async fn pieces(&mut self, mut left: u64, wanted: bool, parser: &mut Parser) -> Result<(), Failure> {
        while left > 0 {
            let piece = parser.piece(&mut left).await?;
            if wanted && let Some(connection) = &mut self.connection {
                connection.output().extend_from_slice(&piece);
                connection.send_some().await?;
            }
        }
        if wanted && let Some(connection) = &mut self.connection {
            connection.output().extend_from_slice(b"\r\n");
        }
        Ok(())
    }

    async fn sent_large(&mut self, key: Bytes, offset: u64, what: What) -> Result<(), Failure> {
        if self.connection.is_none() {
            return self.count(what);
        }
        self.half_sent = false;
        self.sent(Pending { key, offset, size: 0, what }).await?;
        // A long command keeps the server busy for long enough; the next one waits for it.
        self.settle(0).await
    }
}
