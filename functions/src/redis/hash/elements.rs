//! The hash of a value that is told part by part: the same as [`small`](crate::redis::hash::small) makes of a server's answers.
//!
//! Takes parts as a [`Visitor`]. Gives the value's hash. Always holds: no part is held whole; where parts may be told twice
//! (a dump by scan may show a member twice), the last one counts, as it does for a server, among the first [`MOST_PARTS`] of them and
//! the last [`RECENT`](crate::redis::hash::recent::RECENT).

use std::collections::{HashMap, HashSet};

use aquifer_engine::failure::Failure;
use bytes::Bytes;
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use crate::rdb::visit::{Id, Role, State, Stream, Visitor};
use crate::redis::hash::recent::{RECENT, Recent};
use crate::redis::hash::streams::{self, Counters, Entries, Group};
use crate::redis::keys::digest::{self, ExpiryIn, Hasher, Sum};
use crate::redis::keys::tally::Kind;
use crate::redis::wire::expiry::Expiry;
use crate::redis::wire::resp::show;

/// How many parts of one value are remembered: as many as fit into a table of 2^18 places.
pub(crate) const MOST_PARTS: usize = 229_000;

/// What of a value counts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Measure {
    /// Which numbers of streams.
    pub(crate) counters: Counters,
    /// How the expiries of fields.
    pub(crate) expiry: ExpiryIn,
}

/// A value being told.
pub(crate) struct Elements {
    kind: Kind,
    measure: Measure,
    /// A field and its value were told, and its expiry may come.
    field_open: bool,
    ordered: Hasher,
    /// Bytes of a string, which may be told in several texts.
    length: u64,
    own: Hasher,
    sum: Sum,
    /// The name of the part that is being told, and the parts that were told, by their names.
    name: Box<Xxh3>,
    told: Option<HashMap<u64, u128>>,
    /// Those that were told since there is no more room.
    recent: Recent,
    stream: Told,
}

/// A stream being told.
#[derive(Default)]
struct Told {
    entries: Entries,
    /// The last id of an entry, which need not be the last one there was.
    last: Id,
    state: Option<State>,
    groups: Sum,
    /// The group that is being told: its name, its hash, its consumers.
    group: Option<(Vec<u8>, Group, HashSet<u64>)>,
    /// Names of the groups that were told.
    past: HashSet<u64>,
    consumer: Vec<u8>,
}

impl Elements {
    /// Begins. `twice`: a part may be told twice.
    pub(crate) fn new(kind: Kind, measure: Measure, twice: bool) -> Self {
        let unordered = matches!(kind, Kind::Hash | Kind::Set | Kind::SortedSet);
        Self {
            kind,
            measure,
            field_open: false,
            ordered: Hasher::default(),
            length: 0,
            own: Hasher::default(),
            sum: Sum::default(),
            name: Box::default(),
            told: (twice && unordered).then(HashMap::new),
            recent: Recent::default(),
            stream: Told::default(),
        }
    }

    /// The value's hash, and that of a stream without its groups.
    pub(crate) fn finish(mut self) -> (u128, Option<u128>) {
        match self.kind {
            Kind::String => {
                self.ordered.number(self.length);
                (self.ordered.finish(), None)
            }
            Kind::Stream => {
                self.stream.end_group();
                let Told { entries, last, state, groups, .. } = self.stream;
                let (count, more) = (entries.count, state.and_then(|state| state.more));
                let text = |id: Option<Id>| id.map_or_else(Bytes::new, |id| text(id).into());
                // Where nobody has told, they are what a server makes of the entries.
                let plain = more.is_none();
                let numbers = [
                    text(Some(state.map_or(last, |state| state.last))),
                    text(more.map(|more| more.deleted).or(plain.then_some((0, 0)))),
                    more.map(|more| more.added)
                        .or(plain.then_some(count))
                        .map_or_else(Bytes::new, |added| added.to_string().into()),
                ];
                let most = self.measure.counters.of(3);
                let entries = entries.finish(numbers.into_iter().take(most));
                let hash = streams::whole(entries, groups);
                (hash.whole, Some(hash.entries))
            }
            _ => {
                self.end_field(Expiry::Never);
                (digest::parts(self.sum, self.ordered), None)
            }
        }
    }

    fn own(&mut self) -> &mut Hasher {
        if matches!(self.kind, Kind::String | Kind::List) { &mut self.ordered } else { &mut self.own }
    }

    /// Ends the field that was told, if one was.
    fn end_field(&mut self, expiry: Expiry) {
        if std::mem::take(&mut self.field_open) {
            let hash = std::mem::take(&mut self.own).finish();
            self.end_part(digest::with_expiry(hash, expiry, self.measure.expiry));
        }
    }

    /// The expiry of the field that was told just before; nothing where it has none.
    pub(crate) fn add_expiry(&mut self, at: Option<u64>) {
        self.end_field(at.map_or(Expiry::Never, Expiry::At));
    }

    /// An expiry of a field that was told before, by its name.
    ///
    /// # Errors
    /// It is not known any more, or was not told.
    pub(crate) fn expire_field(&mut self, name: &[u8], at: u64) -> Result<(), Failure> {
        self.end_field(Expiry::Never);
        if self.measure.expiry == ExpiryIn::Ignore {
            return Ok(());
        }
        let place = xxh3_64(name);
        let known = self.told.as_mut().and_then(|told| told.get_mut(&place)).or_else(|| self.recent.get_mut(place));
        let Some(before) = known else {
            return Err(Failure::rejected(format!(
                "an expiry of the field {}, which was not told before, or too long ago: of the fields of a hash the first {MOST_PARTS} and the last {RECENT} are remembered",
                show(name)
            ))
            .with_help("look at expiries with `expiry: ignore`; a dump of `redis-dump` tells them right behind their fields"));
        };
        let hash = digest::with_expiry(*before, Expiry::At(at), self.measure.expiry);
        self.sum.sum = self.sum.sum.wrapping_sub(*before).wrapping_add(hash);
        *before = hash;
        Ok(())
    }

    fn end_part(&mut self, hash: u128) {
        let name = self.name.digest();
        self.name.reset();
        if let Some(told) = &mut self.told {
            let before = if told.len() < MOST_PARTS {
                told.insert(name, hash)
            } else if let Some(before) = told.get_mut(&name) {
                Some(std::mem::replace(before, hash))
            } else {
                self.recent.insert(name, hash)
            };
            if let Some(before) = before {
                self.sum.sum = self.sum.sum.wrapping_sub(before).wrapping_add(hash);
                return;
            }
        }
        self.sum.add(hash);
    }

    /// Goes on with a group of this name.
    ///
    /// # Errors
    /// It was told before, and another one after it.
    pub(crate) fn group(&mut self, name: &[u8], last: Id, read: Option<u64>) -> Result<(), Failure> {
        if self.stream.group.as_ref().is_some_and(|(current, ..)| current == name) {
            return Ok(());
        }
        self.stream.end_group();
        if !self.stream.past.insert(xxh3_64(name)) {
            return Err(mixed(name));
        }
        let state = [Bytes::from(text(last)), read.map_or_else(Bytes::new, |read| read.to_string().into())];
        let most = self.measure.counters.of(2);
        self.stream.group = Some((name.to_vec(), Group::new(name, state.into_iter().take(most)), HashSet::new()));
        Ok(())
    }

    /// Goes on with a group that was told just before.
    ///
    /// # Errors
    /// Another one was.
    pub(crate) fn go_on(&mut self, name: &[u8]) -> Result<(), Failure> {
        match &self.stream.group {
            Some((current, ..)) if current == name => Ok(()),
            _ => Err(mixed(name)),
        }
    }

    /// A consumer of the group, which may have been told before.
    pub(crate) fn consumer(&mut self, name: &[u8]) {
        name.clone_into(&mut self.stream.consumer);
        if let Some((_, group, consumers)) = &mut self.stream.group
            && consumers.insert(xxh3_64(name))
        {
            group.consumer(name);
        }
    }

    /// What the consumer has pending.
    pub(crate) fn pending(&mut self, id: Id, times: u64) {
        if let Some((_, group, _)) = &mut self.stream.group {
            group.pending(text(id).as_bytes(), &self.stream.consumer, times);
        }
    }

    /// A whole text.
    pub(crate) fn whole(&mut self, role: Role, text: &[u8]) {
        self.begin_text(role, text.len() as u64);
        self.add(text, role);
        self.end_text(role);
    }

    pub(crate) fn begin_text(&mut self, role: Role, length: u64) {
        if role == Role::Field {
            self.end_field(Expiry::Never);
        }
        self.role(role);
        match self.kind {
            Kind::Stream => self.stream.entries.length(length),
            Kind::String => self.length += length,
            _ => self.own().number(length),
        }
    }

    fn role(&mut self, role: Role) {
        if role != Role::Value {
            self.name.reset();
        }
    }

    pub(crate) fn add(&mut self, piece: &[u8], role: Role) {
        if self.kind == Kind::Stream {
            self.stream.entries.piece(piece);
            return;
        }
        self.own().update(piece);
        if self.told.is_some() && role != Role::Value {
            self.name.update(piece);
        }
    }

    pub(crate) fn end_text(&mut self, role: Role) {
        match (self.kind, role) {
            (Kind::List, _) => self.sum.count += 1,
            (Kind::Set, Role::Element) => {
                let hash = std::mem::take(&mut self.own).finish();
                self.end_part(hash);
            }
            (Kind::Hash, Role::Value) => self.field_open = true,
            _ => {}
        }
    }

    /// The score of the member that was told.
    pub(crate) fn add_score(&mut self, score: f64) {
        self.own.number(digest::score_bits(score));
        let hash = std::mem::take(&mut self.own).finish();
        self.end_part(hash);
    }

    /// Begins an entry of a stream.
    pub(crate) fn entry(&mut self, id: Id, fields: u64) {
        self.stream.last = id;
        self.stream.entries.entry(text(id).as_bytes(), 2 * fields);
    }

    /// Begins an entry, which has to stand before the stream's state.
    ///
    /// # Errors
    /// It stands behind it, where it would change it.
    pub(crate) fn next_entry(&mut self, id: Id, fields: u64) -> Result<(), Failure> {
        if self.stream.state.is_some() {
            return Err(Failure::rejected("an entry stands behind the state of its stream (`XSETID`)"));
        }
        self.entry(id, fields);
        Ok(())
    }

    /// An entry that was added and trimmed at once: its id is all that is left of it.
    ///
    /// # Errors
    /// There are others, which it would trim too.
    pub(crate) fn trimmed(&mut self, id: Id) -> Result<(), Failure> {
        if self.stream.entries.count > 0 {
            return Err(Failure::rejected("entries are trimmed again (`MAXLEN`)"));
        }
        self.stream.last = id;
        Ok(())
    }

    /// The state of a stream.
    pub(crate) fn state(&mut self, state: State) {
        self.stream.state = Some(state);
    }
}

impl Told {
    fn end_group(&mut self) {
        if let Some((_, group, _)) = self.group.take() {
            self.groups.add(group.finish());
        }
    }
}

/// A group that was told before another one is told on.
fn mixed(name: &[u8]) -> Failure {
    Failure::rejected(format!(
        "commands of the group {} of a stream, which do not stand together with those that made it",
        show(name)
    ))
    .with_help("make the dump again with `redis-dump`, which writes one group after the other")
}

/// An id as servers write it.
fn text(id: Id) -> String {
    format!("{}-{}", id.0, id.1)
}

/// Tells a value with its role kept from piece to piece.
pub(crate) struct Teller<'e> {
    pub(crate) to: &'e mut Elements,
    pub(crate) role: Role,
}

impl Visitor for Teller<'_> {
    async fn text(&mut self, role: Role, length: u64) -> Result<(), Failure> {
        self.role = role;
        self.to.begin_text(role, length);
        Ok(())
    }

    async fn piece(&mut self, piece: &[u8]) -> Result<(), Failure> {
        self.to.add(piece, self.role);
        Ok(())
    }

    async fn told(&mut self) -> Result<(), Failure> {
        self.to.end_text(self.role);
        Ok(())
    }

    async fn score(&mut self, score: f64) -> Result<(), Failure> {
        self.to.add_score(score);
        Ok(())
    }

    async fn expires(&mut self, at: Option<u64>) -> Result<(), Failure> {
        self.to.add_expiry(at);
        Ok(())
    }

    async fn stream(&mut self, part: Stream<'_>) -> Result<(), Failure> {
        match part {
            Stream::Entry { id, fields } => self.to.entry(id, fields),
            Stream::State(state) => self.to.state(state),
            Stream::Group { name, last, read } => {
                self.to.group(name, last, read.and_then(|read| u64::try_from(read).ok()))?;
            }
            Stream::Consumer { name, .. } => self.to.consumer(name),
            Stream::Pending { id, consumer, times, .. } => {
                self.to.consumer(consumer);
                self.to.pending(id, times);
            }
        }
        Ok(())
    }
}
