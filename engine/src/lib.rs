//! Aquifer's engine: the language and its execution. Knows no Redis, storage or Kubernetes.
//!
//! The rooms, in the order of the data:
//!
//! 1. [`source`]: files to texts with ids
//! 2. [`document`]: texts to Tasks and Functions as written
//! 3. [`catalog`] and [`plan`]: names bound, params checked, Functions unfolded
//! 4. `graph`: steps and pipes to pipelines
//! 5. [`mod@run`]: pipelines scheduled, retried, ended
//! 6. [`report`]: what became of it
//!
//! To embed it: make a [`registry::Registry`] of functions and a [`catalog::Catalog`] of documents, call
//! [`catalog::Catalog::plan`], and give the plan to [`run::run`]. `examples/embed.rs` does so. The names that this takes stand at
//! the root as well.

pub mod alone;
pub mod catalog;
pub mod diagnostic;
pub mod document;
pub mod event;
pub mod failure;
pub mod function;
mod graph;
mod params;
pub mod pipe;
pub mod plan;
pub mod ports;
pub mod reference;
pub mod registry;
pub mod report;
pub mod run;
pub mod schema;
pub mod secret;
pub mod show;
pub mod source;
pub mod stream;
pub mod template;
pub mod thread;

pub use catalog::{Catalog, Inputs};
pub use failure::Failure;
pub use function::{Call, Function, NoOutputs, NoParams};
pub use registry::Registry;
pub use report::Report;
pub use run::{RunOptions, run};
