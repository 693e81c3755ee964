//! Aquifer in Kubernetes' terms.
//!
//! Takes the manifests that users of Stash have; gives what the engine plans from. In the data's order: `manifests` (files to
//! resources), `resources` (the kinds), `session` (resources to a task and its params) with its `hooks`; `crds` is
//! the kinds as an API server is told of them; `cluster` is the operator, `overview` how its work stands,
//! and `migrate` what stands in the way of who comes from Stash. Always holds: nothing here moves a byte of a
//! backup, and what a manifest says is done or refused, never left out in silence.

pub mod cluster;
pub mod crds;
pub mod hooks;
pub mod manifests;
pub mod migrate;
pub mod outcome;
pub mod overview;
pub mod resources;
pub mod session;

mod advice;
mod amounts;
mod flags;
mod guarded;
mod substitute;
