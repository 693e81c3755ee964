//! What is said of keys whatever server they are of: types, names, databases, lifetimes. Knows of no stream and asks no server; what kind of server it is may matter.

pub(crate) mod bloom;
pub(crate) mod databases;
pub(crate) mod digest;
pub(crate) mod filter;
pub(crate) mod lifetimes;
pub(crate) mod name_hash;
pub(crate) mod remembered;
pub(crate) mod rename;
pub(crate) mod reserved;
pub(crate) mod tally;
