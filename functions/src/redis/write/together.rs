//! Small strings without an expiry, several of them in one command: to a server's one thread that is a third cheaper.
//!
//! Takes keys with their values. Gives the server `MSETNX`, or `MSET` where keys are replaced. Always holds: `MSETNX` writes
//! all of its keys or none, so where a key is there already, or the server refuses, its keys go one by one behind it, each on
//! its own terms: what becomes of a key and what is said about it does not depend on its neighbours; no other command of a key
//! is sent before the answer to such a command of it was read and followed; nothing is sent into the middle of a long
//! command.

use std::collections::HashSet;

use aquifer_engine::failure::Failure;
use bytes::Bytes;
use xxhash_rust::xxh3::xxh3_64;

use crate::redis::keys::tally::Kind;
use crate::redis::wire::reply::Reply;
use crate::redis::write::load::{Loader, OnConflict};
use crate::redis::write::replies::{Pending, What};

/// Keys in one command. More gain nothing (0.7 of the server's time for single ones with 16 as with 256) and are more to do
/// again.
const MOST_KEYS: usize = 16;

/// Bytes in one command, about; a longer value goes by itself.
const MOST_BYTES: usize = 4 << 10;

/// How far behind the first of the keys that wait a command may stand in the stream: they hold on to the buffers that they came
/// in.
const FARTHEST: u64 = 256 << 10;

/// Keys that go one by one after a conflict, at least and at most.
const RESTS: (u32, u32) = (16, 1 << 16);

/// A key that goes with others.
#[derive(Debug)]
pub(super) struct Held {
    key: Bytes,
    value: Bytes,
    offset: u64,
}

/// Keys that wait for others, and how well that went so far.
#[derive(Debug)]
pub(super) struct Together {
    waiting: Vec<Held>,
    bytes: usize,
    /// The hashes of keys that wait or whose command is unanswered.
    open: HashSet<u64>,
    /// Keys to go one by one because of conflicts.
    rest: u32,
    /// How many they are to be after the next conflict.
    next_rest: u32,
    /// The server does not take such commands.
    refused: bool,
    /// Keys whose command wrote nothing.
    single: Vec<Held>,
}

impl Together {
    pub(super) fn new() -> Self {
        Self {
            waiting: Vec::new(),
            bytes: 0,
            open: HashSet::new(),
            rest: 0,
            next_rest: RESTS.0,
            refused: false,
            single: Vec::new(),
        }
    }
}

impl Loader {
    /// Whether the next string, of this size, goes with others. Counts it as one of those that go alone after a conflict.
    pub(super) fn next_goes_together(&mut self, bytes: usize) -> bool {
        let one = self.fleet.as_ref().is_some_and(|fleet| !fleet.is_cluster());
        if !one || self.together.refused || bytes > MOST_BYTES {
            return false;
        }
        if self.together.rest > 0 {
            self.together.rest -= 1;
            return false;
        }
        true
    }

    /// Sees to it that nothing of a key is overtaken by a command that stands here in the stream.
    pub(super) async fn let_pass(&mut self, key: &[u8], offset: u64) -> Result<(), Failure> {
        if self.together.open.is_empty() {
            return Ok(());
        }
        if self.together.open.contains(&xxh3_64(key)) {
            return self.settle().await;
        }
        match self.together.waiting.first() {
            Some(first) if first.offset + FARTHEST < offset => self.send_together().await,
            _ => Ok(()),
        }
    }

    /// Writes a string together with others.
    pub(super) async fn set_together(&mut self, key: Bytes, value: Bytes, offset: u64) -> Result<(), Failure> {
        self.let_pass(&key, offset).await?;
        self.together.open.insert(xxh3_64(&key));
        self.together.bytes += key.len() + value.len();
        self.together.waiting.push(Held { key, value, offset });
        if self.together.waiting.len() >= MOST_KEYS || self.together.bytes >= MOST_BYTES {
            self.send_together().await?;
        }
        Ok(())
    }

    /// Sends the keys that wait for others.
    pub(super) async fn send_together(&mut self) -> Result<(), Failure> {
        if self.sending.is_some() {
            return Ok(());
        }
        let held = std::mem::take(&mut self.together.waiting);
        self.together.bytes = 0;
        let Some(fleet) = self.fleet.as_mut().filter(|_| !held.is_empty()) else { return Ok(()) };
        let name: &[u8] = if self.on_conflict == OnConflict::Replace { b"MSET" } else { b"MSETNX" };
        let pairs = held.iter().flat_map(|held| [&held.key[..], &held.value]);
        let (size, _) = fleet.write(0, 1 + 2 * held.len() as u64, std::iter::once(name).chain(pairs));
        let (key, offset) = held.first().map_or_else(Default::default, |held| (held.key.clone(), held.offset));
        self.sent(0, Pending { key, offset, size, again: None, what: What::Strings, held }).await
    }

    /// What the answer to such a command means.
    pub(super) fn answered_together(&mut self, held: Vec<Held>, reply: &Reply) {
        for held in &held {
            self.together.open.remove(&xxh3_64(&held.key));
        }
        if matches!(reply, Reply::Integer(1) | Reply::Simple(_)) {
            held.iter().for_each(|_| self.done.written.add(Kind::String));
            self.together.next_rest = (self.together.next_rest / 2).max(RESTS.0);
            return;
        }
        // Which of them it is, the server tells one by one.
        if *reply == Reply::Integer(0) {
            self.together.rest = self.together.next_rest;
            self.together.next_rest = (self.together.next_rest * 2).min(RESTS.1);
        } else {
            self.together.refused = true;
        }
        self.together.single.extend(held);
    }

    /// Sends keys one by one whose common command wrote nothing. Nothing waits for what these make room for: they take the
    /// place of what was answered.
    pub(super) fn send_singles(&mut self) -> bool {
        if self.sending.is_some() {
            return false;
        }
        let singles = std::mem::take(&mut self.together.single);
        let Some(fleet) = &mut self.fleet else { return false };
        let nx = (self.on_conflict != OnConflict::Replace).then_some(&b"NX"[..]);
        let any = !singles.is_empty();
        for Held { key, value, offset } in singles {
            let args = [&b"SET"[..], &key, &value].into_iter().chain(nx);
            let (size, again) = fleet.write(0, 3 + u64::from(nx.is_some()), args);
            let what = What::Value { kind: Kind::String, repeated: false, expired: false };
            fleet.expect(0, Pending { key, offset, size, again, what, held: Vec::new() });
        }
        any
    }
}
