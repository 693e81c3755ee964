//! The operator, as its own program and with the rights of its manifests and no other, on a real control plane; its pods are run by our node.

mod bad_days;
mod blueprint;
pub(super) mod guide;
mod hooks;
mod kills;
mod measures;
mod own_tasks;
mod replaced;
pub(super) mod rig;
mod shards;
mod trust;
