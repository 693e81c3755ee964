//! What is backed up or restored, by which task, and where it is kept.

use k8s_openapi::api::core::v1::VolumeMount;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The host that snapshots of a database are of, as Stash says it.
const HOST: &str = "host-0";

/// The host that snapshots of a target are of: its alias, or the one that all have.
pub(super) fn host(alias: Option<&String>) -> String {
    alias.cloned().unwrap_or_else(|| HOST.to_owned())
}

/// A name and its value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Param {
    /// The name.
    pub name: String,
    /// The value.
    #[serde(default)]
    pub value: String,
}

/// A task by its name, and params for it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "!has(self.apiGroup) || self.apiGroup != 'aquifer.dev' || (has(self.name) && self.name != '')",
    "message": "which Task of aquifer.dev? Say its `name`",
}]))]
pub struct TaskRef {
    /// Whose tasks the name is one of: Stash's unless said, which are known here by their names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_group: Option<TaskGroup>,
    /// The task's name; the one that the target names where it is empty.
    #[serde(default)]
    pub name: String,
    /// Its params.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub params: Vec<TaskParam>,
}

impl TaskRef {
    /// Whether it is a Task of aquifer.dev, in the namespace of who refers to it.
    pub fn is_own(&self) -> bool {
        self.api_group == Some(TaskGroup::Own)
    }
}

/// Whose tasks there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TaskGroup {
    /// Stash's.
    #[serde(rename = "stash.appscode.com")]
    Stash,
    /// Our own, in a namespace.
    #[serde(rename = "aquifer.dev")]
    Own,
}

/// A param of a task, and its value.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TaskParam {
    /// The name.
    pub name: String,
    /// The value.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub value: String,
    /// Where the value stands, for a Task of aquifer.dev.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value_from: Option<ParamSource>,
}

/// Where a value stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ParamSource {
    /// In a Secret of the same namespace.
    pub secret_key_ref: ParamKey,
}

/// A key of a Secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ParamKey {
    /// The Secret's name.
    pub name: String,
    /// The key.
    pub key: String,
}

/// A repository by its name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RepositoryRef {
    /// The repository's name.
    pub name: String,
    /// Its namespace; the one of who refers to it unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
}

/// A resource that is a target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TargetRef {
    /// Its group and version, such as `appcatalog.appscode.com/v1alpha1`.
    pub api_version: String,
    /// Its kind, such as `AppBinding`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Its namespace; the one of who refers to it unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
}

/// What a backup is of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackupTarget {
    /// The resource.
    pub r#ref: TargetRef,
    /// Under which host name its snapshots are kept; `host-0` unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alias: Option<String>,
    /// Of targets with files: the paths. A database has none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<String>,
    /// Of targets with files: where their volumes are mounted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub volume_mounts: Vec<VolumeMount>,
    /// Of targets with files: what to leave out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclude: Vec<String>,
    /// Arguments for a file backup.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    /// Of volume snapshots: how many replicas.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<i32>,
    /// Of volume snapshots: their class.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot_class_name: Option<String>,
}

/// What a restore writes, and which snapshots.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RestoreTarget {
    /// The resource.
    pub r#ref: TargetRef,
    /// Under which host name its snapshots were kept; `host-0` unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alias: Option<String>,
    /// Which snapshots for which host.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1024), extend("x-kubernetes-validations" = one_rule_for_the_rest()))]
    pub rules: Vec<Rule>,
    /// Of targets with files: where their volumes are mounted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub volume_mounts: Vec<VolumeMount>,
    /// Of targets with files: how many replicas.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<i32>,
}

/// Which snapshots a host is restored from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Rule {
    /// The hosts that it is for; all that no other rule is for where there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub target_hosts: Vec<String>,
    /// The host that the snapshot is of; the target host itself unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_host: Option<String>,
    /// Snapshots by the beginning of their ids, or `latest`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub snapshots: Vec<String>,
    /// Of targets with files: the paths.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<String>,
}

/// What the API server checks of rules.
pub(super) fn one_rule_for_the_rest() -> serde_json::Value {
    serde_json::json!([{
        "rule": "self.filter(rule, !has(rule.targetHosts) || size(rule.targetHosts) == 0).size() <= 1",
        "message": "at most one rule has no `targetHosts`: it is for all hosts that no other rule names",
    }])
}
