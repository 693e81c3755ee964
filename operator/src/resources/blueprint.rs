//! `BackupBlueprint`: from what a `Repository` and a `BackupConfiguration` are made for each database that asks for it by an annotation.
//!
//! Names in its backend may have `${TARGET_NAME}` and the like in them, which stand for what the database has.

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::backup::RetryConfig;
use super::hooks::BackupHooks;
use super::repository::RepositorySpec;
use super::retention::RetentionPolicy;
use super::runtime::{RuntimeSettings, TempDir};
use super::target::TaskRef;

/// What the resources of each database have in common.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, CustomResource)]
#[kube(
    group = "stash.appscode.com",
    version = "v1beta1",
    kind = "BackupBlueprint",
    derive = "PartialEq",
    shortname = "bb",
    category = "stash",
    category = "appscode",
    printcolumn = r#"{"name": "Task", "type": "string", "jsonPath": ".spec.task.name"}"#,
    printcolumn = r#"{"name": "Schedule", "type": "string", "jsonPath": ".spec.schedule"}"#,
    printcolumn = r#"{"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct BackupBlueprintSpec {
    /// The repository.
    #[serde(flatten)]
    pub repository: RepositorySpec,
    /// Where the backup's resources are made; the database's namespace unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup_namespace: Option<String>,
    /// Where the repository is made; the backup's namespace unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repo_namespace: Option<String>,
    /// When, as a line of cron; an annotation of the database goes before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<String>,
    /// The time zone of the schedule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
    /// By which task; the one that the database names unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<TaskRef>,
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
}
