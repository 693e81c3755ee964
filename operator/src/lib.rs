//! Aquifer in Kubernetes' terms.
//!
//! Takes the manifests that users of Stash have; gives what the engine plans from. In the data's order: `manifests` (files to
//! resources), `resources` (the kinds), `session` (resources to a task and its params); `crds` is
//! the kinds as an API server is told of them. Always holds: nothing here moves a byte of a
//! backup, and what a manifest says is done or refused, never left out in silence.

pub mod crds;
pub mod manifests;
pub mod resources;
pub mod session;

mod flags;
mod substitute;
