//! The servers that a restore writes to: one, or all masters of a cluster.
//!
//! Takes connections. Gives the one that a key belongs to, and replies to commands that have to be answered before anything
//! else happens. Always holds: in a cluster, a command follows its slot (`MOVED`, `ASK`) and waits where the cluster says
//! "not now", for as long as an answer may take; a master that was written to and is none any more ends the restore,
//! because what it had confirmed may be lost.

use std::collections::VecDeque;

use aquifer_engine::failure::Failure;
use aquifer_engine::function::Call;
use bytes::Bytes;

use crate::redis::topology::cluster::{Cluster, Redirect};
use crate::redis::topology::slots::{SLOTS, slot};
use crate::redis::wire::address::Place;
use crate::redis::wire::connection::Connection;
use crate::redis::wire::facts;
use crate::redis::wire::outgoing::Outgoing;
use crate::redis::wire::reply::Reply;
use crate::redis::wire::resp;
use crate::redis::write::replies::Pending;
use crate::redis::write::routes::{Routes, redirect};

/// Commands that are unanswered by one server at most.
const MOST_COMMANDS: usize = 4096;

/// Commands that are unanswered by all servers together at most.
const MOST_COMMANDS_OF_ALL: usize = 4 * MOST_COMMANDS;

/// Bytes of commands that are unanswered by one server at most, a single longer command aside.
const MOST_BYTES: usize = 1 << 20;

/// Bytes of commands that are unanswered by all servers together at most, likewise.
const MOST_BYTES_OF_ALL: usize = 8 << 20;

/// A server.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) connection: Connection,
    pub(super) pending: VecDeque<Pending>,
    unanswered: usize,
    /// Of a cluster's node.
    pub(super) id: String,
    pub(super) place: Place,
    /// How many keys it had evicted before; `None` where it does not say.
    pub(super) evicted: Option<u64>,
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
    pub(super) routes: Option<Routes>,
}

impl Node {
    pub(super) async fn new(mut connection: Connection, id: String, place: Place) -> Result<Self, Failure> {
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

    /// Refuses a database that a single server has not, by selecting it. Database 0 is selected afterwards; nothing may be
    /// unanswered.
    ///
    /// # Errors
    /// The server has it not, or the connection is lost.
    pub(super) async fn has_database(&mut self, index: u32) -> Result<(), Failure> {
        let Some(node) = self.nodes.first_mut().filter(|_| index > 0) else { return Ok(()) };
        let connection = &mut node.connection;
        match connection.ask(&[b"SELECT", index.to_string().as_bytes()]).await? {
            Reply::Error(error) if error.contains("out of range") => Err(Failure::rejected(format!(
                "the stream has keys that go into database {index}, and `{}` has no such database",
                connection.server()
            ))
            .with_help(
                "start the server with more `databases`, or bring the keys into another one with `databaseMap`",
            )),
            reply => {
                connection.accepted(reply, format_args!("selecting database {index}"))?;
                let reply = connection.ask(&[b"SELECT", b"0"]).await?;
                connection.accepted(reply, "selecting database 0").map(drop)
            }
        }
    }

    /// A reply that nobody expects.
    pub(super) fn unexpected(&self, key: &[u8], what: &str, reply: &Reply) -> Failure {
        self.nodes[self.route(key)].connection.unexpected(what, reply)
    }
}

/// Gives a connection a name that has the mark in it.
pub(super) async fn name(connection: &mut Connection, mark: &str) -> Result<(), Failure> {
    let before = match connection.ask(&[b"CLIENT", b"GETNAME"]).await? {
        Reply::Bulk(name) if !name.is_empty() => String::from_utf8_lossy(&name).into_owned(),
        _ => "aquifer".to_owned(),
    };
    let marked = format!("{before}:{mark}");
    let reply = connection.ask(&[b"CLIENT", b"SETNAME", marked.as_bytes()]).await?;
    connection.accepted(reply, "naming the connection, by which others know whose temporary keys are in use").map(drop)
}
