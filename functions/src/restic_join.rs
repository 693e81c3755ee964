//! Makes one snapshot of several that hold the parts of one stream.
//!
//! Takes the parts in order; gives the new snapshot's id. Always holds: no data is read or stored again; the new snapshot is written only
//! where all parts are whole, by the index at least, and no part is removed before it was read back from the store; what is removed has the
//! parts' tag. A run that was killed loses nothing and is repeated: where the new snapshot is there already, what is left of the parts goes.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use aquifer_engine::failure::Failure;
use aquifer_engine::function::{Call, Function, ParamError};
use aquifer_engine::ports::Action;
use aquifer_engine::secret::Secret;
use aquifer_engine::stream::{Accepts, Produces, StreamType, Streams};
use bytesize::ByteSize;
use rustic_core::Id;
use rustic_core::repofile::SnapshotFile;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::codec::blocking;
use crate::location::{Location, Purpose};
use crate::restic::index::Index;
use crate::restic::join::{join, parts, with_tag};
use crate::restic::lock::{Kind, Lock, hostname, locked};
use crate::restic::open::{Access, Repo};
use crate::restic::prune::remove_snapshots;
use crate::restic::select::{self, Filter};
use crate::restic::snapshot::{Label, save};
use crate::restic::verify::Verify;
use crate::restic_push::{check_filename, check_tags, stdin, ten_minutes};
use crate::units::Period;

/// The most parts.
const MOST_PARTS: usize = 1000;

/// `restic-join`.
#[derive(Debug, Clone, Copy)]
pub struct ResticJoin;

/// Its params.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ResticJoinParams {
    /// Where the repository is.
    pub repository: Location,
    /// The repository's password, as it is: white space around it counts, other than in a `passwordFile`.
    #[serde(default)]
    pub password: Option<Secret>,
    /// A file that holds the password; white space around it does not count.
    #[serde(default)]
    pub password_file: Option<PathBuf>,
    /// The snapshots whose files are put behind each other, in this order: their ids, or the first characters of these. Each has one
    /// file.
    #[schemars(length(min = 1, max = 1000))]
    pub snapshots: Vec<String>,
    /// The tag that all of them have. In the end all snapshots that have it are removed, those too that runs left behind which failed
    /// before: give it to parts of this backup only, and do not let two runs of it overlap.
    #[schemars(length(min = 1))]
    pub part_tag: String,
    /// The name of the new snapshot's file, at its root. Another one than the parts have, lest rules for this one see those.
    #[serde(default = "stdin")]
    #[schemars(length(min = 1))]
    pub filename: String,
    /// The host that the backup is of; this machine's name unless said.
    #[serde(default)]
    pub host: Option<String>,
    /// Tags of the new snapshot.
    #[serde(default)]
    pub tags: Vec<String>,
    /// What is read back before the new snapshot is made: `none`, `index` (that the index and the packs are there and fit) or `data`
    /// (all data of it too). With `data` it gets the tag `verified:data`, and `restic-forget` never removes the newest one of a group
    /// that has it.
    #[serde(default)]
    pub verify: Verify,
    /// How long to wait for an exclusive lock of somebody else (a prune, say).
    #[serde(default = "ten_minutes")]
    pub lock_timeout: Period,
}

/// What it gives to later steps.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ResticJoinOutputs {
    /// The new snapshot's id.
    pub snapshot: String,
    /// The host that it is of.
    pub host: String,
    /// How many bytes its file has.
    pub bytes: u64,
    /// How many of them the parts added that were not in the repository before, as far as they say so.
    pub new_bytes: u64,
    /// How many bytes parts and snapshot added to the repository, after compression.
    pub stored_bytes: u64,
    /// How many snapshots it was made of.
    pub parts: u64,
    /// How many snapshots were removed: these, and what earlier runs had left.
    pub removed: u64,
    /// What was read back of it: `none`, `index` or `data`.
    pub verified: Verify,
}

impl Function for ResticJoin {
    const NAME: &'static str = "restic-join";
    const SUMMARY: &'static str = "Make one snapshot of several that hold the parts of one stream, and remove these.";
    const REPEAT: &'static str =
        "Finds the snapshot that it made of the same parts, and removes what is left of these.";
    type Params = ResticJoinParams;
    type Ports = Action;
    type Outputs = ResticJoinOutputs;

    fn streams(_: Option<&ResticJoinParams>) -> Streams {
        Streams { stdin: Accepts::Any, stdout: Produces::Exactly(StreamType::unknown()) }
    }

    fn check(params: &ResticJoinParams) -> Result<(), ParamError> {
        Access::check(&params.repository, params.password.as_ref(), params.password_file.as_deref())?;
        if !(1..=MOST_PARTS).contains(&params.snapshots.len()) {
            let what = format!("there are {} of them, and there must be 1 to {MOST_PARTS}", params.snapshots.len());
            return Err(ParamError::new("snapshots", what).with_help("name the snapshots of the parts, in order"));
        }
        for which in &params.snapshots {
            if which == "latest" {
                return Err(ParamError::new("snapshots", "`latest` may be anybody's")
                    .with_help("write ids, such as the output `snapshot` of `restic-push`"));
            }
            select::check(which).map_err(|error| ParamError { path: "snapshots".to_owned(), ..error })?;
        }
        check_filename(&params.filename)?;
        check_tags("tags", &params.tags)?;
        check_tags("partTag", std::slice::from_ref(&params.part_tag))?;
        if params.tags.contains(&params.part_tag) {
            let what = format!("`{}` is the parts' tag, and what has it is removed", params.part_tag);
            return Err(
                ParamError::new("tags", what).with_help("leave it out: the whole has other tags than its parts")
            );
        }
        Ok(())
    }

    async fn run(&self, params: ResticJoinParams, _: Action, call: &Call) -> Result<ResticJoinOutputs, Failure> {
        let host = params.host.clone().unwrap_or_else(hostname);
        let access = Access {
            location: params.repository.clone(),
            password: params.password.clone(),
            password_file: params.password_file.clone(),
        };
        let repo = access.open(Purpose::Update, false, call).await?;
        let patience = Some(params.lock_timeout.0);
        let (inner, of) = (repo.clone(), host.clone());
        let work = |lock: Option<Arc<Lock>>| blocking(move || Joining { repo: inner, params, host: of, lock }.run());
        let done = locked(&repo, Kind::Shared, patience, call, work).await?;
        if done.again {
            call.info(format!("the snapshot {} was made of these parts already", &done.outputs.snapshot[..8]));
        }
        let ResticJoinOutputs { snapshot, bytes, parts, removed, .. } = &done.outputs;
        call.info(format!(
            "snapshot {} of {} in {parts} parts; {removed} snapshots of parts removed",
            &snapshot[..8],
            ByteSize(*bytes)
        ));
        Ok(done.outputs)
    }
}

/// What became of it.
struct Done {
    outputs: ResticJoinOutputs,
    /// The snapshot had been made before.
    again: bool,
}

/// A joining under way.
struct Joining {
    repo: Repo,
    params: ResticJoinParams,
    host: String,
    /// Held until this is done, however its step ends.
    lock: Option<Arc<Lock>>,
}

impl Joining {
    fn run(self) -> Result<Done, Failure> {
        // A damaged snapshot of somebody else's keeps nothing from being stored; only what is to be removed is not known then.
        let there = select::all(&self.repo.anew(), &Filter::default());
        let asked = self.asked();
        let made = there.iter().flatten().find(|one| one.description.as_ref() == Some(&asked));
        let mut done = match made {
            Some(made) => Done { outputs: self.outputs(made), again: true },
            None => Done { outputs: self.store(asked)?, again: false },
        };
        done.outputs.removed =
            there.and_then(|there| self.remove(&there, &done.outputs.snapshot)).map_err(|failure| {
                failure.during(format!(
                    "the snapshot `{}` is stored, and not all of its parts are removed",
                    &done.outputs.snapshot[..8]
                ))
            })?;
        Ok(done)
    }

    /// What is asked for, in a form by which a repetition knows the snapshot that was made of it: parts that are gone already say
    /// nothing any more.
    fn asked(&self) -> String {
        let ResticJoinParams { snapshots, part_tag, filename, tags, verify, .. } = &self.params;
        let all = serde_json::json!([snapshots, part_tag, filename, self.host, tags, verify]);
        format!("joined from {} snapshots ({})", snapshots.len(), hex::encode(Sha256::digest(all.to_string())))
    }

    /// Makes the snapshot.
    fn store(&self, asked: String) -> Result<ResticJoinOutputs, Failure> {
        let (repo, params) = (&self.repo, &self.params);
        let parts = parts(repo, &params.snapshots, &params.part_tag)?;
        // What lies in packs that are gone is not in it: nothing is made that leans on that.
        let (index, _) = Index::load_of_what_is_there(repo)?;
        let whole = join(repo, &index, &parts)?;
        let label = Label {
            filename: params.filename.clone(),
            host: self.host.clone(),
            tags: params.tags.clone(),
            stream: whole.stream,
            time: whole.time,
            description: Some(asked),
        };
        let archived = whole.archived;
        let saved = save(repo, &index, &archived, &label, params.verify, self.lock.as_deref())?;
        Ok(ResticJoinOutputs {
            snapshot: saved.id.to_hex().as_str().to_owned(),
            host: self.host.clone(),
            bytes: archived.bytes,
            new_bytes: archived.new_bytes,
            stored_bytes: archived.added.stored + saved.stored,
            parts: parts.len() as u64,
            removed: 0,
            verified: params.verify,
        })
    }

    /// What a snapshot says that was made before.
    fn outputs(&self, made: &SnapshotFile) -> ResticJoinOutputs {
        let summary = made.summary.clone().unwrap_or_default();
        ResticJoinOutputs {
            snapshot: made.id.to_hex().as_str().to_owned(),
            host: self.host.clone(),
            bytes: summary.total_bytes_processed,
            new_bytes: summary.data_added_files,
            stored_bytes: summary.data_added_packed,
            parts: self.params.snapshots.len() as u64,
            removed: 0,
            verified: self.params.verify,
        }
    }

    /// Removes the parts, and what earlier runs have left of theirs.
    fn remove(&self, there: &[SnapshotFile], stored: &str) -> Result<u64, Failure> {
        // From the store, which has it now or never: with the parts goes what else names their data.
        let stays: Id = *select::one(&self.repo, stored, &Filter::default())?.id;
        let goes: BTreeSet<Id> = with_tag(there, &self.params.part_tag, &stays);
        if let Some(lock) = &self.lock {
            self.repo.backend().wait(lock.look())?;
        }
        remove_snapshots(&self.repo, &goes)?;
        Ok(goes.len() as u64)
    }
}
