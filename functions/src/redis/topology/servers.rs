//! Which servers a function talks to: one, or all of a cluster; found out by asking.
//!
//! Takes a [`Target`]. Gives [`Servers`]. Always holds: what sentinels or a url say is held against what the server says of
//! itself, so a replica is never taken for a master, nor one that has lost its master for a sound one.

use std::time::{Duration, Instant};

use aquifer_engine::failure::Failure;
use aquifer_engine::function::Call;

use crate::redis::topology::cluster::Cluster;
use crate::redis::topology::sentinel::{self, Watch};
use crate::redis::wire::address::Found;
use crate::redis::wire::connection::Connection;
use crate::redis::wire::facts::{self, Standing};
use crate::redis::wire::role;
use crate::redis::wire::target::{Role, Target};

/// How long to wait before a replica is asked again how far it is.
const PAUSE: Duration = Duration::from_millis(10);

/// What was found.
#[derive(Debug)]
pub(crate) enum Servers {
    /// One server.
    One {
        connection: Connection,
        /// How to reach it again.
        target: Box<Target>,
        /// What to hold it against in the end, where sentinels named it.
        watch: Option<Box<Watch>>,
    },
    /// A cluster.
    Cluster(Box<Cluster>),
}

/// Connects to what is to be read: a replica where there is a choice, unless told otherwise.
///
/// # Errors
/// Nobody answers, or not in the role that is wanted.
pub(crate) async fn to_read(target: &Target, role: Option<Role>, call: &Call) -> Result<Servers, Failure> {
    let Found::Sentinels(name) = &target.address.found else {
        let servers = ask_first(target, call).await?;
        let Servers::One { mut connection, target, watch } = servers else { return Ok(servers) };
        match role {
            None => {}
            Some(Role::Master) => {
                let standing = facts::standing(&mut connection).await?;
                fits(&connection, standing, Role::Master)?;
            }
            Some(Role::Replica) => {
                let (target, connection) = role::spare(*target, connection, call).await?;
                let target = Box::new(target);
                return Ok(Servers::One { connection, target, watch });
            }
        }
        return Ok(Servers::One { connection, target, watch });
    };
    let known = sentinel::ask(target, name, call).await?;
    let mut unfit = Vec::new();
    if role != Some(Role::Master) {
        for place in &known.replicas {
            match replica(&target.at(place.clone()), &target.at(known.master.clone()), call).await {
                Ok(connection) => {
                    let target = Box::new(target.at(place.clone()));
                    return Ok(Servers::One { connection, target, watch: None });
                }
                Err(failure) => unfit.push(failure.message),
            }
            call.check_cancelled()?;
        }
    }
    let reasons = if unfit.is_empty() { "there is none".to_owned() } else { unfit.join("; ") };
    if role == Some(Role::Replica) {
        return Err(Failure::unavailable(format!("no replica of `{name}` can be read: {reasons}"))
            .with_help("without `role: replica`, the master is read where no replica can be"));
    }
    if role.is_none() {
        call.info(format!("the master of `{name}` is read, for no replica can be: {reasons}"));
    }
    let connection = master(target, name, &known, call).await?;
    Ok(Servers::One { connection, target: Box::new(target.at(known.master)), watch: None })
}

/// Connects to what is to be written to: masters.
///
/// # Errors
/// Nobody answers, or what sentinels call the master is none.
pub(crate) async fn to_write(target: &Target, call: &Call) -> Result<Servers, Failure> {
    let Found::Sentinels(name) = &target.address.found else { return ask_first(target, call).await };
    let known = sentinel::ask(target, name, call).await?;
    let connection = master(target, name, &known, call).await?;
    let watch = Some(Box::new(Watch::new(target, name, &known)));
    Ok(Servers::One { connection, target: Box::new(target.at(known.master)), watch })
}

/// The first server of the url that answers, or the cluster that it belongs to.
async fn ask_first(target: &Target, call: &Call) -> Result<Servers, Failure> {
    let (mut causes, mut first) = (Vec::new(), None);
    for place in target.places() {
        let target = target.at(place.clone());
        match Connection::open(&target, call).await {
            Ok(mut connection) => {
                let mode = facts::mode(&mut connection).await?;
                if mode.as_deref() == Some("cluster") {
                    if target.address.database.is_some_and(|index| index != 0) {
                        return Err(Failure::rejected("a cluster has no database but 0")
                            .with_help("leave the database out of the url"));
                    }
                    return Cluster::ask(&mut connection, target)
                        .await
                        .map(|cluster| Servers::Cluster(Box::new(cluster)));
                }
                return Ok(Servers::One { connection, target: Box::new(target), watch: None });
            }
            Err(failure) => {
                causes.push(failure.message.clone());
                first.get_or_insert(failure);
            }
        }
        call.check_cancelled()?;
    }
    let failure = first.unwrap_or_else(|| Failure::internal("a url without any host"));
    if causes.len() < 2 {
        return Err(failure);
    }
    Err(Failure { message: "none of the nodes that the url names can be reached".to_owned(), causes, ..failure })
}

async fn master(target: &Target, name: &str, known: &sentinel::Known, call: &Call) -> Result<Connection, Failure> {
    let target = target.at(known.master.clone());
    let mut connection = Connection::open(&target, call).await.map_err(|failure| {
        let message = format!("{}; sentinels call it the master of `{name}`", failure.message);
        Failure { message, ..failure }.with_help("a failover may be under way, which another attempt waits for; where the server is reached under another address from here, say so in `nodes`")
    })?;
    if facts::standing(&mut connection).await? == Standing::Master {
        return Ok(connection);
    }
    Err(Failure::unavailable(format!(
        "sentinels call `{}` the master of `{name}`, and it says of itself that it is a replica",
        target.shown()
    ))
    .with_help("a failover is under way, or these sentinels are not up to date: another attempt asks again"))
}

async fn replica(target: &Target, master: &Target, call: &Call) -> Result<Connection, Failure> {
    let mut connection = Connection::open(target, call).await?;
    let standing = facts::standing(&mut connection).await?;
    fits(&connection, standing, Role::Replica)?;
    let mut master = Connection::open(master, call).await?;
    caught_up(&mut connection, &mut master, target.connect_timeout, call).await?;
    Ok(connection)
}

/// Waits until a replica has what its master has now: else what was written just before would not be read.
///
/// # Errors
/// It takes too long, or one of the two does not say how far it is.
pub(crate) async fn caught_up(
    replica: &mut Connection,
    master: &mut Connection,
    patience: Duration,
    call: &Call,
) -> Result<(), Failure> {
    let (goal, begun) = (facts::offset(master).await?, Instant::now());
    loop {
        let there = facts::offset(replica).await?;
        if there >= goal {
            return Ok(());
        }
        if begun.elapsed() > patience {
            return Err(Failure::unavailable(format!(
                "the replica `{}` is {} bytes behind its master and does not catch up",
                replica.server(),
                goal - there
            )));
        }
        call.or_cancelled(tokio::time::sleep(PAUSE)).await?;
    }
}

fn fits(connection: &Connection, standing: Standing, role: Role) -> Result<(), Failure> {
    let shown = connection.server();
    match (standing, role) {
        (Standing::Master, Role::Master) | (Standing::Replica { linked: true }, Role::Replica) => Ok(()),
        (Standing::Replica { linked: false }, Role::Replica) => Err(Failure::unavailable(format!(
            "the replica `{shown}` has no link to its master: what it has may be old, or not all"
        ))
        .with_help("look at `INFO replication` of both")),
        (Standing::Master, Role::Replica) => {
            Err(Failure::rejected(format!("`{shown}` is a master, and `role` wants a replica"))
                .with_help("name a replica in the url, or leave `role` out"))
        }
        (Standing::Replica { .. }, Role::Master) => {
            Err(Failure::rejected(format!("`{shown}` is a replica, and `role` wants the master"))
                .with_help("name the master in the url, or leave `role` out"))
        }
    }
}
