//! What a long command means, of which no more is held than what stands before its long texts.
//!
//! Takes a command's beginning and the [`Parser`] that has the rest. Gives a [`Long`], then its texts one by one, then what
//! stands behind them. Always holds: what is taken has the same meaning as the [short command](super::statement) of the same
//! form. Fewer forms are: an expiry has to be a moment, `RESTORE` needs `REPLACE` and `ABSTTL`, and of streams there are entries only.

use aquifer_engine::failure::Failure;
use bytes::Bytes;

use crate::rdb::visit::{Id, Role};
use crate::redis::keys::lifetimes::Lifetimes;
use crate::redis::keys::tally::Kind;
use crate::redis::stream::command::{Command, Large};
use crate::redis::stream::entries::{id, score};
use crate::redis::stream::form::LONGEST_LIBRARY;
use crate::redis::stream::parser::Parser;
use crate::redis::stream::statement::{Hint, Statement, adds_to, count, functions, options, untold};
use crate::redis::stream::wrong::{refused, wrong};
use crate::redis::wire::resp::show;

/// No option, number, score or id is longer.
const SHORT: u64 = 400;

/// A long command whose texts are still to come.
#[derive(Debug, Clone)]
pub(crate) struct Long {
    /// Where in the stream it begins.
    pub(crate) offset: u64,
    pub(crate) key: Bytes,
    pub(crate) act: LongAct,
    /// What becomes of an expiry that stands behind the text.
    pub(crate) lifetimes: Lifetimes,
}

/// What is done.
#[derive(Debug, Clone)]
pub(crate) enum LongAct {
    /// A whole string. `timed`: its expiry follows.
    Set { timed: bool },
    /// A whole value, as `DUMP` gives it. `options`: how many arguments follow.
    Restore { kind: Kind, first: Option<u8>, expiry: Option<u64>, options: u64 },
    /// Adds to the value of a key by a command of this name with so many arguments, the entry's id the third where it is one.
    Part { kind: Kind, name: Bytes, arguments: u64, entry: Option<(Bytes, Id)> },
}

/// What comes next in a long part.
#[derive(Debug)]
pub(crate) enum LongText {
    /// A text of so many bytes, to be taken by [`Parser::piece`].
    Text(Role, u64),
    /// A score, as it stands there and as a number.
    Score(Bytes, f64),
}

/// A command that was read from its beginning.
#[derive(Debug)]
pub(crate) enum Begun {
    /// Libraries of functions are code, so they are held whole.
    Whole(Statement),
    Long(Long),
}

impl LongAct {
    /// The type of a whole value; `None` where it is none.
    pub(crate) fn value(&self) -> Option<Kind> {
        match self {
            Self::Set { .. } => Some(Kind::String),
            Self::Restore { kind, .. } => Some(*kind),
            Self::Part { .. } => None,
        }
    }
}

impl Parser {
    /// What the command that was begun means.
    ///
    /// # Errors
    /// A dump holds none such, or the stream is cut off.
    pub(super) async fn long(&mut self, large: Large) -> Result<Begun, Failure> {
        let Large { offset, count: arguments, args: [name, key] } = large;
        let name = Bytes::from(name.to_ascii_uppercase());
        let act = match (&name[..], arguments) {
            (b"SET", 3 | 5) => LongAct::Set { timed: arguments == 5 },
            (b"RESTORE", 6 | 8) => {
                let ttl = self.short(SHORT).await?;
                let Some(expiry) = count(&ttl) else {
                    return Err(wrong(offset, format_args!("{} is no expiry", show(&ttl))));
                };
                let first = self.peek().await?;
                let kind = Kind::of_payload(first.unwrap_or(u8::MAX));
                LongAct::Restore { kind, first, expiry: (expiry > 0).then_some(expiry), options: arguments - 4 }
            }
            (b"FUNCTION", 3..=4) => {
                let mut args = vec![name, key];
                while self.arguments_left() > 0 {
                    args.push(self.short(LONGEST_LIBRARY).await?);
                }
                let args: Vec<&[u8]> = args.iter().map(|arg| &arg[..]).collect();
                let act = functions(&Command::new(offset, &args))?;
                return Ok(Begun::Whole(Statement { offset, act }));
            }
            (b"XADD", 5..) => {
                let text = self.short(SHORT).await?;
                let entry = id(&text).filter(|_| arguments % 2 == 1).ok_or_else(|| untold(offset, &name))?;
                LongAct::Part { kind: Kind::Stream, name, arguments, entry: Some((text, entry)) }
            }
            (_, 3..) => {
                let kind = adds_to(&name).ok_or_else(|| refused(offset, &name))?;
                let sound = match kind {
                    Kind::Hash | Kind::SortedSet => arguments >= 4 && arguments.is_multiple_of(2),
                    Kind::String => arguments == 3,
                    _ => true,
                };
                if !sound {
                    return Err(untold(offset, &name));
                }
                LongAct::Part { kind, name, arguments, entry: None }
            }
            _ => return Err(refused(offset, &name)),
        };
        Ok(Begun::Long(Long { offset, key, act, lifetimes: Lifetimes::Keep }))
    }

    /// The next text of a long part; `None` behind the last one.
    ///
    /// # Errors
    /// The stream is cut off, or a score is none.
    pub(crate) async fn next_text(&mut self, kind: Kind) -> Result<Option<LongText>, Failure> {
        let even = self.arguments_left().is_multiple_of(2);
        let role = match kind {
            Kind::SortedSet if even && self.arguments_left() > 0 => {
                let at = self.offset();
                let text = self.short(SHORT).await?;
                let score = score(&text).ok_or_else(|| wrong(at, format_args!("{} is no score", show(&text))))?;
                return Ok(Some(LongText::Score(text, score)));
            }
            Kind::SortedSet => Role::Member,
            Kind::Hash | Kind::Stream => {
                if even {
                    Role::Field
                } else {
                    Role::Value
                }
            }
            Kind::String => Role::Whole,
            _ => Role::Element,
        };
        Ok(self.argument().await?.map(|length| LongText::Text(role, length)))
    }

    /// The expiry behind a long string, as it is to be.
    ///
    /// # Errors
    /// Something else stands there, or the stream is cut off.
    pub(crate) async fn expiry_behind(&mut self, long: &Long) -> Result<Option<u64>, Failure> {
        if !matches!(long.act, LongAct::Set { timed: true }) {
            return Ok(None);
        }
        let (word, number) = (self.short(SHORT).await?, self.short(SHORT).await?);
        let moment = match (&word.to_ascii_uppercase()[..], count(&number)) {
            (b"PXAT", Some(moment)) => moment,
            (b"EXAT", Some(moment)) => moment.saturating_mul(1000),
            _ => return Err(wrong(long.offset, format_args!("`SET` of a long value with {}", show(&word)))),
        };
        Ok(long.lifetimes.moment(moment))
    }

    /// What stands behind a long payload.
    ///
    /// # Errors
    /// The expiry is no moment, something else stands there, or the stream is cut off.
    pub(crate) async fn options_behind(&mut self, long: &Long) -> Result<Option<Hint>, Failure> {
        let mut words = Vec::new();
        while self.arguments_left() > 0 {
            words.push(self.short(SHORT).await?);
        }
        let replaces = words.iter().any(|word| word.eq_ignore_ascii_case(b"REPLACE"));
        match options(words.into_iter()) {
            Ok((true, hint)) if replaces => Ok(hint),
            Ok(_) => Err(wrong(long.offset, "`RESTORE` of a long value without `REPLACE` and `ABSTTL`")),
            Err(word) => Err(wrong(long.offset, format_args!("`RESTORE` of a long value with {}", show(&word)))),
        }
    }
}
