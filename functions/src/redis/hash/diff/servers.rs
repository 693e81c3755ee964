//! Two servers compared: the left one is walked and the right one asked for the same keys; then the right one is walked for
//! keys that the left one lacks.
//!
//! Takes both [sides](Side), each a server or a cluster. Gives [`Found`]. Always holds: a key that seems to differ is looked at again on both sides
//! before it counts, some time later, since the servers may be live; no more than [`MOST_SUSPECTS`] wait for that.

use aquifer_engine::failure::Failure;
use aquifer_engine::function::Call;
use bytes::Bytes;

use super::side::{Round, Side};
use super::{Found, How, Rules};
use crate::redis::hash::hashes::Hashed;
use crate::redis::keys::tally::so_many_keys;

/// Keys that wait for a second look at most.
const MOST_SUSPECTS: usize = 512;

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
        let mut round = Round::new();
        while let Some(keys) = self.left.next(&mut round, pattern).await? {
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
        let mut round = Round::new();
        while let Some(keys) = self.right.next(&mut round, pattern).await? {
            let keys = self.wanted(keys);
            let there = self.left.exist(&keys).await?;
            self.suspects.extend(keys.into_iter().zip(there).filter(|(_, there)| !there).map(|(key, _)| key));
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
        self.call.note(so_many_keys(self.looked_at));
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
