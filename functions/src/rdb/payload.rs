//! The payload of `DUMP` and `RESTORE`, taken apart.
//!
//! A payload is the number of a type, a value as in an RDB, two bytes of a version and the CRC-64 of all that.

use aquifer_engine::failure::Failure;
use bytes::Bytes;
use crc_fast::{CrcAlgorithm, checksum};

use super::commands::Commands;
use super::format::{Layout, VALKEY};
use super::input::{Input, wrong};
use super::value::Values;
use super::visit::Visitor;
use crate::redis::form::Form;
use crate::redis::resp::show;

/// What a payload is called in messages.
const NAME: &str = "the payload";

/// What stands behind the value.
const FOOTER: usize = 10;

/// How the value of a payload is laid out, its checksum checked.
///
/// # Errors
/// It is damaged, or its type is not known.
pub(crate) fn layout(payload: &[u8]) -> Result<Layout, Failure> {
    let (Some(number), Some((body, sum))) = (payload.first(), payload.split_last_chunk::<8>()) else {
        return Err(wrong(NAME, 0, "it is too short"));
    };
    let Some((_, version)) = body.split_last_chunk::<2>().filter(|(value, _)| !value.is_empty()) else {
        return Err(wrong(NAME, 0, "it is too short"));
    };
    let sum = u64::from_le_bytes(*sum);
    if sum != 0 && sum != checksum(CrcAlgorithm::Crc64Redis, body) {
        return Err(wrong(NAME, payload.len() as u64 - 8, "its checksum does not fit"));
    }
    let valkey = VALKEY.contains(&u32::from(u16::from_le_bytes(*version)));
    Layout::of(*number, valkey).ok_or_else(|| wrong(NAME, 0, format_args!("{number} is no type that is known")))
}

/// Tells the value of a payload.
///
/// # Errors
/// It is damaged, or whoever is told ends it. A module's value is one too: nobody can tell its parts.
pub(crate) async fn tell(payload: Bytes, to: &mut impl Visitor) -> Result<Layout, Failure> {
    let layout = layout(&payload)?;
    if layout == Layout::Module {
        return Err(Failure::rejected("a module's value, of which nobody else can tell the parts"));
    }
    let end = payload.len() as u64 - FOOTER as u64;
    let mut input = Input::new(Some(payload.slice(1..payload.len() - FOOTER)), NAME);
    Values::default().tell(layout, &mut input, to).await?;
    if input.offset() + 1 != end || input.more().await? {
        return Err(input.wrong("the value ends, and the payload goes on"));
    }
    Ok(layout)
}

/// Writes the plain commands that make the value of a payload under a key; false where it has no elements. Gives also how
/// many pending entries of a stream cannot be made again.
///
/// # Errors
/// The payload is damaged, or a module's, or nobody reads any more.
pub(crate) async fn payload_to_logical(
    form: &mut Form,
    key: &[u8],
    payload: Bytes,
    expires: Option<u64>,
) -> Result<(bool, u64), Failure> {
    let layout = layout(&payload)?;
    let timed =
        matches!(layout, Layout::HashExpiring { .. } | Layout::HashListpackExpiring { .. } | Layout::HashValkey);
    let mut commands = Commands::new(form, key, layout.kind(), timed, expires);
    tell(payload, &mut commands)
        .await
        .map_err(|failure| failure.during(format_args!("taking apart the value of the key {}", show(key))))?;
    let written = commands.end().await?;
    Ok((written, commands.claims.lost))
}
