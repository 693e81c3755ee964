//! Small things that many functions have in common.
//!
//! Gives defaults of params that serde asks for by name, and how often progress is noted. Always holds: nothing here knows any
//! function.

use std::time::Duration;

/// How often progress is noted.
pub(crate) const NOTE_EVERY: Duration = Duration::from_millis(250);

/// What is true unless said.
pub(crate) fn yes() -> bool {
    true
}
