//! A cluster: its masters, their replicas, and who has which slots.
//!
//! Takes the address of some of its nodes. Gives a [`Cluster`], and connections to its nodes. Always holds: every slot has a
//! master that is not down; what a node said of itself counts for more than what others said of it.

use aquifer_engine::failure::Failure;
use aquifer_engine::function::Call;

use crate::redis::topology::view::{Entry, View};
use crate::redis::wire::address::Place;
use crate::redis::wire::connection::Connection;
use crate::redis::wire::refusal;
use crate::redis::wire::reply::Reply;
use crate::redis::wire::target::Target;

/// A cluster, as one of its nodes knows it.
#[derive(Debug, Clone)]
pub(crate) struct Cluster {
    /// How to talk to its nodes; the address is that of the node that was asked.
    pub(crate) target: Target,
    pub(crate) view: View,
}

/// Asks a node what it knows.
///
/// # Errors
/// The node refuses, or says what cannot be understood.
pub(crate) async fn view(connection: &mut Connection) -> Result<View, Failure> {
    let reply = connection.ask(&[b"CLUSTER", b"NODES"]).await?;
    match connection.accepted(reply, "asking `CLUSTER NODES`")? {
        Reply::Bulk(text) => {
            View::read(&String::from_utf8_lossy(&text)).map_err(|line| connection.unexpected("`CLUSTER NODES`", &line))
        }
        reply => Err(connection.unexpected("`CLUSTER NODES`", &reply)),
    }
}

impl Cluster {
    /// Asks the node at the end of this connection, and holds the cluster to be whole.
    ///
    /// # Errors
    /// Slots that nobody has, a master that is down, or a node that refuses.
    pub(crate) async fn ask(connection: &mut Connection, target: Target) -> Result<Self, Failure> {
        let cluster = Self { target, view: view(connection).await? };
        let masters = cluster.view.masters();
        if let Some(down) = masters.iter().find(|node| node.down && !node.slots.is_empty()) {
            return Err(Failure::unavailable(format!(
                "the master {} of the cluster is down, and its slots with it",
                cluster.shown(down)
            ))
            .with_help(
                "wait until a replica has taken over, or start it again; `redis-cli --cluster check` says more",
            ));
        }
        let uncovered = cluster.view.uncovered();
        if !uncovered.is_empty() {
            return Err(Failure::unavailable(format!("nobody in the cluster has the slots {uncovered}")).with_help(
                "give these slots to a master (`redis-cli --cluster fix`); a part of a cluster is no backup",
            ));
        }
        Ok(cluster)
    }

    /// Where a node is reached.
    pub(crate) fn place(&self, node: &Entry) -> Place {
        // Certificates bear names; without TLS, an address needs no resolver.
        match &node.name {
            Some(name) if self.target.tls.is_some() && self.target.address.tls => {
                self.target.announced(name, node.port, &self.target.address.place)
            }
            _ => self.target.announced(&node.host, node.port, &self.target.address.place),
        }
    }

    /// How to talk to a node.
    pub(crate) fn to(&self, node: &Entry) -> Target {
        self.target.at(self.place(node))
    }

    /// A node's address, in messages.
    pub(crate) fn shown(&self, node: &Entry) -> String {
        format!("`{}`", self.to(node).shown())
    }

    /// Connects to a node, and holds it to be the one that was meant: what it says of itself, too, is given.
    ///
    /// # Errors
    /// Nobody answers there, or another node does.
    pub(crate) async fn open(&self, node: &Entry, call: &Call) -> Result<(Connection, View), Failure> {
        let target = self.to(node);
        let mut connection = Connection::open(&target, call).await.map_err(|failure| {
            if self.target.nodes.is_empty() {
                failure.with_help(
                    "this is the address that the node announces; where it is reached under another one from here, say so in `nodes`",
                )
            } else {
                failure
            }
        })?;
        let view = view(&mut connection).await?;
        if view.myself().is_none_or(|found| found.id != node.id) {
            let shown = target.shown();
            return Err(Failure::rejected(format!("`{shown}` is another node of the cluster than the one that was looked for"))
                .with_help("does every node announce an address of its own (`cluster-announce-ip`)? Where something between maps them, say so in `nodes`"));
        }
        Ok((connection, view))
    }

    /// Every master with slots, asked by itself: what they say together is who has which slots now.
    ///
    /// # Errors
    /// One of them cannot be asked, is no master any more, or is moving slots.
    pub(crate) async fn agreed(&self, call: &Call) -> Result<View, Failure> {
        let mut nodes = Vec::new();
        for node in self.view.masters().into_iter().filter(|node| !node.slots.is_empty()) {
            let (_, view) = self.open(node, call).await?;
            let Some(myself) = view.myself().cloned() else { continue };
            let shown = self.shown(node);
            if !myself.master {
                return Err(Failure::unavailable(format!("{shown} is no master of the cluster any more"))
                    .with_help("a replica has taken its place; another attempt finds it"));
            }
            if !myself.moving.is_empty() {
                let slots = crate::redis::topology::view::ranges(myself.moving.iter().copied());
                return Err(Failure::unavailable(format!("{shown} is moving slots ({slots})"))
                    .with_help("what moves while it is read may be missed: wait until the slots have arrived"));
            }
            nodes.push(myself);
        }
        let agreed = View { nodes };
        let uncovered = agreed.uncovered();
        if uncovered.is_empty() {
            Ok(agreed)
        } else {
            Err(Failure::unavailable(format!("the slots {uncovered} have just changed hands"))
                .with_help("slots of the cluster are being moved: another attempt finds out where they are"))
        }
    }
}

/// Where an error reply sends us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Redirect {
    /// The slot has another master for good.
    Moved(String, u16),
    /// This key, or one that is not there yet, is to be looked for there this time.
    Ask(String, u16),
    /// Not now.
    Later,
}

impl Redirect {
    /// Reads an error reply; `None` for all others.
    pub(crate) fn of(error: &str) -> Option<Self> {
        let mut words = error.split_ascii_whitespace();
        let word = words.next()?;
        let mut place = || {
            let (host, port) = words.nth(1)?.rsplit_once(':')?;
            // A node that does not know the other's name says `?`: it is where this one is.
            Some((if host == "?" { String::new() } else { host.to_owned() }, port.parse().ok()?))
        };
        match word {
            "MOVED" => place().map(|(host, port)| Self::Moved(host, port)),
            "ASK" => place().map(|(host, port)| Self::Ask(host, port)),
            _ if refusal::passes(error) => Some(Self::Later),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_are_read() {
        assert_eq!(Redirect::of("MOVED 5 10.0.0.1:7000"), Some(Redirect::Moved("10.0.0.1".into(), 7000)));
        assert_eq!(Redirect::of("ASK 5 ::1:7000"), Some(Redirect::Ask("::1".into(), 7000)));
        assert_eq!(Redirect::of("MOVED 5 ?:7000"), Some(Redirect::Moved(String::new(), 7000)));
        for later in ["TRYAGAIN Multiple keys", "CLUSTERDOWN Hash slot not served", "CLUSTERDOWN The cluster is down"] {
            assert_eq!(Redirect::of(later), Some(Redirect::Later));
        }
        for other in ["ERR no", "MOVED", "ASK 5 nowhere", "", "BUSYKEY Target key name already exists."] {
            assert_eq!(Redirect::of(other), None);
        }
    }
}
