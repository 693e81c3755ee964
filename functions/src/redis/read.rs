//! Data out of a server: by scan and by replication, into the stream.

pub(crate) mod asking;
pub(crate) mod big;
pub(crate) mod chunks;
pub(crate) mod fields;
pub(crate) mod framing;
pub(crate) mod groups;
pub(crate) mod guard;
pub(crate) mod libraries;
mod names;
pub(crate) mod pace;
pub(crate) mod passing;
pub(crate) mod ranked;
pub(crate) mod replicated;
pub(crate) mod replication;
pub(crate) mod scan;
mod seen;
pub(crate) mod shapes;
pub(crate) mod shards;
pub(crate) mod sorted;
pub(crate) mod stream_info;
pub(crate) mod streams;
pub(crate) mod turns;
pub(crate) mod values;
pub(crate) mod watched;
pub(crate) mod which;
pub(crate) mod work;
pub(crate) mod written;
