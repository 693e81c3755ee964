//! Streams of commands as `redis-verify` reads them.
//!
//! Takes any bytes. Gives nothing. Always holds: what is found must not depend on how a stream is cut into pieces; where a
//! command is read in pieces and as a whole, and taken both times, the same is found.

use aquifer_engine::failure::Failure;
use aquifer_engine::pipe::{Reader, pipe};
use aquifer_engine::stream::StreamType;
use bytes::{Bytes, BytesMut};
use crc_fast::{CrcAlgorithm, checksum};
use futures::executor::block_on;
use futures::future::join;

use super::Pieces;
use crate::rdb::copy::{Options, ValueForm, copy};
use crate::rdb::reader::Rdb;
use crate::redis::hash::contents::Contents;
use crate::redis::hash::elements::Measure;
use crate::redis::hash::streams::Counters;
use crate::redis::stream::form::{Form, StreamHead};
#[cfg(test)]
use crate::redis::stream::parser::{Next, Parser};
use crate::redis::stream::reader::StreamReader;
use crate::redis::wire::resp;
use crate::redis_restore;
use crate::redis_verify::{ExpiryIn, Found};

/// More than any input has, so that every command is whole.
pub(super) const ALL: usize = 1 << 20;

/// So little that most commands are read in pieces.
const LITTLE: usize = 12;

/// A pipe that holds all of a stream, in pieces of this size.
async fn finished(stream: &Bytes, size: usize) -> Result<Reader, Failure> {
    let (mut writer, mut readers) = pipe(1, stream.len().max(1), &StreamType::unknown(), None);
    let (reader, control) = readers.remove(0);
    for from in (0..stream.len()).step_by(size) {
        writer.write(stream.slice(from..(from + size).min(stream.len()))).await?;
    }
    control.finish();
    Ok(reader)
}

/// What `redis-verify` finds in a stream, as text.
pub(super) fn found(
    stream: &Bytes,
    size: usize,
    whole: usize,
    expiry: ExpiryIn,
    headed: bool,
) -> Result<String, String> {
    let read = async {
        let pipe = finished(stream, size).await?;
        let mut contents = Contents::new(pipe, Measure { counters: Counters::Old, expiry }, headed);
        contents.stream.parser.keep_whole(whole);
        let found = Found::in_all(&mut contents, expiry, |_| {}).await?;
        assert_eq!(contents.stream.parser.offset(), stream.len() as u64);
        Ok::<_, Failure>(format!("{} {:?} {}", found.digest(true), found.per_type, contents.stream.commands()))
    };
    block_on(read).map_err(|failure| failure.to_string())
}

/// Commands spelled as words: a space between two arguments, a line end between two commands, a backslash before a byte that
/// is to stand for itself. A payload gets its checksum here, which no fuzzer guesses.
fn spelled(words: &[u8]) -> Bytes {
    let (mut out, mut args, mut last) = (BytesMut::new(), Vec::new(), Vec::new());
    let mut bytes = words.iter();
    loop {
        let next = bytes.next();
        match next {
            Some(b'\\') => last.extend(bytes.next()),
            Some(b' ') => args.push(std::mem::take(&mut last)),
            None | Some(b'\n') => {
                args.push(std::mem::take(&mut last));
                if args.len() > 3 && args[0].eq_ignore_ascii_case(b"RESTORE") {
                    let sum = checksum(CrcAlgorithm::Crc64Redis, &args[3]);
                    args[3].extend(sum.to_le_bytes());
                }
                let all: Vec<&[u8]> = args.iter().map(|arg| &arg[..]).collect();
                resp::command(&mut out, &all);
                args.clear();
            }
            Some(byte) => last.push(*byte),
        }
        if next.is_none() {
            return out.freeze();
        }
    }
}

/// The words for a stream's commands, without its head and trailer; the reverse of [`spelled`].
#[cfg(test)]
pub(super) fn spelling(stream: &Bytes) -> Vec<u8> {
    let mut commands = Vec::new();
    let read = async {
        let mut parser = Parser::new(finished(stream, ALL).await?);
        while let Next::Command(command) = parser.next().await? {
            let mut args: Vec<Vec<u8>> = command.args().map(<[u8]>::to_vec).collect();
            if args[0] == b"RESTORE" {
                let end = args[3].len() - 8;
                args[3].truncate(end);
            }
            let special = |byte: &u8| matches!(byte, b' ' | b'\n' | b'\\');
            let escaped = |byte: &u8| if special(byte) { vec![b'\\', *byte] } else { vec![*byte] };
            let words: Vec<Vec<u8>> = args.iter().map(|arg| arg.iter().flat_map(escaped).collect()).collect();
            commands.push(words.join(&b' '));
        }
        Ok::<_, Failure>(())
    };
    block_on(read).expect("a sound stream");
    commands.retain(|command| !command.starts_with(b"ECHO"));
    commands.join(&b'\n')
}

/// The stream that an input stands for, and the size of its pieces: by the input's first byte.
fn stream(data: &[u8]) -> Option<(u8, Bytes, usize)> {
    let (first, data) = data.split_first()?;
    let stream = if first & 1 == 0 { Bytes::copy_from_slice(data) } else { spelled(data) };
    Some((*first, stream, usize::from(first >> 4) * 16 + 1))
}

/// Verifies a stream.
pub fn contents(data: &[u8]) {
    let Some((first, stream, size)) = stream(data) else { return };
    let expiry = match first & 6 {
        0 => ExpiryIn::Exact,
        2 => ExpiryIn::Presence,
        _ => ExpiryIn::Ignore,
    };
    let headed = first & 8 != 0;
    let whole = found(&stream, ALL, ALL, expiry, headed);
    assert_eq!(whole, found(&stream, size, ALL, expiry, headed), "in pieces of {size}");
    let in_pieces = found(&stream, size, LITTLE, expiry, headed);
    if whole.is_ok() && in_pieces.is_ok() {
        assert_eq!(whole, in_pieces, "whole commands, and commands in pieces");
    }
}

/// Whether a restore takes a stream.
pub(super) fn restored(stream: &Bytes, whole: usize) -> Result<(), String> {
    let read = async {
        let mut reader = StreamReader::new(finished(stream, ALL).await?, false);
        reader.parser.keep_whole(whole);
        redis_restore::without_server(reader).await
    };
    block_on(read).map_err(|failure| failure.to_string())
}

/// What a restore refuses and `redis-verify` takes: names that only a restore has a use for, and a key that stands in two
/// places, of which only the first counts.
const REFUSED_BY_A_RESTORE: [&str; 2] =
    ["has a name that is reserved for restores", "follow, apart from those that it began with"];

/// What `redis-verify` refuses and a restore takes, for a server finds it out: what a value or a library of functions holds,
/// and whether commands fit the key.
const REFUSED_BY_VERIFY: [&str; 5] = [
    "taking apart the value of the key",
    "is of two types",
    "which was not written just before",
    "several libraries of functions in one payload",
    "a library of functions that does not begin with its engine and name",
];

/// Verifies a stream, and restores it into no server: either both take it, or both refuse it, but for what is listed.
pub fn agree(data: &[u8]) {
    let Some((_, stream, _)) = stream(data) else { return };
    for whole in [ALL, LITTLE] {
        match (found(&stream, ALL, whole, ExpiryIn::Ignore, false), restored(&stream, whole)) {
            (Ok(_), Err(refused)) => {
                let known = REFUSED_BY_A_RESTORE.iter().any(|known| refused.contains(known));
                assert!(known, "only a restore refuses it: {refused}");
            }
            (Err(refused), Ok(_)) => {
                let known = REFUSED_BY_VERIFY.iter().any(|known| refused.contains(known));
                assert!(known, "only `redis-verify` refuses it: {refused}");
            }
            _ => {}
        }
    }
}

/// A stream's group that stands there twice is handed on: names are not remembered, and a server refuses the second one.
const HANDED_ON: &str = "which do not stand together with those that made it";

/// Reads an RDB, and verifies the stream that is made of it. The native form hands values on as they stand, and libraries of
/// functions are, so in a file without a checksum damage inside them is only found here; what was taken apart must be whole.
pub fn written(data: &[u8]) {
    let Some((first, data)) = data.split_first() else { return };
    for form in [ValueForm::Native, ValueForm::Logical] {
        let Some(stream) = made(data, usize::from(*first) + 1, form) else { continue };
        let found = found(&stream, ALL, ALL, ExpiryIn::Exact, true);
        let taken = found.as_ref().map_or_else(|refused| refused.contains(HANDED_ON), |_| true);
        assert!(taken || form == ValueForm::Native, "{found:?}");
    }
}

/// The stream that is made of an RDB; nothing where it is refused.
pub(super) fn made(data: &[u8], size: usize, form: ValueForm) -> Option<Bytes> {
    let (writer, mut readers) = pipe(1, ALL, &StreamType::unknown(), None);
    let (mut reader, control) = readers.remove(0);
    let head: StreamHead = serde_json::from_str(r#"{"redis": "", "source": "rdb"}"#).ok()?;
    let options = Options { form, no_functions: form == ValueForm::Logical, ..Options::default() };
    let write = async {
        let write = async {
            let mut rdb = Rdb::begin(Pieces(Bytes::copy_from_slice(data), size)).await?;
            let mut out = Form::begin(writer, &head)?;
            let copied = copy(&mut rdb, &mut out, &options, None).await?;
            rdb.nothing_follows().await?;
            out.finish(copied.types, copied.functions).await.map(drop)
        };
        match write.await {
            Ok(()) => control.finish(),
            Err(failure) => control.break_off(failure),
        }
    };
    let read = async {
        let mut stream = BytesMut::new();
        while let Some(piece) = reader.read().await.ok()? {
            stream.extend_from_slice(&piece);
        }
        Some(stream.freeze())
    };
    block_on(join(write, read)).1
}
