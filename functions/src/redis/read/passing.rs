//! Values that pass from a server's replies into a dump, piece by piece.
//!
//! Takes the head of a reply. Gives an argument or a whole command. Always holds: no value is held; one that no server takes
//! back at once is refused before any of it is written, and one whose checksum does not fit fails the dump.

use aquifer_engine::failure::Failure;

use crate::rdb::payload::Passing;
use crate::redis::keys::tally::Kind;
use crate::redis::stream::form::{Form, LONGEST_ARGUMENT};
use crate::redis::wire::connection::Connection;
use crate::redis::wire::expiry::Expiry;
use crate::redis::wire::hints::Hint;
use crate::redis::wire::refusal::reading;
use crate::redis::wire::resp;

/// Reads a value that is not wanted.
pub(crate) async fn skip(connection: &mut Connection, length: u64) -> Result<(), Failure> {
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
        connection.copy(&mut left, form.out()).await?;
        form.flush_some().await?;
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

pub(super) async fn string(
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

/// Writes a `RESTORE`, and gives the value's type; `None`, and nothing written, for a string that is to be written `plain`ly.
pub(super) async fn payload(
    connection: &mut Connection,
    form: &mut Form,
    key: &[u8],
    length: u64,
    (expiry, hint, plain): (Expiry, Option<Hint>, bool),
) -> Result<Option<Kind>, Failure> {
    if length > LONGEST_ARGUMENT {
        return Err(too_long(key, length));
    }
    let mut left = length;
    let first = connection.piece(&mut left).await?;
    let kind = Kind::of_payload(first.first().copied().unwrap_or(u8::MAX));
    if plain && kind == Kind::String {
        skip(connection, left).await?;
        return Ok(None);
    }
    let out = form.begin_command(6 + 2 * u64::from(hint.is_some()));
    resp::argument(out, b"RESTORE");
    resp::argument(out, key);
    resp::number_argument(out, if let Expiry::At(at) = expiry { at } else { 0 });
    resp::length(out, length);
    let mut sum = Passing::new(length);
    sum.pass(&first);
    form.piece(first).await?;
    while left > 0 {
        let out = form.out();
        let before = out.len();
        connection.copy(&mut left, out).await?;
        sum.pass(&out[before..]);
        form.flush_some().await?;
    }
    connection.bulk_end().await?;
    if !sum.fits() {
        return Err(Failure::corrupt(format!("{}: the checksum of what `DUMP` gave does not fit", reading(key)))
            .with_help("bytes were changed on their way or in the server's memory: look at the network and the machine, then dump again"));
    }
    let out = form.out();
    out.extend_from_slice(b"\r\n");
    resp::argument(out, b"REPLACE");
    resp::argument(out, b"ABSTTL");
    if let Some(hint) = hint {
        hint.write(out);
    }
    Ok(Some(kind))
}
