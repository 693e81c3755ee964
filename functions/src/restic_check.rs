//! Checks a restic repository: that its files are all there and fit together, and, where asked, that all data, or a part of it, can
//! be read.
//!
//! The data is looked at by `restic/examine.rs`, all else by `restic/structure.rs`. Always holds: success means that nothing wrong was
//! found; what is found is told, with the snapshots that are lost by it; the repository is not changed.

use std::collections::BTreeMap;
use std::path::PathBuf;

use aquifer_engine::failure::{Failure, FailureKind};
use aquifer_engine::function::{Call, Function, ParamError};
use aquifer_engine::ports::Action;
use aquifer_engine::secret::Secret;
use aquifer_engine::stream::{Accepts, Produces, StreamType, Streams};
use rustic_core::Id;
use rustic_core::jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::codec::blocking;
use crate::location::{Location, Purpose};
use crate::restic::examine::{Examined, examine, indexed};
use crate::restic::lock::{Kind, locked, or_without};
use crate::restic::open::{Access, Repo};
use crate::restic::part::{Chosen, Part};
use crate::restic::polynomial::Polynomial;
use crate::restic::select::{self, Filter, SnapshotSummary};
use crate::restic::structure::{self, Structure};
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
    /// The repository's password, as it is: white space around it counts, other than in a `passwordFile`.
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
        let looked = locked(&repo, Kind::Shared, patience, call, work).await.map_err(or_without)?;
        judge(&repo, looked, call)
    }
}

/// What was looked at, and what was found.
struct Looked {
    snapshots: u64,
    structure: Structure,
    lost: Vec<SnapshotSummary>,
    polynomial: bool,
    part: Option<Chosen>,
    read: Examined,
}

/// `how`: none where no data is to be read, else which part of it.
fn look(repo: &Repo, how: Option<Option<Part>>, call: &Call) -> Result<Looked, Failure> {
    let snapshots = select::all(repo, &Filter::default())?;
    let (mut part, mut read) = (None, Examined::default());
    let sizes: BTreeMap<Id, u64> = repo.backend().wait(repo.backend().packs())?.into_iter().collect();
    if let Some(asked) = how {
        part = asked.map(|asked| asked.choose(Timestamp::now(), &sizes));
        let packs = indexed(repo, part)?;
        let which = part.map_or("all data".to_owned(), |part| part.to_string());
        call.info(format!("reading {which}: {} of {} packs", packs.len(), sizes.len()));
        read = examine(repo, packs, &sizes)?;
    }
    let structure = structure::look(repo, &snapshots, &read.damaged)?;
    let lost = snapshots.iter().rev().filter(|snapshot| structure.lost.contains(&snapshot.id));
    let lost = lost.map(SnapshotSummary::from).collect();
    let polynomial = repo.rustic().config().poly().is_ok_and(|bits| Polynomial::new(bits).is_some());
    // What was found while the store failed says nothing about the repository.
    match repo.trouble().check() {
        Err(failure) if !matches!(failure.kind, FailureKind::Corrupt | FailureKind::NotFound) => Err(failure),
        _ => Ok(Looked { snapshots: snapshots.len() as u64, structure, lost, polynomial, part, read }),
    }
}

/// A snapshot in a few words.
fn about(snapshot: &SnapshotSummary) -> String {
    format!("`{}` ({}, {})", &snapshot.id[..8], snapshot.time, snapshot.host)
}

fn judge(repo: &Repo, looked: Looked, call: &Call) -> Result<ResticCheckOutputs, Failure> {
    let Looked { snapshots, structure, lost, polynomial, part, read } = looked;
    let warnings = structure.unnamed.len() as u64;
    for pack in structure.unnamed.iter().take(TOLD) {
        call.warn(format!("no index names the pack `{}`: the next prune removes it", pack.to_hex().as_str()));
    }
    let (mut errors, mut count) = (structure.errors, structure.count + read.count);
    errors.extend(read.findings);
    if !polynomial {
        errors.push("its config has a polynomial that no chunks can be cut with: nothing can be stored".to_owned());
        count += 1;
    }
    let Some(first) = errors.first() else {
        return Ok(ResticCheckOutputs { snapshots, warnings, part, packs_read: read.packs, bytes_read: read.bytes });
    };
    let shown = repo.shown();
    let count = if count == 1 { "1 error".to_owned() } else { format!("{count} errors, the first") };
    let message = format!("the repository at `{shown}` is damaged: {count}: {first}");
    let mut failure = Failure::corrupt(message).with_help(if lost.is_empty() {
        "all snapshots can be restored as far as was looked; keep a copy of the repository as it is, then use `restic repair index`"
    } else {
        "keep a copy of the repository as it is; back up again now (what is not there any more is stored again, and earlier snapshots of \
         the same data become whole with it) and check again; then use `restic repair index`, and `restic-forget` or `restic forget ID` for \
         what stays lost"
    });
    // Which they are is what whoever is woken by this asks first.
    if !lost.is_empty() {
        let named = lost.iter().take(TOLD).map(about).collect::<Vec<_>>().join(", ");
        let more = if lost.len() > TOLD { format!(" and {} more", lost.len() - TOLD) } else { String::new() };
        failure.causes.push(format!("{} of {snapshots} snapshots cannot be restored whole: {named}{more}", lost.len()));
    }
    failure.causes.extend(errors.into_iter().skip(1).take(TOLD));
    Err(failure)
}
