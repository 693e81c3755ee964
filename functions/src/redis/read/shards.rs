//! A whole cluster, read shard by shard, several of them side by side.
//!
//! Takes a [`Cluster`]. Gives the shards' keys to one [`Form`], by [turns](crate::redis::read::turns), in the order of the shards' lowest
//! slots. Always holds: success means that no slot changed hands and no server its role from before the first key was read
//! until after the last one; else keys may be missed, and the dump fails. See `docs/decisions/0016-a-cluster-in-one-stream.md`.

use std::collections::VecDeque;
use std::time::Instant;

use aquifer_engine::failure::Failure;
use aquifer_engine::function::Call;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use xxhash_rust::xxh3::xxh3_64;

use crate::redis::keys::digest::Sum;
use crate::redis::keys::tally::so_many_keys;
use crate::redis::read::libraries;
use crate::redis::read::scan::{Dump, How};
use crate::redis::read::turns::Lane;
use crate::redis::read::written::Written;
use crate::redis::stream::form::Form;
use crate::redis::topology::cluster::Cluster;
use crate::redis::topology::servers;
use crate::redis::topology::slots::slot;
use crate::redis::topology::view::{Entry, View};
use crate::redis::wire::connection::Connection;
use crate::redis::wire::facts::{self, Facts, Standing};
use crate::redis::wire::target::{Role, Target};
use crate::shared::NOTE_EVERY;

/// Shards that are read at once.
const SIDE_BY_SIDE: usize = 4;

/// Pieces of a shard that wait for its turn: of 256 KiB, as a rule.
const WAITING: usize = 8;

/// The cluster as it has to stay while it is read.
#[derive(Debug)]
pub(crate) struct Reading {
    pub(crate) cluster: Cluster,
    role: Option<Role>,
    before: View,
    /// What is to be read, in order.
    pub(crate) shards: Vec<Entry>,
    /// How many shards the cluster has.
    pub(crate) all: u32,
}

impl Reading {
    /// Begins: who has which slots is asked of each master.
    ///
    /// # Errors
    /// A master cannot be asked, slots are being moved, or there is no shard of this number.
    pub(crate) async fn begin(
        cluster: Cluster,
        role: Option<Role>,
        shard: Option<u32>,
        call: &Call,
    ) -> Result<Self, Failure> {
        let before = cluster.agreed(call).await?;
        let mut shards: Vec<Entry> = before.masters().into_iter().cloned().collect();
        let all = shards.len() as u32;
        if let Some(number) = shard {
            let Some(chosen) = (number as usize).checked_sub(1).and_then(|at| shards.get(at)).cloned() else {
                return Err(Failure::rejected(format!("there is no shard {number}: the cluster has {all}"))
                    .with_help("a job for each shard needs as many jobs as there are shards; one dump without `shard` reads all of them"));
            };
            shards = vec![chosen];
        }
        Ok(Self { cluster, role, before, shards, all })
    }

    /// Connects to whoever is to be read for a shard.
    ///
    /// # Errors
    /// Nobody can be.
    pub(crate) async fn open(&self, shard: &Entry, call: &Call) -> Result<(Connection, Target), Failure> {
        let name = self.cluster.shown(shard);
        let mut unfit = Vec::new();
        if self.role != Some(Role::Master) {
            let mut replicas: Vec<&Entry> =
                self.cluster.view.nodes.iter().filter(|node| node.master_id.as_ref() == Some(&shard.id)).collect();
            // The order of the keys is the server's: the same one gives the same bytes.
            replicas.sort_by_key(|node| &node.id);
            for replica in replicas.into_iter().filter(|node| !node.down) {
                match self.replica(replica, shard, call).await {
                    Ok(connection) => return Ok((connection, self.cluster.to(replica))),
                    Err(failure) => unfit.push(failure.message),
                }
                call.check_cancelled()?;
            }
        }
        let reasons = if unfit.is_empty() { "there is none".to_owned() } else { unfit.join("; ") };
        match self.role {
            Some(Role::Replica) => {
                return Err(Failure::unavailable(format!("no replica of the master {name} can be read: {reasons}"))
                    .with_help("without `role: replica`, a master is read where no replica can be"));
            }
            None => call.info(format!("the master {name} is read, for no replica of it can be: {reasons}")),
            Some(Role::Master) => {}
        }
        Ok((self.cluster.open(shard, call).await?.0, self.cluster.to(shard)))
    }

    async fn replica(&self, replica: &Entry, master: &Entry, call: &Call) -> Result<Connection, Failure> {
        let (mut connection, view) = self.cluster.open(replica, call).await?;
        let shown = self.cluster.shown(replica);
        let follows = view.myself().and_then(|node| node.master_id.as_ref()) == Some(&master.id);
        if !follows || facts::standing(&mut connection).await? != (Standing::Replica { linked: true }) {
            return Err(Failure::unavailable(format!("{shown} has no link to its master")));
        }
        let (mut master, _) = self.cluster.open(master, call).await?;
        servers::caught_up(&mut connection, &mut master, self.cluster.target.connect_timeout, call).await?;
        let reply = connection.ask(&[b"READONLY"]).await?;
        connection.accepted(reply, "asking `READONLY`")?;
        Ok(connection)
    }

    /// The place of the shard that has a key; nothing where it is not read.
    pub(crate) fn owner(&self, key: &[u8]) -> Option<usize> {
        let slot = slot(key);
        let has = |shard: &Entry| shard.slots.iter().any(|(first, last)| (*first..=*last).contains(&slot));
        self.shards.iter().position(has)
    }

    /// A digest of who has which slots since when. Epochs only grow, so where two readings have the same one, no slot has
    /// changed hands from the beginning of the first to the end of the other.
    pub(crate) fn layout(&self) -> String {
        let mut text = String::new();
        for (id, (epoch, slots)) in self.before.ownership() {
            text += &format!("{id} {epoch} {slots:?}\n");
        }
        format!("{:016x}", xxh3_64(text.as_bytes()))
    }

    /// Holds the cluster to be as it was.
    ///
    /// # Errors
    /// Slots have changed hands, or a master is none any more.
    pub(crate) async fn still(&self, call: &Call) -> Result<(), Failure> {
        let now = self.cluster.agreed(call).await.map_err(|failure| Failure {
            message: format!("the cluster changed while it was read: {}", failure.message),
            ..failure
        })?;
        if now.ownership() == self.before.ownership() {
            return Ok(());
        }
        Err(Failure::unavailable("slots of the cluster changed hands while it was read, so keys may have been missed")
            .with_help("another attempt reads it anew; a dump and a reshard do not go together"))
    }
}

/// What was read of one shard.
struct Shard {
    written: Written,
    functions: Option<Sum>,
}

/// A shard that is being read.
struct Under {
    lane: Lane,
    result: oneshot::Receiver<Result<Shard, Failure>>,
}

/// Reads all that is to be read; `functions` where those of each shard are to be compared with these.
///
/// # Errors
/// A server refuses, is lost, or changes its role; or nobody reads the dump any more.
pub(crate) async fn dump(
    reading: &Reading,
    form: &mut Form,
    how: &How,
    functions: Option<Sum>,
    call: &Call,
) -> Result<Written, Failure> {
    let mut tasks = JoinSet::new();
    let mut waiting = reading.shards.iter();
    let mut lanes: VecDeque<Under> = VecDeque::new();
    let (mut written, mut keys, mut noted) = (Written::default(), 0, Instant::now());
    loop {
        while lanes.len() < SIDE_BY_SIDE
            && let Some(shard) = waiting.next()
        {
            let (connection, target) = reading.open(shard, call).await?;
            let (to, from) = mpsc::channel(WAITING);
            let (tell, result) = oneshot::channel();
            let (call, how, compare) = (call.clone(), how.clone(), functions.is_some());
            tasks.spawn(async move { tell.send(one(connection, target, Form::part(to), &how, compare, &call).await) });
            lanes.push_back(Under { lane: Lane::new(from), result });
        }
        let Some(mut turn) = lanes.pop_front() else { break };
        let before = turn.lane.keys();
        if turn.lane.block(form).await? {
            keys += turn.lane.keys() - before;
            lanes.push_back(turn);
        } else {
            keys += turn.lane.keys() - before;
            let gone = |_| Failure::internal("the reading of a shard ended without a result");
            let shard = turn.result.await.map_err(gone)??;
            if shard.functions.is_some() && shard.functions != functions {
                return Err(libraries::mixed());
            }
            written = written.plus(shard.written);
        }
        if noted.elapsed() >= NOTE_EVERY {
            noted = Instant::now();
            call.note(so_many_keys(keys));
        }
    }
    Ok(written)
}

async fn one(
    connection: Connection,
    target: Target,
    form: Form,
    how: &How,
    compare: bool,
    call: &Call,
) -> Result<Shard, Failure> {
    let mut connection = connection;
    let facts = Facts::ask(&mut connection).await?;
    facts.only_first_database(connection.server())?;
    let functions = if compare { Some(libraries::functions(&mut connection, &facts).await?) } else { None };
    let mut dump = Dump::new(connection, form, facts, how, &target, call).await?;
    dump.database(0).await?;
    dump.facts.still(&mut dump.connection).await?;
    dump.form.end_part().await?;
    Ok(Shard { written: dump.written, functions })
}
