//! Slows a stream down to a rate.
//!
//! Takes any bytes; passes them on unchanged, in small even pieces. Always holds: the bytes handed on by any moment are
//! no more than the rate allows for the time since the start, and a stream that waited for its input catches up by no
//! more than a tenth of a second's worth.

use std::time::Duration;

use aquifer_engine::failure::Failure;
use aquifer_engine::function::{Call, Function, ParamError};
use aquifer_engine::ports::Transform;
use aquifer_engine::stream::Streams;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep_until};

use crate::units::Size;

/// How much of a pause may be caught up.
const BURST: Duration = Duration::from_millis(100);

/// The largest piece handed on at once; also never more than a twentieth of a second's worth.
const PIECE_MAX: u64 = 1 << 20;

/// `throttle`.
#[derive(Debug, Clone, Copy)]
pub struct Throttle;

/// Its params.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ThrottleParams {
    /// The most bytes per second, such as `10MiB`.
    pub rate: Size,
}

/// What it gives to later steps.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ThrottleOutputs {
    /// How many bytes went through.
    pub bytes: u64,
}

impl Function for Throttle {
    const NAME: &'static str = "throttle";
    const SUMMARY: &'static str = "Slow a stream down to a number of bytes per second.";
    const REPEAT: &'static str = "Gives the same bytes again for the same input.";
    type Params = ThrottleParams;
    type Ports = Transform;
    type Outputs = ThrottleOutputs;

    fn streams(_: Option<&ThrottleParams>) -> Streams {
        Streams::ANY
    }

    fn check(params: &ThrottleParams) -> Result<(), ParamError> {
        if params.rate.0 > 0 {
            return Ok(());
        }
        Err(ParamError::new("rate", "nothing would ever get through at 0 bytes per second")
            .with_help("leave the step out for no limit"))
    }

    async fn run(&self, params: ThrottleParams, ports: Transform, call: &Call) -> Result<ThrottleOutputs, Failure> {
        let Transform { mut stdin, mut stdout } = ports;
        let rate = params.rate.0;
        let piece = usize::try_from((rate / 20).clamp(1, PIECE_MAX)).unwrap_or(1);
        let mut bytes = 0;
        // The moment up to which the rate is used up.
        let mut due = Instant::now();
        while let Some(mut chunk) = stdin.read().await? {
            while !chunk.is_empty() {
                let part = chunk.split_to(piece.min(chunk.len()));
                if let Some(earliest) = Instant::now().checked_sub(BURST) {
                    due = due.max(earliest);
                }
                #[expect(clippy::cast_precision_loss, reason = "a rate needs no more than 52 bits of precision")]
                let cost = Duration::from_secs_f64(part.len() as f64 / rate as f64);
                due += cost;
                call.or_cancelled(sleep_until(due)).await?;
                bytes += part.len() as u64;
                stdout.write(part).await?;
            }
        }
        Ok(ThrottleOutputs { bytes })
    }
}
