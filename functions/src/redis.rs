//! What the Redis functions share: reaching a server, speaking RESP with it, and the form of a dump.
//!
//! Takes the connection params that each of them repeats. Gives connections on which requests are pipelined and replies
//! are read piece by piece. Always holds: nothing waits longer than the params allow or longer than the run lives, no
//! value is held whole unless it is small, and every refusal of a server ends as a [`Failure`] of a kind that fits it.
//!
//! [`Failure`]: aquifer_engine::failure::Failure

pub(crate) mod address;
pub(crate) mod asking;
pub(crate) mod big;
pub(crate) mod bloom;
pub(crate) mod census;
pub(crate) mod chunks;
pub(crate) mod cluster;
pub(crate) mod connection;
pub(crate) mod contents;
pub(crate) mod databases;
pub(crate) mod dial;
pub(crate) mod diff;
pub(crate) mod digest;
pub(crate) mod digest_big;
pub(crate) mod digest_stream;
pub(crate) mod elements;
pub(crate) mod expiry;
pub(crate) mod facts;
pub(crate) mod fields;
pub(crate) mod filter;
pub(crate) mod fleet;
pub(crate) mod form;
pub(crate) mod framing;
pub(crate) mod groups;
pub(crate) mod hashes;
pub(crate) mod hints;
pub(crate) mod large;
pub(crate) mod libraries;
pub(crate) mod lifetimes;
pub(crate) mod load;
pub(crate) mod look;
pub(crate) mod old;
pub(crate) mod outgoing;
pub(crate) mod pace;
pub(crate) mod parser;
pub(crate) mod parts;
pub(crate) mod passing;
pub(crate) mod refusal;
pub(crate) mod refused;
pub(crate) mod rename;
pub(crate) mod replicated;
pub(crate) mod replication;
pub(crate) mod replies;
pub(crate) mod resp;
pub(crate) mod rewrite;
pub(crate) mod role;
pub(crate) mod scan;
pub(crate) mod sentinel;
pub(crate) mod shapes;
pub(crate) mod shards;
pub(crate) mod slots;
pub(crate) mod stream_info;
pub(crate) mod streams;
pub(crate) mod tally;
pub(crate) mod target;
pub(crate) mod temporary;
pub(crate) mod tls;
pub(crate) mod topology;
pub(crate) mod trailer;
pub(crate) mod turns;
pub(crate) mod values;
pub(crate) mod view;
pub(crate) mod watched;
pub(crate) mod work;
