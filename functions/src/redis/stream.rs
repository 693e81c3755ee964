//! The stream that a dump is: written, taken apart, and held to what its trailer promises.

pub(crate) mod arguments;
pub(crate) mod census;
pub(crate) mod command;
pub(crate) mod entries;
pub(crate) mod form;
pub(crate) mod joined;
pub(crate) mod long;
pub(crate) mod parser;
pub(crate) mod reader;
pub(crate) mod statement;
pub(crate) mod streams;
pub(crate) mod trailer;
pub(crate) mod wrong;
