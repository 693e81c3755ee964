//! Which servers a function talks to, and which of them has a key: sentinels, clusters, slots.

pub(crate) mod cluster;
pub(crate) mod sentinel;
pub(crate) mod servers;
pub(crate) mod slots;
pub(crate) mod view;
