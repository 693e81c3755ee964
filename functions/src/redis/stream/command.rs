//! Commands as they stand in a stream: texts, of which nobody has said yet what they mean.
//!
//! Always holds: an argument is a piece of the buffer that it came in, so none is copied.

use std::ops::Range;

use bytes::{Bytes, BytesMut};

use crate::redis::wire::resp;

/// A whole command.
#[derive(Debug, Clone)]
pub(crate) struct Command {
    /// Where in the stream it begins.
    pub(crate) offset: u64,
    pub(super) raw: Bytes,
    pub(super) args: Vec<Range<usize>>,
}

impl Command {
    /// A command that takes the place of one that stands there.
    pub(crate) fn new(offset: u64, arguments: &[&[u8]]) -> Self {
        let (mut raw, mut args) = (BytesMut::new(), Vec::with_capacity(arguments.len()));
        resp::arguments(&mut raw, arguments.len() as u64);
        for argument in arguments {
            resp::argument(&mut raw, argument);
            let end = raw.len() - 2;
            args.push(end - argument.len()..end);
        }
        Self { offset, raw: raw.freeze(), args }
    }

    /// How many arguments it has, its name counted; at least 1.
    pub(crate) fn len(&self) -> usize {
        self.args.len()
    }

    /// An argument; empty where it has none there.
    pub(crate) fn arg(&self, place: usize) -> &[u8] {
        self.args.get(place).map_or(&[], |range| &self.raw[range.clone()])
    }

    /// All arguments, its name first.
    pub(crate) fn args(&self) -> impl Iterator<Item = &[u8]> {
        self.args.iter().map(|range| &self.raw[range.clone()])
    }

    /// An argument that may be kept.
    pub(crate) fn bytes(&self, place: usize) -> Bytes {
        self.args.get(place).map_or_else(Bytes::new, |range| self.raw.slice(range.clone()))
    }
}

/// The beginning of a long command; [`Parser::argument`](super::parser::Parser::argument) goes on with it.
#[derive(Debug, Clone)]
pub(crate) struct Large {
    /// Where in the stream it begins.
    pub(crate) offset: u64,
    /// How many arguments it has, its name counted.
    pub(crate) count: u64,
    /// Its name and its first argument. Nothing else was read, however much of it has come already.
    pub(crate) args: [Bytes; 2],
}
