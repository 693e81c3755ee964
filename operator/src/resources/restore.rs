//! `RestoreSession`: what is brought back, from where, and into what.

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::backup::Driver;
use super::hooks::RestoreHooks;
use super::runtime::{RuntimeSettings, TempDir};
use super::target::{RepositoryRef, RestoreTarget, Rule, TaskRef};

/// What a restore is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, CustomResource)]
#[kube(group = "stash.appscode.com", version = "v1beta1", kind = "RestoreSession", namespaced, derive = "PartialEq")]
#[serde(rename_all = "camelCase")]
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
    pub rules: Vec<Rule>,
    /// How its pods run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime_settings: Option<RuntimeSettings>,
    /// Room for temporary files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temp_dir: Option<TempDir>,
    /// A volume for what is between; none is needed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interim_volume_template: Option<PersistentVolumeClaim>,
    /// What is done before and after.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hooks: Option<RestoreHooks>,
    /// How long it may take, such as `30m`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_out: Option<String>,
    /// `Restic`, or `VolumeSnapshotter`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub driver: Option<Driver>,
}
