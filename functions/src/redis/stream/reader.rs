//! A stream, read from its head to its trailer.
//!
//! Takes a pipe. Gives what the head says, then what each command does, then the end. Always holds: the end is only given
//! where the stream was whole: a stream with a head ends with a trailer that says what came before it, and nothing follows;
//! one without a head is only taken where nobody asked for one; everything is counted.

use aquifer_engine::failure::Failure;
use aquifer_engine::pipe::Reader;

use crate::redis::stream::census::Census;
use crate::redis::stream::command::Command;
use crate::redis::stream::form::{StreamHead, TRAILER, Trailer};
use crate::redis::stream::long::{Begun, Long};
use crate::redis::stream::parser::{Next, Parser};
use crate::redis::stream::statement::Statement;
use crate::redis::stream::trailer;
use crate::redis::stream::wrong::wrong;

/// What comes next in a stream.
#[derive(Debug)]
pub(crate) enum Said {
    /// Its head, before anything else; only where it has one.
    Head(StreamHead),
    /// What a command does.
    Statement(Statement),
    /// A long command; the parser has the rest of it.
    Long(Long),
    /// The stream was whole.
    End,
}

/// A stream being read.
pub(crate) struct StreamReader {
    pub(crate) parser: Parser,
    pub(crate) census: Census,
    pub(crate) trailer: Option<Trailer>,
    require_trailer: bool,
    headed: bool,
}

impl StreamReader {
    /// Begins at the beginning. `require_trailer`: a stream without a head is refused.
    pub(crate) fn new(pipe: Reader, require_trailer: bool) -> Self {
        Self { parser: Parser::new(pipe), census: Census::default(), trailer: None, require_trailer, headed: false }
    }

    /// What comes next. Of a long command before, everything must have been taken.
    ///
    /// # Errors
    /// The stream is damaged, cut off, holds what no dump holds, or is not what its trailer promises.
    pub(crate) async fn next(&mut self) -> Result<Said, Failure> {
        loop {
            let next = self.parser.next().await?;
            let offset = match &next {
                Next::Command(command) => command.offset,
                Next::Large(large) => large.offset,
                Next::End => return self.end(),
            };
            if self.trailer.is_some() {
                return Err(wrong(offset, "there is more behind the trailer")
                    .with_help("two dumps in one stream are no dump; take them one by one"));
            }
            let echo = matches!(&next, Next::Command(command) if command.arg(0).eq_ignore_ascii_case(b"ECHO"));
            let head = match &next {
                Next::Command(command) if offset == 0 && echo => trailer::head(command)?,
                _ => None,
            };
            if offset == 0 && head.is_none() && self.require_trailer {
                return Err(wrong(0, "it does not begin with the head of a dump").with_help("without head and trailer nobody can tell whether a stream is whole; to take one all the same, say `requireTrailer: false`"));
            }
            match next {
                Next::Command(command) if echo => {
                    if offset > 0 && self.headed {
                        self.trail(&command)?;
                    }
                    self.census.commands += 1;
                    if let Some(head) = head {
                        self.headed = true;
                        return Ok(Said::Head(head));
                    }
                }
                Next::Command(command) => return Ok(self.statement(Statement::read(command)?)),
                Next::Large(large) => match self.parser.long(large).await? {
                    Begun::Whole(statement) => return Ok(self.statement(statement)),
                    Begun::Long(long) => {
                        self.census.count_long(&long);
                        return Ok(Said::Long(long));
                    }
                },
                Next::End => {}
            }
        }
    }

    fn statement(&mut self, statement: Statement) -> Said {
        self.census.count(&statement.act);
        Said::Statement(statement)
    }

    /// Holds the stream to its trailer, where this is it.
    fn trail(&mut self, command: &Command) -> Result<(), Failure> {
        if let Some(json) = trailer::said(command, TRAILER)? {
            self.census.close();
            self.trailer = Some(trailer::promised(&json, command.offset, &self.parser, &self.census)?);
        }
        Ok(())
    }

    fn end(&mut self) -> Result<Said, Failure> {
        let at = self.parser.offset();
        if at == 0 {
            return Err(wrong(0, "it is empty, and even the dump of an empty server is not"));
        }
        if self.headed && self.trailer.is_none() {
            return Err(Failure::corrupt(format!("the stream is cut off: it ends at byte {at} without its trailer"))
                .with_help("take another copy of the dump; this one is not whole"));
        }
        self.census.close();
        Ok(Said::End)
    }
}
