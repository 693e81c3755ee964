//! Redis' own file format, read while it arrives: RDB files, what a replica is sent, and the payloads of `DUMP`.
//!
//! Takes bytes from a [`Source`](input::Source). Gives the commands of a dump ([`copy`]), or the parts of values one by
//! one to a [`Visitor`](visit::Visitor). Always holds: memory is bounded whatever a file holds; a length that is announced
//! allocates nothing; nothing recurses; each error says at which byte it stands; a file is whole only once its end mark
//! and its checksum were seen.

pub(crate) mod commands;
pub(crate) mod copy;
pub(crate) mod format;
pub(crate) mod input;
pub(crate) mod lzf;
pub(crate) mod packed;
pub(crate) mod payload;
pub(crate) mod pending;
pub(crate) mod reader;
pub(crate) mod said;
pub(crate) mod skim;
pub(crate) mod stream;
pub(crate) mod stream_commands;
pub(crate) mod text;
pub(crate) mod value;
pub(crate) mod visit;
