//! A second connection that watches a key while the first one reads it in chunks.
//!
//! Takes the server that is read. Gives whether anything about a key has changed since it is watched. Always holds: what counts
//! as unchanged was so from before the first chunk to behind the last one, by the word of the very server that is read; a guard that
//! cannot be had, or is lost, never fails the dump: then nothing counts as unchanged.

use std::time::{Duration, Instant};

use aquifer_engine::failure::{Failure, FailureKind};
use aquifer_engine::function::Call;

use crate::redis::read::scan::Dump;
use crate::redis::read::values;
use crate::redis::wire::connection::Connection;
use crate::redis::wire::facts::Facts;
use crate::redis::wire::refusal::reading;
use crate::redis::wire::reply::Reply;
use crate::redis::wire::target::Target;

/// How often a key that is being read is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A connection that does nothing but watch.
#[derive(Debug)]
struct Guard {
    connection: Connection,
    /// The database that it has selected.
    index: u32,
    /// Whether `CLIENT INFO` tells in between that a key has changed (6.2).
    tells: bool,
    looked: Instant,
}

/// Who watches, if anybody does.
#[derive(Debug)]
pub(super) struct Guards {
    target: Target,
    guard: Option<Guard>,
    /// Why nobody can.
    pub(super) refused: Option<String>,
}

impl Guard {
    async fn open(target: &Target, facts: &Facts, call: &Call) -> Result<Self, Failure> {
        let mut connection = Connection::open(target, call).await?;
        // What stands between may have led it to another server.
        facts.still(&mut connection).await?;
        if facts.cluster {
            let reply = connection.ask(&[b"READONLY"]).await?;
            connection.accepted(reply, "asking `READONLY`")?;
        }
        Ok(Self { connection, index: 0, tells: true, looked: Instant::now() })
    }

    async fn watch(&mut self, index: u32, key: &[u8]) -> Result<(), Failure> {
        if self.index != index {
            let reply = self.connection.ask(&[b"SELECT", index.to_string().as_bytes()]).await?;
            self.connection.accepted(reply, format_args!("selecting database {index}"))?;
            self.index = index;
        }
        // A connection that has seen a change watches nothing more until it is told to forget it.
        self.connection.push(&[b"UNWATCH"]);
        let forgot = self.connection.ask(&[b"WATCH", key]).await?;
        let watches = self.connection.reply().await?;
        self.connection.accepted(forgot, "asking `UNWATCH`")?;
        self.connection.accepted(watches, reading(key))?;
        self.looked = Instant::now();
        Ok(())
    }

    /// True where the server says that it has changed; it may have, without that.
    async fn tells(&mut self) -> Result<bool, Failure> {
        if !self.tells || self.looked.elapsed() < LOOK_EVERY {
            return Ok(false);
        }
        self.looked = Instant::now();
        match self.connection.ask(&[b"CLIENT", b"INFO"]).await? {
            Reply::Bulk(text) => Ok(is_dirty(&String::from_utf8_lossy(&text))),
            _ => {
                self.tells = false;
                Ok(false)
            }
        }
    }

    async fn unchanged(&mut self, key: &[u8]) -> Result<bool, Failure> {
        self.connection.push(&[b"MULTI"]);
        self.connection.push(&[b"EXEC"]);
        self.connection.flush().await?;
        values::begin_watched(&mut self.connection, 0, |_| reading(key)).await
    }
}

/// Whether a line of `CLIENT INFO` says that a transaction would fail.
fn is_dirty(line: &str) -> bool {
    line.split_ascii_whitespace()
        .find_map(|field| field.strip_prefix("flags="))
        .is_some_and(|flags| flags.contains('d'))
}

impl Guards {
    pub(super) fn new(target: &Target) -> Self {
        Self { target: target.clone(), guard: None, refused: None }
    }
}

impl Dump<'_> {
    /// Begins to watch a key; false where nobody can.
    ///
    /// # Errors
    /// The step has to stop.
    pub(super) async fn guard(&mut self, key: &[u8]) -> Result<bool, Failure> {
        let guards = &mut self.guards;
        if guards.refused.is_some() {
            return Ok(false);
        }
        let mut lost = None;
        // The server may have closed a connection that had nothing to do since the last big key.
        for _ in 0..2 {
            let mut guard = match guards.guard.take() {
                Some(guard) => guard,
                None => match Guard::open(&guards.target, &self.facts, self.call).await {
                    Ok(guard) => guard,
                    Err(failure) => {
                        lost = Some(failure);
                        break;
                    }
                },
            };
            match guard.watch(self.index, key).await {
                Ok(()) => {
                    guards.guard = Some(guard);
                    return Ok(true);
                }
                Err(failure) => lost = Some(failure),
            }
        }
        match lost {
            Some(failure) if failure.kind == FailureKind::Cancelled => Err(failure),
            lost => {
                guards.refused = lost.map(|failure| failure.message);
                Ok(false)
            }
        }
    }

    /// True where the key that is watched is known to have changed: what was read of it is to be read again.
    ///
    /// # Errors
    /// The step has to stop.
    pub(super) async fn touched(&mut self) -> Result<bool, Failure> {
        let Some(guard) = self.guards.guard.as_mut().filter(|_| self.again_if_touched) else { return Ok(false) };
        match guard.tells().await {
            Ok(tells) => Ok(tells),
            Err(failure) if failure.kind == FailureKind::Cancelled => Err(failure),
            // The end will show that nobody watches any more.
            Err(_) => {
                self.guards.guard = None;
                Ok(false)
            }
        }
    }

    /// Ends watching; true where nothing about the key has changed.
    ///
    /// # Errors
    /// The step has to stop.
    pub(super) async fn held(&mut self, key: &[u8]) -> Result<bool, Failure> {
        let Some(guard) = self.guards.guard.as_mut() else { return Ok(false) };
        match guard.unchanged(key).await {
            Ok(unchanged) => Ok(unchanged),
            Err(failure) if failure.kind == FailureKind::Cancelled => Err(failure),
            Err(_) => {
                self.guards.guard = None;
                Ok(false)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_stands_among_the_flags() {
        assert!(is_dirty("id=3 name=dirty flags=xd db=0\n"));
        assert!(!is_dirty("id=3 name=flags=d flags=N db=0 cmd=client|info\n") && !is_dirty(""));
    }
}
