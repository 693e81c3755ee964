//! A server and what it says: reaching one, speaking RESP with it, what its errors and its `INFO` mean.

pub(crate) mod address;
pub(crate) mod connection;
pub(crate) mod cursors;
pub(crate) mod dial;
pub(crate) mod expiry;
pub(crate) mod facts;
pub(crate) mod hints;
pub(crate) mod incoming;
pub(crate) mod outgoing;
pub(crate) mod refusal;
pub(crate) mod reply;
pub(crate) mod resp;
pub(crate) mod role;
pub(crate) mod target;
pub(crate) mod tls;
