//! What comes back on a connection: replies read head by head and piece by piece, or whole.
//!
//! Takes a [`Connection`] on which something was asked. Always holds: a length that is announced allocates nothing; a reply that is
//! held whole has an end; what a server says unasked is passed over.

use aquifer_engine::failure::Failure;
use bytes::{Buf, Bytes, BytesMut};

use crate::redis::wire::connection::Connection;
use crate::redis::wire::reply::Reply;
use crate::redis::wire::resp::{self, Head};

/// Replies that are read whole nest no deeper: `XINFO` and `FUNCTION LIST` have 4.
const DEEPEST: u32 = 8;

/// Replies that are read whole have no longer parts: a key, a field, a version; never a value.
const LONGEST_WHOLE: u64 = 513 << 20;

/// Replies that are read whole have no more parts: the consumers of a group have eight each.
const MOST_PARTS: u64 = 4_000_000;

/// Replies that are read whole have no more bytes of texts: two keys of the longest names.
const MOST_BYTES: u64 = 2 * LONGEST_WHOLE;

/// No error is longer.
const LONGEST_ERROR: u64 = 64 << 10;

/// What a reply that is held whole may still have.
struct Room {
    parts: u64,
    bytes: u64,
}

impl Connection {
    /// The head of the next reply. What the server was asked must have been sent.
    ///
    /// # Errors
    /// The connection is lost, the server is silent for too long, or it speaks something else.
    pub(crate) async fn head(&mut self) -> Result<Head, Failure> {
        loop {
            match self.any_head().await? {
                Head::Aside(replies) => self.pass_over(replies).await?,
                Head::LongError(length) if length <= LONGEST_ERROR => {
                    let text = self.text(length).await?;
                    return Ok(Head::Error(String::from_utf8_lossy(&text).into_owned()));
                }
                Head::LongError(length) => return Err(self.strange(format_args!("an error of {length} bytes"))),
                head => return Ok(head),
            }
        }
    }

    async fn any_head(&mut self) -> Result<Head, Failure> {
        loop {
            match resp::head(&mut self.input) {
                Ok(Some(head)) => return Ok(head),
                Ok(None) => self.fill().await?,
                Err(what) => return Err(self.strange(what)),
            }
        }
    }

    /// Reads so many replies that nobody asked for.
    async fn pass_over(&mut self, replies: u64) -> Result<(), Failure> {
        let mut left = replies;
        while left > 0 {
            left -= 1;
            match self.any_head().await? {
                Head::Array(more) | Head::Aside(more) => left = left.saturating_add(more),
                Head::Bulk(length) | Head::Verbatim(length) | Head::LongError(length) => {
                    let mut bytes = length;
                    while bytes > 0 {
                        self.piece(&mut bytes).await?;
                    }
                    self.bulk_end().await?;
                }
                Head::Simple(_) | Head::Error(_) | Head::Integer(_) | Head::Nil => {}
            }
        }
        Ok(())
    }

    /// Some of the bytes that a [`Head::Bulk`] announced, at least one; `left` says how many are still to come.
    ///
    /// # Errors
    /// As [`Connection::head`].
    pub(crate) async fn piece(&mut self, left: &mut u64) -> Result<Bytes, Failure> {
        if self.input.is_empty() {
            self.fill().await?;
        }
        let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(self.input.len());
        *left -= taken as u64;
        Ok(self.input.split_to(taken).freeze())
    }

    /// Copies the bytes that a [`Head::Bulk`] announced behind those in `out`, as many of them as were read already, at
    /// least one; `left` says how many are still to come.
    ///
    /// # Errors
    /// As [`Connection::head`].
    pub(crate) async fn copy(&mut self, left: &mut u64, out: &mut BytesMut) -> Result<(), Failure> {
        if self.input.is_empty() {
            self.fill().await?;
        }
        let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(self.input.len());
        *left -= taken as u64;
        out.extend_from_slice(&self.input[..taken]);
        self.input.advance(taken);
        Ok(())
    }

    /// The line end behind the bytes of a bulk.
    ///
    /// # Errors
    /// As [`Connection::head`].
    pub(crate) async fn bulk_end(&mut self) -> Result<(), Failure> {
        while self.input.len() < 2 {
            self.fill().await?;
        }
        if &self.input[..2] == b"\r\n" {
            self.input.advance(2);
            Ok(())
        } else {
            Err(self.strange("a text that is longer than announced"))
        }
    }

    /// The whole text that a [`Head::Bulk`] announced.
    ///
    /// # Errors
    /// As [`Connection::head`].
    pub(crate) async fn text(&mut self, length: u64) -> Result<Bytes, Failure> {
        if length > LONGEST_WHOLE {
            return Err(self.strange(format_args!("a name of {length} bytes")));
        }
        let length = length as usize;
        while self.input.len() < length {
            self.fill().await?;
        }
        let text = self.input.split_to(length).freeze();
        self.bulk_end().await?;
        Ok(text)
    }

    /// The next reply, whole.
    ///
    /// # Errors
    /// As [`Connection::head`].
    pub(crate) async fn reply(&mut self) -> Result<Reply, Failure> {
        self.nested(DEEPEST, &mut Room { parts: MOST_PARTS, bytes: MOST_BYTES }).await
    }

    async fn nested(&mut self, depth: u32, room: &mut Room) -> Result<Reply, Failure> {
        let head = self.head().await?;
        let bytes = if let Head::Bulk(length) | Head::Verbatim(length) = head { length } else { 0 };
        let (Some(parts), Some(bytes)) = (room.parts.checked_sub(1), room.bytes.checked_sub(bytes)) else {
            return Err(self.strange("more than any reply has that is read at once"));
        };
        *room = Room { parts, bytes };
        Ok(match head {
            Head::Simple(line) => Reply::Simple(line),
            Head::Error(error) => Reply::Error(error),
            Head::Integer(value) => Reply::Integer(value),
            Head::Nil => Reply::Nil,
            Head::Bulk(length) => Reply::Bulk(self.text(length).await?),
            Head::Verbatim(length) => {
                let text = self.text(length).await?;
                Reply::Bulk(text.slice(text.len().min(4)..))
            }
            Head::Aside(_) | Head::LongError(_) => return Err(self.strange("something in the wrong place")),
            Head::Array(_) if depth == 0 => return Err(self.strange("arrays in arrays without an end")),
            Head::Array(count) => {
                let mut items = Vec::new();
                for _ in 0..count {
                    items.push(Box::pin(self.nested(depth - 1, room)).await?);
                }
                Reply::Array(items)
            }
        })
    }

    /// Reads the next reply and forgets it, piece by piece, however long or deep it is.
    ///
    /// # Errors
    /// As [`Connection::head`].
    pub(crate) async fn skip_reply(&mut self) -> Result<(), Failure> {
        self.pass_over(1).await
    }
}
