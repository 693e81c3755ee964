//! `BackupConfiguration`: what is backed up, when, where to, and what stays.

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::condition::{Condition, ConditionStatus, Readiness};
use super::hooks::BackupHooks;
use super::retention::RetentionPolicy;
use super::runtime::{RuntimeSettings, TempDir};
use super::target::{BackupTarget, RepositoryRef, TaskRef, host};

/// What a backup is, each time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, CustomResource)]
#[kube(
    group = "stash.appscode.com",
    version = "v1beta1",
    kind = "BackupConfiguration",
    namespaced,
    derive = "PartialEq",
    status = "BackupConfigurationStatus",
    shortname = "bc",
    category = "stash",
    category = "appscode",
    category = "all",
    printcolumn = r#"{"name": "Task", "type": "string", "jsonPath": ".spec.task.name"}"#,
    printcolumn = r#"{"name": "Schedule", "type": "string", "jsonPath": ".spec.schedule"}"#,
    printcolumn = r#"{"name": "Paused", "type": "boolean", "jsonPath": ".spec.paused"}"#,
    printcolumn = r#"{"name": "Phase", "type": "string", "jsonPath": ".status.phase"}"#,
    printcolumn = r#"{"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct BackupConfigurationSpec {
    /// When, as a line of cron.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<String>,
    /// The time zone of the schedule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
    /// By which task; the one that the target names unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<TaskRef>,
    /// Where to.
    pub repository: RepositoryRef,
    /// What.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<BackupTarget>,
    /// What stays.
    #[serde(default)]
    pub retention_policy: RetentionPolicy,
    /// How its pods run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime_settings: Option<RuntimeSettings>,
    /// Room for temporary files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temp_dir: Option<TempDir>,
    /// A volume for what is between; none is needed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interim_volume_template: Option<Box<PersistentVolumeClaim>>,
    /// Whether nothing is done for now.
    #[serde(default)]
    pub paused: bool,
    /// How many sessions are remembered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup_history_limit: Option<i32>,
    /// What is done before and after.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hooks: Option<Box<BackupHooks>>,
    /// How long a session may take, such as `30m`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_out: Option<String>,
    /// How often a session is tried again that failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_config: Option<RetryConfig>,
    /// `Restic`, or `VolumeSnapshotter`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub driver: Option<Driver>,
}

/// Whether nobody else's snapshots are taken for its own.
pub(crate) const APART: &str = "SnapshotsToldApart";

impl BackupConfiguration {
    /// Whose snapshots may be taken for its own, where that is so.
    pub fn shares_snapshots(&self) -> Option<String> {
        let all = &self.status.as_ref()?.conditions;
        all.iter().find(|one| one.r#type == APART && one.status == ConditionStatus::False)?.message.clone()
    }
}

impl BackupConfigurationSpec {
    /// The host that its snapshots are of.
    pub fn host(&self) -> String {
        host(self.target.as_ref().and_then(|target| target.alias.as_ref()))
    }
}

/// Whether backups are made.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackupConfigurationStatus {
    /// The generation that this is said of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// What is so of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// Whether it can be used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<Readiness>,
    /// What is odd about its spec, and stops nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// How often something is tried again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RetryConfig {
    /// How often; once unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub max_retry: Option<i64>,
    /// After how long, such as `5m`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay: Option<String>,
}

/// What makes the copies.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Driver {
    /// A repository.
    #[default]
    Restic,
    /// The cluster's volumes themselves. Not for databases by their addresses.
    VolumeSnapshotter,
}
