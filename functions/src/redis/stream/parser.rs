//! A stream of RESP commands, taken apart while it arrives.
//!
//! Takes a pipe. Gives commands: whole ones, or, where more than [`WHOLE`] follows their first two arguments, these two and
//! the rest in pieces; commands that are made of names are whole up to [`LONGEST_NAMES`]. Always holds: which of the two a command is depends on the command alone, not on how it arrives;
//! parsing goes on where it stopped, so no byte is looked at twice however small the pieces are; a length that is announced
//! allocates nothing; each error says at which byte of the stream it stands; every byte that was taken since the checksum was
//! begun is in it.

use std::ops::Range;

use aquifer_engine::failure::Failure;
use aquifer_engine::pipe::Reader;
use bytes::{Bytes, BytesMut};
use xxhash_rust::xxh3::Xxh3;

use crate::redis::stream::command::{Command, Large};
use crate::redis::stream::form::{LONGEST_ARGUMENT, LONGEST_NAMES};
use crate::redis::wire::resp::{self, show};

/// Commands of which more bytes follow the first two arguments are given in pieces.
const WHOLE: usize = 1 << 20;

/// No argument is longer; a `RESTORE` of a value of 512 MB is a little longer than the value.
pub(super) const LONGEST: u64 = LONGEST_ARGUMENT + (1 << 20);

/// The most arguments that a server takes in one command.
const MOST_ARGUMENTS: i64 = 1 << 20;

/// Commands that are made of names, and therefore held whole.
const OF_NAMES: [&[u8]; 6] = [b"XGROUP", b"XCLAIM", b"HPEXPIREAT", b"HEXPIREAT", b"HPEXPIRE", b"HEXPIRE"];

/// No command has a longer name.
const LONGEST_NAME: u64 = 64;

/// The longest that the head of a command or of an argument may be: a mark, ten digits, a line end, and some zeros.
const LONGEST_HEAD: usize = 32;

/// What comes next in the stream.
#[derive(Debug)]
pub(crate) enum Next {
    Command(Command),
    Large(Large),
    /// The stream is complete.
    End,
}

/// A stream being taken apart.
pub(crate) struct Parser {
    pipe: Reader,
    /// As [`WHOLE`].
    whole: usize,
    /// Begins where the current command does.
    pub(super) buffer: BytesMut,
    /// Where in the stream the buffer begins.
    pub(super) base: u64,
    ended: bool,
    pub(super) hash: Box<Xxh3>,
    /// The last command, not in the checksum yet.
    last: Bytes,
    count: Option<u64>,
    args: Vec<Range<usize>>,
    at: usize,
    /// Arguments of a long command that are still to come.
    pub(super) left: u64,
}

impl Parser {
    /// Begins at the beginning.
    pub(crate) fn new(pipe: Reader) -> Self {
        Self {
            pipe,
            whole: WHOLE,
            buffer: BytesMut::new(),
            base: 0,
            ended: false,
            hash: Box::default(),
            last: Bytes::new(),
            count: None,
            args: Vec::new(),
            at: 0,
            left: 0,
        }
    }

    /// Gives commands in pieces of which more than so many bytes follow the first two arguments.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn keep_whole(&mut self, whole: usize) {
        self.whole = whole;
    }

    /// How many bytes were taken.
    pub(crate) fn offset(&self) -> u64 {
        self.base
    }

    /// The checksum of everything before the last whole command, from where it was begun.
    pub(crate) fn checksum(&self) -> u64 {
        self.hash.digest()
    }

    /// Begins the checksum behind the last whole command.
    pub(super) fn begin_checksum(&mut self) {
        (self.hash, self.last) = (Box::default(), Bytes::new());
    }

    /// The next command. The one before must have been read to its end.
    ///
    /// # Errors
    /// The stream is cut off or holds something else, or its writer failed.
    pub(crate) async fn next(&mut self) -> Result<Next, Failure> {
        let last = std::mem::take(&mut self.last);
        self.hash.update(&last);
        drop(last);
        loop {
            let whole = self.parse()?;
            if let Some(large) = self.large() {
                return Ok(Next::Large(large));
            }
            if let Some(count) = whole {
                let raw = self.take(self.at);
                self.last = raw.clone();
                let mut args = Vec::with_capacity(count);
                args.append(&mut self.args);
                self.begin();
                return Ok(Next::Command(Command { offset: self.base - raw.len() as u64, raw, args }));
            }
            if !self.fill().await? {
                return if self.buffer.is_empty() { Ok(Next::End) } else { Err(self.cut()) };
            }
        }
    }

    fn begin(&mut self) {
        self.count = None;
        self.args.clear();
        self.at = 0;
    }

    pub(super) fn take(&mut self, bytes: usize) -> Bytes {
        self.base += bytes as u64;
        self.buffer.split_to(bytes).freeze()
    }

    pub(super) async fn fill(&mut self) -> Result<bool, Failure> {
        if self.ended {
            return Ok(false);
        }
        match self.pipe.read().await? {
            Some(chunk) => self.buffer.extend_from_slice(&chunk),
            None => self.ended = true,
        }
        Ok(!self.ended)
    }

    pub(super) fn cut(&self) -> Failure {
        let at = self.base + self.buffer.len() as u64;
        Failure::corrupt(format!("the stream is cut off: it ends at byte {at}, in the middle of a command"))
            .with_help("take another copy of the dump; this one is not whole")
    }

    pub(super) fn wrong(&self, at: usize, what: impl std::fmt::Display) -> Failure {
        Failure::corrupt(format!("at byte {} of the stream: {what}", self.base + at as u64))
            .with_help("this is no stream of RESP commands as `redis-dump` writes it, or it is damaged; is it still compressed or encrypted?")
    }

    /// Parses on; gives the number of arguments once the command is whole.
    fn parse(&mut self) -> Result<Option<usize>, Failure> {
        let count = match self.count {
            Some(count) => count,
            None => {
                let Some((count, next)) = self.head(0, b'*', 1, MOST_ARGUMENTS)? else { return Ok(None) };
                self.at = next;
                self.count = Some(count);
                count
            }
        };
        while (self.args.len() as u64) < count {
            let most = LONGEST as i64;
            let Some((length, next)) = self.head(self.at, b'$', 0, most)? else { return Ok(None) };
            if self.args.is_empty() && length > LONGEST_NAME {
                return Err(self.wrong(self.at, format_args!("no command has a name of {length} bytes")));
            }
            let end = next + length as usize;
            if self.buffer.len() < end + 2 {
                return Ok(None);
            }
            if &self.buffer[end..end + 2] != b"\r\n" {
                return Err(self.wrong(end, "an argument does not end where its length says"));
            }
            self.args.push(next..end);
            self.at = end + 2;
        }
        Ok(Some(self.args.len()))
    }

    /// A head at a place of the buffer: its number, and where what follows begins.
    pub(super) fn head(&self, at: usize, mark: u8, least: i64, most: i64) -> Result<Option<(u64, usize)>, Failure> {
        let rest = &self.buffer[at..];
        let Some(first) = rest.first() else { return Ok(None) };
        let line = &rest[..rest.len().min(LONGEST_HEAD)];
        let expected = if mark == b'*' { "a command (`*`)" } else { "an argument (`$`)" };
        if *first != mark {
            return Err(self.wrong(at, format_args!("expected {expected}, found {}", show(line))));
        }
        let Some(end) = line.iter().position(|byte| *byte == b'\n') else {
            return if line.len() < LONGEST_HEAD {
                Ok(None)
            } else {
                Err(self.wrong(at, format_args!("{} is no length", show(line))))
            };
        };
        let number = line[1..end].strip_suffix(b"\r").and_then(resp::number);
        match number.filter(|number| (least..=most).contains(number)) {
            Some(number) => Ok(Some((number.unsigned_abs(), at + end + 1))),
            None => Err(self.wrong(at, format_args!("{} is no length that {expected} may have", show(&line[..=end])))),
        }
    }

    /// The beginning of the current command, where enough of it was seen to know that it is long.
    fn large(&mut self) -> Option<Large> {
        let [name, first, ..] = &self.args[..] else { return None };
        let (name, first) = (name.clone(), first.clone());
        let begun = first.end + 2;
        // What stands behind a whole command is another one's.
        let seen = if self.count == Some(self.args.len() as u64) { self.at } else { self.buffer.len() };
        let of_names = OF_NAMES.iter().any(|known| self.buffer[name.clone()].eq_ignore_ascii_case(known));
        if seen.saturating_sub(begun) <= if of_names { LONGEST_NAMES + WHOLE } else { self.whole } {
            return None;
        }
        let count = self.count.unwrap_or(0);
        let offset = self.base;
        let raw = self.take(begun);
        self.hash.update(&raw);
        self.left = count.saturating_sub(2);
        self.begin();
        Some(Large { offset, count, args: [raw.slice(name), raw.slice(first)] })
    }
}

#[cfg(test)]
mod tests;
