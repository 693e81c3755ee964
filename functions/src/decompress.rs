//! Takes compression off a stream: zstd, gzip or lz4.
//!
//! Takes frames or members of one format, one after the other; gives their content. Always holds: an input that is cut
//! off inside a frame or member, damaged, followed by other bytes, or empty is a `corrupt` failure and never a short success.
//! Of an input of several frames that is cut exactly between two of them nobody can tell: the formats do not say how many
//! there are (`compress` writes one; `checksum`, `encrypt` or the data's own end mark tell). Memory stays
//! bounded whatever the input claims: zstd windows above 128 MiB (`--long=28` and more) are refused, as `zstd -d`
//! refuses them by default, and content is handed on as it comes, so that a small input with huge content is only a long stream.

use std::io::{self, Read};

use aquifer_engine::failure::Failure;
use aquifer_engine::function::{Call, Function};
use aquifer_engine::ports::Transform;
use aquifer_engine::stream::{Accepts, Produces, Streams};
use lz4_flex::frame::FrameDecoder;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;

use crate::codec::{Format, Input, Output, blocking, copy};

/// The largest zstd window that is accepted, as a power of two: the default of zstd's own tool.
const WINDOW_LOG_MAX: u32 = 27;

/// `decompress`.
#[derive(Debug, Clone, Copy)]
pub struct Decompress;

/// The format to expect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Expected {
    /// Whatever the first bytes say.
    Auto,
    /// Zstandard frames.
    Zstd,
    /// gzip members.
    Gzip,
    /// LZ4 frames.
    Lz4,
}

impl Expected {
    fn format(self) -> Option<Format> {
        match self {
            Self::Auto => None,
            Self::Zstd => Some(Format::Zstd),
            Self::Gzip => Some(Format::Gzip),
            Self::Lz4 => Some(Format::Lz4),
        }
    }
}

/// Its params.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DecompressParams {
    /// The format to expect: `auto` (told from the first bytes), `zstd`, `gzip` or `lz4`.
    #[serde(default = "auto")]
    pub format: Expected,
}

fn auto() -> Expected {
    Expected::Auto
}

/// What it gives to later steps.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DecompressOutputs {
    /// The format that it found.
    pub format: Format,
    /// How many bytes it read.
    pub bytes_in: u64,
    /// How many bytes it wrote.
    pub bytes_out: u64,
}

impl Function for Decompress {
    const NAME: &'static str = "decompress";
    const SUMMARY: &'static str = "Take zstd, gzip or lz4 compression off a stream.";
    const REPEAT: &'static str = "Gives the same bytes again for the same input.";
    type Params = DecompressParams;
    type Ports = Transform;
    type Outputs = DecompressOutputs;

    fn streams(params: Option<&DecompressParams>) -> Streams {
        let wraps = match params.and_then(|params| params.format.format()) {
            Some(format) => vec![format.name()],
            None => Format::ALL.iter().map(|format| format.name()).collect(),
        };
        Streams { stdin: Accepts::Wrapped(wraps), stdout: Produces::TakesOff }
    }

    async fn run(&self, params: DecompressParams, ports: Transform, _: &Call) -> Result<DecompressOutputs, Failure> {
        let runtime = Handle::current();
        blocking(move || {
            let mut input = Input::new(ports.stdin.blocking(runtime.clone()));
            let mut output = Output::new(ports.stdout.blocking(runtime));
            let format = recognise(params.format.format(), &mut input)?;
            match format {
                Format::Zstd => zstd(&mut input, &mut output)?,
                Format::Gzip => {
                    copy(&mut flate2::bufread::MultiGzDecoder::new(&mut input), &mut output, "reading gzip")?;
                }
                Format::Lz4 => lz4(&mut input, &mut output)?,
            }
            if !input.is_at_end()? {
                return Err(Failure::corrupt(format!(
                    "bytes that are no {} follow the compressed stream",
                    format.name()
                )));
            }
            Ok(DecompressOutputs { format, bytes_in: input.taken(), bytes_out: output.end()? })
        })
        .await
    }
}

/// Which format the stream has, by its first bytes.
fn recognise(expected: Option<Format>, input: &mut Input) -> Result<Format, Failure> {
    let head = input.peek(4)?;
    if head.is_empty() {
        return Err(Failure::corrupt("the stream is empty, and a compressed stream never is")
            .with_help("look at what wrote it: even nothing, compressed, has a header"));
    }
    match (Format::of(head), expected) {
        (Some(found), None) => Ok(found),
        (Some(found), Some(expected)) if found == expected => Ok(found),
        (Some(found), Some(expected)) => {
            Err(Failure::corrupt(format!("the stream is {} and not {}", found.name(), expected.name()))
                .with_help(format!("write `format: {}`, or `format: auto`", found.name())))
        }
        (None, Some(expected)) => Err(Failure::corrupt(format!("the stream is no {}", expected.name()))),
        (None, None) => Err(Failure::corrupt("the stream is neither zstd, gzip nor lz4").with_help(
            "if it is encrypted, put a `decrypt` step in front; if it is not compressed, leave this step out",
        )),
    }
}

fn zstd(input: &mut Input, output: &mut Output) -> Result<(), Failure> {
    let failed = |error| Failure::from_io(error, "starting the zstd decoder");
    let mut decoder = zstd::stream::read::Decoder::with_buffer(input).map_err(failed)?;
    decoder.window_log_max(WINDOW_LOG_MAX).map_err(failed)?;
    copy(&mut decoder, output, "reading zstd")
}

/// Decodes frames until the input ends, each with a decoder of its own: one that goes on to a frame with other blocks
/// trips over its own assertions (`lz4_flex` 0.14).
///
/// The decoder takes an input that ends between two blocks for the end of the frame, so its reader here ends in an error.
/// It says the same (no more bytes) at the end mark and at a block without content, which no encoder writes; so each
/// frame's end is probed with bytes that are neither: between two frames they are a wrong magic number, inside one they
/// are the size of a far too large block.
fn lz4(input: &mut Input, output: &mut Output) -> Result<(), Failure> {
    while !input.is_at_end()? {
        let mut decoder = FrameDecoder::new(Endless { input, probing: false });
        copy(&mut decoder, output, "reading lz4")?;
        decoder.get_mut().probing = true;
        let answer = decoder.read(&mut [0]).err().and_then(io::Error::into_inner);
        let answer = answer.as_ref().and_then(|error| error.downcast_ref::<lz4_flex::frame::Error>());
        if !matches!(answer, Some(lz4_flex::frame::Error::WrongMagicNumber)) {
            return Err(Failure::corrupt("reading lz4: a block has no content"));
        }
    }
    Ok(())
}

/// An input whose end is an error, or bytes that begin nothing.
struct Endless<'i> {
    input: &'i mut Input,
    probing: bool,
}

impl Read for Endless<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.probing {
            buffer.fill(0xff);
            return Ok(buffer.len());
        }
        let count = self.input.read(buffer)?;
        if count == 0 && !buffer.is_empty() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the stream is cut off"));
        }
        Ok(count)
    }
}
