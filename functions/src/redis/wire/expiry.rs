//! A key's expiry: how it is asked for, and what the answer means.
//!
//! Takes replies to `PEXPIRETIME`, or to `PTTL` and `TIME`. Gives moments in milliseconds of Unix time. Always holds: a key
//! that does not exist is told from one without an expiry.

use aquifer_engine::failure::Failure;

use crate::redis::wire::connection::Connection;
use crate::redis::wire::facts::Clock;
use crate::redis::wire::outgoing::Outgoing;
use crate::redis::wire::refusal;
use crate::redis::wire::refusal::reading;
use crate::redis::wire::reply::Reply;
use crate::redis::wire::resp::{self, Head};

/// A key's expiry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expiry {
    /// It has none.
    Never,
    /// In milliseconds of Unix time.
    At(u64),
    /// The key does not exist.
    Gone,
}

impl Expiry {
    /// True where these are one expiry. `PTTL` and `TIME` are rounded each by itself, so that it may come out a little apart.
    pub(crate) fn is_as(self, other: Self, clock: Clock) -> bool {
        match (self, other, clock) {
            (Self::At(a), Self::At(b), Clock::Left) => a.abs_diff(b) <= 5,
            (a, b, _) => a == b,
        }
    }

    /// What `PEXPIRETIME` means, or `PTTL` at `now`, in milliseconds.
    pub(crate) fn new(value: i64, now: Option<u64>) -> Self {
        match (value, now) {
            (-2, _) => Self::Gone,
            (-1, _) => Self::Never,
            (value, now) => Self::At(now.unwrap_or(0).saturating_add_signed(value)),
        }
    }
}

/// Writes the command that asks for a key's expiry.
pub(crate) fn ask_expiry(out: &mut Outgoing, clock: Clock, key: &[u8]) {
    let name: &[u8] = if clock == Clock::At { b"PEXPIRETIME" } else { b"PTTL" };
    out.command(&[name, key]);
}

/// The reply to `TIME`, in milliseconds.
pub(crate) fn milliseconds(reply: &Reply) -> Option<u64> {
    let Reply::Array(items) = reply else { return None };
    let [seconds, micros] = &items[..] else { return None };
    let number = |reply: &Reply| resp::number(reply.bytes()?)?.try_into().ok();
    let (seconds, micros): (u64, u64) = (number(seconds)?, number(micros)?);
    Some(seconds * 1000 + micros / 1000)
}

/// Reads the reply to `TIME`, in milliseconds.
///
/// # Errors
/// The server refused it.
pub(crate) async fn time(connection: &mut Connection) -> Result<u64, Failure> {
    let reply = connection.reply().await?;
    let reply = connection.accepted(reply, "asking `TIME`")?;
    milliseconds(&reply).ok_or_else(|| connection.unexpected("`TIME`", &reply))
}

/// Reads one expiry.
///
/// # Errors
/// The server refused it.
pub(crate) async fn read_expiry(connection: &mut Connection, key: &[u8], now: Option<u64>) -> Result<Expiry, Failure> {
    match connection.head().await? {
        Head::Integer(value) => Ok(Expiry::new(value, now)),
        Head::Error(error) => Err(refusal::failure(&error, reading(key))),
        head => Err(connection.unexpected("a question for an expiry", &head)),
    }
}

/// Reads one expiry, and before it what time it is where that is part of it.
///
/// # Errors
/// The server refused it.
pub(crate) async fn read_timed(connection: &mut Connection, clock: Clock, key: &[u8]) -> Result<Expiry, Failure> {
    let now = match clock {
        Clock::At => None,
        Clock::Left => Some(time(connection).await?),
    };
    read_expiry(connection, key, now).await
}

/// Writes what [`read_timed`] reads the answers to.
pub(crate) fn ask_timed(out: &mut Outgoing, clock: Clock, key: &[u8]) {
    if clock == Clock::Left {
        out.command(&[b"TIME"]);
    }
    ask_expiry(out, clock, key);
}

/// How many requests [`ask_timed`] makes.
pub(crate) fn timed(clock: Clock) -> usize {
    1 + usize::from(clock == Clock::Left)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn expiries_are_milliseconds_of_unix_time() {
        assert_eq!(Expiry::new(-2, Some(5)), Expiry::Gone);
        assert_eq!(Expiry::new(-1, Some(5)), Expiry::Never);
        assert_eq!(Expiry::new(7, None), Expiry::At(7));
        assert_eq!(Expiry::new(7, Some(5)), Expiry::At(12));
        let time = [Reply::Bulk(Bytes::from_static(b"1700000000")), Reply::Bulk(Bytes::from_static(b"123999"))];
        assert_eq!(milliseconds(&Reply::Array(time.to_vec())), Some(1_700_000_000_123));
    }
}
