//! A Repository to a session that looks after it.

use serde_json::json;

use super::repository::location;
use super::{Draft, Session, Setting};
use crate::manifests::Manifests;
use crate::resources::target::RepositoryRef;

/// What is done with a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Upkeep {
    /// Its snapshots are listed. This changes nothing.
    Snapshots,
    /// Locks are removed that nobody holds any more, or all.
    Unlock {
        /// All.
        all: bool,
    },
    /// It is removed with all its snapshots.
    Wipe,
}

impl Upkeep {
    /// The name of its only step.
    pub fn step(self) -> &'static str {
        match self {
            Self::Snapshots => "snapshots",
            Self::Unlock { .. } => "unlock",
            Self::Wipe => "wipe",
        }
    }
}

/// The session that does it.
///
/// # Errors
/// All reasons why there is none, in a line each.
pub fn upkeep(
    manifests: &Manifests,
    namespace: &str,
    name: &str,
    what: Upkeep,
    setting: Setting<'_>,
) -> Result<Session, Vec<String>> {
    let mut draft = Draft::new(setting);
    let of = RepositoryRef { name: name.to_owned(), namespace: None };
    let mut params = location(&mut draft, manifests, &of, namespace).unwrap_or_default();
    match what {
        Upkeep::Snapshots => {}
        Upkeep::Unlock { all } => drop(params.insert("all".to_owned(), json!(all))),
        Upkeep::Wipe => drop(params.insert("remove".to_owned(), json!("all snapshots"))),
    }
    let step = json!({"name": what.step(), "function": format!("restic-{}", what.step()), "params": params});
    draft.finish(format!("The Repository {namespace}/{name}: {}.", what.step()), vec![step])
}
