//! Computes a stream's digest on its way, and holds it against an expected one.
//!
//! Takes any bytes; passes them on unchanged where somebody reads them. Always holds: success means that the digest is
//! that of the whole stream and, where one was expected, equal to it; so whoever reads behind a digest that differs
//! never sees the stream end well.

use aquifer_engine::failure::Failure;
use aquifer_engine::function::{Call, Function, ParamError};
use aquifer_engine::ports::Tap;
use aquifer_engine::stream::Streams;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::Digest;
use tokio::runtime::Handle;

use crate::codec::blocking;

/// `checksum`.
#[derive(Debug, Clone, Copy)]
pub struct Checksum;

/// A digest's algorithm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Algorithm {
    /// SHA-256 (FIPS 180-4), as `sha256sum` has it.
    Sha256,
    /// SHA-512 (FIPS 180-4), as `sha512sum` has it.
    Sha512,
}

/// Its params.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ChecksumParams {
    /// The algorithm: `sha256` or `sha512`.
    #[serde(default = "sha256")]
    pub algorithm: Algorithm,
    /// The digest that the stream must have, in hexadecimal; the step fails where it has another.
    #[serde(default)]
    pub expect: Option<String>,
}

fn sha256() -> Algorithm {
    Algorithm::Sha256
}

/// What it gives to later steps.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ChecksumOutputs {
    /// The digest, in lower-case hexadecimal.
    pub digest: String,
    /// The algorithm it was computed with.
    pub algorithm: Algorithm,
    /// How many bytes the stream had.
    pub bytes: u64,
}

impl Function for Checksum {
    const NAME: &'static str = "checksum";
    const SUMMARY: &'static str =
        "Compute a stream's SHA-256 or SHA-512 on its way, and check it against an expected one.";
    const REPEAT: &'static str = "Gives the same digest again for the same input.";
    type Params = ChecksumParams;
    type Ports = Tap;
    type Outputs = ChecksumOutputs;

    fn streams(_: Option<&ChecksumParams>) -> Streams {
        Streams::ANY
    }

    fn check(params: &ChecksumParams) -> Result<(), ParamError> {
        let Some(expect) = &params.expect else { return Ok(()) };
        let digits = match params.algorithm {
            Algorithm::Sha256 => 64,
            Algorithm::Sha512 => 128,
        };
        if expect.len() == digits && expect.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Ok(());
        }
        Err(ParamError::new("expect", format!("`{expect}` is no digest of this algorithm"))
            .with_help(format!("write {digits} hexadecimal digits")))
    }

    async fn run(&self, params: ChecksumParams, ports: Tap, _: &Call) -> Result<ChecksumOutputs, Failure> {
        let (algorithm, expect) = (params.algorithm, params.expect);
        let (digest, bytes) = match algorithm {
            Algorithm::Sha256 => digest::<sha2::Sha256>(ports).await?,
            Algorithm::Sha512 => digest::<sha2::Sha512>(ports).await?,
        };
        if let Some(expect) = expect.filter(|expect| !expect.eq_ignore_ascii_case(&digest)) {
            return Err(Failure::corrupt(format!("the stream's digest is `{digest}`, and `{expect}` was expected"))
                .with_help("the data is not what it was when the expected digest was computed, or the digest is of another stream"));
        }
        Ok(ChecksumOutputs { digest, algorithm, bytes })
    }
}

async fn digest<D: Digest + Send + 'static>(ports: Tap) -> Result<(String, u64), Failure> {
    let runtime = Handle::current();
    blocking(move || {
        let mut input = ports.stdin.blocking(runtime.clone());
        let mut output = ports.stdout.map(|stdout| stdout.blocking(runtime));
        let mut digest = D::new();
        let mut bytes = 0;
        while let Some(chunk) = input.read_chunk()? {
            digest.update(&chunk);
            bytes += chunk.len() as u64;
            if let Some(output) = &mut output {
                output.write_chunk(chunk)?;
            }
        }
        Ok((hex::encode(digest.finalize()), bytes))
    })
    .await
}
