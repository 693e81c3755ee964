//! The stream that a dump is: written, taken apart, and held to what its trailer promises.

pub(crate) mod census;
pub(crate) mod form;
pub(crate) mod parser;
pub(crate) mod streams;
pub(crate) mod trailer;
pub(crate) mod wrong;
