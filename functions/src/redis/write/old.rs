//! Servers that are older than what a stream is written for: a string with an expiry before 6.2.
//!
//! Takes a value. Gives the payload by which `RESTORE` makes the same of it (`rdb.c` of Redis: a type, a length, the text, the
//! version, a CRC-64), which all servers since 5.0 take with an exact expiry. Always holds: whether that is needed is found
//! out without writing anything.

use aquifer_engine::failure::Failure;
use crc_fast::{CrcAlgorithm, checksum};

use crate::redis::wire::facts;
use crate::redis::wire::reply::Reply;
use crate::redis::write::fleet::Fleet;

/// A key that is never written.
const PROBE: &[u8] = b"aquifer:restore:probe";

/// The version of a form that every server reads.
const VERSION: u16 = 6;

/// True where `SET` does not know `PXAT`.
///
/// # Errors
/// The connection is lost.
pub(super) async fn lacks_pxat(fleet: &mut Fleet) -> Result<bool, Failure> {
    // Only a key that is there would be written.
    let reply = fleet.ask(PROBE, &[b"SET", PROBE, b"", b"XX", b"PXAT", b"1"]).await?;
    let Reply::Error(error) = reply else { return Ok(false) };
    if error.starts_with("ERR syntax error") {
        return Ok(true);
    }
    // Not among this user's keys, say. A server of that version, which may be told without any right to a key.
    let Some(node) = fleet.nodes.first_mut() else { return Ok(false) };
    match node.connection.ask(&[b"INFO", b"server"]).await? {
        Reply::Bulk(text) => Ok(facts::field(&String::from_utf8_lossy(&text), "redis_version")
            .is_some_and(|version| facts::version(version) < (6, 2))),
        _ => Ok(false),
    }
}

/// The payload of a string.
pub(super) fn payload(value: &[u8]) -> Vec<u8> {
    let mut out = vec![0];
    match value.len() {
        length @ 0..64 => out.push(length as u8),
        length @ 64..16384 => out.extend((length as u16 | 0x4000).to_be_bytes()),
        length => {
            out.push(0x80);
            out.extend((length as u32).to_be_bytes());
        }
    }
    out.extend_from_slice(value);
    out.extend(VERSION.to_le_bytes());
    let sum = checksum(CrcAlgorithm::Crc64Redis, &out);
    out.extend(sum.to_le_bytes());
    out
}

/// Why a long string with an expiry cannot be written.
pub(super) fn too_long(writing: impl std::fmt::Display) -> Failure {
    Failure::rejected(format!(
        "{writing}: this server is older than 6.2 and takes no value of more than 1 MiB together with its expiry"
    ))
    .with_help("restore into a newer one, or without expiries")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_is_that_of_the_server() {
        // `SET k hello`, `DUMP k` of Redis 3.2, whose payloads have version 6.
        assert_eq!(payload(b"hello")[..9], *b"\0\x05hello\x06\0");
        assert_eq!(
            (payload(&[b'x'; 64])[1..3].to_vec(), payload(&[b'x'; 20_000])[1..6].to_vec()),
            (vec![0x40, 64], vec![0x80, 0, 0, 78, 32])
        );
    }
}
