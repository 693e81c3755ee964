//! What a server says about itself in `INFO`, and the commands that it turns out to have.
//!
//! Takes a fresh connection. Gives [`Facts`]. Always holds: a server that this program cannot read whole (a cluster's
//! node, a sentinel) is refused here, before anything is written.

use aquifer_engine::failure::Failure;

use super::connection::{Connection, Reply};
use super::refusal;

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
    /// The version of Redis, or that which a server that follows it names.
    pub(crate) redis: (u32, u32),
    /// Changes with every start of the server.
    pub(crate) run_id: String,
    pub(crate) clock: Clock,
    /// Whether fields of hashes may have an expiry of their own (Redis 7.4, Valkey 9).
    pub(crate) field_expiry: bool,
    /// The databases that hold keys, in order.
    pub(crate) databases: Vec<Database>,
}

fn field<'t>(info: &'t str, name: &str) -> Option<&'t str> {
    info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}

fn version(text: &str) -> (u32, u32) {
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

async fn info(connection: &mut Connection, section: &str) -> Result<String, Failure> {
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

impl Facts {
    /// Asks.
    ///
    /// # Errors
    /// `INFO` is not allowed, or the server is one that cannot be read whole.
    pub(crate) async fn ask(connection: &mut Connection) -> Result<Self, Failure> {
        let server = info(connection, "server").await?;
        let keyspace = keyspace(&info(connection, "keyspace").await?);
        let mode = field(&server, "redis_mode").unwrap_or("standalone");
        if mode != "standalone" {
            return Err(Failure::rejected(format!("`{}` runs in {mode} mode", connection.server()))
                .with_help("only single servers and replicas are supported"));
        }
        let text = field(&server, "redis_version").unwrap_or("unknown").to_owned();
        let valkey = field(&server, "valkey_version").map(version);
        let redis = version(&text);
        let probe = connection.ask(&[b"PEXPIRETIME", b"aquifer:probe"]).await?;
        let lacks = matches!(&probe, Reply::Error(error) if refusal::is_unknown(error));
        Ok(Self {
            version: text,
            redis,
            run_id: field(&server, "run_id").unwrap_or_default().to_owned(),
            clock: if lacks { Clock::Left } else { Clock::At },
            // Valkey says 7.2.4 to those who ask for Redis's version.
            field_expiry: redis >= (7, 4) || valkey >= Some((9, 0)),
            databases: keyspace,
        })
    }

    /// Asks again whether it is still the same server.
    ///
    /// # Errors
    /// It was started anew, so that what was read came from two keyspaces.
    pub(crate) async fn still(&self, connection: &mut Connection) -> Result<(), Failure> {
        let server = info(connection, "server").await?;
        if field(&server, "run_id").unwrap_or_default() == self.run_id {
            return Ok(());
        }
        Err(Failure::unavailable(format!("`{}` is another server than at the beginning", connection.server()))
            .with_help("it was restarted, or something between passes connections on to several servers: name one"))
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
