//! How often or how long ago keys were used: what a server that evicts goes by.
//!
//! Takes what the server evicts by. Gives a question for each key, and the options of `RESTORE` that its answer amounts to.
//! Always holds: the question comes before the value is read, which may count as a use.

use aquifer_engine::failure::Failure;
use bytes::BytesMut;

use crate::redis::wire::connection::Connection;
use crate::redis::wire::facts;
use crate::redis::wire::outgoing::Outgoing;
use crate::redis::wire::reply::Reply;
use crate::redis::wire::resp;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hints {
    /// `OBJECT FREQ`, where the server counts uses (LFU).
    Frequency,
    /// `OBJECT IDLETIME`.
    Idle,
}

/// What was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Hint(Hints, u64);

impl Hints {
    /// What this server can tell.
    ///
    /// # Errors
    /// `INFO` is not allowed.
    pub(crate) async fn of(connection: &mut Connection) -> Result<Self, Failure> {
        let policy = facts::eviction(connection).await?;
        Ok(if policy.contains("lfu") { Self::Frequency } else { Self::Idle })
    }

    /// Writes the question.
    pub(crate) fn ask(self, out: &mut Outgoing, key: &[u8]) {
        out.command(&[b"OBJECT", if self == Self::Frequency { b"FREQ" } else { b"IDLETIME" }, key]);
    }

    /// Reads the answer; nothing where the key has gone or the server went over to the other way meanwhile.
    ///
    /// # Errors
    /// The connection is lost.
    pub(crate) async fn read(self, connection: &mut Connection) -> Result<Option<Hint>, Failure> {
        Ok(match connection.reply().await? {
            Reply::Integer(value) => u64::try_from(value).ok().map(|value| Hint(self, value)),
            _ => None,
        })
    }
}

impl Hint {
    /// Writes the option.
    pub(crate) fn write(self, out: &mut BytesMut) {
        resp::argument(out, if self.0 == Hints::Frequency { b"FREQ" } else { b"IDLETIME" });
        resp::number_argument(out, self.1);
    }
}
