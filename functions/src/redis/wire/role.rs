//! What a server is to others: a master with its replicas, or a replica of a master; and the replica to read from.
//!
//! Takes a connection. Gives a [`Role`]. Always holds: a replica that has lost its master is never chosen, for what it
//! holds may be old.

use aquifer_engine::failure::Failure;
use aquifer_engine::function::Call;

use crate::redis::wire::connection::Connection;
use crate::redis::wire::facts;
use crate::redis::wire::target::Target;

/// What a server is to others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Role {
    Master(Vec<Replica>),
    /// `follows` is false where it has lost its master.
    Replica {
        follows: bool,
    },
}

/// A replica, as its master knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Replica {
    host: String,
    port: u16,
    /// How far behind it is: first by what it has taken, then by when it was last heard of.
    offset: u64,
    lag: u64,
}

impl Role {
    /// Asks.
    ///
    /// # Errors
    /// `INFO` is not allowed, or the connection is lost.
    pub(crate) async fn ask(connection: &mut Connection) -> Result<Self, Failure> {
        Ok(Self::of(&facts::info(connection, "replication").await?))
    }

    fn of(info: &str) -> Self {
        if facts::field(info, "role") == Some("slave") {
            return Self::Replica { follows: facts::field(info, "master_link_status") == Some("up") };
        }
        // `slave0:ip=10.0.0.2,port=6379,state=online,offset=42,lag=0`
        let replica = |line: &str| {
            let (number, fields) = line.trim().strip_prefix("slave")?.split_once(':')?;
            number.parse::<u32>().ok()?;
            let of = |name: &str| fields.split(',').find_map(|field| field.strip_prefix(name)?.strip_prefix('='));
            (of("state")? == "online").then_some(())?;
            let port = of("port")?.parse().ok().filter(|port| *port != 0)?;
            Some(Replica {
                host: of("ip")?.to_owned(),
                port,
                offset: of("offset")?.parse().ok()?,
                lag: of("lag")?.parse().ok()?,
            })
        };
        Self::Master(info.lines().filter_map(replica).collect())
    }

    /// Its name in heads and outputs.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Master(_) => "master",
            Self::Replica { .. } => "replica",
        }
    }

    /// True where it is a replica without its master.
    pub(crate) fn is_lost(&self) -> bool {
        *self == Self::Replica { follows: false }
    }

    /// The replica that is the least behind.
    fn nearest(&self) -> Option<&Replica> {
        let Self::Master(replicas) = self else { return None };
        replicas.iter().max_by_key(|replica| (replica.offset, std::cmp::Reverse(replica.lag)))
    }

    /// Where to read from so that this server is spared: nowhere else where it is a replica itself.
    ///
    /// # Errors
    /// It has no replica that follows it, or is one that has lost its master.
    pub(crate) fn replica(&self, target: &Target) -> Result<Option<Target>, Failure> {
        let shown = target.shown();
        match (self, self.nearest()) {
            (Self::Replica { follows: true }, _) => Ok(None),
            (Self::Replica { follows: false }, _) => Err(lost(&shown)),
            (Self::Master(_), Some(replica)) => {
                Ok(Some(target.at(target.announced(&replica.host, replica.port, &target.address.place))))
            }
            (Self::Master(_), None) => Err(Failure::unavailable(format!("`{shown}` has no replica that is online"))
                .with_help("read from the server itself: leave `role` out")),
        }
    }
}

/// Finds the replica of a server that is the least behind; a replica is read itself.
///
/// # Errors
/// No replica follows the server, or nobody answers where it is said to be.
pub(crate) async fn spare(
    target: Target,
    mut connection: Connection,
    call: &Call,
) -> Result<(Target, Connection), Failure> {
    let Some(other) = Role::ask(&mut connection).await?.replica(&target)? else { return Ok((target, connection)) };
    let mut connection = Connection::open(&other, call).await.map_err(|failure| {
        failure.with_help("that is where its master says this replica is; where it is reached under another address from here, say so in `nodes`; `role: master` reads the master itself")
    })?;
    if Role::ask(&mut connection).await? != (Role::Replica { follows: true }) {
        return Err(lost(connection.server()));
    }
    call.info(format!("reading the replica `{}`", connection.server()));
    Ok((other, connection))
}

/// A replica that must not be read from.
fn lost(shown: &str) -> Failure {
    Failure::unavailable(format!("`{shown}` is a replica that has lost its master"))
        .with_help("what it holds may be old: mend the link (`INFO replication`), or read from another server")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_replica_that_is_the_least_behind_is_chosen() {
        let info = "role:master\r\nconnected_slaves:4\r\n\
            slave0:ip=10.0.0.1,port=1,state=online,offset=90,lag=0\r\n\
            slave1:ip=10.0.0.2,port=2,state=online,offset=100,lag=1\r\n\
            slave2:ip=10.0.0.3,port=3,state=online,offset=100,lag=0\r\n\
            slave3:ip=10.0.0.4,port=4,state=wait_bgsave,offset=0,lag=0\r\n\
            slave4:ip=10.0.0.5,port=0,state=online,offset=200,lag=0\r\n\
            slave_repl_offset:9\r\n";
        let role = Role::of(info);
        assert_eq!(role.name(), "master");
        assert_eq!(role.nearest().map(|replica| (replica.host.as_str(), replica.port)), Some(("10.0.0.3", 3)));
        assert_eq!(Role::of("role:slave\r\nmaster_link_status:up\r\n"), Role::Replica { follows: true });
        assert!(Role::of("role:slave\r\nmaster_link_status:down\r\n").is_lost());
        assert_eq!(Role::of(""), Role::Master(Vec::new()));
    }
}
