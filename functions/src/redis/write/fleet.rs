//! The servers that a restore writes to: one, or all masters of a cluster.
//!
//! Takes connections. Gives the one that a key belongs to, and replies to commands that have to be answered before anything
//! else happens. Always holds: in a cluster, a command follows its slot (`MOVED`, `ASK`) and waits where the cluster says
//! "not now", for as long as an answer may take; a master that was written to and is none any more ends the restore,
//! because what it had confirmed may be lost.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use aquifer_engine::failure::Failure;
use aquifer_engine::function::Call;
use bytes::Bytes;

use crate::redis::topology::cluster::{self, Cluster, Redirect};
use crate::redis::topology::slots::{SLOTS, slot};
use crate::redis::topology::view::Entry;
use crate::redis::wire::address::Place;
use crate::redis::wire::connection::Connection;
use crate::redis::wire::facts;
use crate::redis::wire::outgoing::Outgoing;
use crate::redis::wire::reply::Reply;
use crate::redis::wire::resp;
use crate::redis::write::replies::Pending;

/// Commands that are unanswered by one server at most.
const MOST_COMMANDS: usize = 4096;

/// Commands that are unanswered by all servers together at most.
const MOST_COMMANDS_OF_ALL: usize = 4 * MOST_COMMANDS;

/// Bytes of commands that are unanswered by one server at most, a single longer command aside.
const MOST_BYTES: usize = 1 << 20;

/// Bytes of commands that are unanswered by all servers together at most, likewise.
const MOST_BYTES_OF_ALL: usize = 8 << 20;

/// How long to wait before a cluster is asked again.
const PAUSE: Duration = Duration::from_millis(20);

/// A server.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) connection: Connection,
    pub(super) pending: VecDeque<Pending>,
    unanswered: usize,
    /// Of a cluster's node.
    id: String,
    place: Place,
    /// How many keys it had evicted before; `None` where it does not say.
    evicted: Option<u64>,
}

/// How full what is unanswered is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Full {
    No,
    This,
    All,
}

/// The servers.
#[derive(Debug)]
pub(crate) struct Fleet {
    pub(super) nodes: Vec<Node>,
    routes: Option<Routes>,
}

/// The way to a key, in a cluster.
#[derive(Debug)]
struct Routes {
    cluster: Cluster,
    call: Call,
    /// For each slot the place of its node in the list.
    slots: Vec<u16>,
    /// What other restores know our connections by.
    mark: Option<String>,
}

impl Node {
    async fn new(mut connection: Connection, id: String, place: Place) -> Result<Self, Failure> {
        let evicted = facts::evicted(&mut connection).await?;
        Ok(Self { connection, pending: VecDeque::new(), unanswered: 0, id, place, evicted })
    }

    /// Takes the command whose answer comes next.
    pub(super) fn answered(&mut self) -> Option<Pending> {
        let pending = self.pending.pop_front()?;
        self.unanswered -= pending.size;
        Some(pending)
    }
}

impl Fleet {
    /// One server.
    ///
    /// # Errors
    /// The connection is lost.
    pub(crate) async fn single(connection: Connection) -> Result<Self, Failure> {
        let node = Node::new(connection, String::new(), Place::Unix(String::new())).await?;
        Ok(Self { nodes: vec![node], routes: None })
    }

    /// All masters of a cluster.
    ///
    /// # Errors
    /// One of them cannot be reached.
    pub(crate) async fn cluster(cluster: Cluster, call: &Call) -> Result<Self, Failure> {
        let routes = Routes { cluster, call: call.clone(), slots: vec![0; usize::from(SLOTS)], mark: None };
        let mut fleet = Self { nodes: Vec::new(), routes: Some(routes) };
        fleet.lay_out().await?;
        Ok(fleet)
    }

    /// True for a cluster.
    pub(crate) fn is_cluster(&self) -> bool {
        self.routes.is_some()
    }

    /// Makes the connections and the table fit what is known of the cluster.
    async fn lay_out(&mut self) -> Result<(), Failure> {
        let Some(routes) = &self.routes else { return Ok(()) };
        let masters: Vec<Entry> =
            routes.cluster.view.masters().into_iter().filter(|node| !node.down).cloned().collect();
        for master in masters {
            let at = self.node_of(&master).await?;
            let Some(routes) = &mut self.routes else { continue };
            for (first, last) in &master.slots {
                routes.slots[usize::from(*first)..=usize::from(*last)].fill(at as u16);
            }
        }
        Ok(())
    }

    /// The place of a cluster's node in the list; connects where it is a new one.
    async fn node_of(&mut self, entry: &Entry) -> Result<usize, Failure> {
        if let Some(at) = self.nodes.iter().position(|node| node.id == entry.id) {
            return Ok(at);
        }
        let Some(routes) = &self.routes else { return Ok(0) };
        let (mut connection, _) = routes.cluster.open(entry, &routes.call).await?;
        if let Some(mark) = &routes.mark {
            name(&mut connection, mark).await?;
        }
        let place = routes.cluster.place(entry);
        self.nodes.push(Node::new(connection, entry.id.clone(), place).await?);
        Ok(self.nodes.len() - 1)
    }

    /// Makes all connections bear a mark, those to come too.
    ///
    /// # Errors
    /// A server refuses.
    pub(super) async fn mark(&mut self, mark: &str) -> Result<(), Failure> {
        for node in &mut self.nodes {
            name(&mut node.connection, mark).await?;
        }
        if let Some(routes) = &mut self.routes {
            routes.mark = Some(mark.to_owned());
        }
        Ok(())
    }

    /// The server that has a key.
    pub(super) fn route(&self, key: &[u8]) -> usize {
        self.routes.as_ref().map_or(0, |routes| usize::from(routes.slots[usize::from(slot(key))]))
    }

    /// Writes a command of so many arguments; gives its size, and, where it may have to be sent once more, its bytes.
    pub(super) fn write<'a>(
        &mut self,
        at: usize,
        count: u64,
        mut args: impl Iterator<Item = &'a [u8]>,
    ) -> (usize, Option<Bytes>) {
        let out = self.nodes[at].connection.output();
        let before = out.bytes().len();
        let rest = out.begin(count, args.next().unwrap_or_default());
        args.for_each(|arg| resp::argument(rest, arg));
        let written = &out.bytes()[before..];
        (written.len(), self.routes.as_ref().map(|_| Bytes::copy_from_slice(written)))
    }

    /// Keeps in mind that an answer is to come.
    pub(super) fn expect(&mut self, at: usize, pending: Pending) -> Full {
        let node = &mut self.nodes[at];
        node.unanswered += pending.size;
        node.pending.push_back(pending);
        if node.pending.len() >= MOST_COMMANDS || node.unanswered >= MOST_BYTES {
            Full::This
        } else if self.nodes.len() > 1
            && (self.nodes.iter().map(|node| node.unanswered).sum::<usize>() >= MOST_BYTES_OF_ALL
                || self.unanswered() >= MOST_COMMANDS_OF_ALL)
        {
            Full::All
        } else {
            Full::No
        }
    }

    /// How many commands are unanswered.
    pub(super) fn unanswered(&self) -> usize {
        self.nodes.iter().map(|node| node.pending.len()).sum()
    }

    /// Sends what was collected.
    ///
    /// # Errors
    /// As [`Connection::flush`].
    pub(super) async fn flush(&mut self) -> Result<(), Failure> {
        for node in &mut self.nodes {
            if !node.connection.output().bytes().is_empty() {
                node.connection.flush().await?;
            }
        }
        Ok(())
    }

    /// Asks the server that has the key. Nothing may be unanswered.
    ///
    /// # Errors
    /// As [`Connection::ask`]; in a cluster, also where the slot is not to be had for too long.
    pub(super) async fn ask(&mut self, key: &[u8], args: &[&[u8]]) -> Result<Reply, Failure> {
        let mut replies = self.follow(key, 1, |out| out.command(args)).await?;
        Ok(replies.pop().unwrap_or(Reply::Nil))
    }

    /// Has commands carried out in one transaction; gives the reply to each, or the refusal of one.
    ///
    /// # Errors
    /// As [`Fleet::ask`].
    pub(super) async fn transaction(&mut self, key: &[u8], commands: &[&[&[u8]]]) -> Result<Vec<Reply>, Failure> {
        let write = |out: &mut Outgoing| {
            out.command(&[b"MULTI"]);
            commands.iter().for_each(|command| out.command(command));
            out.command(&[b"EXEC"]);
        };
        let mut replies = self.follow(key, commands.len() + 2, write).await?;
        match replies.pop() {
            Some(Reply::Array(done)) => Ok(done),
            last => {
                let refused = replies.into_iter().find(|reply| matches!(reply, Reply::Error(_)));
                Ok(refused.or(last).into_iter().collect())
            }
        }
    }

    /// Has a command that was redirected carried out where its slot is now.
    ///
    /// # Errors
    /// As [`Fleet::ask`].
    pub(super) async fn again(&mut self, key: &[u8], command: &[u8]) -> Result<Reply, Failure> {
        let mut replies = self.follow(key, 1, |out| out.again(command)).await?;
        Ok(replies.pop().unwrap_or(Reply::Nil))
    }

    /// The server where a key would be written now, and whether that has to be asked for by `ASKING`.
    ///
    /// # Errors
    /// As [`Fleet::ask`].
    pub(super) async fn locate(&mut self, key: &[u8]) -> Result<(usize, bool), Failure> {
        if self.routes.is_none() {
            return Ok((0, false));
        }
        let at = self.route(key);
        let connection = &mut self.nodes[at].connection;
        let reply = connection.ask(&[b"EXISTS", key]).await?;
        match redirect(std::slice::from_ref(&reply)) {
            None => Ok((at, false)),
            Some(Redirect::Ask(host, port)) => Ok((self.announced(at, &host, port).await?, true)),
            Some(_) => {
                self.ask(key, &[b"EXISTS", key]).await?;
                Ok((self.route(key), false))
            }
        }
    }

    async fn follow(
        &mut self,
        key: &[u8],
        replies: usize,
        write: impl Fn(&mut Outgoing),
    ) -> Result<Vec<Reply>, Failure> {
        let begun = Instant::now();
        let mut aside = None;
        loop {
            let at = aside.unwrap_or_else(|| self.route(key));
            let connection = &mut self.nodes[at].connection;
            let asking = aside.take().is_some();
            if asking {
                connection.push(&[b"ASKING"]);
            }
            write(connection.output());
            connection.flush().await?;
            if asking {
                connection.reply().await?;
            }
            let mut found = Vec::with_capacity(replies);
            for _ in 0..replies {
                found.push(connection.reply().await?);
            }
            let Some(routes) = &self.routes else { return Ok(found) };
            let (call, patience) = (routes.call.clone(), routes.cluster.target.answer_timeout);
            let Some(redirect) = redirect(&found) else { return Ok(found) };
            if begun.elapsed() > patience {
                let after = humantime::format_duration(patience);
                return Err(Failure::unavailable(format!(
                    "the slot {} of the cluster was not to be had for {after}; the last answer was `{}`",
                    slot(key),
                    found.iter().find_map(error).unwrap_or_default()
                ))
                .with_help("`redis-cli --cluster check` says what is wrong with the cluster"));
            }
            match redirect {
                Redirect::Ask(host, port) => aside = Some(self.announced(at, &host, port).await?),
                Redirect::Moved(host, port) => self.moved(key, at, &host, port, &call).await?,
                Redirect::Later => {
                    call.or_cancelled(tokio::time::sleep(PAUSE)).await?;
                    self.look_again(at).await?;
                }
            }
        }
    }

    /// A slot has another master: learns which, and what else has changed.
    async fn moved(&mut self, key: &[u8], at: usize, host: &str, port: u16, call: &Call) -> Result<(), Failure> {
        let teller = self.announced(at, host, port).await?;
        if teller == at {
            call.or_cancelled(tokio::time::sleep(PAUSE)).await?;
        }
        self.look_again(teller).await?;
        // The others may not have heard of it yet; who was named knows best.
        if let Some(routes) = &mut self.routes {
            routes.slots[usize::from(slot(key))] = teller as u16;
        }
        Ok(())
    }

    /// The node that another one calls by this address.
    async fn announced(&mut self, teller: usize, host: &str, port: u16) -> Result<usize, Failure> {
        let Some(routes) = &self.routes else { return Ok(0) };
        let place = routes.cluster.target.announced(host, port, &self.nodes[teller].place);
        if let Some(at) = self.nodes.iter().position(|node| node.place == place) {
            return Ok(at);
        }
        let target = routes.cluster.target.at(place.clone());
        let mut connection = Connection::open(&target, &routes.call).await?;
        if let Some(mark) = &routes.mark {
            name(&mut connection, mark).await?;
        }
        let id = cluster::view(&mut connection).await?.myself().map(|node| node.id.clone()).unwrap_or_default();
        if let Some(at) = self.nodes.iter().position(|node| node.id == id) {
            // The same node under another of its names.
            return Ok(at);
        }
        self.nodes.push(Node::new(connection, id, place).await?);
        Ok(self.nodes.len() - 1)
    }

    /// Asks a node how the cluster is laid out now.
    async fn look_again(&mut self, at: usize) -> Result<(), Failure> {
        let view = cluster::view(&mut self.nodes[at].connection).await?;
        let Some(routes) = &mut self.routes else { return Ok(()) };
        routes.cluster.view = view;
        self.hold_masters()?;
        self.lay_out().await
    }

    /// Whoever was written to must be a master still, as the last node that was asked knows it.
    fn hold_masters(&self) -> Result<(), Failure> {
        let Some(routes) = &self.routes else { return Ok(()) };
        for node in &self.nodes {
            let Some(entry) = routes.cluster.view.node(&node.id) else { continue };
            if !entry.master || entry.down {
                return Err(failed_over(node.connection.server()));
            }
        }
        Ok(())
    }

    /// Holds all servers to be what they were: masters, which have evicted nothing. Nothing may be unanswered.
    ///
    /// # Errors
    /// One of them is not, or cannot be asked.
    pub(super) async fn hold_together(&mut self) -> Result<(), Failure> {
        for at in 0..self.nodes.len() {
            if self.routes.is_some() {
                let view = cluster::view(&mut self.nodes[at].connection).await?;
                if let Some(routes) = &mut self.routes {
                    routes.cluster.view = view;
                }
                self.hold_masters()?;
            }
            let node = &mut self.nodes[at];
            let Some(before) = node.evicted else { continue };
            let evicted = facts::evicted(&mut node.connection).await?.map_or(0, |now| now.saturating_sub(before));
            if evicted > 0 {
                return Err(Failure::rejected(format!("the server evicted {evicted} keys while they were being restored: its memory is too small for them"))
                    .with_help("raise `maxmemory` of the server, or set its `maxmemory-policy` to `noeviction`, and restore again with `onConflict: replace`"));
            }
        }
        Ok(())
    }

    /// A reply that nobody expects.
    pub(super) fn unexpected(&self, key: &[u8], what: &str, reply: &Reply) -> Failure {
        self.nodes[self.route(key)].connection.unexpected(what, reply)
    }
}

/// A master has become a replica, or is gone.
fn failed_over(server: &str) -> Failure {
    Failure::unavailable(format!(
        "`{server}` was a master when the restore began and is none any more: what it had confirmed may be lost"
    ))
    .with_help("restore again once the cluster has come to rest, with `onConflict: replace` or into an empty cluster")
}

/// Gives a connection a name that has the mark in it.
async fn name(connection: &mut Connection, mark: &str) -> Result<(), Failure> {
    let before = match connection.ask(&[b"CLIENT", b"GETNAME"]).await? {
        Reply::Bulk(name) if !name.is_empty() => String::from_utf8_lossy(&name).into_owned(),
        _ => "aquifer".to_owned(),
    };
    let marked = format!("{before}:{mark}");
    let reply = connection.ask(&[b"CLIENT", b"SETNAME", marked.as_bytes()]).await?;
    connection.accepted(reply, "naming the connection, by which others know whose temporary keys are in use").map(drop)
}

fn error(reply: &Reply) -> Option<&str> {
    match reply {
        Reply::Error(error) => Some(error),
        _ => None,
    }
}

/// Where replies send us, if one of them does.
pub(super) fn redirect(replies: &[Reply]) -> Option<Redirect> {
    replies.iter().filter_map(error).find_map(Redirect::of)
}
