//! `Repository`: where backups are kept.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::backend::Backend;

/// What a repository is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema, CustomResource)]
#[kube(
    group = "stash.appscode.com",
    version = "v1alpha1",
    kind = "Repository",
    plural = "repositories",
    namespaced,
    derive = "PartialEq"
)]
#[serde(rename_all = "camelCase")]
pub struct RepositorySpec {
    /// Where it lies.
    #[serde(default)]
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
