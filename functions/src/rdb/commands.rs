//! The parts of a value, written as the plain commands that make it.
//!
//! Takes what a [`Visitor`] is told. Gives a [`Form`] commands. Always holds: short parts share a command, long ones pass
//! through; what has to be held because a command wants it in another order (a sorted set's member, a field that may have
//! an expiry) is refused above [`LONGEST_HELD`]; a value without elements leaves no command behind.

use aquifer_engine::failure::Failure;
use bytes::BytesMut;

use super::visit::{Role, Stream, Visitor};
use crate::redis::keys::tally::Kind;
use crate::redis::stream::form::{Form, LONGEST_ARGUMENT};
use crate::redis::stream::streams::StreamWriter;
use crate::redis::wire::resp::{self, show};

/// How long a part may be that has to be held.
const LONGEST_HELD: u64 = 16 << 20;

/// How long a field may be that has an expiry: a restore wants its command whole.
const LONGEST_TIMED: u64 = (1 << 20) - 1024;

/// Longer parts get a command of their own.
const LONG: u64 = 16 << 10;

/// A command is ended above so many bytes, or so many arguments: the server carries it out at one go.
const LONGEST_COMMAND: usize = 64 << 10;
const MOST_ARGUMENTS: u64 = 512;

/// What is written in one step of a held part.
const STEP: usize = 64 << 10;

/// Where the part that is being told goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Among the arguments of the command that is being collected.
    Collected,
    /// Straight into the form.
    Through,
    /// Held until its score comes.
    Held,
}

/// A value being written.
pub(crate) struct Commands<'a> {
    pub(super) form: &'a mut Form,
    pub(super) key: &'a [u8],
    kind: Kind,
    /// Fields may have an expiry; this one is short enough to be held until it is known.
    timed: bool,
    holding: bool,
    /// In milliseconds.
    expires: Option<u64>,
    /// Its first command was written.
    pub(super) begun: bool,
    role: Role,
    place: Place,
    /// The arguments that are being collected.
    parts: BytesMut,
    /// How many of them are complete elements, and where those end.
    count: u64,
    complete: usize,
    held: BytesMut,
    /// Expiries of fields; they come behind the command that is being collected.
    expiries: BytesMut,
    expiries_count: u64,
    pub(crate) stream: StreamWriter,
    /// The elements that were written.
    pub(crate) elements: u64,
}

impl<'a> Commands<'a> {
    /// Begins a value of this type under a key; `timed` where it is a hash whose fields may have an expiry each.
    pub(crate) fn new(form: &'a mut Form, key: &'a [u8], kind: Kind, timed: bool, expires: Option<u64>) -> Self {
        Self {
            form,
            key,
            kind,
            timed,
            holding: false,
            expires,
            begun: false,
            role: Role::Whole,
            place: Place::Through,
            parts: BytesMut::new(),
            count: 0,
            complete: 0,
            held: BytesMut::new(),
            expiries: BytesMut::new(),
            expiries_count: 0,
            stream: StreamWriter::new(key),
            elements: 0,
        }
    }

    /// Ends the value; false where it had no elements, so that nothing was written.
    ///
    /// # Errors
    /// Nobody reads any more.
    pub(crate) async fn end(&mut self) -> Result<bool, Failure> {
        self.flush().await?;
        self.stream.claim(self.form);
        if let Some(at) = self.expires.filter(|_| self.begun && self.kind != Kind::String) {
            let mut text = BytesMut::new();
            resp::decimal(&mut text, at);
            self.form.command(&[b"PEXPIREAT", self.key, &text]);
        }
        self.form.flush_some().await?;
        Ok(self.begun)
    }

    /// Takes away what stands under the key, before the first command.
    pub(super) fn begin(&mut self) {
        if !std::mem::replace(&mut self.begun, true) {
            self.form.command(&[b"DEL", self.key]);
        }
    }

    /// Begins a command with so many arguments behind the key.
    fn command(&mut self, arguments: u64) -> &mut BytesMut {
        self.begin();
        let name: &[u8] = match self.kind {
            Kind::List => b"RPUSH",
            Kind::Set => b"SADD",
            Kind::SortedSet => b"ZADD",
            _ => b"HSET",
        };
        let out = self.form.begin_command(2 + arguments);
        resp::argument(out, name);
        resp::argument(out, self.key);
        out
    }

    /// Writes what was collected, up to the last complete element.
    async fn flush(&mut self) -> Result<(), Failure> {
        let whole = self.parts.split_to(self.complete);
        self.complete = 0;
        let count = std::mem::take(&mut self.count);
        if count > 0 {
            self.command(count).extend_from_slice(&whole);
        }
        let count = std::mem::take(&mut self.expiries_count);
        if count > 0 {
            self.form.raw(&self.expiries, count);
            self.expiries.clear();
        }
        self.form.flush_some().await
    }

    /// Writes what was collected where it is enough.
    async fn flush_some(&mut self) -> Result<(), Failure> {
        let most = LONGEST_COMMAND.max(self.key.len());
        if self.complete + self.expiries.len() >= most || self.count >= MOST_ARGUMENTS {
            self.flush().await?;
        }
        self.form.flush_some().await
    }

    /// Ends an element of so many arguments.
    async fn element(&mut self, arguments: u64) -> Result<(), Failure> {
        self.elements += 1;
        if self.place == Place::Collected {
            self.count += arguments;
            self.complete = self.parts.len();
        }
        self.flush_some().await
    }

    fn hold(&mut self, length: u64) -> Result<(), Failure> {
        self.held.clear();
        if length <= LONGEST_HELD {
            return Ok(());
        }
        Err(Failure::rejected(format!(
            "the key {} has a member of {length} bytes, and one that has to be held may have {LONGEST_HELD}",
            show(self.key)
        ))
        .with_help("leave the key out by a filter"))
    }

    /// The head of a string's command.
    fn begin_string(&mut self) {
        self.begun = true;
        let out = self.form.begin_command(if self.expires.is_some() { 5 } else { 3 });
        resp::argument(out, b"SET");
        resp::argument(out, self.key);
    }

    /// Goes on with an element whose beginning is collected, straight into the form.
    async fn pass_through(&mut self, arguments: u64) -> Result<(), Failure> {
        let begun = self.parts.split_off(self.complete);
        self.flush().await?;
        self.command(arguments).extend_from_slice(&begun);
        self.place = Place::Through;
        Ok(())
    }
}

impl Visitor for Commands<'_> {
    async fn text(&mut self, role: Role, length: u64) -> Result<(), Failure> {
        if length > LONGEST_ARGUMENT {
            return Err(Failure::rejected(format!(
                "a part of the key {} has {length} bytes, and a server takes {LONGEST_ARGUMENT} in one argument",
                show(self.key)
            )));
        }
        self.role = role;
        match role {
            Role::Whole => self.begin_string(),
            Role::Member => {
                self.place = Place::Held;
                return self.hold(length);
            }
            _ if self.kind == Kind::Stream => self.place = Place::Through,
            Role::Field | Role::Element => {
                self.held.clear();
                self.holding = role == Role::Field && self.timed && length <= LONGEST_TIMED;
                self.place = Place::Collected;
                if length > LONG {
                    self.pass_through(if role == Role::Field { 2 } else { 1 }).await?;
                }
            }
            Role::Value if length > LONG && self.place == Place::Collected => self.pass_through(2).await?,
            Role::Value => {}
        }
        let out = if self.place == Place::Collected { &mut self.parts } else { self.form.out() };
        resp::length(out, length);
        Ok(())
    }

    async fn piece(&mut self, piece: &[u8]) -> Result<(), Failure> {
        if self.place == Place::Held || (self.holding && self.role == Role::Field) {
            self.held.extend_from_slice(piece);
        }
        match self.place {
            Place::Collected => self.parts.extend_from_slice(piece),
            Place::Held => {}
            Place::Through => {
                self.form.out().extend_from_slice(piece);
                self.form.flush_some().await?;
            }
        }
        Ok(())
    }

    async fn told(&mut self) -> Result<(), Failure> {
        let out = match self.place {
            Place::Held => return Ok(()),
            Place::Collected => &mut self.parts,
            Place::Through => self.form.out(),
        };
        out.extend_from_slice(b"\r\n");
        match (self.role, self.expires) {
            (Role::Whole, Some(at)) => {
                resp::argument(out, b"PXAT");
                resp::number_argument(out, at);
                self.element(0).await
            }
            (Role::Whole, None) => self.element(0).await,
            _ if self.kind == Kind::Stream => self.form.flush_some().await,
            (Role::Element, _) => self.element(1).await,
            (Role::Value, _) => self.element(2).await,
            (Role::Field | Role::Member, _) => Ok(()),
        }
    }

    async fn score(&mut self, score: f64) -> Result<(), Failure> {
        let held = std::mem::take(&mut self.held);
        if held.len() as u64 > LONG {
            self.pass_through(2).await?;
            let out = self.form.out();
            write_score(out, score);
            resp::length(out, held.len() as u64);
            for step in held.chunks(STEP) {
                self.form.out().extend_from_slice(step);
                self.form.flush_some().await?;
            }
            self.form.out().extend_from_slice(b"\r\n");
            return self.element(2).await;
        }
        self.place = Place::Collected;
        write_score(&mut self.parts, score);
        resp::argument(&mut self.parts, &held);
        self.held = held;
        self.element(2).await
    }

    async fn expires(&mut self, at: Option<u64>) -> Result<(), Failure> {
        let Some(at) = at else { return Ok(()) };
        if !self.holding {
            return Err(Failure::rejected(format!(
                "the key {} has a field with an expiry of more than {LONGEST_TIMED} bytes, and that is not restored",
                show(self.key)
            ))
            .with_help("leave the key out by a filter"));
        }
        let mut text = BytesMut::new();
        resp::decimal(&mut text, at);
        resp::command(&mut self.expiries, &[b"HPEXPIREAT", self.key, &text, b"FIELDS", b"1", &self.held]);
        self.expiries_count += 1;
        if self.held.len() as u64 > LONG { self.flush().await } else { self.flush_some().await }
    }

    async fn stream(&mut self, part: Stream<'_>) -> Result<(), Failure> {
        self.part(part).await
    }
}

/// A score as an argument: the shortest text that means this number and no other.
pub(crate) fn write_score(out: &mut BytesMut, score: f64) {
    let size = score.abs();
    let text = if score.is_infinite() || size == 0.0 || (1e-5..1e17).contains(&size) {
        score.to_string()
    } else {
        format!("{score:e}")
    };
    resp::argument(out, text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_mean_the_same_number() {
        for score in [0.0, -0.0, 1.0, 0.1, -1.5, 1e17, 1e300, 5e-324, f64::MAX, f64::MIN_POSITIVE, f64::INFINITY] {
            let mut out = BytesMut::new();
            write_score(&mut out, score);
            let text = String::from_utf8(out.to_vec()).expect("ASCII");
            let text = text.split("\r\n").nth(1).expect("an argument");
            assert_eq!(text.parse::<f64>().expect("a number").to_bits(), score.to_bits(), "{text}");
            assert!(text.len() < 30, "{text}");
        }
    }
}
