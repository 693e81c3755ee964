//! Compresses a stream: zstd, gzip or lz4.
//!
//! Takes any bytes; gives them in one frame of the chosen format. Always holds: the frame carries a checksum of its
//! content, so that `decompress` and the format's own tools notice damage; memory does not grow with the stream.

use std::io::{self, Write};

use aquifer_engine::failure::Failure;
use aquifer_engine::function::{Call, Function, ParamError};
use aquifer_engine::pipe::BlockingReader;
use aquifer_engine::ports::Transform;
use aquifer_engine::stream::{Accepts, Produces, StreamType, Streams};
use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;

use crate::codec::{Format, Output, blocking};

/// `compress`.
#[derive(Debug, Clone, Copy)]
pub struct Compress;

/// Its params.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CompressParams {
    /// The format: `zstd`, `gzip` or `lz4`.
    #[serde(default = "zstd")]
    pub format: Format,
    /// How hard to try: 1 to 22 for zstd (3 unless said; above 19 it needs much memory), 1 to 9 for gzip (6 unless said).
    /// lz4 has no levels.
    #[serde(default)]
    pub level: Option<i32>,
}

fn zstd() -> Format {
    Format::Zstd
}

/// What it gives to later steps.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CompressOutputs {
    /// How many bytes it read.
    pub bytes_in: u64,
    /// How many bytes it wrote.
    pub bytes_out: u64,
}

impl Function for Compress {
    const NAME: &'static str = "compress";
    const SUMMARY: &'static str = "Compress a stream with zstd, gzip or lz4.";
    const REPEAT: &'static str = "Gives the same bytes again for the same input.";
    type Params = CompressParams;
    type Ports = Transform;
    type Outputs = CompressOutputs;

    fn streams(params: Option<&CompressParams>) -> Streams {
        let stdout = match params {
            Some(params) => Produces::Adds(params.format.name()),
            None => Produces::Exactly(StreamType::unknown()),
        };
        Streams { stdin: Accepts::Any, stdout }
    }

    fn check(params: &CompressParams) -> Result<(), ParamError> {
        let Some(level) = params.level else { return Ok(()) };
        let most = match params.format {
            Format::Zstd => 22,
            Format::Gzip => 9,
            Format::Lz4 => {
                return Err(ParamError::new("level", "`lz4` has no levels")
                    .with_help("leave `level` out, or choose `format: zstd`"));
            }
        };
        if (1..=most).contains(&level) {
            return Ok(());
        }
        Err(ParamError::new("level", format!("`{level}` is no level of {}", params.format.name()))
            .with_help(format!("write a number from 1 to {most}")))
    }

    async fn run(&self, params: CompressParams, ports: Transform, _: &Call) -> Result<CompressOutputs, Failure> {
        let runtime = Handle::current();
        blocking(move || {
            let mut input = ports.stdin.blocking(runtime.clone());
            let mut output = Output::new(ports.stdout.blocking(runtime));
            let bytes_in = encode(&params, &mut input, &mut output)?;
            Ok(CompressOutputs { bytes_in, bytes_out: output.end()? })
        })
        .await
    }
}

fn encode(params: &CompressParams, input: &mut BlockingReader, output: &mut Output) -> Result<u64, Failure> {
    let failed = |error: io::Error| Failure::from_io(error, "compressing");
    match params.format {
        Format::Zstd => {
            let mut encoder = zstd::stream::write::Encoder::new(output, params.level.unwrap_or(3)).map_err(failed)?;
            encoder.include_checksum(true).map_err(failed)?;
            let bytes = feed(input, &mut encoder)?;
            encoder.finish().map_err(failed)?;
            Ok(bytes)
        }
        Format::Gzip => {
            let level = params.level.and_then(|level| u32::try_from(level).ok()).unwrap_or(6);
            let mut encoder = flate2::write::GzEncoder::new(output, flate2::Compression::new(level));
            let bytes = feed(input, &mut encoder)?;
            encoder.finish().map_err(failed)?;
            Ok(bytes)
        }
        Format::Lz4 => {
            let frame =
                FrameInfo::new().block_size(BlockSize::Max1MB).block_mode(BlockMode::Linked).content_checksum(true);
            let mut encoder = FrameEncoder::with_frame_info(frame, output);
            let bytes = feed(input, &mut encoder)?;
            encoder.finish().map_err(|error| failed(error.into()))?;
            Ok(bytes)
        }
    }
}

/// Gives an encoder the whole input, without a copy in between.
fn feed(input: &mut BlockingReader, encoder: &mut impl Write) -> Result<u64, Failure> {
    let mut bytes = 0;
    while let Some(chunk) = input.read_chunk()? {
        encoder.write_all(&chunk).map_err(|error| Failure::from_io(error, "compressing"))?;
        bytes += chunk.len() as u64;
    }
    Ok(bytes)
}
