//! Hashes whose fields have expiries inside a payload: taken apart where these are to be changed.
//!
//! Takes a `RESTORE`, already with its key's new name and expiry. Gives the plain commands that make the same hash, with the
//! fields' expiries changed. Always holds: no more than [`MOST_BYTES`] of it are held; a bigger one is refused.

use std::collections::BTreeMap;

use aquifer_engine::failure::Failure;

use crate::rdb::payload;
use crate::rdb::visit::{Role, Stream, Visitor};
use crate::redis::keys::lifetimes::{Lifetimes, When};
use crate::redis::stream::command::Command;
use crate::redis::stream::statement::{Act, Statement};
use crate::redis::wire::resp::show;

/// How much of a hash is held; a payload may be compressed.
const MOST_BYTES: usize = 8 << 20;

/// Arguments in one command, about.
const MOST_ARGUMENTS: usize = 1000;

/// True where a payload that begins with this byte may have expiries of fields.
pub(super) fn has_some(first: Option<u8>) -> bool {
    first.is_some_and(|first| (22..=25).contains(&first))
}

/// A hash being collected.
#[derive(Default)]
struct Hash {
    /// Fields and values in turn.
    parts: Vec<Vec<u8>>,
    /// The fields that expire at each moment, by their places.
    timed: BTreeMap<u64, Vec<usize>>,
    bytes: usize,
}

impl Visitor for Hash {
    async fn text(&mut self, _: Role, _: u64) -> Result<(), Failure> {
        self.parts.push(Vec::new());
        Ok(())
    }

    async fn piece(&mut self, piece: &[u8]) -> Result<(), Failure> {
        self.bytes += piece.len();
        if self.bytes > MOST_BYTES {
            return Err(too_big());
        }
        if let Some(part) = self.parts.last_mut() {
            part.extend_from_slice(piece);
        }
        Ok(())
    }

    async fn score(&mut self, _: f64) -> Result<(), Failure> {
        Ok(())
    }

    async fn expires(&mut self, at: Option<u64>) -> Result<(), Failure> {
        if let (Some(at), Some(field)) = (at, self.parts.len().checked_sub(2)) {
            self.timed.entry(at).or_default().push(field);
        }
        Ok(())
    }

    async fn stream(&mut self, _: Stream<'_>) -> Result<(), Failure> {
        Ok(())
    }
}

fn too_big() -> Failure {
    Failure::rejected("its fields have expiries, and it is too big to change these")
        .with_help("restore with `expiry: keep`, or leave such keys out with `filter`")
}

/// A long payload is never held.
///
/// # Errors
/// It has such fields, and their expiries are to be changed.
pub(super) fn refuse_long(lifetimes: Lifetimes, key: &[u8], first: Option<u8>, offset: u64) -> Result<(), Failure> {
    if lifetimes.keeps() || !has_some(first) {
        return Ok(());
    }
    Err(too_big().during(format_args!("at byte {offset} of the stream: the key {}", show(key))))
}

/// The plain commands for a `RESTORE` of such a hash; `None` for anything else.
///
/// # Errors
/// Its payload is damaged, or it is too big.
pub(super) async fn plain(lifetimes: Lifetimes, statement: &Statement) -> Result<Option<Vec<Statement>>, Failure> {
    let offset = statement.offset;
    let Act::Restore { key, payload, expiry, .. } = &statement.act else { return Ok(None) };
    if !has_some(payload.first().copied()) {
        return Ok(None);
    }
    let mut hash = Hash::default();
    payload::tell(payload.clone(), &mut hash)
        .await
        .map_err(|failure| failure.during(format_args!("at byte {offset} of the stream: the key {}", show(key))))?;
    let mut out = vec![Statement { offset, act: Act::Begin { key: key.clone() } }];
    for parts in hash.parts.chunks(MOST_ARGUMENTS) {
        let mut args: Vec<&[u8]> = vec![b"HSET", key];
        args.extend(parts.iter().map(|part| &part[..]));
        out.push(Statement::read(Command::new(offset, &args))?);
    }
    for (at, places) in hash.timed {
        let Some(at) = lifetimes.of_fields().moment(at) else { continue };
        for places in places.chunks(MOST_ARGUMENTS) {
            let fields = places.iter().filter_map(|place| hash.parts.get(*place)).map(|part| part.clone().into());
            let act = Act::ExpireFields { key: key.clone(), when: When::At(at), fields: fields.collect() };
            out.push(Statement { offset, act });
        }
    }
    out.extend(expiry.map(|when| Statement { offset, act: Act::Expire { key: key.clone(), when } }));
    Ok(Some(out))
}
