//! Which snapshots are meant: by host, paths, tags and id, as restic's own filters say it.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;

use aquifer_engine::failure::{Failure, FailureKind};
use aquifer_engine::function::Call;
use futures::{StreamExt, TryStreamExt};
use rustic_core::repofile::SnapshotFile;
use rustic_core::{FileType, Id};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::keep::has_tags;
use super::open::Repo;
use super::seal::id_of;

/// Which snapshots; each field narrows the choice.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Filter {
    /// Only those of this host, or of one of these.
    #[serde(default)]
    pub host: Option<Hosts>,
    /// Only those that have all of these tags.
    #[serde(default)]
    pub tags: Vec<String>,
    /// Only those that have one of these tags. `a,b` stands for those that have both, and `""` for those without any.
    #[serde(default)]
    pub any_tags: Vec<String>,
    /// Only those that have all of these paths.
    #[serde(default)]
    pub paths: Vec<String>,
}

impl Filter {
    pub(crate) fn takes(&self, snapshot: &SnapshotFile) -> bool {
        self.host.as_ref().is_none_or(|hosts| hosts.0.contains(&snapshot.hostname))
            && (self.any_tags.is_empty() || self.any_tags.iter().any(|tags| has_tags(snapshot, tags)))
            && self.tags.iter().all(|tag| snapshot.tags.contains(tag))
            && self.paths.iter().all(|path| snapshot.paths.contains(path))
    }
}

/// One host, or a list of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hosts(Vec<String>);

impl<'de> Deserialize<'de> for Hosts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrMore;
        impl<'de> Visitor<'de> for OneOrMore {
            type Value = Hosts;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a host's name, or a list of one or more")
            }

            fn visit_str<E: Error>(self, host: &str) -> Result<Hosts, E> {
                Ok(Hosts(vec![host.to_owned()]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Hosts, A::Error> {
                let mut hosts = Vec::new();
                while let Some(host) = list.next_element()? {
                    hosts.push(host);
                }
                // None at all would be a filter that takes nothing, and hardly what was meant.
                if hosts.is_empty() { Err(A::Error::invalid_length(0, &self)) } else { Ok(Hosts(hosts)) }
            }
        }
        deserializer.deserialize_any(OneOrMore)
    }
}

impl JsonSchema for Hosts {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Hosts".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": ["string", "array"], "items": {"type": "string"}, "minItems": 1})
    }
}

/// A snapshot, for people and for later steps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SnapshotSummary {
    /// Its id.
    pub id: String,
    /// When it was made.
    pub time: String,
    /// The host that it is of.
    pub host: String,
    /// The paths in it.
    pub paths: Vec<String>,
    /// Its tags.
    pub tags: Vec<String>,
    /// How many bytes it holds, where that is known.
    pub bytes: Option<u64>,
}

impl From<&SnapshotFile> for SnapshotSummary {
    fn from(snapshot: &SnapshotFile) -> Self {
        Self {
            id: snapshot.id.to_hex().as_str().to_owned(),
            time: snapshot.time.timestamp().to_string(),
            host: snapshot.hostname.clone(),
            paths: snapshot.paths.iter().cloned().collect(),
            tags: snapshot.tags.iter().cloned().collect(),
            bytes: snapshot.summary.as_ref().map(|summary| summary.total_bytes_processed),
        }
    }
}

/// How many snapshot files are read at once.
const AT_ONCE: usize = 8;

/// All snapshots that a filter takes, oldest first. One that is removed by others meanwhile is none.
///
/// # Errors
/// One cannot be read, or is not what its name says.
pub(crate) fn all(repo: &Repo, filter: &Filter) -> Result<Vec<SnapshotFile>, Failure> {
    beginning(repo, filter, "")
}

/// As [`all`], of those whose ids begin like this; others need not be readable.
fn beginning(repo: &Repo, filter: &Filter, with: &str) -> Result<Vec<SnapshotFile>, Failure> {
    let mut snapshots: Vec<SnapshotFile> = repo.backend().wait(async {
        let mut listed = ids(repo).await?;
        listed.retain(|id| id.to_hex().as_str().starts_with(with));
        let reads = futures::stream::iter(listed).map(|id| read(repo, id)).buffer_unordered(AT_ONCE);
        let read: Vec<Option<SnapshotFile>> = reads.try_collect().await?;
        Ok(read.into_iter().flatten().collect())
    })?;
    snapshots.retain(|snapshot| filter.takes(snapshot));
    // Two of the same moment: always in the same order.
    snapshots.sort_by_key(|snapshot| (snapshot.time.timestamp(), snapshot.id));
    Ok(snapshots)
}

/// Reads a snapshot; nothing where somebody has removed it meanwhile.
async fn read(repo: &Repo, id: Id) -> Result<Option<SnapshotFile>, Failure> {
    let name = super::backend::name(FileType::Snapshot, &id);
    match repo.backend().read_all(&name).await {
        Ok(sealed) if id_of(&sealed) == id => open(repo, &id, &sealed).map(Some),
        Ok(_) => Err(damaged(repo, &id, "its content has another hash than its name")),
        Err(failure) if failure.kind == FailureKind::NotFound && !ids(repo).await?.contains(&id) => Ok(None),
        Err(failure) => Err(failure),
    }
}

/// These snapshots, by their ids or the first characters of them, in this order.
///
/// # Errors
/// One is not there, cannot be read, or several are meant by one word.
pub(crate) fn these(repo: &Repo, which: &[String]) -> Result<Vec<SnapshotFile>, Failure> {
    let (shown, listed) = (repo.shown(), repo.backend().wait(ids(repo))?);
    let none = |which: &str| Failure::not_found(format!("there is no snapshot `{which}` at `{shown}`"));
    let mut wanted = Vec::new();
    for which in which {
        let mut found = listed.iter().filter(|id| id.to_hex().as_str().starts_with(which.as_str()));
        match (found.next(), found.count()) {
            (Some(id), 0) => wanted.push((*id, which)),
            (None, _) => return Err(none(which)),
            (Some(_), others) => return Err(ambiguous(which, others + 1)),
        }
    }
    repo.backend().wait(async {
        let reads = futures::stream::iter(wanted)
            .map(|(id, which)| async move { read(repo, id).await?.ok_or_else(|| none(which)) });
        reads.buffered(AT_ONCE).try_collect().await
    })
}

fn ambiguous(which: &str, snapshots: usize) -> Failure {
    Failure::config(format!("`{which}` is the beginning of {snapshots} snapshots' ids"))
        .with_help("write more of the id")
}

/// Says so where a filter took nothing: most often it is misspelt, and nothing to do looks like success.
pub(crate) fn tell_if_none(filter: &Filter, taken: usize, call: &Call) {
    if taken == 0 && *filter != Filter::default() {
        call.warn(
            "the filter takes no snapshot: nothing was done (`repository-snapshots` shows hosts, tags and paths)",
        );
    }
}

/// What a dry run ends with.
pub(crate) fn tell_dry(call: &Call) {
    call.info("this was a dry run: nothing was changed");
}

/// The names of the snapshots that there are.
///
/// # Errors
/// The store cannot be reached.
pub(crate) async fn ids(repo: &Repo) -> Result<BTreeSet<Id>, Failure> {
    let listed = repo.backend().list("snapshots").await?;
    Ok(listed.into_iter().filter_map(|(name, _)| name.parse().ok()).collect())
}

fn open(repo: &Repo, id: &Id, sealed: &[u8]) -> Result<SnapshotFile, Failure> {
    let json = repo.sealer().open_file(sealed).map_err(|failure| damaged(repo, id, &failure.message))?;
    let mut snapshot: SnapshotFile =
        serde_json::from_slice(&json).map_err(|error| damaged(repo, id, &format!("it is no snapshot: {error}")))?;
    snapshot.id = (*id).into();
    Ok(snapshot)
}

fn damaged(repo: &Repo, id: &Id, why: &str) -> Failure {
    let shown = repo.backend().store().shown(&super::backend::name(FileType::Snapshot, id));
    Failure::corrupt(format!("the snapshot `{shown}` is damaged: {why}")).with_help(
        "other snapshots may be whole; `restic-check` tells what else is damaged, and removing this file gives it up",
    )
}

/// The one snapshot that is meant: `latest`, or the first characters of an id.
///
/// # Errors
/// There is none, or there are several.
pub(crate) fn one(repo: &Repo, which: &str, filter: &Filter) -> Result<SnapshotFile, Failure> {
    let mut found = beginning(repo, filter, if which == "latest" { "" } else { which })?;
    let shown = repo.shown();
    let among = if *filter == Filter::default() { "" } else { " among those that the filter takes" };
    if which != "latest" && found.len() > 1 {
        return Err(ambiguous(which, found.len()));
    }
    if let Some(chosen) = found.pop() {
        return Ok(chosen);
    }
    let failure = Failure::not_found(match which {
        "latest" => format!("the repository at `{shown}` has no snapshots{among}"),
        _ => format!("there is no snapshot `{which}` at `{shown}`{among}"),
    });
    Err(failure.with_help(what_there_is(&all(repo, &Filter::default())?)))
}

/// How many hosts, or paths, are named to who looks for others.
const NAMED: usize = 8;

/// What a filter could ask for.
fn what_there_is(all: &[SnapshotFile]) -> String {
    if all.is_empty() {
        return "there are none at all: has a backup succeeded, and is this its repository?".to_owned();
    }
    let listed = |names: BTreeSet<&str>| {
        let more = if names.len() > NAMED { format!(" and {} more", names.len() - NAMED) } else { String::new() };
        names.iter().take(NAMED).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ") + &more
    };
    let hosts = listed(all.iter().map(|snapshot| snapshot.hostname.as_str()).collect());
    let paths = listed(all.iter().flat_map(|snapshot| snapshot.paths.iter().map(String::as_str)).collect());
    format!(
        "there are snapshots of {hosts} (`host`) with {paths} (`paths`); `restic-snapshots` (the task `repository-snapshots`) lists them"
    )
}

/// Checks `latest` or the beginning of an id, when the plan is made.
pub(crate) fn check(which: &str) -> Result<(), aquifer_engine::function::ParamError> {
    let id =
        !which.is_empty() && which.len() <= 64 && which.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if which == "latest" || id {
        return Ok(());
    }
    Err(aquifer_engine::function::ParamError::new("snapshot", format!("`{which}` is no snapshot"))
        .with_help("write `latest`, or an id or its first characters in lower-case hexadecimal"))
}
