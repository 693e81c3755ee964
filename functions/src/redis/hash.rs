//! Values told as numbers: the digest of a keyspace, the same from a server and from a stream, and what differs between two.

pub(crate) mod big;
pub(crate) mod contents;
pub(crate) mod diff;
pub(crate) mod elements;
pub(crate) mod hashes;
pub(crate) mod recent;
pub(crate) mod small;
pub(crate) mod streams;
