//! The names of a database's keys on their way from `SCAN` into the groups.
//!
//! Takes the pages that the server shows. Gives each name once to the groups, as it comes or, where keys are written by name, in
//! that order. Always holds: what is left out is counted once; a name that is shown twice is handed on once, as far as names are
//! remembered ([`seen`](crate::redis::read::seen)).

use aquifer_engine::failure::Failure;
use bytes::Bytes;

use crate::redis::keys::reserved;
use crate::redis::read::asking::{AHEAD, MOST_KEYS};
use crate::redis::read::scan::{Dump, Pass};
use crate::redis::wire::reply::Reply;

impl Dump<'_> {
    pub(super) async fn page(&mut self, pass: &mut Pass) -> Result<(), Failure> {
        let reply = self.connection.reply().await?;
        let reply = self.connection.accepted(reply, format_args!("scanning database {}", pass.index))?;
        let (cursor, keys) = match reply {
            Reply::Array(items) => match <[Reply; 2]>::try_from(items) {
                Ok([Reply::Bulk(cursor), Reply::Array(keys)]) => (cursor, keys),
                other => return Err(self.connection.unexpected("`SCAN`", &other)),
            },
            other => return Err(self.connection.unexpected("`SCAN`", &other)),
        };
        pass.cursors.next(&cursor).map_err(|what| self.connection.strange(what))?;
        let mut bytes = 0;
        for key in keys {
            let Reply::Bulk(key) = key else { return Err(self.connection.unexpected("`SCAN`", &key)) };
            bytes += key.len() as u64 + 16;
            if let Some(sorted) = pass.sorted.as_mut().filter(|sorted| !sorted.is_first_round()) {
                // Counted when it was shown first.
                if !reserved::is_reserved(&key) && self.filter.name(&key) {
                    sorted.add(&key);
                }
                continue;
            }
            // A table that shrinks meanwhile shows keys twice.
            if !pass.seen.is_new(&key) {
                continue;
            }
            pass.shown += 1;
            if reserved::is_reserved(&key) {
                self.written.reserved += 1;
            } else if !self.filter.name(&key) {
                self.written.left_out += 1;
            } else if let Some(sorted) = &mut pass.sorted {
                sorted.add(&key);
            } else {
                pass.groups.add(key);
            }
        }
        pass.count = if bytes > 64 << 10 { (pass.count / 2).max(1) } else { (pass.count * 4).min(MOST_KEYS as u64) };
        pass.cursor = Some(cursor).filter(|cursor| &cursor[..] != b"0");
        if pass.cursor.is_none() {
            match &mut pass.sorted {
                Some(sorted) => sorted.end_round(),
                None => pass.groups.end(),
            }
        }
        pass.scanning = false;
        Ok(())
    }
}

impl Pass {
    /// Hands on the next names in their order, or has them looked for, where keys are written by name.
    pub(super) fn feed(&mut self) {
        let Some(sorted) = self.sorted.as_mut().filter(|_| self.cursor.is_none()) else { return };
        while self.groups.ahead() < AHEAD {
            if let Some(name) = sorted.next() {
                self.groups.add(name);
            } else if sorted.begin_round() {
                self.cursor = Some(Bytes::from_static(b"0"));
                return;
            } else {
                self.sorted = None;
                self.groups.end();
                return;
            }
        }
    }
}
