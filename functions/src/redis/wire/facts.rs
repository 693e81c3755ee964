//! What a server says about itself in `INFO`, and the commands that it turns out to have.
//!
//! Takes a fresh connection. Gives [`Facts`]. Always holds: a server that this program cannot read (a sentinel) is refused
//! here, before anything is written; one that was another, or of another role, at the beginning is refused in the end.

use aquifer_engine::failure::Failure;

use crate::redis::wire::connection::Connection;
use crate::redis::wire::refusal;
use crate::redis::wire::reply::Reply;

/// One database that holds keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Database {
    pub(crate) index: u32,
    pub(crate) keys: u64,
    /// Keys with an expiry.
    pub(crate) expires: u64,
}

/// How an exact expiry is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Clock {
    /// `PEXPIRETIME` (7.0).
    At,
    /// `PTTL` and `TIME` in one transaction: exact to about a millisecond.
    Left,
}

/// What a server is.
#[derive(Debug, Clone)]
pub(crate) struct Facts {
    /// Its version as it says it: `7.0.15`.
    pub(crate) version: String,
    /// Changes with every start of the server.
    pub(crate) run_id: String,
    pub(crate) clock: Clock,
    /// Whether fields of hashes may have an expiry of their own (Redis 7.4, Valkey 9).
    pub(crate) field_expiry: bool,
    /// The databases that hold keys, in order.
    pub(crate) databases: Vec<Database>,
    /// Whether it is a node of a cluster.
    pub(crate) cluster: bool,
    pub(crate) standing: Standing,
}

/// What a server is to others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    Master,
    /// Linked: it gets what its master is told.
    Replica {
        linked: bool,
    },
}

/// A field of `INFO`.
pub(crate) fn field<'t>(info: &'t str, name: &str) -> Option<&'t str> {
    info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}

/// Valkey says it under another name.
fn said_mode(info: &str) -> Option<&str> {
    field(info, "redis_mode").or_else(|| field(info, "server_mode"))
}

/// The first two numbers of a version.
pub(crate) fn version(text: &str) -> (u32, u32) {
    let mut parts = text.split('.').map(|part| part.parse().unwrap_or(0));
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0))
}

/// The lines of `INFO keyspace`.
pub(crate) fn keyspace(info: &str) -> Vec<Database> {
    let line = |line: &str| {
        let (index, fields) = line.trim().strip_prefix("db")?.split_once(':')?;
        let number = |name: &str| {
            fields.split(',').find_map(|field| field.strip_prefix(name)?.strip_prefix('=')?.parse::<u64>().ok())
        };
        Some(Database { index: index.parse().ok()?, keys: number("keys")?, expires: number("expires")? })
    };
    let mut found: Vec<Database> = info.lines().filter_map(line).collect();
    found.sort_by_key(|database| database.index);
    found
}

/// A section of `INFO`.
///
/// # Errors
/// It is not allowed, or the connection is lost.
pub(crate) async fn info(connection: &mut Connection, section: &str) -> Result<String, Failure> {
    let reply = connection.ask(&[b"INFO", section.as_bytes()]).await?;
    match connection.accepted(reply, format_args!("asking `INFO {section}`"))? {
        Reply::Bulk(text) => Ok(String::from_utf8_lossy(&text).into_owned()),
        reply => Err(connection.unexpected("`INFO`", &reply)),
    }
}

/// How many keys a server has evicted since it began to count; none where it does not say.
///
/// # Errors
/// The connection is lost.
pub(crate) async fn evicted(connection: &mut Connection) -> Result<Option<u64>, Failure> {
    match connection.ask(&[b"INFO", b"stats"]).await? {
        Reply::Bulk(text) => {
            Ok(field(&String::from_utf8_lossy(&text), "evicted_keys").and_then(|count| count.parse().ok()))
        }
        // Not allowed to whoever restores, which may be meant so.
        _ => Ok(None),
    }
}

/// What a server that is full evicts by; empty where it does not say.
///
/// # Errors
/// `INFO` is not allowed.
pub(crate) async fn eviction(connection: &mut Connection) -> Result<String, Failure> {
    let memory = info(connection, "memory").await?;
    Ok(field(&memory, "maxmemory_policy").unwrap_or_default().to_owned())
}

/// The mode that a server says it runs in; none where it does not say.
///
/// # Errors
/// The connection is lost.
pub(crate) async fn mode(connection: &mut Connection) -> Result<Option<String>, Failure> {
    match connection.ask(&[b"INFO", b"server"]).await? {
        Reply::Bulk(text) => Ok(said_mode(&String::from_utf8_lossy(&text)).map(str::to_owned)),
        // Not allowed to whoever restores, which may be meant so.
        _ => Ok(None),
    }
}

/// What a server is to others, as it says itself.
///
/// # Errors
/// The connection is lost, or the server does not say.
pub(crate) async fn standing(connection: &mut Connection) -> Result<Standing, Failure> {
    let text = info(connection, "replication").await?;
    match field(&text, "role") {
        Some("master") => Ok(Standing::Master),
        Some("slave") => Ok(Standing::Replica { linked: field(&text, "master_link_status") == Some("up") }),
        other => Err(connection.unexpected("`INFO replication`", &other)),
    }
}

/// Whether a server has the commands that came with 7.0, allowed or not.
///
/// # Errors
/// The connection is lost.
pub(crate) async fn is_new(connection: &mut Connection) -> Result<bool, Failure> {
    let probe = connection.ask(&[b"PEXPIRETIME", b"aquifer:probe"]).await?;
    Ok(!matches!(&probe, Reply::Error(error) if refusal::is_unknown(error)))
}

/// How far a server has come in what its master, or itself, told replicas: in bytes.
///
/// # Errors
/// The connection is lost, or the server does not say.
pub(crate) async fn offset(connection: &mut Connection) -> Result<u64, Failure> {
    let text = info(connection, "replication").await?;
    let found = field(&text, "slave_repl_offset").or_else(|| field(&text, "master_repl_offset"));
    found
        .and_then(|offset| offset.parse().ok())
        .ok_or_else(|| connection.unexpected("`INFO replication`", &"no offset"))
}

impl Facts {
    /// Whether the server has functions; they came with `PEXPIRETIME` (7.0).
    pub(crate) fn has_functions(&self) -> bool {
        self.clock == Clock::At
    }

    /// Asks.
    ///
    /// # Errors
    /// `INFO` is not allowed, or the server is one that cannot be read whole.
    pub(crate) async fn ask(connection: &mut Connection) -> Result<Self, Failure> {
        let server = info(connection, "server").await?;
        let keyspace = keyspace(&info(connection, "keyspace").await?);
        let mode = said_mode(&server).unwrap_or("standalone");
        if !["standalone", "cluster"].contains(&mode) {
            return Err(Failure::rejected(format!("`{}` runs in {mode} mode", connection.server()))
                .with_help("to read what sentinels watch, write `redis+sentinel://host:26379/NAME`"));
        }
        let standing = standing(connection).await?;
        let text = field(&server, "redis_version").unwrap_or("unknown").to_owned();
        let valkey = field(&server, "valkey_version").map(version);
        let redis = version(&text);
        let is_new = is_new(connection).await?;
        Ok(Self {
            version: text,
            run_id: field(&server, "run_id").unwrap_or_default().to_owned(),
            clock: if is_new { Clock::At } else { Clock::Left },
            // Valkey says 7.2.4 to those who ask for Redis's version.
            field_expiry: redis >= (7, 4) || valkey >= Some((9, 0)),
            databases: keyspace,
            cluster: mode == "cluster",
            standing,
        })
    }

    /// True where the server is at least as new as this version of Redis.
    pub(crate) fn at_least(&self, wanted: (u32, u32)) -> bool {
        version(&self.version) >= wanted
    }

    /// Asks again whether it is still the same server.
    ///
    /// # Errors
    /// It was started anew, so that what was read came from two keyspaces.
    pub(crate) async fn still(&self, connection: &mut Connection) -> Result<(), Failure> {
        let server = info(connection, "server").await?;
        if field(&server, "run_id").unwrap_or_default() == self.run_id {
            return self.still_stands(connection).await;
        }
        Err(Failure::unavailable(format!("`{}` is another server than at the beginning", connection.server()))
            .with_help("it was restarted, or something between passes connections on to several servers: name one"))
    }
}

impl Facts {
    /// Refuses a cluster with more than one database (Valkey 9), of which only the first would be read.
    ///
    /// # Errors
    /// There are keys in another one.
    pub(crate) fn only_first_database(&self, server: &str) -> Result<(), Failure> {
        let others = self.databases.iter().filter(|database| database.index != 0);
        let others: Vec<String> = others.map(|database| database.index.to_string()).collect();
        if others.is_empty() {
            return Ok(());
        }
        Err(Failure::rejected(format!(
            "the node `{server}` of a cluster holds keys in the databases {}",
            others.join(", ")
        ))
        .with_help("of a cluster, only database 0 can be read, and a part of it is no backup"))
    }

    async fn still_stands(&self, connection: &mut Connection) -> Result<(), Failure> {
        let now = standing(connection).await?;
        let (shown, was, is) = match (self.standing, now) {
            (before, now) if before == now => return Ok(()),
            // What had no link may have got one; it was told to whoever reads.
            (Standing::Replica { linked: false }, Standing::Replica { .. }) => return Ok(()),
            (before, now) => (connection.server(), word(before), word(now)),
        };
        Err(Failure::unavailable(format!("`{shown}` was {was} when the reading began, and is {is} now"))
            .with_help("a failover, or a link that broke: what was read may not be all of one keyspace; another attempt reads it anew"))
    }
}

fn word(standing: Standing) -> &'static str {
    match standing {
        Standing::Master => "a master",
        Standing::Replica { linked: true } => "a replica",
        Standing::Replica { linked: false } => "a replica without a link to its master",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_keyspace_is_read_whatever_stands_in_it() {
        let text =
            "# Keyspace\r\ndb299:keys=4,expires=1,avg_ttl=0\r\ndb0:keys=12,expires=0,avg_ttl=0,subexpiry=0\r\njunk\r\n";
        let expected = [Database { index: 0, keys: 12, expires: 0 }, Database { index: 299, keys: 4, expires: 1 }];
        assert_eq!(keyspace(text), expected);
        assert_eq!((version("7.4.2"), version("255.255.255"), version("?")), ((7, 4), (255, 255), (0, 0)));
        assert_eq!(field("run_id_x:1\r\nrun_id:ab\r\n", "run_id"), Some("ab"));
    }
}
