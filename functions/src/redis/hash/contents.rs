//! What a stream holds, key by key, each with the hash of its value: what a stream's digest is made of, and what is compared
//! with a server.
//!
//! Takes a stream of commands. Gives databases, keys and libraries in the stream's order. Always holds: the end is only
//! given where the stream was whole; no value is held whole; a key of several commands is given once all of it was seen.

use aquifer_engine::failure::Failure;
use aquifer_engine::pipe::Reader;
use bytes::Bytes;

use crate::rdb::visit::Role;
use crate::redis::hash::elements::{Elements, Measure};
use crate::redis::hash::hashes::Hashed;
use crate::redis::hash::streams::Counters;
use crate::redis::keys::digest::{self, ExpiryIn};
use crate::redis::keys::lifetimes::When;
use crate::redis::keys::tally::Kind;
use crate::redis::stream::form::StreamHead;
use crate::redis::stream::long::{Long, LongAct};
use crate::redis::stream::reader::{Said, StreamReader};
use crate::redis::stream::statement::{Act, Statement};
use crate::redis::stream::wrong::{refuse_reserved, wrong};
use crate::redis::wire::expiry::Expiry;
use crate::redis::wire::facts;
use crate::redis::wire::resp::show;

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
    pub(crate) stream: StreamReader,
    /// What counts; of streams' numbers fewer where a server before 7.0, which did not have all of them, was dumped.
    pub(crate) measure: Measure,
    /// A key may stand there twice, for all that the head says.
    pub(crate) repeats: bool,
    /// They follow from the version that the head names.
    pub(crate) adapts: bool,
    /// An expiry that is told by the time that is left is taken as one at no known moment.
    vague: bool,
    open: Option<Open>,
    /// What comes next; at most the end of one key, and what follows it.
    ready: Vec<Item>,
    ended: bool,
}

impl Contents {
    /// Begins at the beginning. Expiries that count exactly have to be told as moments.
    pub(crate) fn new(pipe: Reader, measure: Measure, require_trailer: bool) -> Self {
        Self {
            stream: StreamReader::new(pipe, require_trailer),
            measure,
            repeats: true,
            adapts: false,
            vague: measure.expiry != ExpiryIn::Exact,
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
            match self.stream.next().await? {
                Said::Head(head) => {
                    self.repeats = false;
                    self.head(&head);
                }
                Said::Another(head) => {
                    self.give();
                    self.head(&head);
                }
                Said::Statement(statement) => self.statement(statement).await?,
                Said::Long(long) => self.long(long).await?,
                Said::End => {
                    self.give();
                    self.ended = true;
                }
            }
        }
    }

    fn head(&mut self, head: &StreamHead) {
        self.repeats |= head.source == "scan";
        if self.adapts && facts::version(&head.redis) < (7, 0) {
            self.measure.counters = Counters::Old;
        }
    }

    /// Gives the key that was open.
    fn give(&mut self) {
        let Some(Open { key, value: Some((kind, elements)), expiry }) = self.open.take() else { return };
        let (value, entries) = elements.finish();
        self.ready.push(Item::Key(key, Hashed { kind, expiry, value, entries }));
    }

    async fn statement(&mut self, statement: Statement) -> Result<(), Failure> {
        let Statement { offset, act } = statement;
        act.key().map_or(Ok(()), |key| refuse_reserved(key, offset))?;
        match act {
            Act::Select(index) => {
                self.give();
                self.ready.push(Item::Database(index));
                Ok(())
            }
            Act::Set { key, value, expiry } => {
                self.give();
                let expiry = self.expiry(expiry, offset)?;
                let mut elements = Elements::new(Kind::String, self.measure, false);
                elements.whole(Role::Whole, &value);
                self.open = Some(Open { key, value: Some((Kind::String, elements)), expiry });
                Ok(())
            }
            Act::Restore { key, payload, expiry, .. } => {
                self.give();
                let expiry = self.expiry(expiry, offset)?;
                let hashed = payload::whole(payload, self.measure, expiry)
                    .await
                    .map_err(|failure| failure.during(taking(&key, offset)))?;
                self.ready.push(Item::Key(key, hashed));
                Ok(())
            }
            Act::Begin { key } => {
                if self.open.as_ref().is_none_or(|open| open.key != key) {
                    self.give();
                }
                self.open = Some(Open { key, value: None, expiry: Expiry::Never });
                Ok(())
            }
            Act::Part(part) => {
                let elements = self.elements(&part.key, part.kind, offset)?;
                values::part(elements, &part).map_err(|failure| failure.during(taking(&part.key, offset)))
            }
            Act::Expire { key, when } => self.expire(&key, when, offset),
            Act::ExpireFields { key, when, fields } => self.expire_fields(&key, when, &fields, offset),
            Act::Functions { code, all: false } => self.library(&code, offset),
            Act::Functions { all: true, .. } => Err(Failure::rejected(format!(
                "at byte {offset} of the stream: several libraries of functions in one payload cannot be told apart"
            ))),
        }
    }

    async fn long(&mut self, long: Long) -> Result<(), Failure> {
        let offset = long.offset;
        refuse_reserved(&long.key, offset)?;
        match &long.act {
            LongAct::Restore { expiry, .. } => {
                self.give();
                let expiry = expiry.map_or(Expiry::Never, Expiry::At);
                let hashed = payload::long(&mut self.stream.parser, self.measure, expiry)
                    .await
                    .map_err(|failure| failure.during(taking(&long.key, offset)))?;
                self.stream.parser.options_behind(&long).await?;
                self.ready.push(Item::Key(long.key, hashed));
            }
            LongAct::Set { .. } => {
                self.give();
                let mut elements = Elements::new(Kind::String, self.measure, false);
                values::text(&mut self.stream.parser, &mut elements, Role::Whole).await?;
                let expiry = self.stream.parser.expiry_behind(&long).await?.map_or(Expiry::Never, Expiry::At);
                self.open = Some(Open { key: long.key, value: Some((Kind::String, elements)), expiry });
            }
            LongAct::Part { kind, entry, arguments, .. } => {
                self.elements(&long.key, *kind, offset)?;
                let Some(Open { value: Some((_, elements)), .. }) = &mut self.open else { return Ok(()) };
                if let Some((_, id)) = entry {
                    elements
                        .next_entry(*id, (arguments - 3) / 2)
                        .map_err(|failure| failure.during(taking(&long.key, offset)))?;
                }
                values::texts(&mut self.stream.parser, elements, *kind).await?;
            }
        }
        Ok(())
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

    fn library(&mut self, code: &[u8], offset: u64) -> Result<(), Failure> {
        self.give();
        let (name, engine) = values::shebang(code)
            .ok_or_else(|| wrong(offset, "a library of functions that does not begin with its engine and name"))?;
        let hash = digest::library(&name, &engine, code);
        self.ready.push(Item::Library(name, hash));
        Ok(())
    }

    fn expire(&mut self, key: &[u8], when: When, offset: u64) -> Result<(), Failure> {
        let expiry = self.expiry(Some(when), offset)?;
        if let Some(open) = self.open.as_mut().filter(|open| open.key == key) {
            open.expiry = expiry;
            return Ok(());
        }
        Err(wrong(offset, format_args!("an expiry for the key {}, which was not written just before", show(key))))
    }

    fn expire_fields(&mut self, key: &[u8], when: When, fields: &[Bytes], offset: u64) -> Result<(), Failure> {
        let Expiry::At(at) = self.expiry(Some(when), offset)? else { return Ok(()) };
        match &mut self.open {
            Some(Open { key: open, value: Some((Kind::Hash, elements)), .. }) if open == key => fields
                .iter()
                .try_for_each(|field| elements.expire_field(field, at))
                .map_err(|failure| failure.during(taking(key, offset))),
            _ => Err(wrong(
                offset,
                format_args!("expiries for fields of the key {}, which was not written just before", show(key)),
            )),
        }
    }

    fn expiry(&self, told: Option<When>, offset: u64) -> Result<Expiry, Failure> {
        match told {
            None => Ok(Expiry::Never),
            Some(When::At(at)) => Ok(Expiry::At(at)),
            Some(When::Left(left)) if self.vague => Ok(Expiry::At(left)),
            Some(When::Left(_)) => Err(Failure::rejected(format!(
                "at byte {offset} of the stream: an expiry is told by the time that is left, and nobody knows since when"
            ))
            .with_help("look at expiries with `expiry: presence` or `ignore`")),
        }
    }
}

fn taking(key: &[u8], offset: u64) -> String {
    format!("taking apart the value of the key {} (at byte {offset} of the stream)", show(key))
}
