//! Stores a stream as a snapshot in a restic repository.
//!
//! Takes any bytes. Gives the snapshot's id. Always holds: the snapshot is written only after the stream was finished and all that
//! it is made of is durable, so a dump that failed, was stopped or came to an early end is never one; nothing at all is made
//! before the first byte has come; what was stored by an attempt that failed serves the next one; what was
//! lost of earlier ones is stored again.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use aquifer_engine::failure::Failure;
use aquifer_engine::function::{Call, Function, ParamError};
use aquifer_engine::ports::Sink;
use aquifer_engine::secret::Secret;
use aquifer_engine::stream::{Accepts, Produces, StreamType, Streams};
use bytesize::ByteSize;
use rustic_core::jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;

use crate::codec::blocking;
use crate::location::{Location, Purpose};
use crate::restic::archive::archive;
use crate::restic::chunk::{Chunks, Cutter};
use crate::restic::index::Index;
use crate::restic::lock::{Kind, Lock, hostname, locked};
use crate::restic::open::Access;
use crate::restic::snapshot::{Label, save};
use crate::restic::verify::Verify;
use crate::shared::yes;
use crate::units::Period;

/// `restic-push`.
#[derive(Debug, Clone, Copy)]
pub struct ResticPush;

/// Its params.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ResticPushParams {
    /// Where the repository is.
    pub repository: Location,
    /// The repository's password, as it is: white space around it counts, other than in a `passwordFile`.
    #[serde(default)]
    pub password: Option<Secret>,
    /// A file that holds the password; white space around it does not count.
    #[serde(default)]
    pub password_file: Option<PathBuf>,
    /// The name of the stream's file in the snapshot, at its root.
    #[serde(default = "stdin")]
    #[schemars(length(min = 1))]
    pub filename: String,
    /// The host that the backup is of; this machine's name unless said.
    #[serde(default)]
    pub host: Option<String>,
    /// Tags of the snapshot.
    #[serde(default)]
    pub tags: Vec<String>,
    /// Whether to make a new repository where there is none.
    #[serde(default = "yes")]
    pub init: bool,
    /// How the stream is cut into the chunks that are stored once each.
    #[serde(default)]
    pub chunks: Chunks,
    /// What is read back of what was stored, before the snapshot is made: `none`, `index` (that the index and the packs are there and
    /// fit) or `data` (all data of the snapshot too). With `data` the snapshot gets the tag `verified:data`, and `restic-forget` never
    /// removes the newest one of a group that has it.
    #[serde(default)]
    pub verify: Verify,
    /// Whether a stream without a byte may become a snapshot. Most often it is a sign that something went wrong before.
    #[serde(default)]
    pub allow_empty: bool,
    /// How long to wait for an exclusive lock of somebody else (a prune, say).
    #[serde(default = "ten_minutes")]
    pub lock_timeout: Period,
}

pub(crate) fn stdin() -> String {
    "stdin".to_owned()
}

/// How long locks are waited for unless said.
pub(crate) fn ten_minutes() -> Period {
    Period(Duration::from_secs(600))
}

/// Checks the name of a file at a snapshot's root.
///
/// # Errors
/// It is none.
pub(crate) fn check_filename(name: &str) -> Result<(), ParamError> {
    if name.is_empty() || matches!(name, "." | "..") || name.contains(['/', '\0']) {
        return Err(ParamError::new("filename", format!("`{}` is no name for a file", name.escape_debug()))
            .with_help("write a name without `/`, such as `dumpfile.resp`"));
    }
    Ok(())
}

/// Checks tags that somebody gives.
///
/// # Errors
/// One is none, or is given by nobody.
pub(crate) fn check_tags(param: &str, tags: &[String]) -> Result<(), ParamError> {
    if let Some(tag) = tags.iter().find(|tag| tag.is_empty() || tag.contains(',')) {
        return Err(
            ParamError::new(param, format!("`{tag}` is no tag")).with_help("a tag is not empty and has no comma in it")
        );
    }
    match tags.iter().find(|tag| tag.starts_with("verified:")) {
        Some(tag) => Err(ParamError::new(param, format!("`{tag}` says that somebody has read the data back"))
            .with_help("write `verify: data`, which does that and sets it")),
        None => Ok(()),
    }
}

/// What it gives to later steps.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ResticPushOutputs {
    /// The snapshot's id.
    pub snapshot: String,
    /// The host that it is of.
    pub host: String,
    /// How many bytes the stream had.
    pub bytes: u64,
    /// How many of them were not in the repository before.
    pub new_bytes: u64,
    /// How many bytes the snapshot added to the repository, after compression.
    pub stored_bytes: u64,
    /// What was read back of it: `none`, `index` or `data`.
    pub verified: Verify,
    /// Whether the repository was made.
    pub created: bool,
}

impl Function for ResticPush {
    const NAME: &'static str = "restic-push";
    const SUMMARY: &'static str = "Store a stream as a snapshot in a restic repository.";
    const REPEAT: &'static str = "Makes another snapshot; chunks that are there already are not stored again.";
    type Params = ResticPushParams;
    type Ports = Sink;
    type Outputs = ResticPushOutputs;

    fn streams(_: Option<&ResticPushParams>) -> Streams {
        Streams { stdin: Accepts::Any, stdout: Produces::Exactly(StreamType::unknown()) }
    }

    fn check(params: &ResticPushParams) -> Result<(), ParamError> {
        Access::check(&params.repository, params.password.as_ref(), params.password_file.as_deref())?;
        check_filename(&params.filename)?;
        check_tags("tags", &params.tags)
    }

    async fn run(&self, params: ResticPushParams, ports: Sink, call: &Call) -> Result<ResticPushOutputs, Failure> {
        // The run's, and not this step's: what one run sends into several repositories is one backup.
        let time = Timestamp::from_nanosecond(call.run.started.as_nanosecond())
            .map_err(|error| Failure::internal(format!("the run's time: {error}")))?;
        let mut stdin = ports.stdin;
        // A source that cannot even begin leaves no new repository behind.
        let first = stdin.read().await?.unwrap_or_default();
        if first.is_empty() && !params.allow_empty {
            return Err(Failure::corrupt("the stream is empty, and an empty backup helps nobody")
                .with_help("where that is what you want, write `allowEmpty: true`"));
        }
        // Only now: what a stored stream is, its source says before its first byte.
        let label = Label {
            filename: params.filename,
            host: params.host.unwrap_or_else(hostname),
            tags: params.tags,
            stream: stdin.stream().clone(),
            time,
            description: None,
        };
        let access =
            Access { location: params.repository, password: params.password, password_file: params.password_file };
        let purpose = if params.init { Purpose::Write } else { Purpose::Update };
        let repo = access.open(purpose, params.init, call).await?;
        if repo.created {
            call.info(format!("made a new repository at `{}`", repo.shown()));
        }
        let host = label.host.clone();
        let inner = repo.clone();
        let (input, told) = (stdin.blocking(Handle::current()), call.clone());
        let work = |lock: Option<Arc<Lock>>| {
            blocking(move || {
                // Held until this thread is done, however its step ends.
                let lock = lock;
                let (index, lost) = Index::load_of_what_is_there(&inner)?;
                if lost > 0 {
                    let what = format!("{lost} packs that the index names are not there or too short");
                    told.warn(format!(
                        "{what}: what this backup needs of them is stored again; `restic-check` tells which snapshots are lost"
                    ));
                }
                let cutter = Cutter::new(inner.rustic().config(), params.chunks, &label.stream)?;
                let archived = archive(&inner, &index, cutter, &first, input)?;
                let saved = save(&inner, &index, &archived, &label, params.verify, lock.as_deref())?;
                Ok((archived, saved))
            })
        };
        let (archived, saved) = locked(&repo, Kind::Shared, Some(params.lock_timeout.0), call, work).await?;
        let stored = archived.added.stored + saved.stored;
        call.info(format!(
            "snapshot {} of {}; new: {}, {} in the repository",
            &saved.id.to_hex().as_str()[..8],
            ByteSize(archived.bytes),
            ByteSize(archived.new_bytes),
            ByteSize(stored),
        ));
        Ok(ResticPushOutputs {
            snapshot: saved.id.to_hex().as_str().to_owned(),
            host,
            bytes: archived.bytes,
            new_bytes: archived.new_bytes,
            stored_bytes: stored,
            verified: params.verify,
            created: repo.created,
        })
    }
}
