//! The arguments of a long command, read one by one while they arrive.
//!
//! Takes a [`Parser`] that has given the command's beginning. Always holds: no more of an argument is held than came at once,
//! unless it was asked for whole, with a bound.

use aquifer_engine::failure::Failure;
use bytes::{Bytes, BytesMut};

use crate::redis::stream::parser::{LONGEST, Parser};

impl Parser {
    /// The length of a long command's next argument; `None` after the last one.
    ///
    /// # Errors
    /// As [`Parser::next`].
    pub(crate) async fn argument(&mut self) -> Result<Option<u64>, Failure> {
        if self.left == 0 {
            return Ok(None);
        }
        loop {
            if let Some((length, next)) = self.head(0, b'$', 0, LONGEST as i64)? {
                let head = self.take(next);
                self.hash.update(&head);
                self.left -= 1;
                return Ok(Some(length));
            }
            if !self.fill().await? {
                return Err(self.cut());
            }
        }
    }

    /// Some bytes of an argument, at least one unless none is left; takes them off `left`, and its line end too where it
    /// becomes 0.
    ///
    /// # Errors
    /// As [`Parser::next`].
    pub(crate) async fn piece(&mut self, left: &mut u64) -> Result<Bytes, Failure> {
        if self.buffer.is_empty() && !self.fill().await? {
            return Err(self.cut());
        }
        let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(self.buffer.len());
        *left -= taken as u64;
        let piece = self.take(taken);
        self.hash.update(&piece);
        if *left == 0 {
            while self.buffer.len() < 2 {
                if !self.fill().await? {
                    return Err(self.cut());
                }
            }
            if &self.buffer[..2] != b"\r\n" {
                return Err(self.wrong(0, "an argument does not end where its length says"));
            }
            let end = self.take(2);
            self.hash.update(&end);
        }
        Ok(piece)
    }

    /// How many arguments of a long command are still to come.
    pub(crate) fn arguments_left(&self) -> u64 {
        self.left
    }

    /// The first byte of a long command's next argument, which is not taken; `None` where it is empty or there is none.
    ///
    /// # Errors
    /// As [`Parser::next`].
    pub(crate) async fn peek(&mut self) -> Result<Option<u8>, Failure> {
        if self.left == 0 {
            return Ok(None);
        }
        loop {
            if let Some((length, at)) = self.head(0, b'$', 0, LONGEST as i64)? {
                match self.buffer.get(at) {
                    _ if length == 0 => return Ok(None),
                    Some(first) => return Ok(Some(*first)),
                    None => {}
                }
            }
            if !self.fill().await? {
                return Err(self.cut());
            }
        }
    }

    /// Passes over what is left of a long command.
    ///
    /// # Errors
    /// As [`Parser::next`].
    pub(crate) async fn skip(&mut self) -> Result<(), Failure> {
        while let Some(mut left) = self.argument().await? {
            // An empty argument still has its line end.
            loop {
                self.piece(&mut left).await?;
                if left == 0 {
                    break;
                }
            }
        }
        Ok(())
    }

    /// A long command's next argument, whole, where it has at most so many bytes.
    ///
    /// # Errors
    /// As [`Parser::next`]; also where it is longer, or there is none.
    pub(crate) async fn short(&mut self, most: u64) -> Result<Bytes, Failure> {
        let at = self.base;
        let Some(mut left) = self.argument().await?.filter(|length| *length <= most) else {
            return Err(Failure::corrupt(format!(
                "at byte {at} of the stream: expected an argument of at most {most} bytes"
            )));
        };
        let mut whole = BytesMut::new();
        // An empty argument still has its line end.
        loop {
            let piece = self.piece(&mut left).await?;
            whole.extend_from_slice(&piece);
            if left == 0 {
                return Ok(whole.freeze());
            }
        }
    }
}
