//! Two servers compared: the left one is walked and the right one asked for the same keys; then the right one is walked for
//! keys that the left one lacks.
//!
//! Takes a connection to each. Gives [`Found`]. Always holds: a key that seems to differ is looked at again on both sides
//! before it counts, some time later, since the servers may be live; no more than [`MOST_SUSPECTS`] wait for that.

use aquifer_engine::failure::Failure;
use aquifer_engine::function::Call;
use bytes::Bytes;

use super::{Found, How, Rules};
use crate::redis::hash::hashes::{Glance, Hashed, Walk, page};
use crate::redis::hash::streams::Counters;
use crate::redis::keys::digest::ExpiryIn;
use crate::redis::keys::tally::{Kind, thousands};
use crate::redis::read::pace::Pace;
use crate::redis::wire::connection::Connection;
use crate::redis::wire::expiry::Expiry;
use crate::redis::wire::facts::Facts;
use crate::redis::wire::reply::Reply;
use crate::redis::wire::resp::show;

/// Keys that wait for a second look at most.
const MOST_SUSPECTS: usize = 512;

/// A server that is compared.
#[derive(Debug)]
pub(crate) struct Side {
    pub(crate) connection: Connection,
    pub(crate) facts: Facts,
    pub(crate) pace: Pace,
}

impl Side {
    /// Selects a database.
    ///
    /// # Errors
    /// The server refuses.
    pub(crate) async fn select(&mut self, index: u32) -> Result<(), Failure> {
        let reply = self.connection.ask(&[b"SELECT", index.to_string().as_bytes()]).await?;
        self.connection.accepted(reply, format_args!("selecting database {index}")).map(drop)
    }

    /// What stands under these keys.
    pub(crate) async fn page(
        &mut self,
        counters: Counters,
        expiry: ExpiryIn,
        keys: &[Bytes],
    ) -> Result<Vec<Option<Hashed>>, Failure> {
        let (clock, field_expiry) = (self.facts.clock, self.facts.field_expiry);
        page(&mut self.connection, Glance { clock, field_expiry, counters, expiry }, &mut self.pace, keys).await
    }

    /// What stands under a key, in a few words.
    pub(crate) async fn describe(&mut self, key: &[u8], hashed: Option<&Hashed>) -> Result<Option<String>, Failure> {
        let Some(hashed) = hashed else { return Ok(None) };
        let name = hashed.kind.noun();
        let (length, unit): (&[u8], &str) = match hashed.kind {
            Kind::String => (b"STRLEN", "bytes"),
            Kind::List => (b"LLEN", "elements"),
            Kind::Hash => (b"HLEN", "fields"),
            Kind::Set => (b"SCARD", "members"),
            Kind::SortedSet => (b"ZCARD", "members"),
            Kind::Stream => (b"XLEN", "entries"),
            Kind::Other => (b"TYPE", ""),
        };
        let length = match self.connection.ask(&[length, key]).await? {
            Reply::Integer(length) => format!(" of {length} {unit}"),
            // It has changed or gone meanwhile, or may not be asked: an example says what it can.
            _ => String::new(),
        };
        let expiry = match hashed.expiry {
            Expiry::At(at) => format!(", expires at {at}"),
            Expiry::Never | Expiry::Gone => String::new(),
        };
        Ok(Some(format!("{name}{length}{expiry}")))
    }
}

/// A comparison under way.
pub(crate) struct Servers<'a> {
    pub(crate) left: Side,
    pub(crate) right: Side,
    pub(crate) rules: &'a Rules,
    pub(crate) call: &'a Call,
    pub(crate) found: Found,
    suspects: Vec<Bytes>,
    looked_at: u64,
}

impl<'a> Servers<'a> {
    /// Begins.
    pub(crate) fn new(left: Side, right: Side, rules: &'a Rules, call: &'a Call) -> Self {
        Self { left, right, rules, call, found: Found::default(), suspects: Vec::new(), looked_at: 0 }
    }

    /// Compares a database with one of the other side.
    ///
    /// # Errors
    /// A server refuses, or a connection is lost.
    pub(crate) async fn databases(&mut self, left: u32, right: u32) -> Result<(), Failure> {
        self.left.select(left).await?;
        self.right.select(right).await?;
        let pattern = self.rules.filter.only_pattern();
        let mut walk = Walk::new();
        while let Some(keys) = walk.next(&mut self.left.connection, pattern, &mut self.left.pace).await? {
            let keys = self.wanted(keys);
            let (here, there) = self.both(&keys).await?;
            for ((key, here), there) in keys.into_iter().zip(&here).zip(&there) {
                match self.rules.compare(here.as_ref(), there.as_ref()) {
                    Some(_) => self.suspects.push(key),
                    None => self.count(here.as_ref(), there.as_ref()),
                }
            }
            self.proceed(left, MOST_SUSPECTS).await?;
        }
        let mut walk = Walk::new();
        while let Some(keys) = walk.next(&mut self.right.connection, pattern, &mut self.right.pace).await? {
            let keys = self.wanted(keys);
            keys.iter().for_each(|key| self.left.connection.push(&[b"EXISTS", key]));
            self.left.connection.flush().await?;
            for key in keys {
                let reply = self.left.connection.reply().await?;
                let reply = self.left.connection.accepted(reply, format_args!("looking for the key {}", show(&key)))?;
                if reply == Reply::Integer(0) {
                    self.suspects.push(key);
                }
            }
            self.proceed(left, MOST_SUSPECTS).await?;
        }
        self.proceed(left, 1).await
    }

    fn wanted(&mut self, mut keys: Vec<Bytes>) -> Vec<Bytes> {
        self.looked_at += keys.len() as u64;
        keys.retain(|key| self.rules.filter.name(key));
        keys
    }

    fn count(&mut self, left: Option<&Hashed>, right: Option<&Hashed>) {
        if let (Some(left), Some(right)) = (left, right)
            && self.rules.wants(Some(left.kind), Some(right.kind))
        {
            self.found.both.add(left.kind);
        }
    }

    async fn both(&mut self, keys: &[Bytes]) -> Result<(Vec<Option<Hashed>>, Vec<Option<Hashed>>), Failure> {
        let counters = self.rules.counters;
        let expiry = self.rules.expiry;
        tokio::try_join!(self.left.page(counters, expiry, keys), self.right.page(counters, expiry, keys))
    }

    /// Looks at the suspects again once there are so many of them.
    async fn proceed(&mut self, database: u32, least: usize) -> Result<(), Failure> {
        self.call.note(format!("{} keys", thousands(self.looked_at)));
        if self.suspects.len() < least {
            return Ok(());
        }
        let keys = std::mem::take(&mut self.suspects);
        let (left, right) = self.both(&keys).await?;
        for ((key, left), right) in keys.iter().zip(&left).zip(&right) {
            self.count(left.as_ref(), right.as_ref());
            if let Some(how) = self.rules.compare(left.as_ref(), right.as_ref()) {
                self.differs(database, key, how, [left.as_ref(), right.as_ref()]).await?;
            }
        }
        Ok(())
    }

    async fn differs(
        &mut self,
        database: u32,
        key: &Bytes,
        how: How,
        [left, right]: [Option<&Hashed>; 2],
    ) -> Result<(), Failure> {
        if self.found.add(database, key, how, self.rules) {
            let sides = [self.left.describe(key, left).await?, self.right.describe(key, right).await?];
            self.found.example(database, key, how, sides);
        }
        Ok(())
    }
}
