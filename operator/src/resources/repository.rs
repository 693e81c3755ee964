//! `Repository`: where backups are kept.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, Time};
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::backend::Backend;
use super::condition::{Condition, Readiness};

/// What a repository is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema, CustomResource)]
#[kube(
    group = "stash.appscode.com",
    version = "v1alpha1",
    kind = "Repository",
    plural = "repositories",
    namespaced,
    derive = "PartialEq",
    status = "RepositoryStatus",
    shortname = "repo",
    category = "stash",
    category = "appscode",
    printcolumn = r#"{"name": "Integrity", "type": "boolean", "jsonPath": ".status.integrity"}"#,
    printcolumn = r#"{"name": "Size", "type": "string", "jsonPath": ".status.totalSize"}"#,
    printcolumn = r#"{"name": "Snapshot-Count", "type": "integer", "jsonPath": ".status.snapshotCount"}"#,
    printcolumn = r#"{"name": "Last-Successful-Backup", "type": "date", "jsonPath": ".status.lastBackupTime", "format": "date-time"}"#,
    printcolumn = r#"{"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct RepositorySpec {
    /// Where it lies.
    pub backend: Backend,
    /// Whether all of it is removed with this resource.
    #[serde(default)]
    pub wipe_out: bool,
    /// Who may use it from other namespaces; nobody unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage_policy: Option<UsagePolicy>,
}

/// Who may use a repository.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UsagePolicy {
    /// From which namespaces.
    #[serde(default)]
    pub allowed_namespaces: AllowedNamespaces,
}

/// Namespaces.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    {
        "rule": "!has(self.selector) || (has(self.from) && self.from == 'Selector')",
        "message": "`selector` is only read where `from` is `Selector`",
    },
    {
        "rule": "!has(self.from) || self.from != 'Selector' || has(self.selector)",
        "message": "`from` is `Selector`, and there is no `selector`",
    },
]))]
pub struct AllowedNamespaces {
    /// Which ones.
    #[serde(default)]
    pub from: From,
    /// Those with these labels, where `from` is `Selector`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<LabelSelector>,
}

/// Which namespaces are meant.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum From {
    /// All.
    All,
    /// Those that a selector finds.
    Selector,
    /// The resource's own.
    #[default]
    Same,
}

/// What is known of a repository.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RepositoryStatus {
    /// The generation that this is said of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// When its first backup was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_backup_time: Option<Time>,
    /// When its last one was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_backup_time: Option<Time>,
    /// Whether it was sound after that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub integrity: Option<bool>,
    /// When it was last found to be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_verified_time: Option<Time>,
    /// Its size then, such as `1.2 MiB`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_size: Option<String>,
    /// How many snapshots it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot_count: Option<i64>,
    /// How many were removed after the last backup.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshots_removed_on_last_cleanup: Option<i64>,
    /// What uses it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub references: Vec<Reference>,
    /// What is so of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// Whether it can be used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<Readiness>,
}

/// What uses a repository.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Reference {
    /// Its group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_group: Option<String>,
    /// Its kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Its namespace; the repository's unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
}
