//! What a stream holds, key by key, each with the hash of its value: what a stream's digest is made of, and what is compared
//! with a server.
//!
//! Takes a stream of commands. Gives databases, keys and libraries in the stream's order. Always holds: the end is only
//! given where the stream was whole; no value is held whole; a key of several commands is given once all of it was seen.

use aquifer_engine::failure::Failure;
use aquifer_engine::pipe::Reader;
use bytes::Bytes;

use crate::redis::hash::elements::{Elements, Measure};
use crate::redis::hash::hashes::Hashed;
use crate::redis::hash::streams::Counters;
use crate::redis::keys::digest;
use crate::redis::keys::digest::ExpiryIn;
use crate::redis::keys::tally::Kind;
use crate::redis::stream::census::{Census, Role};
use crate::redis::stream::form::{TRAILER, Trailer};
use crate::redis::stream::parser::{Command, Large, Next, Parser};
use crate::redis::stream::trailer;
use crate::redis::stream::wrong::wrong;
use crate::redis::wire::expiry::Expiry;
use crate::redis::wire::facts;
use crate::redis::wire::resp::{number, show};

mod payload;
mod values;

/// One thing in a stream.
#[derive(Debug)]
pub(crate) enum Item {
    /// The keys that follow are of this database.
    Database(u32),
    Key(Bytes, Hashed),
    /// A library of functions: its name and its hash.
    Library(Bytes, u128),
}

/// A key of several commands that is being told.
struct Open {
    key: Bytes,
    value: Option<(Kind, Elements)>,
    expiry: Expiry,
}

/// A stream being read.
pub(crate) struct Contents {
    pub(crate) parser: Parser,
    pub(crate) census: Census,
    pub(crate) trailer: Option<Trailer>,
    /// What counts; of streams' numbers fewer where a server before 7.0, which did not have all of them, was dumped.
    pub(crate) measure: Measure,
    /// A key may stand there twice, for all that the head says.
    pub(crate) repeats: bool,
    /// They follow from the version that the head names.
    pub(crate) adapts: bool,
    /// An expiry that is told by the time that is left is taken as one at no known moment.
    vague: bool,
    require_trailer: bool,
    headed: bool,
    open: Option<Open>,
    /// What comes next; at most the end of one key, and what follows it.
    ready: Vec<Item>,
    ended: bool,
}

impl Contents {
    /// Begins at the beginning. Expiries that count exactly have to be told as moments.
    pub(crate) fn new(pipe: Reader, measure: Measure, require_trailer: bool) -> Self {
        Self {
            parser: Parser::new(pipe),
            census: Census::default(),
            trailer: None,
            measure,
            repeats: true,
            adapts: false,
            vague: measure.expiry != ExpiryIn::Exact,
            require_trailer,
            headed: false,
            open: None,
            ready: Vec::new(),
            ended: false,
        }
    }

    /// The next thing; `None` at the end of a stream that was whole.
    ///
    /// # Errors
    /// The stream is damaged, cut off, or holds what cannot be told.
    pub(crate) async fn next(&mut self) -> Result<Option<Item>, Failure> {
        loop {
            if !self.ready.is_empty() {
                return Ok(Some(self.ready.remove(0)));
            }
            if self.ended {
                return Ok(None);
            }
            let next = self.parser.next().await?;
            let offset = match &next {
                Next::Command(command) => command.offset,
                Next::Large(large) => large.offset,
                Next::End => {
                    self.end()?;
                    continue;
                }
            };
            if self.trailer.is_some() {
                return Err(wrong(offset, "there is more behind the trailer"));
            }
            match next {
                Next::Command(command) if command.arg(0).eq_ignore_ascii_case(b"ECHO") => {
                    if offset == 0 {
                        if let Some(head) = trailer::head(&command)? {
                            self.headed = true;
                            self.repeats = head.source == "scan";
                            if self.adapts && facts::version(&head.redis) < (7, 0) {
                                self.measure.counters = Counters::Old;
                            }
                        }
                        self.must_be_headed()?;
                    } else if self.headed
                        && let Some(json) = trailer::said(&command, TRAILER)?
                    {
                        self.close();
                        self.trailer = Some(trailer::promised(&json, offset, &self.parser, &self.census)?);
                    }
                    self.census.commands += 1;
                }
                next => {
                    if offset == 0 {
                        self.must_be_headed()?;
                    }
                    match next {
                        Next::Command(command) => self.command(command).await?,
                        Next::Large(large) => self.large(large).await?,
                        Next::End => {}
                    }
                }
            }
        }
    }

    fn must_be_headed(&self) -> Result<(), Failure> {
        if self.headed || !self.require_trailer {
            return Ok(());
        }
        Err(wrong(0, "it does not begin with the head of a dump")
            .with_help("without head and trailer nobody can tell whether a stream is whole; to read one all the same, say `requireTrailer: false`"))
    }

    fn end(&mut self) -> Result<(), Failure> {
        let at = self.parser.offset();
        if at == 0 {
            return Err(wrong(0, "it is empty, and even the dump of an empty server is not"));
        }
        if self.headed && self.trailer.is_none() {
            return Err(Failure::corrupt(format!("the stream is cut off: it ends at byte {at} without its trailer"))
                .with_help("take another copy of the dump; this one is not whole"));
        }
        self.close();
        self.ended = true;
        Ok(())
    }

    fn close(&mut self) {
        self.census.close();
        self.give();
    }

    /// Gives the key that was open.
    fn give(&mut self) {
        let Some(Open { key, value: Some((kind, elements)), expiry }) = self.open.take() else { return };
        let (value, entries) = elements.finish();
        self.ready.push(Item::Key(key, Hashed { kind, expiry, value, entries }));
    }

    async fn command(&mut self, command: Command) -> Result<(), Failure> {
        let role = Role::of(&command);
        let place = if let Role::Part(_, place) = role { place } else { 1 };
        self.census.count(role, || command.bytes(place));
        match role {
            Role::Select(index) => {
                self.give();
                self.ready.push(Item::Database(index));
                Ok(())
            }
            Role::Value(Kind::String) if command.arg(0).eq_ignore_ascii_case(b"SET") => {
                self.give();
                let expiry = self.set_expiry(&command)?;
                let mut elements = Elements::new(Kind::String, self.measure, false);
                elements.whole(crate::rdb::visit::Role::Whole, command.arg(2));
                self.open(command.bytes(1), Kind::String, elements, expiry);
                Ok(())
            }
            Role::Value(_) => {
                self.give();
                let absolute = (4..command.len()).any(|at| command.arg(at).eq_ignore_ascii_case(b"ABSTTL"));
                let expiry = self.restore_expiry(command.arg(2), absolute, command.offset)?;
                let hashed = payload::whole(command.bytes(3), self.measure, expiry)
                    .await
                    .map_err(|failure| failure.during(taking(command.arg(1))))?;
                self.ready.push(Item::Key(command.bytes(1), hashed));
                Ok(())
            }
            Role::Begin => {
                let key = command.bytes(1);
                if self.open.as_ref().is_none_or(|open| open.key != key) {
                    self.give();
                }
                self.open = Some(Open { key, value: None, expiry: Expiry::Never });
                Ok(())
            }
            Role::Part(kind, place) => {
                let key = command.bytes(place);
                let elements = self.elements(&key, kind, command.offset)?;
                values::part(elements, kind, &command)
            }
            Role::Expire => self.expire(&command),
            Role::FieldExpire => self.expire_fields(&command),
            Role::Functions { one: true } => self.library(command.bytes(command.len() - 1), command.offset),
            Role::Functions { one: false } => Err(Failure::rejected(format!(
                "at byte {} of the stream: several libraries of functions in one payload cannot be told apart",
                command.offset
            ))),
            Role::Other => Err(crate::redis::stream::wrong::refused(command.offset, command.arg(0))),
        }
    }

    async fn large(&mut self, large: Large) -> Result<(), Failure> {
        let [name, key] = large.args.clone();
        let word = name.to_ascii_uppercase();
        if word == b"RESTORE" {
            self.give();
            let ttl = self.parser.short(64).await?;
            let expiry = self.restore_expiry(&ttl, true, large.offset)?;
            let hashed = payload::long(&mut self.parser, self.measure, expiry)
                .await
                .map_err(|failure| failure.during(taking(&key)))?;
            self.census.count(Role::Value(hashed.kind), || key.clone());
            let words = self.words().await?;
            // What a restore takes, and nothing else: a time that is left would be taken for a moment.
            if !["ABSTTL", "REPLACE"].iter().all(|word| words.iter().any(|found| found == word.as_bytes())) {
                return Err(wrong(large.offset, "`RESTORE` of a long value without `REPLACE` and `ABSTTL`"));
            }
            self.ready.push(Item::Key(key, hashed));
            return Ok(());
        }
        let role = Role::named(&word, &key);
        self.census.count(role, || key.clone());
        match role {
            Role::Value(kind) => {
                self.give();
                let mut elements = Elements::new(kind, self.measure, false);
                values::text(&mut self.parser, &mut elements, crate::rdb::visit::Role::Whole).await?;
                let rest = self.words().await?;
                if rest.first().is_some_and(|word| word != b"PXAT") {
                    return Err(wrong(large.offset, "`SET` of a long value with another option than `PXAT`"));
                }
                let mut args: Vec<&[u8]> = vec![b"SET", b"", b""];
                args.extend(rest.iter().map(|arg| &arg[..]));
                let expiry = self.set_expiry(&Command::new(large.offset, &args))?;
                self.open(key, kind, elements, expiry);
                Ok(())
            }
            Role::Part(kind, 1) => {
                self.elements(&key, kind, large.offset)?;
                let Some(Open { value: Some((_, elements)), .. }) = &mut self.open else { return Ok(()) };
                values::long_part(&mut self.parser, elements, kind, &word, large.offset).await
            }
            Role::Functions { one: true } => {
                let mut code = Bytes::new();
                while self.parser.arguments_left() > 0 {
                    code = self.parser.short(crate::redis::stream::form::LONGEST_LIBRARY).await?;
                }
                self.library(code, large.offset)
            }
            _ => Err(crate::redis::stream::wrong::refused(large.offset, &name)),
        }
    }

    /// The options behind a long value.
    async fn words(&mut self) -> Result<Vec<Vec<u8>>, Failure> {
        let mut words = Vec::new();
        while words.len() < 8 && self.parser.arguments_left() > 0 {
            words.push(self.parser.short(64).await?.to_ascii_uppercase());
        }
        self.parser.skip().await?;
        Ok(words)
    }

    /// Keeps a key open, for its expiry may follow.
    fn open(&mut self, key: Bytes, kind: Kind, elements: Elements, expiry: Expiry) {
        self.open = Some(Open { key, value: Some((kind, elements)), expiry });
    }

    /// The elements of a key of several commands.
    fn elements(&mut self, key: &Bytes, kind: Kind, offset: u64) -> Result<&mut Elements, Failure> {
        if self.open.as_ref().is_none_or(|open| open.key != *key) {
            self.give();
            self.open = Some(Open { key: key.clone(), value: None, expiry: Expiry::Never });
        }
        let measure = self.measure;
        match &mut self.open {
            Some(open) => {
                let (known, elements) = open.value.get_or_insert_with(|| (kind, Elements::new(kind, measure, true)));
                if *known == kind {
                    Ok(elements)
                } else {
                    Err(wrong(offset, format_args!("the key {} is of two types", show(key))))
                }
            }
            None => Err(Failure::internal("a key that is open is not there")),
        }
    }

    fn library(&mut self, code: Bytes, offset: u64) -> Result<(), Failure> {
        self.give();
        let (name, engine) = values::shebang(&code)
            .ok_or_else(|| wrong(offset, "a library of functions that does not begin with its engine and name"))?;
        let hash = digest::library(&name, &engine, &code);
        self.ready.push(Item::Library(name, hash));
        Ok(())
    }

    fn expire(&mut self, command: &Command) -> Result<(), Failure> {
        let word = command.arg(0).to_ascii_uppercase();
        let value = number(command.arg(2)).and_then(|value| u64::try_from(value).ok());
        let Some(value) = value else { return Err(wrong(command.offset, "an expiry that is no number")) };
        let value = if word.starts_with(b"P") { value } else { value.saturating_mul(1000) };
        let expiry = self.moment(value, word.ends_with(b"AT"), command.offset)?;
        if let Some(open) = self.open.as_mut().filter(|open| open.key == command.arg(1)) {
            open.expiry = expiry;
            return Ok(());
        }
        Err(wrong(
            command.offset,
            format_args!("an expiry for the key {}, which was not written just before", show(command.arg(1))),
        ))
    }

    fn expire_fields(&mut self, command: &Command) -> Result<(), Failure> {
        let word = command.arg(0).to_ascii_uppercase();
        let value = number(command.arg(2)).and_then(|value| u64::try_from(value).ok());
        let Some(value) = value else { return Err(wrong(command.offset, "an expiry that is no number")) };
        let value = if word.starts_with(b"HP") { value } else { value.saturating_mul(1000) };
        let Expiry::At(at) = self.moment(value, word.ends_with(b"AT"), command.offset)? else { return Ok(()) };
        match &mut self.open {
            Some(Open { key, value: Some((Kind::Hash, elements)), .. }) if *key == command.arg(1) => {
                (5..command.len()).try_for_each(|place| elements.expire_field(command.arg(place), at))
            }
            _ => Err(wrong(
                command.offset,
                format_args!(
                    "expiries for fields of the key {}, which was not written just before",
                    show(command.arg(1))
                ),
            )),
        }
    }

    fn moment(&self, at: u64, absolute: bool, offset: u64) -> Result<Expiry, Failure> {
        if absolute || self.vague {
            return Ok(Expiry::At(at));
        }
        Err(Failure::rejected(format!(
            "at byte {offset} of the stream: an expiry is told by the time that is left, and nobody knows since when"
        ))
        .with_help("look at expiries with `expiry: presence` or `ignore`"))
    }

    fn restore_expiry(&self, ttl: &[u8], absolute: bool, offset: u64) -> Result<Expiry, Failure> {
        match number(ttl).and_then(|ttl| u64::try_from(ttl).ok()) {
            Some(0) => Ok(Expiry::Never),
            Some(ttl) => self.moment(ttl, absolute, offset),
            None => Err(wrong(offset, format_args!("{} is no expiry", show(ttl)))),
        }
    }

    fn set_expiry(&self, command: &Command) -> Result<Expiry, Failure> {
        let word = command.arg(3).to_ascii_uppercase();
        let value = number(command.arg(4)).and_then(|value| u64::try_from(value).ok());
        match (&word[..], value, command.len()) {
            (_, _, 3) => Ok(Expiry::Never),
            (b"PXAT" | b"PX", Some(value), 5) => self.moment(value, word == b"PXAT", command.offset),
            (b"EXAT" | b"EX", Some(value), 5) => {
                self.moment(value.saturating_mul(1000), word == b"EXAT", command.offset)
            }
            _ => Err(wrong(command.offset, format_args!("`SET` with {}", show(&word)))),
        }
    }
}

fn taking(key: &[u8]) -> String {
    format!("taking apart the value of the key {}", show(key))
}
