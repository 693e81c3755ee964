//! A batch of keys, read in one transaction: expiries first, then strings by `MGET`, then everything else by `DUMP`.
//!
//! Takes keys. Gives one command for each, `SET` or `RESTORE`, whose value passes through in pieces as it arrives. Always
//! holds: `MULTI` and `EXEC` make each value and its expiry come from one moment; in a database without any expiry, that
//! there is still none is part of the same transaction, and one command for all takes the place of one for each.

use std::collections::BTreeMap;

use aquifer_engine::failure::Failure;
use bytes::Bytes;

use super::connection::{Connection, Reply};
use super::expiry::{Expiry, ask_expiry, read_expiry, time};
use super::facts::{self, Clock};
use super::form::{Form, LONGEST_ARGUMENT};
use super::outgoing::Outgoing;
use super::refusal;
use super::resp::{self, Head, show};
use super::scan::{Written, reading};
use super::slots::slot;
use super::tally::Kind;

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

/// Keys to be read together.
#[derive(Debug, Clone)]
pub(crate) struct Batch {
    strings: Vec<Bytes>,
    others: Vec<Bytes>,
    /// Bytes, as far as they can be told.
    pub(crate) size: u64,
    pub(crate) expiries: Expiries,
}

/// What has to be read once more.
#[derive(Debug, Default)]
pub(crate) struct Again {
    /// Nothing of the batch was used: the database has expiries after all.
    pub(crate) expiries_exist: bool,
    /// Keys that are there and are no strings.
    pub(crate) no_strings: Vec<Bytes>,
}

impl Batch {
    /// An empty one.
    pub(crate) fn new(expiries: Expiries) -> Self {
        Self { strings: Vec::new(), others: Vec::new(), size: 0, expiries }
    }

    /// Adds a key whose value is a string, or something else.
    pub(crate) fn add(&mut self, key: Bytes, string: bool, size: u64) {
        self.size += size;
        if string { self.strings.push(key) } else { self.others.push(key) }
    }

    pub(crate) fn len(&self) -> usize {
        self.strings.len() + self.others.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn keys(&self) -> impl Iterator<Item = &Bytes> {
        self.strings.iter().chain(&self.others)
    }

    /// The same keys in batches of one slot each, in the order of the slots.
    pub(crate) fn by_slot(self) -> Vec<Self> {
        let mut found: BTreeMap<u16, Self> = BTreeMap::new();
        let keys =
            self.strings.into_iter().map(|key| (key, true)).chain(self.others.into_iter().map(|key| (key, false)));
        for (key, string) in keys {
            let batch = found.entry(slot(&key)).or_insert_with(|| Self::new(self.expiries));
            batch.add(key, string, 0);
        }
        found.into_values().collect()
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
                self.keys().for_each(|key| ask_expiry(out, clock, key));
            }
        }
        if !self.strings.is_empty() {
            let out = out.begin(1 + self.strings.len() as u64, b"MGET");
            self.strings.iter().for_each(|key| resp::argument(out, key));
        }
        self.others.iter().for_each(|key| out.command(&[b"DUMP", key]));
        out.command(&[b"EXEC"]);
    }

    /// What the request at this place inside the transaction was about, for messages.
    fn about(&self, place: usize) -> String {
        let timed = match self.expiries {
            Expiries::NoneHere(_) => 1,
            Expiries::Asked(clock) => {
                let first = usize::from(clock == Clock::Left);
                if let Some(key) = place.checked_sub(first).and_then(|place| self.keys().nth(place)) {
                    return reading(key);
                }
                first + self.len()
            }
        };
        let place = place.saturating_sub(timed);
        match (&self.strings[..], self.others.get(place.saturating_sub(usize::from(!self.strings.is_empty())))) {
            ([key], _) if place == 0 => reading(key),
            ([first, rest @ ..], _) if place == 0 => {
                format!("reading {} keys, of which the first is {}", 1 + rest.len(), show(first))
            }
            (_, Some(key)) => reading(key),
            _ => "reading keys".to_owned(),
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
        let timed = match self.expiries {
            Expiries::NoneHere(_) => 1,
            Expiries::Asked(clock) => usize::from(clock == Clock::Left) + self.len(),
        };
        let requests = timed + usize::from(!self.strings.is_empty()) + self.others.len();
        begin(connection, requests, |place| self.about(place)).await?;
        let mut again = Again::default();
        let expiries = self.read_expiries(connection).await?;
        again.expiries_exist = expiries.is_none();
        let expiry = |place: usize| expiries.as_ref().map(|all| all.get(place).copied().unwrap_or(Expiry::Never));
        if !self.strings.is_empty() {
            match connection.head().await? {
                Head::Array(count) if count == self.strings.len() as u64 => {}
                Head::Error(error) => return Err(refusal::failure(&error, self.about(timed))),
                head => return Err(connection.unexpected("`MGET`", &head)),
            }
            for (place, key) in self.strings.iter().enumerate() {
                match (connection.head().await?, expiry(place)) {
                    (Head::Bulk(length), None | Some(Expiry::Gone)) => skip(connection, length).await?,
                    (Head::Bulk(length), Some(expiry)) => {
                        string(connection, form, key, length, expiry).await?;
                        written.types.add(Kind::String);
                        written.expires += u64::from(expiry != Expiry::Never);
                    }
                    (Head::Nil, None) => {}
                    (Head::Nil, Some(Expiry::Gone)) => written.vanished += 1,
                    // It is there and no string, or (without expiries) perhaps not there: `DUMP` will tell.
                    (Head::Nil, Some(_)) => again.no_strings.push(key.clone()),
                    (head, _) => return Err(connection.unexpected("`MGET`", &head)),
                }
            }
        }
        for (place, key) in self.others.iter().enumerate() {
            match (connection.head().await?, expiry(self.strings.len() + place)) {
                (Head::Bulk(length), None) => skip(connection, length).await?,
                (Head::Bulk(length), Some(Expiry::Gone)) => {
                    skip(connection, length).await?;
                    written.vanished += 1;
                }
                (Head::Bulk(length), Some(expiry)) => {
                    let kind = payload(connection, form, key, length, expiry).await?;
                    written.types.add(kind);
                    written.expires += u64::from(expiry != Expiry::Never);
                }
                (Head::Nil, None) => {}
                (Head::Nil, Some(_)) => written.vanished += 1,
                (Head::Error(error), _) => return Err(refusal::failure(&error, reading(key))),
                (head, _) => return Err(connection.unexpected("`DUMP`", &head)),
            }
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
        for key in self.keys() {
            expiries.push(read_expiry(connection, key, now).await?);
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
        Head::Array(count) if count == requests as u64 => Ok(()),
        Head::Error(error) => Err(refusal::failure(&error, "asking `EXEC`")),
        head => Err(connection.unexpected("`EXEC`", &head)),
    }
}

/// Reads a value that is not wanted.
async fn skip(connection: &mut Connection, length: u64) -> Result<(), Failure> {
    let mut left = length;
    while left > 0 {
        connection.piece(&mut left).await?;
    }
    connection.bulk_end().await
}

/// Passes one bulk on as an argument.
///
/// # Errors
/// It is too long for any server, the connection is lost, or nobody reads any more.
pub(crate) async fn pass(connection: &mut Connection, form: &mut Form, key: &[u8], length: u64) -> Result<(), Failure> {
    if length > LONGEST_ARGUMENT {
        return Err(too_long(key, length));
    }
    resp::length(form.out(), length);
    let mut left = length;
    while left > 0 {
        let piece = connection.piece(&mut left).await?;
        form.piece(piece).await?;
    }
    connection.bulk_end().await?;
    form.out().extend_from_slice(b"\r\n");
    Ok(())
}

fn too_long(key: &[u8], length: u64) -> Failure {
    Failure::rejected(format!(
        "{}: its value takes {length} bytes on the wire, and no server takes more than 512 MiB at once",
        reading(key)
    ))
    .with_help("a dump that cannot be restored is not written; split or delete this key")
}

async fn string(
    connection: &mut Connection,
    form: &mut Form,
    key: &[u8],
    length: u64,
    expiry: Expiry,
) -> Result<(), Failure> {
    let out = form.begin_command(if expiry == Expiry::Never { 3 } else { 5 });
    resp::argument(out, b"SET");
    resp::argument(out, key);
    pass(connection, form, key, length).await?;
    if let Expiry::At(at) = expiry {
        resp::argument(form.out(), b"PXAT");
        resp::number_argument(form.out(), at);
    }
    Ok(())
}

async fn payload(
    connection: &mut Connection,
    form: &mut Form,
    key: &[u8],
    length: u64,
    expiry: Expiry,
) -> Result<Kind, Failure> {
    if length > LONGEST_ARGUMENT {
        return Err(too_long(key, length));
    }
    let out = form.begin_command(6);
    resp::argument(out, b"RESTORE");
    resp::argument(out, key);
    resp::number_argument(out, if let Expiry::At(at) = expiry { at } else { 0 });
    resp::length(out, length);
    let mut left = length;
    let mut kind = None;
    while left > 0 {
        let piece = connection.piece(&mut left).await?;
        kind.get_or_insert_with(|| Kind::of_payload(piece.first().copied().unwrap_or(u8::MAX)));
        form.piece(piece).await?;
    }
    connection.bulk_end().await?;
    let out = form.out();
    out.extend_from_slice(b"\r\n");
    resp::argument(out, b"REPLACE");
    resp::argument(out, b"ABSTTL");
    Ok(kind.unwrap_or(Kind::Other))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_inside_a_transaction_is_told_by_its_key() {
        let mut batch = Batch::new(Expiries::Asked(Clock::Left));
        for (key, string) in [("a", true), ("b", true), ("c", false), ("d", false)] {
            batch.add(Bytes::from_static(key.as_bytes()), string, 1);
        }
        let named = |place: usize, key: &str| assert!(batch.about(place).contains(&format!("key `{key}`")), "{place}");
        // TIME, four PTTL, MGET, two DUMP.
        (1..=4).zip(["a", "b", "c", "d"]).for_each(|(place, key)| named(place, key));
        assert!(batch.about(5).contains("2 keys, of which the first is `a`"));
        (6..=7).zip(["c", "d"]).for_each(|(place, key)| named(place, key));
        batch.strings.clear();
        (3..=4).zip(["c", "d"]).for_each(|(place, key)| assert!(batch.about(place).contains(key)));
    }
}
