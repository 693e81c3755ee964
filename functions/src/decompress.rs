//! Takes compression off a stream: zstd, gzip or lz4.
//!
//! Takes frames or members of one format, one after the other; gives their content. Always holds: an input that is cut
//! off, damaged, followed by other bytes, or empty is a `corrupt` failure and never a short success. Memory stays
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

use crate::codec::{Format, Input, Output, blocking, copy, damaged};

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

/// A whole, empty LZ4 frame: magic number, flags (version 1, independent blocks), block size, header checksum, end mark.
const EMPTY_LZ4_FRAME: &[u8] = &[0x04, 0x22, 0x4d, 0x18, 0x60, 0x40, 0x82, 0, 0, 0, 0];

/// Decodes frames until the input ends.
///
/// `lz4_flex` takes an input that ends between two blocks for the end of the frame. So its reader here ends in an error;
/// and once the input has ended where the decoder says that a frame has, the decoder is given one more, empty, frame: it
/// reads that if it was between two frames, and takes its magic number for the size of a far too large block if it was not.
fn lz4(input: &mut Input, output: &mut Output) -> Result<(), Failure> {
    let mut decoder = FrameDecoder::new(Endless { input, probe: None });
    loop {
        copy(&mut decoder, output, "reading lz4")?;
        if decoder.get_mut().input.is_at_end()? {
            break;
        }
    }
    decoder.get_mut().probe = Some(EMPTY_LZ4_FRAME);
    match decoder.read(&mut [0]) {
        Ok(0) if decoder.get_ref().probe.is_some_and(<[u8]>::is_empty) => Ok(()),
        Ok(_) => Err(Failure::corrupt("reading lz4: the last frame is cut off")),
        Err(error) => Err(damaged(error, "reading lz4: the last frame is cut off")),
    }
}

/// An input whose end is an error, and which may be given a last frame.
struct Endless<'i> {
    input: &'i mut Input,
    probe: Option<&'static [u8]>,
}

impl Read for Endless<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = match &mut self.probe {
            Some(probe) => probe.read(buffer)?,
            None => self.input.read(buffer)?,
        };
        if count == 0 && !buffer.is_empty() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the stream is cut off"));
        }
        Ok(count)
    }
}
