//! `RestoreSession`: what is brought back, from where, and into what.

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::backup::Driver;
use super::condition::{Condition, ConditionStatus};
use super::hooks::RestoreHooks;
use super::runtime::{RuntimeSettings, TempDir};
use super::target::{RepositoryRef, RestoreTarget, Rule, TaskRef, host, one_rule_for_the_rest};

/// What a restore is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, CustomResource)]
#[kube(
    group = "stash.appscode.com",
    version = "v1beta1",
    kind = "RestoreSession",
    namespaced,
    derive = "PartialEq",
    status = "RestoreSessionStatus",
    shortname = "restore",
    category = "stash",
    category = "appscode",
    category = "all",
    printcolumn = r#"{"name": "Repository", "type": "string", "jsonPath": ".spec.repository.name"}"#,
    printcolumn = r#"{"name": "Phase", "type": "string", "jsonPath": ".status.phase"}"#,
    printcolumn = r#"{"name": "Duration", "type": "string", "jsonPath": ".status.sessionDuration"}"#,
    printcolumn = r#"{"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "!has(self.rules) || size(self.rules) == 0 || !has(self.target) || !has(self.target.rules) || size(self.target.rules) == 0",
    "message": "rules stand in one place: in `spec.target.rules`, or in `spec.rules`, which is the old one",
}]))]
pub struct RestoreSessionSpec {
    /// By which task; the one that the target names unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<TaskRef>,
    /// From where.
    pub repository: RepositoryRef,
    /// Into what.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<RestoreTarget>,
    /// The old place of the target's `rules`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1024), extend("x-kubernetes-validations" = one_rule_for_the_rest()))]
    pub rules: Vec<Rule>,
    /// How its pods run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime_settings: Option<RuntimeSettings>,
    /// Room for temporary files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temp_dir: Option<TempDir>,
    /// A volume for what is between; none is needed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interim_volume_template: Option<Box<PersistentVolumeClaim>>,
    /// What is done before and after.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hooks: Option<Box<RestoreHooks>>,
    /// How long it may take, such as `30m`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_out: Option<String>,
    /// `Restic`, or `VolumeSnapshotter`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub driver: Option<Driver>,
}

impl RestoreSessionSpec {
    /// The host that its snapshots are of.
    pub fn host(&self) -> String {
        host(self.target.as_ref().and_then(|target| target.alias.as_ref()))
    }
}

/// What became of a restore.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RestoreSessionStatus {
    /// How far it is: `Succeeded` where all hosts are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<RestorePhase>,
    /// How many hosts there are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_hosts: Option<i32>,
    /// How long it took, such as `1m12s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_duration: Option<String>,
    /// What became of each host.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stats: Vec<HostRestoreStats>,
    /// What is so of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// When it is given up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_deadline: Option<Time>,
    /// The generation that this is said of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// What is odd about its spec, and stops nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// How far a restore is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RestorePhase {
    /// It has not begun.
    Pending,
    /// It runs.
    Running,
    /// All is there.
    Succeeded,
    /// It is not all there.
    Failed,
    /// Nobody can tell.
    Unknown,
    /// What it says cannot be done.
    Invalid,
}

/// What became of a host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HostRestoreStats {
    /// The host's name in snapshots.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// How far it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<HostRestorePhase>,
    /// How long it took, such as `8.2s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration: Option<String>,
    /// What went wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// How far a host is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum HostRestorePhase {
    /// It runs.
    Running,
    /// All is there.
    Succeeded,
    /// It is not all there.
    Failed,
    /// Nobody can tell.
    Unknown,
}

/// The condition of what was brought back.
pub(crate) const RESTORED: &str = "SnapshotRestored";

impl RestoreSession {
    /// What it brought back: which snapshot, and how many keys.
    pub fn what(&self) -> Option<String> {
        let conditions = &self.status.as_ref()?.conditions;
        let restored = |one: &&Condition| one.r#type == RESTORED && one.status == ConditionStatus::True;
        conditions.iter().find(restored)?.message.clone()
    }

    /// Why it brought nothing back, or waits: what went wrong with its hosts, or else what is not as it should be.
    pub fn why(&self) -> Option<String> {
        let status = self.status.as_ref()?;
        let errors: Vec<&str> = status.stats.iter().filter_map(|host| host.error.as_deref()).collect();
        if !errors.is_empty() {
            return Some(errors.join("; "));
        }
        let wrong = |one: &&Condition| one.status != ConditionStatus::True;
        status.conditions.iter().rev().filter(wrong).find_map(|one| one.message.clone())
    }
}
