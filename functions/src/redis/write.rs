//! A stream into servers: what becomes of its keys on the way, and what the servers answer.

pub(crate) mod expiries;
pub(crate) mod fleet;
pub(crate) mod libraries;
pub(crate) mod load;
pub(crate) mod long;
pub(crate) mod look;
pub(crate) mod old;
pub(crate) mod parts;
pub(crate) mod refused;
pub(crate) mod replies;
pub(crate) mod rewrite;
pub(crate) mod routes;
pub(crate) mod temporary;
pub(crate) mod together;
pub(crate) mod values;
