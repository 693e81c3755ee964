//! What is done before and after a session.

use k8s_openapi::api::core::v1::{ExecAction, HTTPGetAction, HTTPHeader, TCPSocketAction};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Around a backup.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackupHooks {
    /// Before it; where it fails there is no backup.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pre_backup: Option<Handler>,
    /// After it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub post_backup: Option<PostHandler>,
}

/// Around a restore.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RestoreHooks {
    /// Before it; where it fails nothing is restored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pre_restore: Option<Handler>,
    /// After it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub post_restore: Option<PostHandler>,
}

/// One of four things to do.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "[has(self.exec), has(self.httpGet), has(self.httpPost), has(self.tcpSocket)].filter(is, is).size() == 1",
    "message": "a hook does exactly one thing: `exec`, `httpGet`, `httpPost` or `tcpSocket`",
}]))]
pub struct Handler {
    /// A command in the target's pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exec: Option<ExecAction>,
    /// A request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http_get: Option<HTTPGetAction>,
    /// A request with a body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http_post: Option<HttpPost>,
    /// A connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tcp_socket: Option<TCPSocketAction>,
    /// The container that the command runs in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container_name: Option<String>,
}

/// What to do afterwards, and when.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PostHandler {
    /// What.
    #[serde(flatten)]
    pub handler: Handler,
    /// When.
    #[serde(default)]
    pub execution_policy: ExecutionPolicy,
}

/// When something is done afterwards.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ExecutionPolicy {
    /// In any case.
    #[default]
    Always,
    /// After success.
    OnSuccess,
    /// After each failure.
    OnFailure,
    /// After the failure that is not tried again.
    OnFinalRetryFailure,
}

/// A request with a body.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HttpPost {
    /// The host; the target's pod unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The port.
    pub port: IntOrString,
    /// The path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// `HTTP`, or `HTTPS`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheme: Option<String>,
    /// Headers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub http_headers: Vec<HTTPHeader>,
    /// The body, of at most 64 KiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 65536))]
    pub body: Option<String>,
    /// A form, in the place of a body.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub form: Vec<FormField>,
}

/// A field of a form.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FormField {
    /// Its name.
    pub key: String,
    /// Its values.
    #[serde(default)]
    pub values: Vec<String>,
}
