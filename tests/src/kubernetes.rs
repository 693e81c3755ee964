//! A real control plane of Kubernetes, nodes that run pods as processes of this machine, and real ones.
//!
//! Takes nothing but what `./test all` installs. Runs as root, for pods see mounts of their own.
//!
//! What is wrong with the rig panics: it is for tests alone.

mod certificates;
pub mod cluster;
mod guard;
pub mod node;
mod real_node;
pub mod wait;

pub use cluster::Cluster;
pub use node::{Image, Node, NodeOptions};
pub use real_node::RealNode;
