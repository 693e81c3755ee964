//! A real control plane of Kubernetes, and nodes that run pods as processes of this machine.
//!
//! Takes nothing but what `./test all` installs; containers are no part of it. Runs as root, for pods see mounts of their own.
//!
//! What is wrong with the rig panics: it is for tests alone.

mod certificates;
pub mod cluster;
mod guard;
pub mod node;
pub mod wait;

pub use cluster::Cluster;
pub use node::{Image, Node, NodeOptions};
