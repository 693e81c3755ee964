//! Which keys of a stream a server already has: what a dry run looks at.
//!
//! Takes connections of its own and the keys as they come. Gives how many are there. Always holds: it asks `EXISTS` and
//! `SELECT`, and nothing else; no more than [`MOST_ASKED`] questions are unanswered.

use std::collections::VecDeque;

use aquifer_engine::failure::Failure;
use bytes::Bytes;

use crate::redis::keys::tally::{Kind, PerType, thousands};
use crate::redis::wire::refusal::accepted;
use crate::redis::wire::reply::Reply;
use crate::redis::wire::resp::show;
use crate::redis::write::fleet::Fleet;
use crate::redis::write::routes::redirect;

/// Questions that are unanswered at most.
const MOST_ASKED: usize = 1024;

/// Bytes of names that are asked for at once, a single longer one aside.
const MOST_BYTES: usize = 256 << 10;

/// Looking under way.
#[derive(Debug)]
pub(crate) struct Look {
    fleet: Fleet,
    /// With the place of the server that was asked.
    asked: VecDeque<(usize, Bytes, Kind)>,
    bytes: usize,
    database: u32,
    /// Keys that are there, by type in the stream.
    pub(crate) there: PerType,
    first: Option<(u32, Bytes)>,
}

impl Look {
    /// Begins with connections of which nothing was selected yet.
    pub(crate) fn new(fleet: Fleet) -> Self {
        let (asked, there) = (VecDeque::new(), PerType::default());
        Self { fleet, asked, bytes: 0, database: 0, there, first: None }
    }

    /// Selects a database.
    ///
    /// # Errors
    /// The server refuses.
    pub(crate) async fn select(&mut self, index: u32) -> Result<(), Failure> {
        self.settle().await?;
        self.database = index;
        if self.fleet.is_cluster() {
            return Ok(());
        }
        let reply = self.fleet.ask(b"", &[b"SELECT", index.to_string().as_bytes()]).await?;
        accepted(reply, format_args!("selecting database {index}")).map(drop)
    }

    /// Refuses a database that the server has not.
    ///
    /// # Errors
    /// It has it not, or the connection is lost.
    pub(crate) async fn has_database(&mut self, index: u32) -> Result<(), Failure> {
        if self.fleet.is_cluster() { Ok(()) } else { self.fleet.has_database(index).await }
    }

    /// Looks at a key, sooner or later.
    ///
    /// # Errors
    /// The server refuses.
    pub(crate) async fn key(&mut self, key: Bytes, kind: Kind) -> Result<(), Failure> {
        let at = self.fleet.route(&key);
        self.fleet.nodes[at].connection.push(&[b"EXISTS", &key]);
        self.bytes += key.len();
        self.asked.push_back((at, key, kind));
        if self.asked.len() >= MOST_ASKED || self.bytes >= MOST_BYTES { self.settle().await } else { Ok(()) }
    }

    /// Reads all answers that are to come.
    ///
    /// # Errors
    /// The server refuses.
    pub(crate) async fn settle(&mut self) -> Result<(), Failure> {
        self.fleet.flush().await?;
        self.bytes = 0;
        let mut moved = Vec::new();
        while let Some((at, key, kind)) = self.asked.pop_front() {
            let reply = self.fleet.nodes[at].connection.reply().await?;
            if self.fleet.is_cluster() && redirect(std::slice::from_ref(&reply)).is_some() {
                moved.push((key, kind));
            } else {
                self.saw(reply, key, kind)?;
            }
        }
        for (key, kind) in moved {
            let reply = self.fleet.ask(&key, &[b"EXISTS", &key]).await?;
            self.saw(reply, key, kind)?;
        }
        Ok(())
    }

    fn saw(&mut self, reply: Reply, key: Bytes, kind: Kind) -> Result<(), Failure> {
        if accepted(reply, format_args!("looking for the key {}", show(&key)))? != Reply::Integer(0) {
            self.there.add(kind);
            self.first.get_or_insert((self.database, key));
        }
        Ok(())
    }

    /// What a restore that must not meet any key would fail with, as far as is known.
    pub(crate) fn conflict(&self) -> Option<Failure> {
        let (database, key) = self.first.as_ref()?;
        Some(Failure::rejected(format!(
            "the server already has {} of the keys; the first is {} in database {database}; nothing was written (`dryRun`)",
            thousands(self.there.total()),
            show(key)
        ))
        .with_help("restore into an empty server, or choose `onConflict: skip` or `replace`"))
    }
}
