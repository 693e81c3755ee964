//! Streams for tests, and what must come of those that are refused.
//!
//! Takes lengths and seeds, gives bytes that are always the same for them.

use aquifer_engine::alone::Input;
use aquifer_engine::failure::{Failure, FailureKind};
use bytes::Bytes;
use serde_json::Value;

/// Bytes that repeat nowhere and do not compress, by a xorshift generator.
pub fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2).wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// Such bytes, always the same ones.
pub fn sample(length: usize) -> Vec<u8> {
    noise(length, 0)
}

/// Pieces of an odd size, so that nothing depends on where they are cut.
pub fn chunks(bytes: &[u8]) -> Vec<Bytes> {
    bytes.chunks(100_003).map(Bytes::copy_from_slice).collect()
}

/// A stream that is finished, in such pieces.
pub fn pieces(bytes: &[u8]) -> Input {
    Input::Finished(chunks(bytes))
}

/// A failure must be of this kind and say this, and no secret of the tests.
///
/// # Panics
/// It is another one, or none.
pub fn refused(result: &Result<Value, Failure>, kind: FailureKind, says: &str) {
    let failure = result.as_ref().expect_err(says);
    let all =
        format!("{} {} {}", failure.message, failure.help.as_deref().unwrap_or_default(), failure.causes.join(" "));
    assert_eq!(failure.kind, kind, "{failure:?}");
    assert!(all.contains(says), "{says}: {failure:?}");
    assert!(!all.contains("hunter2"), "{failure:?}");
}
