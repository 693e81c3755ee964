//! The kinds, as users write them.
//!
//! Always holds: what Stash's own manifests have is here under the same names, so that they work unmodified. A field that is not
//! here is told of where the manifest is read.

pub mod app_binding;
pub mod backend;
pub mod backup;
pub mod backup_session;
pub mod blueprint;
pub mod condition;
pub mod hooks;
pub mod own;
pub mod repository;
pub mod restore;
pub mod retention;
pub mod runtime;
pub mod target;
pub mod task;
