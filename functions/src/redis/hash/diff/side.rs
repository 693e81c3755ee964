//! One side of a comparison: a server, or all shards of a cluster as if they were one.
//!
//! Takes connections to whoever is read. Gives the names of its keys, and what stands under names. Always holds: each key is
//! asked for where its slot is; of a cluster, only database 0 can be selected; in the end it is still what it was at the beginning.

use std::collections::BTreeMap;

use aquifer_engine::failure::Failure;
use aquifer_engine::function::Call;
use bytes::Bytes;
use futures::future::try_join_all;

use crate::redis::hash::hashes::{Glance, Hashed, Walk, page};
use crate::redis::hash::streams::Counters;
use crate::redis::keys::digest::ExpiryIn;
use crate::redis::keys::tally::Kind;
use crate::redis::read::libraries;
use crate::redis::read::pace::{Impact, Pace};
use crate::redis::read::shards::Reading;
use crate::redis::wire::connection::Connection;
use crate::redis::wire::expiry::{self, Expiry};
use crate::redis::wire::facts::{Clock, Facts};
use crate::redis::wire::reply::Reply;
use crate::redis::wire::resp::show;
use crate::redis::wire::target::Target;

/// A server that is read.
#[derive(Debug)]
struct Node {
    connection: Connection,
    facts: Facts,
    pace: Pace,
}

/// Who is compared.
#[derive(Debug)]
pub(crate) struct Side {
    /// One server, or one for each shard; never none.
    nodes: Vec<Node>,
    cluster: Option<Reading>,
}

/// The keys of a side's database, as far as they were shown.
pub(crate) struct Round {
    at: usize,
    walk: Walk,
}

impl Round {
    pub(crate) fn new() -> Self {
        Self { at: 0, walk: Walk::new() }
    }
}

impl Node {
    async fn new(mut connection: Connection, target: &Target, impact: Impact, call: &Call) -> Result<Self, Failure> {
        let facts = Facts::ask(&mut connection).await?;
        let pace = Pace::new(impact, target, call);
        Ok(Self { connection, facts, pace })
    }

    async fn exist(&mut self, keys: &[(usize, Bytes)]) -> Result<Vec<(usize, bool)>, Failure> {
        keys.iter().for_each(|(_, key)| self.connection.push(&[b"EXISTS", key]));
        self.connection.flush().await?;
        let mut found = Vec::with_capacity(keys.len());
        for (place, key) in keys {
            let reply = self.connection.reply().await?;
            let reply = self.connection.accepted(reply, format_args!("looking for the key {}", show(key)))?;
            found.push((*place, reply != Reply::Integer(0)));
        }
        Ok(found)
    }

    async fn page(
        &mut self,
        (counters, expiry): (Counters, ExpiryIn),
        keys: Vec<(usize, Bytes)>,
    ) -> Result<Vec<(usize, Option<Hashed>)>, Failure> {
        let (places, names): (Vec<usize>, Vec<Bytes>) = keys.into_iter().unzip();
        let glance = Glance { clock: self.facts.clock, field_expiry: self.facts.field_expiry, counters, expiry };
        let found = page(&mut self.connection, glance, &mut self.pace, &names).await?;
        Ok(places.into_iter().zip(found).collect())
    }
}

impl Side {
    /// A single server.
    ///
    /// # Errors
    /// It cannot be read.
    pub(crate) async fn single(
        connection: Connection,
        target: &Target,
        impact: Impact,
        call: &Call,
    ) -> Result<Self, Failure> {
        Ok(Self { nodes: vec![Node::new(connection, target, impact, call).await?], cluster: None })
    }

    /// All shards of a cluster.
    ///
    /// # Errors
    /// One of them cannot be read, or holds more than database 0.
    pub(crate) async fn cluster(reading: Reading, impact: Impact, call: &Call) -> Result<Self, Failure> {
        let mut nodes = Vec::with_capacity(reading.shards.len());
        for shard in &reading.shards {
            let (connection, target) = reading.open(shard, call).await?;
            let node = Node::new(connection, &target, impact, call).await?;
            node.facts.only_first_database(node.connection.server())?;
            nodes.push(node);
        }
        if nodes.is_empty() {
            return Err(Failure::internal("a cluster without any shard"));
        }
        Ok(Self { nodes, cluster: Some(reading) })
    }

    /// Whether expiries are told to the millisecond.
    pub(crate) fn is_exact(&self) -> bool {
        self.nodes.iter().all(|node| node.facts.clock == Clock::At)
    }

    /// Whether streams have the numbers that came with 7.0.
    pub(crate) fn counts_entries(&self) -> bool {
        self.nodes.iter().all(|node| node.facts.at_least((7, 0)))
    }

    /// The databases that hold keys.
    pub(crate) fn databases(&self) -> Vec<u32> {
        let first = self.nodes.first().filter(|_| self.cluster.is_none());
        first.map_or_else(|| vec![0], |node| node.facts.databases.iter().map(|database| database.index).collect())
    }

    /// Holds a database to be one that there may be.
    ///
    /// # Errors
    /// A cluster has none of this number.
    pub(crate) fn may_have(&self, index: u32) -> Result<(), Failure> {
        if self.cluster.is_none() || index == 0 {
            return Ok(());
        }
        Err(Failure::rejected(format!("a cluster has no database but 0, and database {index} is to be compared with it"))
            .with_help("say in `databases` which ones are compared, and in `databaseMap` which one with the cluster's: `{\"3\": 0}`"))
    }

    /// Selects a database.
    ///
    /// # Errors
    /// The server refuses, or a cluster has none of this number.
    pub(crate) async fn select(&mut self, index: u32) -> Result<(), Failure> {
        self.may_have(index)?;
        if self.cluster.is_some() {
            return Ok(());
        }
        for node in &mut self.nodes {
            let reply = node.connection.ask(&[b"SELECT", index.to_string().as_bytes()]).await?;
            node.connection.accepted(reply, format_args!("selecting database {index}"))?;
        }
        Ok(())
    }

    /// What time it is there, in milliseconds of Unix time.
    ///
    /// # Errors
    /// It does not say.
    pub(crate) async fn time(&mut self) -> Result<u64, Failure> {
        let mut latest = 0;
        for node in &mut self.nodes {
            node.connection.push(&[b"TIME"]);
            node.connection.flush().await?;
            latest = latest.max(expiry::time(&mut node.connection).await?);
        }
        Ok(latest)
    }

    /// The next names, some or none; `None` at the end.
    ///
    /// # Errors
    /// A server refuses, or a connection is lost.
    pub(crate) async fn next(
        &mut self,
        round: &mut Round,
        pattern: Option<&[u8]>,
    ) -> Result<Option<Vec<Bytes>>, Failure> {
        while let Some(node) = self.nodes.get_mut(round.at) {
            if let Some(keys) = round.walk.next(&mut node.connection, pattern, &mut node.pace).await? {
                return Ok(Some(keys));
            }
            *round = Round { at: round.at + 1, walk: Walk::new() };
        }
        Ok(None)
    }

    /// Where a key is.
    fn place(&self, key: &[u8]) -> usize {
        self.cluster.as_ref().and_then(|cluster| cluster.owner(key)).unwrap_or(0).min(self.nodes.len() - 1)
    }

    /// Keys with their places in the list, for each server those that it has.
    fn shared_out(&self, keys: &[Bytes]) -> Vec<Vec<(usize, Bytes)>> {
        let mut each = vec![Vec::new(); self.nodes.len()];
        for (place, key) in keys.iter().enumerate() {
            each[self.place(key)].push((place, key.clone()));
        }
        each
    }

    /// What stands under these keys.
    ///
    /// # Errors
    /// A server refuses, or a connection is lost.
    pub(crate) async fn page(
        &mut self,
        counters: Counters,
        expiry: ExpiryIn,
        keys: &[Bytes],
    ) -> Result<Vec<Option<Hashed>>, Failure> {
        let each = self.shared_out(keys);
        let asked = self.nodes.iter_mut().zip(each).filter(|(_, keys)| !keys.is_empty());
        let found = try_join_all(asked.map(|(node, keys)| node.page((counters, expiry), keys))).await?;
        let mut all = vec![None; keys.len()];
        found.into_iter().flatten().for_each(|(place, hashed)| all[place] = hashed);
        Ok(all)
    }

    /// Which of these keys are there.
    ///
    /// # Errors
    /// A server refuses, or a connection is lost.
    pub(crate) async fn exist(&mut self, keys: &[Bytes]) -> Result<Vec<bool>, Failure> {
        let each = self.shared_out(keys);
        let asked = self.nodes.iter_mut().zip(&each).filter(|(_, keys)| !keys.is_empty());
        let found = try_join_all(asked.map(|(node, keys)| node.exist(keys))).await?;
        let mut all = vec![false; keys.len()];
        found.into_iter().flatten().for_each(|(place, is)| all[place] = is);
        Ok(all)
    }

    /// What stands under a key, in a few words.
    ///
    /// # Errors
    /// The connection is lost.
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
        let place = self.place(key);
        let length = match self.nodes[place].connection.ask(&[length, key]).await? {
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

    /// The functions' libraries.
    ///
    /// # Errors
    /// A server refuses, or the masters of a cluster do not have the same.
    pub(crate) async fn functions(&mut self) -> Result<BTreeMap<Bytes, u128>, Failure> {
        let mut all: Option<BTreeMap<Bytes, u128>> = None;
        for node in &mut self.nodes {
            let found = libraries::functions_by_name(&mut node.connection, &node.facts).await?;
            if all.as_ref().is_some_and(|all| *all != found) {
                return Err(libraries::mixed());
            }
            all = Some(found);
        }
        Ok(all.unwrap_or_default())
    }

    /// Holds it to be what it was at the beginning.
    ///
    /// # Errors
    /// A server was started anew or has another role, or slots have changed hands.
    pub(crate) async fn still(&mut self, call: &Call) -> Result<(), Failure> {
        for node in &mut self.nodes {
            node.facts.still(&mut node.connection).await?;
        }
        match &self.cluster {
            Some(cluster) => cluster.still(call).await,
            None => Ok(()),
        }
    }
}
