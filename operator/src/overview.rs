//! How backups, repositories and restores are, for people.
//!
//! Takes what the API server has. Gives a line for each resource, with the reasons of what is not well. Always holds: what is not well has a reason;
//! what the operator has not looked at since it was changed is not well, whatever was said of it before.

use std::fmt::Debug;

use k8s_openapi::api::batch::v1::CronJob;
use k8s_openapi::jiff::Timestamp;
use kube::api::ListParams;
use kube::core::NamespaceResourceScope;
use kube::{Api, Client, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::cluster::{BLUEPRINT, configuration_of, names};
use crate::guarded::{Guarded, Unreadable};
use crate::resources::app_binding::AppBinding;
use crate::resources::backup::BackupConfiguration;
use crate::resources::backup_session::{BackupPhase, BackupSession};
use crate::resources::blueprint::BackupBlueprint;
use crate::resources::condition::{Condition, ConditionStatus, Readiness};
use crate::resources::repository::Repository;
use crate::resources::restore::{RestorePhase, RestoreSession};

/// How a resource is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Line {
    /// Its kind.
    pub kind: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its phase; nothing where the operator has not looked at it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<String>,
    /// Whether nobody needs to look after it.
    pub well: bool,
    /// Why it is not well.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub why: Vec<String>,
    /// What is odd about its spec, and stops nothing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// The rest, which is each kind's own.
    #[serde(flatten)]
    pub about: About,
}

/// What there is to say of a kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged, rename_all_fields = "camelCase")]
pub enum About {
    /// Of a `BackupConfiguration`.
    Backup {
        /// Its schedule.
        schedule: Option<String>,
        /// Whether it is paused.
        paused: bool,
        /// Its newest session.
        last_session: Option<LastSession>,
        /// When its newest session was made that succeeded.
        last_success: Option<Timestamp>,
        /// When its schedule last came.
        last_slot: Option<Timestamp>,
    },
    /// Of what cannot be read.
    Unreadable {},
    /// Of an `AppBinding` whose blueprint has not made its backup.
    Database {
        /// The blueprint.
        blueprint: String,
    },
    /// Of a `Repository`.
    Repository {
        /// Whether it was sound.
        integrity: Option<bool>,
        /// How much it holds.
        size: Option<String>,
        /// How many snapshots it has.
        snapshots: Option<i64>,
        /// When it was last written.
        last_success: Option<Timestamp>,
    },
    /// Of a `RestoreSession`.
    Restore {
        /// Its repository.
        repository: String,
        /// When it was made.
        made: Option<Timestamp>,
        /// How long it took.
        duration: Option<String>,
    },
}

/// A session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LastSession {
    /// Its name.
    pub name: String,
    /// How far it is; nothing where nobody has taken it up.
    pub phase: Option<String>,
    /// When it was made.
    pub time: Option<Timestamp>,
    /// What went wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// All of a namespace, or of all; of one name, or of all.
///
/// # Errors
/// The API server refused, or did not answer.
pub async fn overview(client: &Client, namespace: Option<&str>, name: Option<&str>) -> Result<Vec<Line>, kube::Error> {
    let mut unread = Vec::new();
    let backups: Vec<BackupConfiguration> = all(client, namespace, &mut unread).await?;
    let repositories: Vec<Repository> = all(client, namespace, &mut unread).await?;
    let restores: Vec<RestoreSession> = all(client, namespace, &mut unread).await?;
    let sessions: Vec<BackupSession> = all(client, namespace, &mut unread).await?;
    let cron_jobs: Vec<CronJob> = match all(client, namespace, &mut Vec::new()).await {
        // Not all who may see backups may see these, and all but one word is said without them.
        Err(kube::Error::Api(status)) if status.code == 403 => Vec::new(),
        other => other?,
    };
    let mut databases = Vec::new();
    for binding in all::<AppBinding>(client, namespace, &mut unread).await? {
        databases.extend(unmade(client, &binding).await?);
    }
    let backups = backups.iter().map(|one| backup(one, &sessions, &cron_jobs));
    let lines = backups
        .chain(databases)
        .chain(repositories.iter().map(repository))
        .chain(restores.iter().map(restore))
        .chain(unread);
    Ok(lines.filter(|line| name.is_none_or(|name| line.name == name)).collect())
}

/// All of a kind that can be read.
async fn all<K>(client: &Client, namespace: Option<&str>, unread: &mut Vec<Line>) -> Result<Vec<K>, kube::Error>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
{
    let api: Api<Guarded<K>> = match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    };
    let found = api.list(&ListParams::default()).await?.items;
    let mut read = Vec::new();
    for one in found {
        match one.0 {
            Ok(one) => read.push(one),
            Err(wrong) => unread.push(unreadable::<K>(wrong)),
        }
    }
    Ok(read)
}

/// One that nothing here can read: the operator leaves it alone, whatever its status says.
fn unreadable<K: Resource<DynamicType = ()>>(wrong: Unreadable) -> Line {
    let (namespace, name) = (wrong.metadata.namespace.unwrap_or_default(), wrong.metadata.name.unwrap_or_default());
    let why = vec![format!("it cannot be read, so the operator does nothing for it: {}: mend its spec", wrong.error)];
    let (kind, about) = (K::kind(&()).into_owned(), About::Unreadable {});
    Line { kind, namespace, name, phase: None, well: false, why, notes: Vec::new(), about }
}

/// A database whose blueprint has not made its backup, as far as who looks may see that.
async fn unmade(client: &Client, binding: &AppBinding) -> Result<Option<Line>, kube::Error> {
    let Some(name) = binding.annotations().get(BLUEPRINT) else { return Ok(None) };
    let blueprint = if names::is_name(name) {
        match Api::<BackupBlueprint>::all(client.clone()).get_opt(name).await {
            Err(kube::Error::Api(status)) if status.code == 403 => return Ok(None),
            // The operator can read it no better.
            Err(kube::Error::SerdeError(_)) => None,
            other => other?,
        }
    } else {
        None
    };
    let mut line = line(binding, None, About::Database { blueprint: name.clone() });
    let Some(blueprint) = blueprint else {
        line.is_not_well(format!("it has no backup: the BackupBlueprint `{name}` that it names is not there"));
        return Ok(Some(line));
    };
    let home = binding.namespace().unwrap_or_default();
    let (here, its) = configuration_of(&blueprint, binding);
    match Api::<BackupConfiguration>::namespaced(client.clone(), &here).get_opt(&its).await {
        Ok(Some(_)) => Ok(None),
        Err(kube::Error::Api(status)) if status.code == 403 => Ok(None),
        Err(other) => Err(other),
        Ok(None) => {
            line.is_not_well(format!(
                "it has no backup: the BackupBlueprint `{name}` has not made the BackupConfiguration `{here}/{its}`: `kubectl describe appbinding {} -n {home}` says why",
                binding.name_any()
            ));
            Ok(Some(line))
        }
    }
}

fn made<K: Resource>(one: &K) -> Option<Timestamp> {
    one.meta().creation_timestamp.as_ref().map(|at| at.0)
}

fn line<K>(one: &K, phase: Option<String>, about: About) -> Line
where
    K: Resource<DynamicType = ()>,
{
    let (namespace, name) = (one.namespace().unwrap_or_default(), one.name_any());
    Line {
        kind: K::kind(&()).into_owned(),
        namespace,
        name,
        phase,
        well: true,
        why: Vec::new(),
        notes: Vec::new(),
        about,
    }
}

impl Line {
    fn is_not_well(&mut self, why: impl Into<String>) {
        self.well = false;
        let why = why.into();
        if !self.why.contains(&why) {
            self.why.push(why);
        }
    }

    /// What was said of an older spec, or of none.
    fn is_looked_at(&mut self, observed: Option<i64>, generation: Option<i64>) {
        if self.phase.is_none() {
            self.is_not_well("the operator has not looked at it yet: does it run?");
        } else if observed.zip(generation).is_some_and(|(observed, generation)| observed < generation) {
            self.is_not_well("the operator has not looked at it since it was changed: does it run?");
        }
    }

    /// All that is not so.
    fn says(&mut self, conditions: &[Condition]) {
        for one in conditions.iter().filter(|one| one.status != ConditionStatus::True) {
            let said = one.message.clone().or_else(|| one.reason.clone());
            let said = said.map(|said| format!(": {said}")).unwrap_or_default();
            self.is_not_well(format!("{} is {:?}{said}", one.r#type, one.status));
        }
    }
}

fn backup(one: &BackupConfiguration, sessions: &[BackupSession], cron_jobs: &[CronJob]) -> Line {
    let (namespace, name, spec) = (one.namespace(), one.name_any(), &one.spec);
    let status = one.status.clone().unwrap_or_default();
    let is_own = |session: &&BackupSession| {
        let invoker = &session.spec.invoker;
        session.namespace() == namespace && invoker.kind == "BackupConfiguration" && invoker.name == name
    };
    let phase_of = |session: &BackupSession| session.status.as_ref().and_then(|status| status.phase);
    let last = sessions.iter().filter(is_own).max_by_key(|session| (made(*session), session.name_any()));
    let succeeded = sessions.iter().filter(is_own).filter(|one| phase_of(one) == Some(BackupPhase::Succeeded));
    let slots = names::cron_job(&name);
    let cron_job = cron_jobs.iter().find(|job| job.namespace() == namespace && job.name_any() == slots);
    let last_slot = cron_job.and_then(|job| Some(job.status.as_ref()?.last_schedule_time.as_ref()?.0));
    // One that runs, or was skipped, says nothing of whether backups succeed.
    let has_ended = |one: &&BackupSession| {
        matches!(phase_of(one), Some(BackupPhase::Succeeded | BackupPhase::Failed | BackupPhase::Unknown))
    };
    let ended =
        sessions.iter().filter(is_own).filter(has_ended).max_by_key(|session| (made(*session), session.name_any()));
    let failed = ended.filter(|ended| phase_of(ended) != Some(BackupPhase::Succeeded));
    let error = failed.map(|last| last.why().unwrap_or_else(|| "no reason was given".to_owned()));
    let last_session = last.map(|last| LastSession {
        name: last.name_any(),
        phase: phase_of(last).map(|phase| format!("{phase:?}")),
        time: made(last),
        error: error.clone().filter(|_| failed.is_some_and(|failed| failed.uid() == last.uid())),
    });
    let about = About::Backup {
        schedule: spec.schedule.clone(),
        paused: spec.paused,
        last_session,
        last_success: succeeded.filter_map(made).max(),
        last_slot,
    };
    let mut line = line(one, status.phase.map(|phase| format!("{phase:?}")), about);
    line.is_looked_at(status.observed_generation, one.metadata.generation);
    line.notes = of_now(&status.notes, status.observed_generation, one.metadata.generation);
    ready(&mut line, status.phase, &status.conditions);
    if let Some(why) = one.shares_snapshots().filter(|_| status.phase == Some(Readiness::Ready)) {
        line.is_not_well(why);
    }
    if let Some(error) = error {
        line.is_not_well(format!("its last backup failed: {error}"));
    }
    line
}

/// Notes of a spec, where they are of the one that is there now.
fn of_now(notes: &[String], observed: Option<i64>, generation: Option<i64>) -> Vec<String> {
    if observed == generation { notes.to_vec() } else { Vec::new() }
}

fn ready(line: &mut Line, phase: Option<Readiness>, conditions: &[Condition]) {
    if let Some(phase) = phase.filter(|phase| *phase != Readiness::Ready) {
        line.says(conditions);
        if line.why.is_empty() {
            line.is_not_well(format!("it is {phase:?}, and no reason was given"));
        }
    }
}

fn repository(one: &Repository) -> Line {
    let status = one.status.clone().unwrap_or_default();
    let about = About::Repository {
        integrity: status.integrity,
        size: status.total_size,
        snapshots: status.snapshot_count,
        last_success: status.last_backup_time.map(|at| at.0),
    };
    let mut line = line(one, status.phase.map(|phase| format!("{phase:?}")), about);
    if one.metadata.deletion_timestamp.is_some() {
        line.phase = Some("Terminating".to_owned());
        line.is_not_well(
            "it is being removed, with what is in it where `wipeOut` says so: its events say how far that is",
        );
        return line;
    }
    line.is_looked_at(status.observed_generation, one.metadata.generation);
    ready(&mut line, status.phase, &status.conditions);
    if status.integrity == Some(false) {
        line.is_not_well("the check after its last backup found it damaged: docs/howto/repair-a-repository.md");
    }
    line
}

fn restore(one: &RestoreSession) -> Line {
    let status = one.status.clone().unwrap_or_default();
    let about = About::Restore {
        repository: one.spec.repository.name.clone(),
        made: made(one),
        duration: status.session_duration.clone(),
    };
    let mut line = line(one, status.phase.map(|phase| format!("{phase:?}")), about);
    line.notes = of_now(&status.notes, status.observed_generation, one.metadata.generation);
    let is_changed =
        status.observed_generation.zip(one.metadata.generation).is_some_and(|(observed, now)| observed < now);
    match status.phase {
        None => line.is_looked_at(status.observed_generation, one.metadata.generation),
        Some(RestorePhase::Pending | RestorePhase::Invalid) => {
            line.is_looked_at(status.observed_generation, one.metadata.generation);
            line.says(&status.conditions);
        }
        Some(RestorePhase::Succeeded | RestorePhase::Failed | RestorePhase::Unknown) if is_changed => {
            line.is_not_well("it has ended, and what was changed since is not done: make another one, of another name");
        }
        Some(RestorePhase::Running | RestorePhase::Succeeded) => {}
        Some(RestorePhase::Failed | RestorePhase::Unknown) => match one.why() {
            Some(why) => line.is_not_well(why),
            None => line.is_not_well("no reason was given"),
        },
    }
    line
}
