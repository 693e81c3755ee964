//! A stream, read from its head to its trailer.
//!
//! Takes a pipe. Gives what the head says, then what each command does, then the end. Always holds: the end is only given
//! where the stream was whole: a stream with a head ends with a trailer that says what came before it, and nothing follows;
//! where the head is one of several shards', the streams of all others follow in order, each whole by its own trailer; one
//! without a head is only taken where nobody asked for one; everything is counted.

use aquifer_engine::failure::Failure;
use aquifer_engine::pipe::Reader;

use crate::redis::stream::census::Census;
use crate::redis::stream::command::Command;
use crate::redis::stream::form::{StreamHead, TRAILER};
use crate::redis::stream::joined::Joined;
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
    /// The head of the next shard's stream, where it is made of several: what stands before it is complete.
    Another(StreamHead),
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
    /// What the trailers promised of libraries of functions.
    pub(crate) functions: u64,
    /// What was counted since the stream began, or the one of the shard that is being read.
    census: Census,
    /// Commands before that.
    before: u64,
    /// Where that was.
    begins: u64,
    require_trailer: bool,
    headed: bool,
    /// A trailer was read, and nothing behind it.
    ended: bool,
    /// Where it is made of the streams of several shards.
    joined: Option<Joined>,
}

impl StreamReader {
    /// Begins at the beginning. `require_trailer`: a stream without a head is refused.
    pub(crate) fn new(pipe: Reader, require_trailer: bool) -> Self {
        Self {
            parser: Parser::new(pipe),
            functions: 0,
            census: Census::default(),
            before: 0,
            begins: 0,
            require_trailer,
            headed: false,
            ended: false,
            joined: None,
        }
    }

    /// How many commands there were.
    pub(crate) fn commands(&self) -> u64 {
        self.before + self.census.commands
    }

    /// True where the stream has a head.
    pub(crate) fn is_headed(&self) -> bool {
        self.headed
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
            if self.ended && !self.goes_on() {
                return Err(wrong(offset, "there is more behind the trailer")
                    .with_help("two dumps in one stream are no dump; take them one by one"));
            }
            self.ended = false;
            let begins = offset == self.begins;
            let echo = matches!(&next, Next::Command(command) if command.arg(0).eq_ignore_ascii_case(b"ECHO"));
            let head = match &next {
                Next::Command(command) if begins && echo => trailer::head(command)?,
                _ => None,
            };
            if let Some(joined) = self.joined.as_mut().filter(|_| begins) {
                joined.follow(head.as_ref(), offset)?;
            }
            if offset == 0 && head.is_none() && self.require_trailer {
                return Err(wrong(0, "it does not begin with the head of a dump").with_help("without head and trailer nobody can tell whether a stream is whole; to take one all the same, say `requireTrailer: false`"));
            }
            match next {
                Next::Command(command) if echo => {
                    if !begins && self.headed {
                        self.trail(&command)?;
                    }
                    self.census.commands += 1;
                    if self.ended {
                        self.end_part();
                    }
                    match head {
                        Some(head) if offset > 0 => return Ok(Said::Another(head)),
                        Some(head) => {
                            self.headed = true;
                            self.joined = Joined::begin(&head)?;
                            return Ok(Said::Head(head));
                        }
                        None => {}
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
            let promised = trailer::promised(&json, self.begins, command.offset, &self.parser, &self.census);
            self.functions += promised.map_err(|failure| self.told(failure))?.functions;
            self.ended = true;
        }
        Ok(())
    }

    /// Says of which shard a failure tells.
    fn told(&self, failure: Failure) -> Failure {
        match &self.joined {
            Some(joined) => failure.during(joined),
            None => failure,
        }
    }

    /// True where the stream of another shard has to follow.
    fn goes_on(&self) -> bool {
        self.joined.as_ref().is_some_and(|joined| !joined.is_last())
    }

    /// Begins anew behind a trailer: each shard's stream has its own counts and its own checksum.
    fn end_part(&mut self) {
        self.before += std::mem::take(&mut self.census).commands;
        self.begins = self.parser.offset();
        self.parser.begin_checksum();
    }

    fn end(&mut self) -> Result<Said, Failure> {
        let at = self.parser.offset();
        if at == 0 {
            return Err(wrong(0, "it is empty, and even the dump of an empty server is not"));
        }
        if self.headed && !self.ended {
            let cut = Failure::corrupt(format!("the stream is cut off: it ends at byte {at} without its trailer"))
                .with_help("take another copy of the dump; this one is not whole");
            return Err(self.told(cut));
        }
        match self.joined.as_ref().filter(|joined| !joined.is_last()) {
            Some(joined) => Err(joined.cut(at)),
            None => {
                self.census.close();
                Ok(Said::End)
            }
        }
    }
}

#[cfg(test)]
mod tests;
