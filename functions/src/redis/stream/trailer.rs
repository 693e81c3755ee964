//! Head and trailer of a stream, as they are read.
//!
//! Takes the commands that may be one. Gives what they say. Always holds: a trailer is only given where the stream before it
//! is what it promises: its bytes, their checksum, its commands, its keys by type.

use aquifer_engine::failure::Failure;

use crate::redis::stream::census::Census;
use crate::redis::stream::command::Command;
use crate::redis::stream::form::{HEAD, StreamHead, Trailer, VERSION};
use crate::redis::stream::parser::Parser;

/// What is said behind the beginning of a head or trailer, if it is one.
///
/// # Errors
/// It is damaged, or of another version.
pub(super) fn said(command: &Command, begin: &str) -> Result<Option<String>, Failure> {
    if command.len() == 2 { said_in(command.arg(1), begin, command.offset) } else { Ok(None) }
}

fn said_in(text: &[u8], begin: &str, offset: u64) -> Result<Option<String>, Failure> {
    let Some(rest) = text.strip_prefix(begin.as_bytes()) else { return Ok(None) };
    let text = String::from_utf8_lossy(rest);
    let (version, json) = text.split_once(' ').unwrap_or((&text, ""));
    match version.parse::<u32>() {
        Ok(version) if version == VERSION => Ok(Some(json.to_owned())),
        Ok(version) => Err(Failure::rejected(format!(
            "at byte {offset} of the stream: its form has version {version}, and this program reads version {VERSION}"
        ))
        .with_help("restore it with the version of aquifer that wrote it, or a newer one")),
        Err(_) => Err(damaged(offset)),
    }
}

pub(super) fn damaged(offset: u64) -> Failure {
    Failure::corrupt(format!("at byte {offset} of the stream: the head or trailer is damaged"))
        .with_help("take another copy of the dump; this one is not whole")
}

/// What a stream begins with, where that is a head.
///
/// # Errors
/// It is damaged, or of another version.
pub(super) fn head(command: &Command) -> Result<Option<StreamHead>, Failure> {
    if !command.arg(0).eq_ignore_ascii_case(b"ECHO") || command.len() != 2 {
        return Ok(None);
    }
    head_of(command.arg(1), command.offset)
}

/// The same of the text that is echoed.
///
/// # Errors
/// As [`head`].
pub(super) fn head_of(text: &[u8], offset: u64) -> Result<Option<StreamHead>, Failure> {
    let Some(json) = said_in(text, HEAD, offset)? else { return Ok(None) };
    serde_json::from_str(&json).map(Some).map_err(|_| damaged(offset))
}

/// Holds the stream that began at `begins` to what its trailer promises, which stands at `offset`.
///
/// # Errors
/// It is damaged, or promises something else.
pub(super) fn promised(
    json: &str,
    begins: u64,
    offset: u64,
    parser: &Parser,
    census: &Census,
) -> Result<Trailer, Failure> {
    let trailer: Trailer = serde_json::from_str(json).map_err(|_| damaged(offset))?;
    let bytes = offset - begins;
    let checksum = format!("{:016x}", parser.checksum());
    let differs = |what: &str, promised: &str, found: &str| {
        Err(Failure::corrupt(format!(
            "the stream is damaged: its trailer promises {what} {promised}, and it has {found}"
        ))
        .with_help("take another copy of the dump; this one is not what was written"))
    };
    if trailer.bytes != bytes {
        return differs("bytes:", &trailer.bytes.to_string(), &bytes.to_string());
    }
    if trailer.xxh3 != checksum {
        return differs("the checksum", &trailer.xxh3, &checksum);
    }
    if trailer.commands != census.commands {
        return differs("commands:", &trailer.commands.to_string(), &census.commands.to_string());
    }
    // `FUNCTION RESTORE` does not say how many it holds; only the program that wrote the trailer knew.
    let libraries = census.libraries;
    if libraries > 0 && trailer.functions != libraries {
        return differs("libraries of functions:", &trailer.functions.to_string(), &libraries.to_string());
    }
    if trailer.types != census.keys || trailer.keys != trailer.types.total() {
        return differs("keys:", &format!("{:?}", trailer.types), &format!("{:?}", census.keys));
    }
    Ok(trailer)
}
