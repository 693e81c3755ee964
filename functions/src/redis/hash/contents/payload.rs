//! The value of a payload, hashed: from one that is there, or one that passes by in pieces.
//!
//! Always holds: the payload's checksum is that of its bytes; a value of a module, or of a type that is not known, is hashed
//! as its bytes, without the version and checksum behind them.

use aquifer_engine::failure::Failure;
use bytes::Bytes;

use crate::rdb::format::{Layout, VALKEY};
use crate::rdb::input::{Input, Source};
use crate::rdb::value::Values;
use crate::rdb::visit::Role;
use crate::redis::hash::elements::{Elements, Measure, Teller};
use crate::redis::hash::hashes::Hashed;
use crate::redis::keys::digest::Hasher;
use crate::redis::keys::tally::Kind;
use crate::redis::stream::parser::Parser;
use crate::redis::wire::expiry::Expiry;

/// What stands behind the value.
const FOOTER: u64 = 10;

/// A long command's argument as it passes by.
struct Passing<'p> {
    parser: &'p mut Parser,
    left: u64,
}

impl Source for Passing<'_> {
    async fn piece(&mut self) -> Result<Option<Bytes>, Failure> {
        if self.left == 0 {
            return Ok(None);
        }
        self.parser.piece(&mut self.left).await.map(Some)
    }
}

/// Hashes a payload that is there.
///
/// # Errors
/// It is damaged.
pub(super) async fn whole(payload: Bytes, measure: Measure, expiry: Expiry) -> Result<Hashed, Failure> {
    let length = payload.len() as u64;
    hashed(Input::new(Some(payload), "the payload"), length, measure, expiry).await
}

/// Hashes the payload that comes next.
///
/// # Errors
/// It is damaged, or the stream is.
pub(super) async fn long(parser: &mut Parser, measure: Measure, expiry: Expiry) -> Result<Hashed, Failure> {
    let left = parser.argument().await?.unwrap_or(0);
    hashed(Input::new(Passing { parser, left }, "the payload"), left, measure, expiry).await
}

async fn hashed<S: Source>(
    mut input: Input<S>,
    length: u64,
    measure: Measure,
    expiry: Expiry,
) -> Result<Hashed, Failure> {
    let number = input.byte().await?;
    // Which of the two it is stands behind the value; what Redis had by this number was never released.
    let valkey = number == 22;
    let layout = Layout::of(number, valkey).filter(|layout| *layout != Layout::Module);
    let (kind, value, entries) = match layout {
        Some(layout) => {
            let mut elements = Elements::new(layout.kind(), measure, false);
            let mut teller = Teller { to: &mut elements, role: Role::Whole };
            Values::default().tell(layout, &mut input, &mut teller).await?;
            let (value, entries) = elements.finish();
            (layout.kind(), value, entries)
        }
        None => {
            let mut hasher = Hasher::default();
            let mut left = length.saturating_sub(FOOTER);
            hasher.number(left);
            hasher.update(&[number]);
            left = left.saturating_sub(1);
            while left > 0 {
                if input.rest().is_empty() && !input.more().await? {
                    return Err(input.cut());
                }
                let some = input.take(usize::try_from(left).unwrap_or(usize::MAX));
                left -= some.len() as u64;
                hasher.update(some);
            }
            (Kind::Other, hasher.finish(), None)
        }
    };
    let version = u16::from_le_bytes(input.array().await?);
    let sum = input.sum();
    let promised = u64::from_le_bytes(input.array().await?);
    if promised != sum {
        return Err(input.wrong("its checksum does not fit"));
    }
    if !input.rest().is_empty() || input.more().await? {
        return Err(input.wrong("the value ends, and the payload goes on"));
    }
    if valkey && !VALKEY.contains(&u32::from(version)) {
        return Err(input.wrong("a hash as no server that was released writes it"));
    }
    Ok(Hashed { kind, expiry, value, entries })
}
