//! What a scan asks for next.
//!
//! Takes what is known of a database's keys. Gives requests, of which [`scan`](crate::redis::read::scan) reads the replies. Always holds: what
//! is asked for is asked in the order of the groups' [`Turn`]s; names and types are looked for only a few groups ahead.

use crate::rdb::copy::ValueForm;
use crate::redis::keys::tally::Kind;
use crate::redis::read::groups::{Sized, Turn};
use crate::redis::read::scan::{Asked, Dump, Pass};
use crate::redis::read::values::{Batch, How, Wanted};
use crate::redis::read::work;
use crate::redis::topology::slots::slot;

/// Keys in one request at most.
pub(super) const MOST_KEYS: usize = 256;

/// Bytes in one request at most, as far as they can be told: what is under way may wait in the server's memory.
const MOST_BYTES: u64 = 1 << 20;

/// Groups of keys that are there before they are needed.
pub(super) const AHEAD: u64 = 3;

impl Dump<'_> {
    /// Asks for what is worth asking for next; false where nothing is.
    pub(super) fn ask_next(&mut self, pass: &mut Pass) -> bool {
        let (asked, work) = if let Some(asked) = pass.again.pop_front() {
            let (Asked::Short(_, batch) | Asked::Items(_, batch)) = &asked else { return false };
            batch.ask(self.connection.output());
            let work = batch.work;
            (asked, work)
        } else if let Some(found) = self.ask_sizes(pass) {
            found
        } else if pass.groups.ahead() < AHEAD
            && let Some(found) = self.ask_types(pass).or_else(|| self.ask_page(pass))
        {
            found
        } else if let Some(found) = self.ask_values(pass) {
            found
        } else if let Some(found) = self.ask_types(pass) {
            found
        } else {
            return false;
        };
        pass.asked.push_back((asked, work));
        pass.under_way += work;
        self.pace.asked(work);
        true
    }

    fn ask_page(&mut self, pass: &mut Pass) -> Option<(Asked, u64)> {
        let cursor = pass.cursor.as_ref().filter(|_| !pass.scanning)?;
        let count = pass.count.min(self.pace.fit(work::SCANNED) as u64);
        let text = count.to_string();
        let mut args: Vec<&[u8]> = vec![b"SCAN", cursor];
        let by_server = self.filter.by_server(&self.facts);
        if let Some(pattern) = by_server.and_then(|by| by.pattern) {
            args.extend([b"MATCH", pattern]);
        }
        if let Some(kind) = by_server.and_then(|by| by.kind) {
            args.extend([b"TYPE", kind]);
        }
        args.extend([&b"COUNT"[..], text.as_bytes()]);
        self.connection.push(&args);
        pass.scanning = true;
        Some((Asked::Page, count * work::SCANNED))
    }

    fn ask_types(&mut self, pass: &mut Pass) -> Option<(Asked, u64)> {
        let most = self.pace.fit(work::TYPE).min(MOST_KEYS);
        let certain = self.filter.by_kind() || self.way.form == ValueForm::Logical;
        while let Some(number) = pass.groups.first_unknown() {
            if !pass.groups.teach(number, |shape, string| pass.shapes.learn(shape, string)) {
                return None;
            }
            let group = pass.groups.get(number)?;
            let mut places = Vec::new();
            while places.len() < most
                && let Some(place) = group.unknown.pop_front()
            {
                let key = &group.keys[place];
                // What must be known for certain is not guessed; what is read as a string shows whether it is one.
                match pass.shapes.guess(key).filter(|string| *string || !certain) {
                    Some(true) if self.filter.kind(Kind::String) && self.way.plain_strings() => {
                        group.short.push_back(place);
                    }
                    Some(false) => group.unsized_.push_back((place, None)),
                    _ => {
                        self.connection.push(&[b"TYPE", key]);
                        places.push(place);
                    }
                }
            }
            if !places.is_empty() {
                group.open[0] += 1;
                let work = places.len() as u64 * work::TYPE;
                return Some((Asked::Types(number, places), work));
            }
        }
        None
    }

    fn ask_sizes(&mut self, pass: &mut Pass) -> Option<(Asked, u64)> {
        let most = self.pace.fit(work::SIZE).min(MOST_KEYS);
        let (number, group) = pass.groups.each().find(|(_, group)| !group.unsized_.is_empty())?;
        let few = group.unsized_.len() < most;
        if few && !(group.unknown.is_empty() && group.open[..2] == [0, 0] && group.short.is_empty()) {
            // More of them may come.
            return None;
        }
        // Asking for a string's length counts as a use of it, asking for its memory does not.
        let plain = self.way.plain_strings();
        let places: Vec<(usize, Option<Kind>)> = group.unsized_.drain(..group.unsized_.len().min(most)).collect();
        for (place, kind) in &places {
            let key = &group.keys[*place];
            match kind {
                Some(Kind::String) if plain => self.connection.push(&[b"STRLEN", key]),
                _ => self.connection.push(&[b"MEMORY", b"USAGE", key]),
            }
        }
        group.open[2] += 1;
        let work = places.len() as u64 * work::SIZE;
        Some((Asked::Sizes(number, places), work))
    }

    fn ask_values(&mut self, pass: &mut Pass) -> Option<(Asked, u64)> {
        let mut batch = Batch::new(pass.expiries, self.way);
        let request = self.pace.request();
        let (turn, mut bytes) = (pass.groups.turn, 0);
        let (cluster, mut one_slot) = (self.facts.cluster, 0);
        match turn {
            Turn::Short(number) => {
                let group = pass.groups.get(number).filter(|group| group.has_types())?;
                group.order_short();
                while batch.len() < MOST_KEYS
                    && (batch.len() == 0 || batch.work < request)
                    && let Some(place) = group.short.front().copied()
                {
                    // In a cluster, a transaction is about one slot.
                    if cluster && batch.len() > 0 && slot(&group.keys[place]) != one_slot {
                        break;
                    }
                    one_slot = if cluster { slot(&group.keys[place]) } else { 0 };
                    group.short.pop_front();
                    batch.add(Wanted { place, key: group.keys[place].clone(), how: How::Short }, 0);
                }
                group.open[1] += 1;
            }
            Turn::Items(number) => {
                let group = pass.groups.get(number)?;
                while batch.len() < MOST_KEYS
                    && let Some(item) = group.items.last()
                {
                    let work = batch.work + Batch::cost(item.how, item.size);
                    let here = if cluster { slot(&group.keys[item.place]) } else { 0 };
                    if batch.len() > 0 && (work > request || bytes + item.size > MOST_BYTES || here != one_slot) {
                        break;
                    }
                    one_slot = here;
                    bytes += item.size;
                    group.open[3] += usize::from(batch.len() == 0);
                    let Sized { place, how, size } = *item;
                    batch.add(Wanted { place, key: group.keys[place].clone(), how }, size);
                    group.items.pop();
                }
            }
            Turn::Big(_) => {}
        }
        if batch.len() == 0 {
            if let Turn::Short(number) = turn
                && let Some(group) = pass.groups.get(number)
            {
                group.open[1] -= 1;
            }
            return None;
        }
        batch.ask(self.connection.output());
        let work = batch.work;
        let (Turn::Short(number) | Turn::Items(number) | Turn::Big(number)) = turn;
        let short = matches!(turn, Turn::Short(_));
        Some((if short { Asked::Short(number, batch) } else { Asked::Items(number, batch) }, work))
    }
}
