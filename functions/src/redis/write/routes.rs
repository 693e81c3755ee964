//! The way to a key in a cluster, followed wherever its slot goes.
//!
//! Takes what nodes answer. Gives connections to whoever has a slot by now. Always holds: a command waits where the cluster
//! says "not now", for as long as an answer may take; a master that was written to and is none any more ends the restore.

use std::time::{Duration, Instant};

use aquifer_engine::failure::Failure;
use aquifer_engine::function::Call;

use crate::redis::keys::tally::so_many_keys;
use crate::redis::topology::cluster::{self, Cluster, Redirect};
use crate::redis::topology::slots::slot;
use crate::redis::topology::view::Entry;
use crate::redis::wire::connection::Connection;
use crate::redis::wire::facts;
use crate::redis::wire::outgoing::Outgoing;
use crate::redis::wire::reply::Reply;
use crate::redis::write::fleet::{Fleet, Node, name};

/// How long to wait before a cluster is asked again.
const PAUSE: Duration = Duration::from_millis(20);

/// The way to a key, in a cluster.
#[derive(Debug)]
pub(super) struct Routes {
    pub(super) cluster: Cluster,
    pub(super) call: Call,
    /// For each slot the place of its node in the list.
    pub(super) slots: Vec<u16>,
    /// What other restores know our connections by.
    pub(super) mark: Option<String>,
}

impl Fleet {
    /// Makes the connections and the table fit what is known of the cluster.
    pub(super) async fn lay_out(&mut self) -> Result<(), Failure> {
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

    pub(super) async fn follow(
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
    pub(super) async fn announced(&mut self, teller: usize, host: &str, port: u16) -> Result<usize, Failure> {
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
        }
        match self.evicted().await? {
            0 => Ok(()),
            evicted => Err(Failure::rejected(format!(
                "the server evicted {} during the restore: its memory is too small for its keys",
                so_many_keys(evicted)
            ))
            .with_help("raise `maxmemory` of the server, or set its `maxmemory-policy` to `noeviction`, and restore again with `onConflict: replace`")),
        }
    }

    /// How many keys the servers have evicted since the restore began, as far as they say. Nothing may be unanswered.
    ///
    /// # Errors
    /// A connection is lost.
    pub(super) async fn evicted(&mut self) -> Result<u64, Failure> {
        let mut evicted = 0;
        for node in &mut self.nodes {
            let Some(before) = node.evicted else { continue };
            evicted += facts::evicted(&mut node.connection).await?.map_or(0, |now| now.saturating_sub(before));
        }
        Ok(evicted)
    }
}

/// A master has become a replica, or is gone.
fn failed_over(server: &str) -> Failure {
    Failure::unavailable(format!(
        "`{server}` was a master when the restore began and is none any more: what it had confirmed may be lost"
    ))
    .with_help("restore again once the cluster has come to rest, with `onConflict: replace` or into an empty cluster")
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
