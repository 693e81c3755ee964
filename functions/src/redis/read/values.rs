//! A batch of keys, read in one transaction: expiries first, then the values in the keys' order.
//!
//! Takes keys and how each is to be read. Gives one command for each, `SET` or `RESTORE`, whose value passes through in pieces
//! as it arrives. Always holds: `MULTI` and `EXEC` make each value and its expiry come from one moment; in a database without
//! any expiry, that there is still none is part of the same transaction, and one command for all takes the place of one for
//! each; of a string whose length is not known no more than [`SHORT`] bytes are asked for.

use aquifer_engine::failure::Failure;
use bytes::Bytes;

use crate::rdb::copy::ValueForm;
use crate::rdb::payload::payload_to_logical;
use crate::redis::keys::tally::Kind;
use crate::redis::read::passing::{payload, skip, string};
use crate::redis::read::work;
use crate::redis::read::written::Written;
use crate::redis::stream::form::Form;
use crate::redis::wire::connection::Connection;
use crate::redis::wire::expiry::{Expiry, ask_expiry, read_expiry, time};
use crate::redis::wire::facts::{self, Clock};
use crate::redis::wire::hints::Hints;
use crate::redis::wire::outgoing::Outgoing;
use crate::redis::wire::refusal;
use crate::redis::wire::refusal::reading;
use crate::redis::wire::reply::Reply;
use crate::redis::wire::resp::Head;

/// Strings of up to so many bytes are read without asking for their length first.
pub(crate) const SHORT: u64 = 4 << 10;

/// Where the keys' expiries come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expiries {
    /// This database had none, and `INFO keyspace` inside the transaction says whether that still holds.
    NoneHere(u32),
    /// Each key is asked.
    Asked(Clock),
}

impl From<Clock> for Expiries {
    fn from(clock: Clock) -> Self {
        Self::Asked(clock)
    }
}

/// How a key is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum How {
    /// The first bytes of a string that is probably short.
    Short,
    /// All of a string.
    Get,
    /// Whatever it is; `known` where it is known not to be a string.
    Dump { known: bool },
}

/// A key to be read: which of its group, its name and how.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    pub(crate) place: usize,
    pub(crate) key: Bytes,
    pub(crate) how: How,
}

/// How values are written.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Way {
    pub(crate) form: ValueForm,
    /// `None` where they are not wanted.
    pub(crate) hints: Option<Hints>,
    /// The server has no `XGROUP CREATECONSUMER` (before 6.2).
    pub(crate) no_consumers: bool,
}

impl Way {
    /// Strings are written by `SET`.
    pub(crate) fn plain_strings(self) -> bool {
        self.hints.is_none()
    }
}

/// Keys to be read together.
#[derive(Debug, Clone)]
pub(crate) struct Batch {
    wanted: Vec<Wanted>,
    pub(crate) expiries: Expiries,
    way: Way,
    /// The server's work, estimated, in nanoseconds.
    pub(crate) work: u64,
}

/// What was not written, and why.
#[derive(Debug, Default)]
pub(crate) struct Again {
    /// Nothing of the batch was used: the database has expiries after all.
    pub(crate) expiries_exist: bool,
    /// Strings that are longer than [`SHORT`], or empty, or not there: only their length tells.
    pub(crate) long: Vec<(usize, Bytes)>,
    /// Keys that are something else than was thought.
    pub(crate) other: Vec<(usize, Bytes)>,
    /// Keys of which nobody had asked the type, and that are strings.
    pub(crate) strings: Vec<usize>,
}

impl Batch {
    /// An empty one.
    pub(crate) fn new(expiries: Expiries, way: Way) -> Self {
        let work = if matches!(expiries, Expiries::NoneHere(_)) { work::TRANSACTION } else { work::MULTI };
        Self { wanted: Vec::new(), expiries, way, work }
    }

    /// What a key adds to the server's work.
    pub(crate) fn cost(how: How, size: u64) -> u64 {
        work::EXPIRY
            + match how {
                // Its name says what it is, so it is as short as most.
                How::Short => work::read(64),
                How::Get => work::read(size),
                How::Dump { .. } => work::dumped(size),
            }
    }

    /// Adds a key of so many bytes.
    pub(crate) fn add(&mut self, wanted: Wanted, size: u64) {
        self.work += Self::cost(wanted.how, size);
        self.wanted.push(wanted);
    }

    pub(crate) fn len(&self) -> usize {
        self.wanted.len()
    }

    /// Writes the transaction.
    pub(crate) fn ask(&self, out: &mut Outgoing) {
        out.command(&[b"MULTI"]);
        match self.expiries {
            Expiries::NoneHere(_) => out.command(&[b"INFO", b"keyspace"]),
            Expiries::Asked(clock) => {
                if clock == Clock::Left {
                    out.command(&[b"TIME"]);
                }
                self.wanted.iter().for_each(|wanted| ask_expiry(out, clock, &wanted.key));
            }
        }
        let last = SHORT.to_string();
        for wanted in &self.wanted {
            if let Some(hints) = self.way.hints {
                hints.ask(out, &wanted.key);
            }
            match wanted.how {
                How::Short => out.command(&[b"GETRANGE", &wanted.key, b"0", last.as_bytes()]),
                How::Get => out.command(&[b"GET", &wanted.key]),
                How::Dump { .. } => out.command(&[b"DUMP", &wanted.key]),
            }
        }
        out.command(&[b"EXEC"]);
    }

    /// Requests before those for the values.
    fn timed(&self) -> usize {
        match self.expiries {
            Expiries::NoneHere(_) => 1,
            Expiries::Asked(clock) => usize::from(clock == Clock::Left) + self.len(),
        }
    }

    fn each(&self) -> usize {
        1 + usize::from(self.way.hints.is_some())
    }

    /// What the request at this place inside the transaction was about, for messages.
    fn about(&self, place: usize) -> String {
        let at = match place.checked_sub(self.timed()) {
            Some(place) => Some(place / self.each()),
            None if matches!(self.expiries, Expiries::NoneHere(_)) => None,
            None => place.checked_sub(self.timed() - self.len()),
        };
        match at.and_then(|at| self.wanted.get(at)) {
            Some(wanted) => reading(&wanted.key),
            None => "reading keys".to_owned(),
        }
    }

    /// Reads the replies and writes a command for each key that is there.
    ///
    /// # Errors
    /// The server refused a key, the connection is lost, or nobody reads any more.
    pub(crate) async fn read(
        &self,
        connection: &mut Connection,
        form: &mut Form,
        written: &mut Written,
    ) -> Result<Again, Failure> {
        begin(connection, self.timed() + self.each() * self.len(), |place| self.about(place)).await?;
        let mut again = Again::default();
        let expiries = self.read_expiries(connection).await?;
        again.expiries_exist = expiries.is_none();
        for (place, wanted) in self.wanted.iter().enumerate() {
            let hint = match self.way.hints {
                Some(hints) => hints.read(connection).await?,
                None => None,
            };
            let head = connection.head().await?;
            let Some(expiries) = &expiries else {
                if let Head::Bulk(length) = head {
                    skip(connection, length).await?;
                }
                continue;
            };
            let expiry = expiries.get(place).copied().unwrap_or(Expiry::Never);
            let key = &wanted.key;
            let kind = match (head, wanted.how) {
                (Head::Bulk(length), _) if expiry == Expiry::Gone => {
                    skip(connection, length).await?;
                    written.vanished += 1;
                    continue;
                }
                (Head::Nil, _) if expiry == Expiry::Gone => {
                    written.vanished += 1;
                    continue;
                }
                (Head::Bulk(length), How::Short) if length == 0 || length > SHORT => {
                    skip(connection, length).await?;
                    again.long.push((wanted.place, key.clone()));
                    continue;
                }
                (Head::Bulk(length), How::Short | How::Get) => {
                    string(connection, form, key, length, expiry).await?;
                    Kind::String
                }
                (Head::Bulk(length), How::Dump { .. }) if self.way.form == ValueForm::Logical => {
                    let payload = connection.text(length).await?;
                    let kind = Kind::of_payload(payload.first().copied().unwrap_or(u8::MAX));
                    let at = if let Expiry::At(at) = expiry { Some(at) } else { None };
                    let (_, lost) = payload_to_logical(form, key, payload, at, self.way.no_consumers).await?;
                    written.lost_pending += lost;
                    kind
                }
                (Head::Bulk(length), How::Dump { known }) => {
                    let plain = !known && self.way.plain_strings();
                    match payload(connection, form, key, length, (expiry, hint, plain)).await? {
                        Some(kind) => kind,
                        None => {
                            again.strings.push(wanted.place);
                            continue;
                        }
                    }
                }
                // Not there, or something else by now.
                (Head::Nil, _) => {
                    again.other.push((wanted.place, key.clone()));
                    continue;
                }
                (Head::Error(error), How::Short | How::Get) if error.starts_with("WRONGTYPE") => {
                    again.other.push((wanted.place, key.clone()));
                    continue;
                }
                (Head::Error(error), _) => return Err(refusal::failure(&error, reading(key))),
                (head, _) => return Err(connection.unexpected("reading a value", &head)),
            };
            written.types.add(kind);
            written.expires += u64::from(expiry != Expiry::Never);
        }
        Ok(again)
    }

    /// The expiries in the keys' order, an empty list where there are none; `None` where there are some after all.
    async fn read_expiries(&self, connection: &mut Connection) -> Result<Option<Vec<Expiry>>, Failure> {
        let clock = match self.expiries {
            Expiries::NoneHere(index) => {
                let reply = connection.reply().await?;
                let Reply::Bulk(text) = connection.accepted(reply, "asking `INFO keyspace`")? else {
                    return Err(connection.unexpected("`INFO`", &"something else"));
                };
                let all = facts::keyspace(&String::from_utf8_lossy(&text));
                let some = all.iter().any(|database| database.index == index && database.expires > 0);
                return Ok(if some { None } else { Some(Vec::new()) });
            }
            Expiries::Asked(clock) => clock,
        };
        let now = match clock {
            Clock::At => None,
            Clock::Left => Some(time(connection).await?),
        };
        let mut expiries = Vec::with_capacity(self.len());
        for wanted in &self.wanted {
            expiries.push(read_expiry(connection, &wanted.key, now).await?);
        }
        Ok(Some(expiries))
    }
}

/// Reads the replies that stand before those of a transaction's own requests.
///
/// # Errors
/// The server refused one of the requests; `about` says what it was.
pub(crate) async fn begin(
    connection: &mut Connection,
    requests: usize,
    about: impl Fn(usize) -> String,
) -> Result<(), Failure> {
    if begin_watched(connection, requests, about).await? {
        Ok(())
    } else {
        Err(connection.unexpected("`EXEC`", &"nothing"))
    }
}

/// The same, where the transaction is carried out only if what the connection watches has not changed; false where it has.
///
/// # Errors
/// As [`begin`].
pub(crate) async fn begin_watched(
    connection: &mut Connection,
    requests: usize,
    about: impl Fn(usize) -> String,
) -> Result<bool, Failure> {
    match connection.head().await? {
        Head::Simple(_) => {}
        Head::Error(error) => return Err(refusal::failure(&error, "asking `MULTI`")),
        head => return Err(connection.unexpected("`MULTI`", &head)),
    }
    for place in 0..requests {
        match connection.head().await? {
            Head::Simple(_) => {}
            Head::Error(error) => return Err(refusal::failure(&error, about(place))),
            head => return Err(connection.unexpected("a request inside `MULTI`", &head)),
        }
    }
    match connection.head().await? {
        Head::Array(count) if count == requests as u64 => Ok(true),
        Head::Nil => Ok(false),
        Head::Error(error) => Err(refusal::failure(&error, "asking `EXEC`")),
        head => Err(connection.unexpected("`EXEC`", &head)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_inside_a_transaction_is_told_by_its_key() {
        for (expiries, hints, first) in [
            (Expiries::Asked(Clock::Left), None, 1),
            (Expiries::Asked(Clock::At), None, 0),
            (Expiries::Asked(Clock::At), Some(Hints::Idle), 0),
        ] {
            let mut batch = Batch::new(expiries, Way { hints, ..Way::default() });
            for (place, key) in ["a", "b", "c"].into_iter().enumerate() {
                let how = if place == 1 { How::Dump { known: true } } else { How::Get };
                batch.add(Wanted { place, key: Bytes::from_static(key.as_bytes()), how }, 1);
            }
            let named =
                |place: usize, key: &str| assert!(batch.about(place).contains(&format!("key `{key}`")), "{place}");
            for (place, key) in ["a", "b", "c"].into_iter().enumerate() {
                named(first + place, key);
                named(first + 3 + place * batch.each(), key);
                named(first + 3 + place * batch.each() + batch.each() - 1, key);
            }
        }
        let mut batch = Batch::new(Expiries::NoneHere(0), Way::default());
        batch.add(Wanted { place: 0, key: Bytes::from_static(b"a"), how: How::Short }, 1);
        assert!(batch.about(1).contains("key `a`") && !batch.about(0).contains('`'));
    }
}
