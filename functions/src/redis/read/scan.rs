//! One database, read by `SCAN`: requests of several sorts kept under way, each made from the replies to an earlier one.
//!
//! Takes a connection with its database selected. Gives commands to the [`Form`]. A key goes this way: shown by `SCAN`; its
//! type asked for, unless its name tells ([`shapes`](crate::redis::read::shapes)); a string's first bytes are read, which mostly are all of it;
//! anything else is asked for its size, and then read in one request with others, or, where it is big, in parts
//! ([`big`](crate::redis::read::big)).
//!
//! Always holds: each request, and all that are under way, make no more work for the server than the [`Pace`] allows; a key's
//! value and expiry come from the same moment, so it is never written without its expiry; a key that has gone meanwhile is
//! counted and left out; any other refusal fails the dump with the key's name; the order of what is written depends neither
//! on time nor on pace ([`groups`](crate::redis::read::groups)); where it is to be that of the names, all are shown as often as is
//! needed to hold a part of them ([`sorted`](crate::redis::read::sorted)).

use std::collections::VecDeque;
use std::time::Instant;

use aquifer_engine::failure::Failure;
use aquifer_engine::function::Call;
use bytes::Bytes;

use crate::rdb::copy::ValueForm;
use crate::redis::keys::filter::KeyFilter;
use crate::redis::keys::tally::{Kind, so_many_keys};
use crate::redis::read::big::no_commands;
use crate::redis::read::groups::{Groups, Sized};
use crate::redis::read::guard::Guards;
use crate::redis::read::pace::{Impact, Pace};
use crate::redis::read::seen::Seen;
use crate::redis::read::shapes::Shapes;
use crate::redis::read::sorted::{Order, Sorted};
use crate::redis::read::values::{Batch, Expiries, How as Read, Way};
use crate::redis::read::written::Written;
use crate::redis::stream::form::Form;
use crate::redis::wire::connection::Connection;
use crate::redis::wire::cursors::Cursors;
use crate::redis::wire::facts::Facts;
use crate::redis::wire::hints::Hints;
use crate::redis::wire::refusal;
use crate::redis::wire::refusal::reading;
use crate::redis::wire::reply::Reply;
use crate::redis::wire::target::Target;
use crate::shared::NOTE_EVERY;

/// Above so many bytes of the server's memory, a value with parts is read in chunks.
pub(crate) const BIG: u64 = 512 << 10;

/// Above so many bytes a string is read in pieces.
pub(crate) const LONG: u64 = 4 << 20;

pub(super) enum Asked {
    Page,
    Types(u64, Vec<usize>),
    Short(u64, Batch),
    Sizes(u64, Vec<(usize, Option<Kind>)>),
    Items(u64, Batch),
}

/// How to read, as the user wants it.
#[derive(Debug, Clone)]
pub(crate) struct How {
    pub(crate) impact: Impact,
    pub(crate) filter: KeyFilter,
    pub(crate) form: ValueForm,
    pub(crate) hints: bool,
    pub(crate) order: Order,
}

/// A dump under way.
pub(crate) struct Dump<'a> {
    pub(crate) connection: Connection,
    pub(crate) form: Form,
    pub(crate) facts: Facts,
    pub(crate) pace: Pace,
    pub(crate) filter: KeyFilter,
    pub(crate) way: Way,
    order: Order,
    pub(crate) call: &'a Call,
    pub(crate) written: Written,
    pub(crate) noted: Instant,
    /// The database that is read.
    pub(super) index: u32,
    pub(super) guards: Guards,
    /// Whether a key that changes while it is watched is read again.
    pub(super) again_if_touched: bool,
}

/// What is known of one database's keys.
pub(super) struct Pass {
    pub(super) index: u32,
    /// Where `SCAN` goes on; `None` once it is done.
    pub(super) cursor: Option<Bytes>,
    pub(super) scanning: bool,
    pub(super) cursors: Cursors,
    /// The most that the next `SCAN` asks for.
    pub(super) count: u64,
    /// Keys that `SCAN` showed.
    pub(super) shown: u64,
    pub(super) groups: Groups,
    pub(super) shapes: Shapes,
    pub(super) asked: VecDeque<(Asked, u64)>,
    pub(super) under_way: u64,
    pub(super) expiries: Expiries,
    /// Requests of which nothing could be used.
    pub(super) again: VecDeque<Asked>,
    pub(super) seen: Seen,
    /// Where keys are written by name: the names that wait for that.
    pub(super) sorted: Option<Sorted>,
}

impl<'a> Dump<'a> {
    /// Begins.
    ///
    /// # Errors
    /// The server does not say what uses it counts.
    pub(crate) async fn new(
        mut connection: Connection,
        form: Form,
        facts: Facts,
        how: &How,
        target: &Target,
        call: &'a Call,
    ) -> Result<Self, Failure> {
        let hints = if how.hints { Some(Hints::of(&mut connection).await?) } else { None };
        let (pace, filter) = (Pace::new(how.impact, target, call), how.filter.clone());
        let no_consumers = !facts.at_least((6, 2));
        let way = Way { form: how.form, hints, no_consumers };
        let (written, noted) = (Written::default(), Instant::now());
        let (index, guards, again_if_touched, order) = (0, Guards::new(target), false, how.order);
        Ok(Self {
            connection,
            form,
            facts,
            pace,
            filter,
            way,
            order,
            call,
            written,
            noted,
            index,
            guards,
            again_if_touched,
        })
    }
}

impl Dump<'_> {
    /// Reads one database, whose number must be selected.
    ///
    /// # Errors
    /// The connection is lost, the server refuses something, or nobody reads any more.
    pub(crate) async fn database(&mut self, index: u32) -> Result<(), Failure> {
        self.index = index;
        let known = self.facts.databases.iter().find(|database| database.index == index).copied();
        let without = known.is_some_and(|database| database.expires == 0);
        let mut pass = Pass {
            index,
            cursor: Some(Bytes::from_static(b"0")),
            scanning: false,
            cursors: Cursors::default(),
            // Small at first: how long the keys are is not known yet.
            count: 16,
            shown: 0,
            groups: Groups::new(),
            shapes: Shapes::new(),
            asked: VecDeque::new(),
            under_way: 0,
            expiries: if without && !self.facts.cluster { Expiries::NoneHere(index) } else { self.facts.clock.into() },
            again: VecDeque::new(),
            seen: Seen::new(),
            sorted: (self.order == Order::Name).then(Sorted::new),
        };
        loop {
            pass.feed();
            pass.groups.advance();
            while self.pace.allows(pass.under_way) && self.ask_next(&mut pass) {
                pass.feed();
                pass.groups.advance();
            }
            self.connection.flush().await?;
            if let Some((asked, work)) = pass.asked.pop_front() {
                self.answer(&mut pass, asked).await?;
                pass.under_way -= work;
            } else if let Some(key) = pass.groups.next_alone() {
                self.whole(&key).await?;
            } else if pass.cursor.is_none() && pass.again.is_empty() && pass.groups.is_done() {
                break;
            } else {
                self.pace.rest().await?;
            }
            self.form.flush_some().await?;
            self.note();
        }
        if let Some(known) = known.filter(|_| self.filter.by_server(&self.facts).is_some()) {
            // The server leaves these out by itself, and counts only what there was at the beginning.
            self.written.left_out += known.keys.saturating_sub(pass.shown);
        }
        Ok(())
    }

    /// Says how far it is, now and then.
    pub(crate) fn note(&mut self) {
        if !self.form.is_part() && self.noted.elapsed() >= NOTE_EVERY {
            self.noted = Instant::now();
            self.call.note(so_many_keys(self.written.types.total()));
        }
    }

    async fn answer(&mut self, pass: &mut Pass, asked: Asked) -> Result<(), Failure> {
        match asked {
            Asked::Page => self.page(pass).await,
            Asked::Types(number, places) => self.types(pass, number, places).await,
            Asked::Sizes(number, places) => self.sizes(pass, number, places).await,
            Asked::Short(number, batch) => self.values(pass, number, true, batch).await,
            Asked::Items(number, batch) => self.values(pass, number, false, batch).await,
        }
    }

    async fn types(&mut self, pass: &mut Pass, number: u64, places: Vec<usize>) -> Result<(), Failure> {
        for place in places {
            let reply = self.connection.reply().await?;
            let Some(group) = pass.groups.get(number) else { continue };
            let key = &group.keys[place];
            let reply = self.connection.accepted(reply, reading(key))?;
            let kind = match reply.bytes().map(|name| &name[..]) {
                Some(b"none") => {
                    self.written.vanished += 1;
                    continue;
                }
                Some(name) => Kind::of_name(name),
                None => return Err(self.connection.unexpected("`TYPE`", &reply)),
            };
            group.learn(place, kind == Kind::String);
            if !self.filter.kind(kind) {
                self.written.left_out += 1;
            } else if kind == Kind::Other && self.way.form == ValueForm::Logical {
                return Err(no_commands(&group.keys[place]));
            } else if kind == Kind::String && self.way.plain_strings() {
                group.short.push_back(place);
            } else {
                group.unsized_.push_back((place, Some(kind)));
            }
        }
        if let Some(group) = pass.groups.get(number) {
            group.open[0] -= 1;
        }
        Ok(())
    }

    async fn sizes(&mut self, pass: &mut Pass, number: u64, places: Vec<(usize, Option<Kind>)>) -> Result<(), Failure> {
        for (place, kind) in places {
            let reply = self.connection.reply().await?;
            let Some(group) = pass.groups.get(number) else { continue };
            let key = &group.keys[place];
            let size = match reply {
                Reply::Integer(size) => size.unsigned_abs(),
                Reply::Nil => {
                    self.written.vanished += 1;
                    continue;
                }
                // No string any more.
                Reply::Error(error) if error.starts_with("WRONGTYPE") => {
                    group.odd.push(place);
                    continue;
                }
                Reply::Error(error) => return Err(refusal::failure(&error, reading(key))),
                other => return Err(self.connection.unexpected("a question for a size", &other)),
            };
            let (how, most) = match kind {
                Some(Kind::String) if self.way.plain_strings() => (Read::Get, LONG),
                // Nobody can take it apart.
                Some(Kind::Other) => (Read::Dump { known: true }, u64::MAX),
                kind => (Read::Dump { known: kind.is_some() }, BIG),
            };
            if size > most {
                group.big.push(place);
            } else {
                group.items.push(Sized { place, how, size });
            }
        }
        if let Some(group) = pass.groups.get(number) {
            group.open[2] -= 1;
        }
        Ok(())
    }

    async fn values(&mut self, pass: &mut Pass, number: u64, short: bool, mut batch: Batch) -> Result<(), Failure> {
        let again = batch.read(&mut self.connection, &mut self.form, &mut self.written).await?;
        if again.expiries_exist {
            // Somebody has set an expiry since the beginning: from now on each key is asked for its own.
            pass.expiries = self.facts.clock.into();
            batch.expiries = pass.expiries;
            pass.again.push_back(if short { Asked::Short(number, batch) } else { Asked::Items(number, batch) });
            return Ok(());
        }
        let Some(group) = pass.groups.get(number) else { return Ok(()) };
        for place in again.strings {
            group.learn(place, true);
            group.odd.push(place);
        }
        if !short {
            // An empty string is none of these: its length was asked for.
            group.odd.extend(again.long.into_iter().chain(again.other).map(|(place, _)| place));
            group.open[3] -= 1;
            return Ok(());
        }
        group.unsized_.extend(again.long.into_iter().map(|(place, _)| (place, Some(Kind::String))));
        for (place, _) in again.other {
            group.learn(place, false);
            if self.filter.by_kind() {
                group.odd.push(place);
            } else {
                group.unsized_.push_back((place, None));
            }
        }
        group.open[1] -= 1;
        Ok(())
    }

    /// Counts a key that was written.
    pub(crate) fn count(&mut self, kind: Kind, expires: bool) {
        self.written.types.add(kind);
        self.written.expires += u64::from(expires);
    }
}
