//! Copies snapshots from one restic repository to another.
//!
//! Takes two repositories, whose passwords and stores may differ; gives what was copied. Always holds: what is copied was compared
//! with its ids on the way; a snapshot is there once all that it needs is; a run that is repeated copies nothing twice.

use std::path::PathBuf;
use std::sync::Arc;

use aquifer_engine::failure::{Failure, FailureKind};
use aquifer_engine::function::{Call, Function, ParamError};
use aquifer_engine::ports::Action;
use aquifer_engine::secret::Secret;
use aquifer_engine::stream::{Accepts, Produces, StreamType, Streams};
use bytesize::ByteSize;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::codec::blocking;
use crate::location::{Location, Purpose};
use crate::restic::copy::{Copying, Outcome};
use crate::restic::lock::{Kind, Lock, locked, or_without};
use crate::restic::open::Access;
use crate::restic::select::{self, Filter, SnapshotSummary};
use crate::restic::verify::Verify;
use crate::restic_push::ten_minutes;
use crate::shared::yes;
use crate::units::Period;

/// `restic-copy`.
#[derive(Debug, Clone, Copy)]
pub struct ResticCopy;

/// A repository, and what opens it.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RepositoryAccess {
    /// Where it is.
    pub repository: Location,
    /// Its password.
    #[serde(default)]
    pub password: Option<Secret>,
    /// A file that holds the password; white space around it does not count.
    #[serde(default)]
    pub password_file: Option<PathBuf>,
}

impl RepositoryAccess {
    fn check(&self, field: &str) -> Result<(), ParamError> {
        let checked = Access::check(&self.repository, self.password.as_ref(), self.password_file.as_deref());
        checked.map_err(|error| {
            let path = if error.path.is_empty() { field.to_owned() } else { format!("{field}.{}", error.path) };
            ParamError { path, ..error }
        })
    }

    fn access(self) -> Access {
        Access { location: self.repository, password: self.password, password_file: self.password_file }
    }
}

/// Its params.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ResticCopyParams {
    /// The repository that is read.
    pub from: RepositoryAccess,
    /// The repository that is written.
    pub to: RepositoryAccess,
    /// Whether to make the second repository where there is none.
    #[serde(default)]
    pub init: bool,
    /// Which snapshots; all unless said.
    #[serde(default)]
    pub filter: Filter,
    /// One snapshot alone: `latest`, or its id or the first characters of it.
    #[serde(default)]
    pub snapshot: Option<String>,
    /// What is read back from the second repository before a snapshot is written there: nothing, the index and the trees, or all data of the snapshot too.
    #[serde(default)]
    pub verify: Verify,
    /// Whether to lock the repository that is read. Without it, copying works from where nothing can be written.
    #[serde(default = "yes")]
    pub lock: bool,
    /// How long to wait for locks of others.
    #[serde(default = "ten_minutes")]
    pub lock_timeout: Period,
}

/// What it gives to later steps.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ResticCopyOutputs {
    /// How many snapshots were copied.
    pub copied: u64,
    /// How many were there already.
    pub there: u64,
    /// How many bytes that added to the second repository.
    pub stored_bytes: u64,
    /// The copied ones, with the ids that they have in the first repository.
    pub snapshots: Vec<SnapshotSummary>,
}

/// Says at which of the two repositories a password was refused.
fn unauthorized_at(which: &str, failure: Failure) -> Failure {
    if failure.kind != FailureKind::Unauthorized {
        return failure;
    }
    failure.during(format!("opening the repository in `{which}`"))
}

impl Function for ResticCopy {
    const NAME: &'static str = "restic-copy";
    const SUMMARY: &'static str =
        "Copy snapshots from one restic repository to another, of another key and in another store.";
    const REPEAT: &'static str = "Copies what is not there yet.";
    type Params = ResticCopyParams;
    type Ports = Action;
    type Outputs = ResticCopyOutputs;

    fn streams(_: Option<&ResticCopyParams>) -> Streams {
        Streams { stdin: Accepts::Any, stdout: Produces::Exactly(StreamType::unknown()) }
    }

    fn check(params: &ResticCopyParams) -> Result<(), ParamError> {
        params.from.check("from")?;
        params.to.check("to")?;
        if params.from.repository == params.to.repository {
            return Err(
                ParamError::new("to.repository", "it is the repository that is read").with_help("name another one")
            );
        }
        params.snapshot.as_deref().map_or(Ok(()), select::check)
    }

    async fn run(&self, params: ResticCopyParams, _: Action, call: &Call) -> Result<ResticCopyOutputs, Failure> {
        let purpose = if params.lock { Purpose::Update } else { Purpose::Read };
        let named = |which: &'static str| move |failure: Failure| unauthorized_at(which, failure);
        let from = params.from.access().open(purpose, false, call).await.map_err(named("from"))?;
        let purpose = if params.init { Purpose::Write } else { Purpose::Update };
        let to = params.to.access().open(purpose, params.init, call).await.map_err(named("to"))?;
        let patience = params.lock_timeout.0;
        let asked = params.filter.clone();
        let (filter, which, verify) = (params.filter, params.snapshot, params.verify);
        let work = async |from_lock| {
            let (inner_from, inner_to, inner_call) = (from.clone(), to.clone(), call.clone());
            let work = |to_lock: Option<Arc<Lock>>| {
                blocking(move || {
                    let _lock = from_lock;
                    let snapshots = match which {
                        Some(which) => vec![select::one(&inner_from, &which, &filter)?],
                        None => select::all(&inner_from, &filter)?,
                    };
                    let mut copying = Copying::begin(inner_from, inner_to, verify, to_lock)?;
                    let mut outputs = ResticCopyOutputs { copied: 0, there: 0, stored_bytes: 0, snapshots: Vec::new() };
                    for snapshot in snapshots {
                        let about = SnapshotSummary::from(&snapshot);
                        let id = &about.id[..8];
                        let copied = copying.copy(&snapshot).map_err(|failure| {
                            failure.during(format!("copying the snapshot `{id}` (those before it are copied)"))
                        })?;
                        match copied {
                            Outcome::There => outputs.there += 1,
                            Outcome::Copied(new, added) => {
                                inner_call.info(format!(
                                    "copied {id} {} {} as {} ({} added)",
                                    about.time,
                                    about.host,
                                    &new.to_hex().as_str()[..8],
                                    ByteSize(added)
                                ));
                                outputs.copied += 1;
                                outputs.stored_bytes += added;
                                outputs.snapshots.push(about);
                            }
                        }
                    }
                    Ok(outputs)
                })
            };
            locked(&to, Kind::Shared, Some(patience), call, work).await
        };
        let lock = params.lock.then_some(patience);
        let outputs = locked(&from, Kind::Shared, lock, call, work).await.map_err(or_without)?;
        select::tell_if_none(&asked, (outputs.copied + outputs.there) as usize, call);
        Ok(outputs)
    }
}
