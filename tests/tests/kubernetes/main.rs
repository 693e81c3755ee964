//! The cluster and the node that other tests stand on: a real control plane, and pods that run as processes of this machine.
//!
//! `./test` without `all` builds no control plane, and leaves out what is in modules of this name.

mod on_a_cluster;
