//! A stream compared with a server: each key of the stream is looked for on the server, and then the server is walked for
//! keys that the stream has not.
//!
//! Takes the stream's [`Contents`] and a server. Gives [`Found`], the stream on the left. Always holds: of the stream's keys
//! only a [`Bloom`] filter is kept, whatever their number: a key that only the server has is never told wrongly, and may be
//! overlooked where there are many millions, which is said.

use std::collections::BTreeMap;
use std::time::Instant;

use aquifer_engine::failure::Failure;
use aquifer_engine::function::Call;
use bytes::Bytes;

use super::side::{Round, Side};
use super::{Found, How, Rules};
use crate::redis::hash::contents::{Contents, Item};
use crate::redis::hash::hashes::Hashed;
use crate::redis::hash::streams::Counters;
use crate::redis::keys::bloom::Bloom;
use crate::redis::keys::databases::Databases;
use crate::redis::keys::lifetimes::{ExpiryRule, Lifetimes};
use crate::redis::keys::name_hash::{name_hash, unknown_seed};
use crate::redis::keys::tally::{so_many_keys, thousands};
use crate::redis::wire::expiry::Expiry;

/// Keys that are asked for at once.
const BATCH: usize = 512;

/// Bytes of their names, about.
const MOST_BYTES: usize = 1 << 20;

/// A comparison under way.
pub(crate) struct Streamed<'a> {
    pub(crate) right: Side,
    pub(crate) rules: &'a Rules,
    pub(crate) databases: Databases,
    pub(crate) call: &'a Call,
    pub(crate) found: Found,
    /// Libraries of functions in the stream.
    pub(crate) libraries: BTreeMap<Bytes, u128>,
    /// What became of the stream's expiries when it was restored.
    lifetimes: Lifetimes,
    keys: Bloom,
    seed: u64,
    counters: Counters,
    looked_at: u64,
    /// The stream's database and the server's.
    at: (u32, u32),
    batch: Vec<(Bytes, Hashed)>,
    bytes: usize,
    /// The server's clock in milliseconds at an instant of ours.
    clock: (u64, Instant),
}

impl<'a> Streamed<'a> {
    /// Begins.
    ///
    /// # Errors
    /// The server does not say what time it is.
    pub(crate) async fn new(
        mut right: Side,
        rules: &'a Rules,
        databases: Databases,
        call: &'a Call,
    ) -> Result<Self, Failure> {
        let clock = (right.time().await?, Instant::now());
        Ok(Self {
            right,
            rules,
            databases,
            call,
            found: Found::default(),
            libraries: BTreeMap::new(),
            lifetimes: Lifetimes::Keep,
            keys: Bloom::new(),
            seed: unknown_seed(),
            counters: rules.counters,
            looked_at: 0,
            at: (0, 0),
            batch: Vec::new(),
            bytes: 0,
            clock,
        })
    }

    /// Says what became of the stream's expiries on their way into the server.
    ///
    /// # Errors
    /// The rule's moment lies in the future.
    pub(crate) fn moved(&mut self, rule: ExpiryRule) -> Result<(), Failure> {
        self.lifetimes = rule.at(self.now())?;
        Ok(())
    }

    /// Reads the stream to its end, and compares each key.
    ///
    /// # Errors
    /// The stream is damaged, the server refuses, or the connection is lost.
    pub(crate) async fn read(&mut self, contents: &mut Contents) -> Result<(), Failure> {
        // Where a stream of no head begins.
        self.at = (0, self.databases.place(0));
        if self.databases.takes(0) {
            self.right.select(self.at.1).await?;
        }
        while let Some(item) = contents.next().await? {
            // Shards may be of different versions: what waits was hashed by the earlier one.
            if self.counters != contents.measure.counters {
                self.flush().await?;
                self.counters = contents.measure.counters;
            }
            match item {
                Item::Database(index) => {
                    self.flush().await?;
                    if self.databases.takes(index) {
                        self.at = (index, self.databases.begin(index)?);
                        self.right.select(self.at.1).await?;
                    } else {
                        self.at = (index, index);
                    }
                }
                Item::Library(name, hash) => {
                    self.libraries.insert(name, hash);
                }
                Item::Key(key, mut hashed) => {
                    if let Expiry::At(at) = hashed.expiry {
                        hashed.expiry = self.lifetimes.moment(at).map_or(Expiry::Never, Expiry::At);
                    }
                    if !self.databases.takes(self.at.0) || !self.rules.filter.name(&key) {
                        continue;
                    }
                    self.keys.add(name_hash(&key, self.at.1, self.seed));
                    if matches!(hashed.expiry, Expiry::At(at) if at <= self.now()) {
                        self.found.expired += 1;
                        continue;
                    }
                    self.bytes += key.len();
                    self.batch.push((key, hashed));
                    if self.batch.len() >= BATCH || self.bytes >= MOST_BYTES {
                        self.flush().await?;
                    }
                }
            }
        }
        self.flush().await
    }

    /// The server's clock, in milliseconds.
    fn now(&self) -> u64 {
        self.clock.0 + self.clock.1.elapsed().as_millis() as u64
    }

    /// Asks the server for the keys that wait.
    async fn flush(&mut self) -> Result<(), Failure> {
        self.call.note(so_many_keys(self.looked_at));
        self.bytes = 0;
        let batch = std::mem::take(&mut self.batch);
        self.looked_at += batch.len() as u64;
        let suspects = self.compare(batch, false).await?;
        self.compare(suspects, true).await.map(drop)
    }

    /// Compares keys; gives those that differ, or counts them.
    async fn compare(&mut self, batch: Vec<(Bytes, Hashed)>, count: bool) -> Result<Vec<(Bytes, Hashed)>, Failure> {
        if batch.is_empty() {
            return Ok(batch);
        }
        let names: Vec<Bytes> = batch.iter().map(|(key, _)| key.clone()).collect();
        let there = self.right.page(self.counters, self.rules.expiry, &names).await?;
        let mut differ = Vec::new();
        let now = self.now();
        for ((key, here), there) in batch.into_iter().zip(&there) {
            // It had not passed when the key came.
            if there.is_none() && matches!(here.expiry, Expiry::At(at) if at <= now) {
                self.found.expired += 1;
                continue;
            }
            let how = self.rules.compare(Some(&here), there.as_ref());
            if (count || how.is_none()) && there.is_some() && self.rules.wants(Some(here.kind), None) {
                self.found.both.add(here.kind);
            }
            match how {
                Some(how) if count => {
                    let shown = self.found.add(self.at.0, &key, how, self.rules);
                    if shown {
                        let sides = [Some(describe(&here)), self.right.describe(&key, there.as_ref()).await?];
                        self.found.example(self.at.0, &key, how, sides);
                    }
                }
                Some(_) => differ.push((key, here)),
                None => {}
            }
        }
        Ok(differ)
    }

    /// Walks the server's databases for keys that the stream has not.
    ///
    /// # Errors
    /// The server refuses, or the connection is lost.
    pub(crate) async fn walk(&mut self) -> Result<(), Failure> {
        let missed = self.keys.mistakes();
        if missed > 0.001 {
            self.call.warn(format!(
                "the stream has so many keys that about {:.1} % of those that only the server has are overlooked",
                missed * 100.0
            ));
        }
        for place in self.right.databases() {
            let Some(index) = self.databases.source(place).filter(|index| self.databases.takes(*index)) else {
                continue;
            };
            self.right.select(place).await?;
            let mut round = Round::new();
            while let Some(mut keys) = self.right.next(&mut round, self.rules.filter.only_pattern()).await? {
                keys.retain(|key| self.rules.filter.name(key) && !self.keys.may_have(name_hash(key, place, self.seed)));
                let there = if keys.is_empty() {
                    Vec::new()
                } else {
                    self.right.page(self.counters, self.rules.expiry, &keys).await?
                };
                for (key, there) in keys.iter().zip(&there) {
                    if let Some(how @ How::OnlyRight) = self.rules.compare(None, there.as_ref())
                        && self.found.add(index, key, how, self.rules)
                    {
                        let sides = [None, self.right.describe(key, there.as_ref()).await?];
                        self.found.example(index, key, how, sides);
                    }
                }
                self.call.note(format!("{} keys, and what else is there", thousands(self.looked_at)));
            }
        }
        Ok(())
    }
}

fn describe(hashed: &Hashed) -> String {
    let expiry = match hashed.expiry {
        Expiry::At(at) => format!(", expires at {at}"),
        Expiry::Never | Expiry::Gone => String::new(),
    };
    format!("{}{expiry}", hashed.kind.noun())
}
