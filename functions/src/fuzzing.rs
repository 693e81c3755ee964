//! What the fuzz targets reach. No part of what this crate promises.
//!
//! Takes any bytes. Gives nothing: what goes wrong panics, hangs or grows.

use aquifer_engine::failure::Failure;
use aquifer_engine::pipe::{Writer, pipe};
use aquifer_engine::stream::StreamType;
use bytes::{Bytes, BytesMut};
use crc_fast::{CrcAlgorithm, checksum};
use futures::executor::block_on;

use crate::rdb::copy::{Options, ValueForm, copy};
use crate::rdb::input::Source;
use crate::rdb::payload::payload_to_logical;
use crate::rdb::reader::Rdb;
use crate::redis::read::framing::{Framing, Next as FramingNext};
use crate::redis::stream::form::{Form, StreamHead};
use crate::redis::stream::parser::{Next, Parser};
use crate::redis::wire::resp;

mod streams;

pub use streams::{agree, contents, written};

/// Bytes in pieces of one size.
struct Pieces(Bytes, usize);

impl Source for Pieces {
    async fn piece(&mut self) -> Result<Option<Bytes>, Failure> {
        let count = self.0.len().min(self.1);
        Ok(Some(self.0.split_to(count)).filter(|piece| !piece.is_empty()))
    }
}

/// A pipe that nobody reads.
fn nowhere() -> Writer {
    pipe(0, 1, &StreamType::unknown(), None).0
}

fn form() -> Option<Form> {
    let text = r#"{"redis": "", "source": "rdb"}"#;
    let head: StreamHead = serde_json::from_str(text).ok()?;
    Form::begin(nowhere(), &head).ok()
}

/// Reads an RDB, in both forms. The first byte says how it is cut into pieces.
pub fn rdb(data: &[u8]) {
    let Some((first, data)) = data.split_first() else { return };
    for value_form in [ValueForm::Native, ValueForm::Logical] {
        let source = Pieces(Bytes::copy_from_slice(data), usize::from(*first) + 1);
        let options = Options { form: value_form, ..Options::default() };
        // What an RDB is refused for is no business of this.
        drop(block_on(async {
            let mut rdb = Rdb::begin(source).await?;
            let Some(mut form) = form() else { return Ok(()) };
            let copied = copy(&mut rdb, &mut form, &options, None).await?;
            rdb.nothing_follows().await?;
            form.finish(copied.types, copied.functions).await.map(drop)
        }));
    }
}

/// Takes a payload of `DUMP` apart: the bytes without their checksum.
pub fn payload(data: &[u8]) {
    let mut payload = data.to_vec();
    payload.extend(checksum(CrcAlgorithm::Crc64Redis, data).to_le_bytes());
    if let Some(mut form) = form() {
        drop(block_on(payload_to_logical(&mut form, b"key", Bytes::from(payload), None, false)));
    }
}

/// Reads a stream of commands, and the heads of replies.
pub fn resp(data: &[u8]) {
    let Some((first, data)) = data.split_first() else { return };
    let (mut writer, mut readers) = pipe(1, data.len().max(1), &StreamType::unknown(), None);
    let (reader, control) = readers.remove(0);
    let read = async {
        for piece in data.chunks(usize::from(*first) * 16 + 1) {
            writer.write(Bytes::copy_from_slice(piece)).await?;
        }
        control.finish();
        let mut parser = Parser::new(reader);
        loop {
            match parser.next().await? {
                Next::Command(command) => assert!((0..command.len()).all(|at| command.arg(at).len() <= data.len())),
                Next::Large(_) => {
                    while let Some(mut left) = parser.argument().await? {
                        loop {
                            parser.piece(&mut left).await?;
                            if left == 0 {
                                break;
                            }
                        }
                    }
                }
                Next::End => break,
            }
        }
        assert_eq!(parser.offset(), data.len() as u64);
        Ok::<(), Failure>(())
    };
    drop(block_on(read));
    let mut replies = BytesMut::from(data);
    while let Ok(Some(_)) = resp::head(&mut replies) {}
}

/// Takes the frame off what a server sends to a replica.
pub fn psync(data: &[u8]) {
    let Some((first, data)) = data.split_first() else { return };
    let mut input = BytesMut::new();
    let (mut framing, mut taken, mut announced) = (None, 0, 0);
    for piece in data.chunks(usize::from(*first) + 1) {
        input.extend_from_slice(piece);
        if framing.is_none() {
            let before = input.len();
            let Ok(found) = Framing::announced(&mut input) else { return };
            announced += before - input.len();
            framing = found;
        }
        let Some(framing) = &mut framing else { continue };
        loop {
            match framing.next(&mut input) {
                FramingNext::Piece(piece) => taken += piece.len(),
                FramingNext::More => break,
                FramingNext::End => {
                    assert!(announced + taken <= data.len());
                    return;
                }
            }
        }
    }
    assert!(announced + taken + input.len() == data.len());
}

#[cfg(test)]
mod tests;
