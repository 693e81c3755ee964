//! One behaviour over all kinds of stores, each with a real server behind it.

mod append_only;
mod environment;
mod faithless;
mod large;
mod objects;
mod refusals;
mod repositories;
mod rig;
mod transport;
