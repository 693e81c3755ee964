//! What the Redis functions share: reaching a server, speaking RESP with it, and the form of a dump.
//!
//! Takes the connection params that each of them repeats. Gives connections on which requests are pipelined and replies
//! are read piece by piece. Always holds: nothing waits longer than the params allow or longer than the run lives, no
//! value is held whole unless it is small, and every refusal of a server ends as a [`Failure`] of a kind that fits it;
//! imports go from each of these rooms to those above it only.
//!
//! [`Failure`]: aquifer_engine::failure::Failure

pub(crate) mod wire;

pub(crate) mod keys;

pub(crate) mod topology;

pub(crate) mod stream;

pub(crate) mod read;

pub(crate) mod write;

pub(crate) mod hash;
