//! Checks a restic repository: that its files are all there and fit together, and, where asked, that all data, or a part of it, can
//! be read.
//!
//! The structure is looked at by `rustic_core`, the data by `restic/examine.rs`. Always holds: success means that nothing wrong was found; what is found is told, and the repository is not changed.

use std::collections::BTreeMap;
use std::path::PathBuf;

use aquifer_engine::failure::{Failure, FailureKind};
use aquifer_engine::function::{Call, Function, ParamError};
use aquifer_engine::ports::Action;
use aquifer_engine::secret::Secret;
use aquifer_engine::stream::{Accepts, Produces, StreamType, Streams};
use rustic_core::jiff::Timestamp;
use rustic_core::{CheckOptions, CheckResults, FileType, Id};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::codec::blocking;
use crate::location::{Location, Purpose};
use crate::restic::backend::name;
use crate::restic::examine::{Examined, examine, indexed};
use crate::restic::lock::{Kind, locked};
use crate::restic::open::{Access, Repo};
use crate::restic::part::{Chosen, Part};
use crate::restic::seal::id_of;
use crate::restic::select::{self, Filter};
use crate::restic_push::ten_minutes;
use crate::shared::yes;
use crate::units::Period;

/// How many findings are told; the rest is counted.
const TOLD: usize = 10;

/// `restic-check`.
#[derive(Debug, Clone, Copy)]
pub struct ResticCheck;

/// Its params.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ResticCheckParams {
    /// Where the repository is.
    pub repository: Location,
    /// The repository's password.
    #[serde(default)]
    pub password: Option<Secret>,
    /// A file that holds the password; white space around it does not count.
    #[serde(default)]
    pub password_file: Option<PathBuf>,
    /// Whether to read the data too, and not only what tells where it lies.
    #[serde(default)]
    pub read_data: bool,
    /// Which part of the data to read with `readData`, so that several runs read all of it: `{number: 3, of: 7}`, `{of: 7, by: day}` or
    /// `{size: 10GiB, by: day}`. All of it unless said.
    #[serde(default)]
    pub part: Option<Part>,
    /// Whether to lock the repository, so that nobody removes what is being checked. Without it, checking works where nothing can be written.
    #[serde(default = "yes")]
    pub lock: bool,
    /// How long to wait for an exclusive lock of somebody else (a prune, say).
    #[serde(default = "ten_minutes")]
    pub lock_timeout: Period,
}

/// What it gives to later steps.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ResticCheckOutputs {
    /// How many snapshots were followed.
    pub snapshots: u64,
    /// How many oddities that do no harm were found, such as packs that nothing refers to.
    pub warnings: u64,
    /// Which part of the data was read; nothing where no part was asked for.
    pub part: Option<Chosen>,
    /// How many packs were read; 0 without `readData`.
    pub packs_read: u64,
    /// How many bytes they have.
    pub bytes_read: u64,
}

impl Function for ResticCheck {
    const NAME: &'static str = "restic-check";
    const SUMMARY: &'static str = "Check a restic repository, and with `readData` all of its data, or a part of it.";
    const REPEAT: &'static str = "Checks it as it is then.";
    type Params = ResticCheckParams;
    type Ports = Action;
    type Outputs = ResticCheckOutputs;

    fn streams(_: Option<&ResticCheckParams>) -> Streams {
        Streams { stdin: Accepts::Any, stdout: Produces::Exactly(StreamType::unknown()) }
    }

    fn check(params: &ResticCheckParams) -> Result<(), ParamError> {
        Access::check(&params.repository, params.password.as_ref(), params.password_file.as_deref())?;
        match &params.part {
            Some(_) if !params.read_data => {
                Err(ParamError::new("part", "it says which part of the data to read, and no data is read")
                    .with_help("write `readData: true`"))
            }
            Some(part) => part.check(),
            None => Ok(()),
        }
    }

    async fn run(&self, params: ResticCheckParams, _: Action, call: &Call) -> Result<ResticCheckOutputs, Failure> {
        let access =
            Access { location: params.repository, password: params.password, password_file: params.password_file };
        let purpose = if params.lock { Purpose::Update } else { Purpose::Read };
        let repo = access.open(purpose, false, call).await?;
        let patience = params.lock.then_some(params.lock_timeout.0);
        let inner = repo.clone();
        let how = params.read_data.then_some(params.part);
        let told = call.clone();
        let work = |lock| {
            blocking(move || {
                let _lock = lock;
                look(&inner, how, &told)
            })
        };
        let looked = locked(&repo, Kind::Shared, patience, call, work).await?;
        judge(&repo, looked, call)
    }
}

/// What was looked at, and what was found.
struct Looked {
    snapshots: u64,
    structure: CheckResults,
    part: Option<Chosen>,
    read: Examined,
}

/// `how`: none where no data is to be read, else which part of it.
fn look(repo: &Repo, how: Option<Option<Part>>, call: &Call) -> Result<Looked, Failure> {
    let failed = |error: Box<rustic_core::RusticError>| {
        repo.trouble().failure(&error, &format!("checking the repository at `{}`", repo.shown()))
    };
    let snapshots = select::all(repo, &Filter::default())?.len() as u64;
    names(repo)?;
    let structure = repo.rustic().check(CheckOptions::default()).map_err(failed)?;
    let (mut part, mut read) = (None, Examined::default());
    if let Some(asked) = how {
        let listed = repo.backend().wait(repo.backend().list("data"))?;
        let sizes: BTreeMap<Id, u64> =
            listed.into_iter().filter_map(|(name, size)| Some((name.parse().ok()?, size))).collect();
        part = asked.map(|asked| asked.choose(Timestamp::now(), sizes.values().sum()));
        let packs = indexed(repo, part)?;
        let which = part.map_or("all data".to_owned(), |part| part.to_string());
        call.info(format!("reading {which}: {} of {} packs", packs.len(), sizes.len()));
        read = examine(repo, packs, &sizes)?;
    }
    // What was found while the store failed says nothing about the repository.
    match repo.trouble().check() {
        Err(failure) if !matches!(failure.kind, FailureKind::Corrupt | FailureKind::NotFound) => Err(failure),
        _ => Ok(Looked { snapshots, structure, part, read }),
    }
}

/// Compares the index files with their names, which say what is in them: restic refuses one that is called otherwise.
fn names(repo: &Repo) -> Result<(), Failure> {
    let backend = repo.backend();
    for (file, _) in backend.wait(backend.list("index"))? {
        let Ok(id) = file.parse::<Id>() else { continue };
        let name = name(FileType::Index, &id);
        if id_of(&backend.wait(backend.read_all(&name))?) != id {
            let shown = backend.store().shown(&name);
            return Err(Failure::corrupt(format!(
                "the index file `{shown}` is damaged: its content has another hash than its name"
            ))
            .with_help(
                "keep a copy of the repository as it is; `restic repair index` makes the index anew from the packs",
            ));
        }
    }
    Ok(())
}

/// A finding in one line. The library's own text holds, where it has a cause, a page with a backtrace.
fn words(finding: &(dyn std::error::Error + 'static)) -> String {
    let line = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let text = finding.to_string();
    let what = text.split("`rustic_core` experienced").next().unwrap_or_default();
    let what = line(what).trim_end_matches([':', ' ']).to_owned();
    let cause = finding.source().and_then(|source| {
        let known = source.downcast_ref::<rustic_core::RusticError>();
        known.or_else(|| source.downcast_ref::<Box<rustic_core::RusticError>>().map(AsRef::as_ref))
    });
    match cause.map(rustic_core::RusticError::display_log) {
        Some(log) => {
            let said = log.strip_prefix("Error: ").unwrap_or(&log);
            format!("{what}: {}", line(said.split(" (kind: related to").next().unwrap_or(said)))
        }
        None => what,
    }
}

fn judge(repo: &Repo, looked: Looked, call: &Call) -> Result<ResticCheckOutputs, Failure> {
    let (mut errors, mut warnings) = (Vec::new(), 0_u64);
    for (level, finding) in &looked.structure.0 {
        let text = words(finding);
        // The library gives no name to the level's type, only its words.
        if format!("{level:?}") == "Error" {
            errors.push(text);
        } else {
            warnings += 1;
            if warnings <= TOLD as u64 {
                call.warn(text);
            }
        }
    }
    let Looked { snapshots, part, read, .. } = looked;
    let count = errors.len() + read.count;
    errors.extend(read.findings);
    let Some(first) = errors.first() else {
        return Ok(ResticCheckOutputs { snapshots, warnings, part, packs_read: read.packs, bytes_read: read.bytes });
    };
    let shown = repo.shown();
    let count = if count == 1 { "1 error".to_owned() } else { format!("{count} errors, the first") };
    let message = format!("the repository at `{shown}` is damaged: {count}: {first}");
    let mut failure = Failure::corrupt(message).with_help(
        "keep a copy of it as it is; new backups go into another repository until it is repaired (`restic repair`)",
    );
    failure.causes = errors.into_iter().skip(1).take(TOLD).collect();
    Err(failure)
}
