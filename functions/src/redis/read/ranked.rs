//! Big sorted sets, read by rank in pieces that together are the value of one moment.
//!
//! Takes a key. Gives `ZADD` for each piece, members in the order of their scores: whoever takes them back in this order needs
//! a third of the time that the order of a scan takes, in which each member's place has to be looked for all over the memory.
//! Always holds: the key is watched from before the first piece to behind the last one, so that what was read is what the
//! key held all that time, or counts as changed; each piece begins with the member that the one before ended with, so a
//! set that changes all the time is mostly found out by its first pieces, not after all of it was read.

use std::collections::VecDeque;

use aquifer_engine::failure::Failure;
use bytes::Bytes;

use crate::redis::read::big::Attempt;
use crate::redis::read::chunks::Parts;
use crate::redis::read::scan::Dump;
use crate::redis::wire::connection::Connection;
use crate::redis::wire::expiry::Expiry;
use crate::redis::wire::refusal;
use crate::redis::wire::refusal::reading;
use crate::redis::wire::reply::Reply;
use crate::redis::wire::resp::{self, Head};

/// A member and its score, as the server writes them.
type Scored = (Bytes, Bytes);

impl Dump<'_> {
    /// Reads a sorted set. One that may not be watched, or read by rank, counts as changed: it can be scanned all the same.
    pub(super) async fn ranked(&mut self, parts: &Parts) -> Result<Attempt, Failure> {
        let watched = self.connection.ask(&[b"WATCH", &parts.key]).await?;
        if matches!(&watched, Reply::Error(error) if refusal::word(error) == "NOPERM" || refusal::is_unknown(error)) {
            return Ok(Attempt::Changed);
        }
        self.connection.accepted(watched, reading(&parts.key))?;
        let length = match self.connection.ask(&[b"ZCARD", &parts.key]).await? {
            Reply::Integer(length) => length.unsigned_abs(),
            _ => 0,
        };
        let work = parts.work();
        let (mut next, mut under_way, mut asked) = (0, 0, VecDeque::new());
        let mut last: Option<Scored> = None;
        let mut same = true;
        loop {
            while same && next < length && self.pace.allows(under_way) {
                let until = length.min(next + parts.count);
                let (first, end) = (next.saturating_sub(1).to_string(), (until - 1).to_string());
                self.connection.push(&[b"ZRANGE", &parts.key, first.as_bytes(), end.as_bytes(), b"WITHSCORES"]);
                asked.push_back(until - next);
                next = until;
                under_way += work;
                self.pace.asked(work);
            }
            self.connection.flush().await?;
            let Some(members) = asked.pop_front() else {
                if next >= length || !same {
                    break;
                }
                self.pace.rest().await?;
                continue;
            };
            under_way -= work;
            if same {
                same = self.scored(&parts.key, members, &mut last).await?;
            } else {
                self.connection.skip_reply().await?;
            }
            self.note();
        }
        Ok(match self.unchanged(&parts.key).await? {
            Some(Expiry::Gone) => Attempt::Gone,
            Some(expiry) if same && length > 0 => Attempt::Done(expiry),
            _ => Attempt::Changed,
        })
    }

    /// Writes so many members behind the `last` one, and says which is the last one now; false where the set has changed.
    async fn scored(&mut self, key: &Bytes, members: u64, last: &mut Option<Scored>) -> Result<bool, Failure> {
        let pairs = self.connection.pairs();
        let there = match self.connection.head().await? {
            Head::Array(replies) => replies / if pairs { 1 } else { 2 },
            Head::Error(error) if error.starts_with("WRONGTYPE") || error.starts_with("NOPERM") => return Ok(false),
            Head::Error(error) => return Err(refusal::failure(&error, reading(key))),
            head => return Err(self.connection.unexpected("`ZRANGE`", &head)),
        };
        let mut left = there;
        if let Some(before) = last
            && left > 0
        {
            left -= 1;
            if scored(&mut self.connection, pairs).await? != *before {
                left += members + 1;
            }
        }
        if left != members {
            let read = u64::from(last.is_some() && there > 0);
            for _ in 0..(there - read) * if pairs { 1 } else { 2 } {
                self.connection.skip_reply().await?;
            }
            return Ok(false);
        }
        let out = self.form.begin_command(2 + 2 * members);
        resp::all(out, &[&b"ZADD"[..], key]);
        for place in 1..=members {
            let (member, score) = scored(&mut self.connection, pairs).await?;
            resp::all(self.form.out(), &[&score, &member]);
            if place == members {
                *last = Some((member, score));
            }
            self.form.flush_some().await?;
        }
        Ok(true)
    }
}

/// Reads a member and its score.
async fn scored(connection: &mut Connection, pairs: bool) -> Result<Scored, Failure> {
    if pairs {
        match connection.head().await? {
            Head::Array(2) => {}
            head => return Err(connection.unexpected("`ZRANGE`", &head)),
        }
    }
    let (member, score) = (connection.reply().await?, connection.reply().await?);
    match (member.bytes(), score.bytes()) {
        (Some(member), Some(score)) => Ok((member.clone(), score.clone())),
        _ => Err(connection.unexpected("`ZRANGE`", &(member, score))),
    }
}
