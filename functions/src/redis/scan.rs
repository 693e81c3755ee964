//! One database, read by `SCAN`: requests of four sorts kept under way, each made from the replies to an earlier one.
//!
//! Takes a connection with its database selected. Gives commands to the [`Form`]. A key goes this way: found by `SCAN`;
//! asked for its `OBJECT ENCODING`, which tells small strings from all else for the price of one cheap command; all else
//! is asked for its `MEMORY USAGE`; then its expiry and value are read in one transaction with those of its batch, small
//! or big, or, where it is big and has parts, by [`chunks`](super::chunks).
//!
//! Always holds: a key's value and expiry come from the same moment, so it is never written without its expiry; a key
//! that has gone meanwhile is counted and left out; any other refusal fails the dump with the key's name. The order of
//! what is written depends on replies alone and not on time, so an unchanged server gives the same bytes again.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use aquifer_engine::failure::Failure;
use aquifer_engine::function::Call;
use bytes::Bytes;

use super::connection::{Connection, Reply};
use super::facts::Facts;
use super::form::Form;
use super::refusal;
use super::resp::{self, show};
use super::tally::{Kind, PerType, thousands};
use super::temporary;
use super::values::{Batch, Expiries};

/// Requests under way at once: enough that the server always has the next one while replies are worked on.
const UNDER_WAY: usize = 4;

/// Above so many bytes of the server's memory, a value with parts is read in chunks.
pub(crate) const BIG: u64 = 1 << 20;

/// What a small string weighs in a batch, its key not counted: `embstr` has at most 44 bytes.
const SMALL: u64 = 64;

/// How often progress is noted.
pub(crate) const NOTE_EVERY: Duration = Duration::from_millis(250);

/// How much is asked of the server at once.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Keys in one request.
    pub(crate) keys: usize,
    /// Bytes of values in one request, as far as they can be told; a bigger value makes a request of its own.
    pub(crate) bytes: u64,
}

/// What was written so far.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Written {
    pub(crate) types: PerType,
    /// Keys with an expiry.
    pub(crate) expires: u64,
    /// Keys that were found, and had gone when they were to be read.
    pub(crate) vanished: u64,
    /// Keys that a restore keeps for itself, and that are left out.
    pub(crate) reserved: u64,
}

impl Written {
    /// This and that.
    pub(crate) fn plus(&self, other: &Self) -> Self {
        Self {
            types: self.types.plus(&other.types),
            expires: self.expires + other.expires,
            vanished: self.vanished + other.vanished,
            reserved: self.reserved + other.reserved,
        }
    }
}

/// A key whose value is no small string.
#[derive(Debug, Clone)]
struct Heavy {
    key: Bytes,
    /// Its encoding is that of strings (and of modules' values).
    text: bool,
    /// Its encoding is that of a type with parts, which could be read in chunks.
    parts: bool,
}

enum Asked {
    Page,
    Encodings(Vec<Bytes>),
    Sizes(Vec<Heavy>),
    Values(Batch),
}

/// A dump under way.
pub(crate) struct Dump<'a> {
    pub(crate) connection: Connection,
    pub(crate) form: Form,
    pub(crate) facts: Facts,
    pub(crate) limits: Limits,
    pub(crate) call: &'a Call,
    pub(crate) written: Written,
    pub(crate) noted: Instant,
}

/// What is known of one database's keys.
struct Pass {
    index: u32,
    /// Where `SCAN` goes on; `None` once it is done.
    cursor: Option<Bytes>,
    scanning: bool,
    /// The `COUNT` of the next `SCAN`.
    count: u64,
    found: VecDeque<Bytes>,
    heavy: VecDeque<Heavy>,
    ready: Batch,
    /// Full batches: what was ready did not fit into one.
    full: VecDeque<Batch>,
    big: VecDeque<(Bytes, u64)>,
    asked: VecDeque<Asked>,
    expiries: Expiries,
}

impl Dump<'_> {
    /// Reads one database, whose number must be selected.
    ///
    /// # Errors
    /// The connection is lost, the server refuses something, or nobody reads any more.
    pub(crate) async fn database(&mut self, index: u32) -> Result<(), Failure> {
        let without = self.facts.databases.iter().any(|database| database.index == index && database.expires == 0);
        let expiries = if without && !self.facts.cluster { Expiries::NoneHere(index) } else { self.facts.clock.into() };
        let mut pass = Pass {
            index,
            cursor: Some(Bytes::from_static(b"0")),
            scanning: false,
            // Small at first: how long the keys are is not known yet.
            count: 16,
            found: VecDeque::new(),
            heavy: VecDeque::new(),
            ready: Batch::new(expiries),
            full: VecDeque::new(),
            big: VecDeque::new(),
            asked: VecDeque::new(),
            expiries,
        };
        loop {
            while pass.big.is_empty() && pass.asked.len() < UNDER_WAY && self.ask_next(&mut pass) {}
            self.connection.flush().await?;
            match pass.asked.pop_front() {
                Some(Asked::Page) => self.page(&mut pass).await?,
                Some(Asked::Encodings(keys)) => self.encodings(&mut pass, keys).await?,
                Some(Asked::Sizes(keys)) => self.sizes(&mut pass, keys).await?,
                Some(Asked::Values(batch)) => self.values(&mut pass, batch).await?,
                None => match pass.big.pop_front() {
                    Some((key, size)) => {
                        if let Some(size) = self.chunked(&key, size).await? {
                            pass.make_ready(self.limits, key, false, size);
                        }
                    }
                    None => return Ok(()),
                },
            }
            self.form.flush_some().await?;
            if !self.form.is_part() && self.noted.elapsed() >= NOTE_EVERY {
                self.noted = Instant::now();
                self.call.note(format!("{} keys", thousands(self.written.types.total())));
            }
        }
    }

    /// Asks for what is worth asking for next; false where nothing is.
    fn ask_next(&mut self, pass: &mut Pass) -> bool {
        let limit = self.limits.keys;
        // With nothing under way, whatever there is has to do; before that, only whole batches are worth a request.
        let rest = pass.asked.is_empty();
        if let Some(batch) = pass.full.pop_front() {
            self.ask_values(pass, batch);
        } else if pass.heavy.len() >= limit {
            self.ask_sizes(pass);
        } else if pass.found.len() >= limit {
            self.ask_encodings(pass);
        } else if let Some(cursor) = pass.cursor.as_ref().filter(|_| !pass.scanning) {
            let mut count = bytes::BytesMut::new();
            resp::decimal(&mut count, pass.count);
            self.connection.push(&[b"SCAN", cursor, b"COUNT", &count]);
            pass.scanning = true;
            pass.asked.push_back(Asked::Page);
        } else if rest && !pass.found.is_empty() {
            self.ask_encodings(pass);
        } else if rest && !pass.heavy.is_empty() {
            self.ask_sizes(pass);
        } else if rest && !pass.ready.is_empty() {
            let batch = std::mem::replace(&mut pass.ready, Batch::new(pass.expiries));
            self.ask_values(pass, batch);
        } else {
            return false;
        }
        true
    }

    fn ask_encodings(&mut self, pass: &mut Pass) {
        let keys: Vec<Bytes> = pass.found.drain(..pass.found.len().min(self.limits.keys)).collect();
        keys.iter().for_each(|key| self.connection.push(&[b"OBJECT", b"ENCODING", key]));
        pass.asked.push_back(Asked::Encodings(keys));
    }

    fn ask_sizes(&mut self, pass: &mut Pass) {
        let keys: Vec<Heavy> = pass.heavy.drain(..pass.heavy.len().min(self.limits.keys)).collect();
        keys.iter().for_each(|heavy| self.connection.push(&[b"MEMORY", b"USAGE", &heavy.key]));
        pass.asked.push_back(Asked::Sizes(keys));
    }

    fn ask_values(&mut self, pass: &mut Pass, batch: Batch) {
        // In a cluster, a transaction is about one slot.
        for batch in if self.facts.cluster { batch.by_slot() } else { vec![batch] } {
            batch.ask(self.connection.output());
            pass.asked.push_back(Asked::Values(batch));
        }
    }

    async fn page(&mut self, pass: &mut Pass) -> Result<(), Failure> {
        let reply = self.connection.reply().await?;
        let reply = self.connection.accepted(reply, format_args!("scanning database {}", pass.index))?;
        let (cursor, keys) = match reply {
            Reply::Array(items) => match <[Reply; 2]>::try_from(items) {
                Ok([Reply::Bulk(cursor), Reply::Array(keys)]) => (cursor, keys),
                other => return Err(self.connection.unexpected("`SCAN`", &other)),
            },
            other => return Err(self.connection.unexpected("`SCAN`", &other)),
        };
        let mut bytes = 0;
        for key in keys {
            let Reply::Bulk(key) = key else { return Err(self.connection.unexpected("`SCAN`", &key)) };
            bytes += key.len() as u64 + 16;
            if temporary::is_reserved(&key) {
                self.written.reserved += 1;
            } else {
                pass.found.push_back(key);
            }
        }
        // As many keys as a batch wants, and fewer where they are so long that they would be many bytes.
        let most = self.limits.keys as u64 * 2;
        pass.count = if bytes > self.limits.bytes / 2 { (pass.count / 2).max(1) } else { (pass.count * 4).min(most) };
        pass.cursor = Some(cursor).filter(|cursor| &cursor[..] != b"0");
        pass.scanning = false;
        Ok(())
    }

    async fn encodings(&mut self, pass: &mut Pass, keys: Vec<Bytes>) -> Result<(), Failure> {
        for key in keys {
            let reply = self.connection.reply().await?;
            let encoding = match &reply {
                Reply::Bulk(encoding) | Reply::Simple(encoding) => &encoding[..],
                Reply::Nil => {
                    self.written.vanished += 1;
                    continue;
                }
                // Before 7.0 a key that is gone was an error.
                Reply::Error(error) if error.starts_with("ERR no such key") => {
                    self.written.vanished += 1;
                    continue;
                }
                Reply::Error(error) => return Err(refusal::failure(error, reading(&key))),
                other => return Err(self.connection.unexpected("`OBJECT ENCODING`", other)),
            };
            match encoding {
                b"embstr" | b"int" => pass.make_ready(self.limits, key, true, SMALL),
                b"raw" => pass.heavy.push_back(Heavy { key, text: true, parts: false }),
                b"stream" => pass.heavy.push_back(Heavy { key, text: false, parts: false }),
                _ => pass.heavy.push_back(Heavy { key, text: false, parts: true }),
            }
        }
        Ok(())
    }

    async fn sizes(&mut self, pass: &mut Pass, keys: Vec<Heavy>) -> Result<(), Failure> {
        for heavy in keys {
            match self.connection.reply().await? {
                Reply::Integer(size) => {
                    let size = size.unsigned_abs();
                    if heavy.parts && size > BIG {
                        pass.big.push_back((heavy.key, size));
                    } else {
                        pass.make_ready(self.limits, heavy.key, heavy.text, size);
                    }
                }
                Reply::Nil => self.written.vanished += 1,
                Reply::Error(error) => return Err(refusal::failure(&error, reading(&heavy.key))),
                other => return Err(self.connection.unexpected("`MEMORY USAGE`", &other)),
            }
        }
        Ok(())
    }

    async fn values(&mut self, pass: &mut Pass, mut batch: Batch) -> Result<(), Failure> {
        let again = batch.read(&mut self.connection, &mut self.form, &mut self.written).await?;
        if again.expiries_exist {
            // Somebody has set an expiry since the beginning: from now on each key is asked for its own.
            pass.expiries = self.facts.clock.into();
            pass.ready.expiries = pass.expiries;
            pass.full.iter_mut().for_each(|batch| batch.expiries = pass.expiries);
            batch.expiries = pass.expiries;
            pass.full.push_back(batch);
            return Ok(());
        }
        for key in again.no_strings {
            pass.make_ready(self.limits, key, false, BIG);
        }
        Ok(())
    }

    /// Counts a key that was written.
    pub(crate) fn count(&mut self, kind: Kind, expires: bool) {
        self.written.types.add(kind);
        self.written.expires += u64::from(expires);
    }
}

impl Pass {
    /// Puts a key into the batch that is being made.
    fn make_ready(&mut self, limits: Limits, key: Bytes, text: bool, size: u64) {
        let size = size + key.len() as u64;
        if !self.ready.is_empty() && self.ready.size + size > limits.bytes {
            self.full.push_back(std::mem::replace(&mut self.ready, Batch::new(self.expiries)));
        }
        self.ready.add(key, text, size);
        if self.ready.len() >= limits.keys {
            self.full.push_back(std::mem::replace(&mut self.ready, Batch::new(self.expiries)));
        }
    }
}

/// What is being done with a key, for messages.
pub(crate) fn reading(key: &[u8]) -> String {
    format!("reading the key {}", show(key))
}
