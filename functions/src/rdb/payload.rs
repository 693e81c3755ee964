//! The payload of `DUMP` and `RESTORE`, taken apart.
//!
//! A payload is the number of a type, a value as in an RDB, two bytes of a version and the CRC-64 of all that.

use aquifer_engine::failure::Failure;
use bytes::Bytes;
use crc_fast::{CrcAlgorithm, Digest, checksum};

use super::commands::Commands;
use super::format::{Layout, VALKEY};
use super::input::{Input, wrong};
use super::value::Values;
use super::visit::Visitor;
use crate::redis::stream::form::Form;
use crate::redis::wire::resp::show;

/// What a payload is called in messages.
const NAME: &str = "the payload";

/// What stands behind the value.
const FOOTER: usize = 10;

/// The checksum of a payload that passes piece by piece.
#[derive(Debug)]
pub(crate) struct Passing {
    digest: Digest,
    /// How many bytes in front of the checksum are still to come.
    left: u64,
    sum: Vec<u8>,
}

impl Passing {
    /// Of a payload of this length.
    pub(crate) fn new(length: u64) -> Self {
        Self { digest: Digest::new(CrcAlgorithm::Crc64Redis), left: length.saturating_sub(8), sum: Vec::new() }
    }

    /// The next piece.
    pub(crate) fn pass(&mut self, piece: &[u8]) {
        let (body, sum) = piece.split_at(piece.len().min(usize::try_from(self.left).unwrap_or(usize::MAX)));
        self.digest.update(body);
        self.left -= body.len() as u64;
        self.sum.extend_from_slice(sum);
    }

    /// Whether the checksum at the end fits.
    pub(crate) fn fits(&self) -> bool {
        self.left == 0 && self.sum == self.digest.finalize().to_le_bytes()
    }
}

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
    if sum != checksum(CrcAlgorithm::Crc64Redis, body) {
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
/// many pending entries of a stream cannot be made again. `no_consumers`: the server that was read is older than 6.2.
///
/// # Errors
/// The payload is damaged, or a module's, or nobody reads any more.
pub(crate) async fn payload_to_logical(
    form: &mut Form,
    key: &[u8],
    payload: Bytes,
    expires: Option<u64>,
    no_consumers: bool,
) -> Result<(bool, u64), Failure> {
    let layout = layout(&payload)?;
    let timed =
        matches!(layout, Layout::HashExpiring { .. } | Layout::HashListpackExpiring { .. } | Layout::HashValkey);
    let mut commands = Commands::new(form, key, layout.kind(), timed, expires);
    commands.stream.no_consumers = no_consumers;
    tell(payload, &mut commands)
        .await
        .map_err(|failure| failure.during(format_args!("taking apart the value of the key {}", show(key))))?;
    let written = commands.end().await?;
    Ok((written, commands.stream.lost))
}

#[cfg(test)]
mod tests {
    use super::super::visit::{Role, Stream};
    use super::*;

    #[derive(Default)]
    struct Heard(Vec<String>);

    impl Visitor for Heard {
        async fn text(&mut self, role: Role, length: u64) -> Result<(), Failure> {
            self.0.push(format!("{role:?} {length} "));
            Ok(())
        }

        async fn piece(&mut self, piece: &[u8]) -> Result<(), Failure> {
            let text = piece.escape_ascii().to_string();
            self.0.last_mut().expect("a text was announced").push_str(&text);
            Ok(())
        }

        async fn score(&mut self, score: f64) -> Result<(), Failure> {
            self.0.push(format!("score {score}"));
            Ok(())
        }

        async fn expires(&mut self, at: Option<u64>) -> Result<(), Failure> {
            self.0.push(format!("expires {at:?}"));
            Ok(())
        }

        async fn stream(&mut self, _: Stream<'_>) -> Result<(), Failure> {
            Ok(())
        }
    }

    fn payload(value: &[u8], version: u8) -> Vec<u8> {
        let mut payload = [value, &[version, 0]].concat();
        payload.extend(checksum(CrcAlgorithm::Crc64Redis, &payload).to_le_bytes());
        payload
    }

    async fn heard(payload: Vec<u8>) -> Result<Vec<String>, Failure> {
        let mut heard = Heard::default();
        tell(Bytes::from(payload), &mut heard).await?;
        Ok(heard.0)
    }

    #[tokio::test]
    async fn the_parts_of_a_payload_are_told() {
        let zset = heard(payload(b"\x05\x01\x01a\x00\x00\x00\x00\x00\x00\xf8\x3f", 8)).await.expect("sound");
        assert_eq!(zset, ["Member 1 a", "score 1.5"]);
        assert_eq!(heard(payload(b"\x00\xc0\xfe", 6)).await.expect("sound"), ["Whole 2 -2"]);
        // The same number of a type, in Valkey and in Redis.
        let ttl = b"\xff\xff\xff\xff\xff\xff\xff\xff";
        let hash = heard(payload(&[&b"\x16\x01\x01f\x01v"[..], ttl].concat(), 80)).await.expect("sound");
        assert_eq!(hash, ["Field 1 f", "Value 1 v", "expires None"]);
        let hash = heard(payload(b"\x16\x01\x05\x01f\x01v", 12)).await.expect("sound");
        assert_eq!(hash, ["Field 1 f", "Value 1 v", "expires Some(5)"]);
    }

    #[tokio::test]
    async fn an_altered_payload_is_an_error() {
        let sound = payload(b"\x05\x01\x01a\x00\x00\x00\x00\x00\x00\xf8\x3f", 8);
        for at in 0..sound.len() {
            let mut altered = sound.clone();
            altered[at] ^= 1;
            assert!(heard(altered).await.is_err(), "{at}");
            assert!(heard(sound[..at].to_vec()).await.is_err(), "{at}");
        }
        for value in [&b"\x05\x01"[..], b"\x00\x01ab", b"\x07\x01\x00", b"\x63", b""] {
            assert!(heard(payload(value, 8)).await.is_err(), "{}", value.escape_ascii());
        }
    }
}
