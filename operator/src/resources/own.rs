//! Our own `Task` and `Function`, as a cluster keeps them: the documents of the engine's language, in the namespace of who uses them.
//!
//! They are not called `tasks` and `functions` there, so that `kubectl get functions` goes on to give Stash's. Always holds: each field that the language has is here under its name, and what is written is what the engine reads. What the API server can
//! check it checks; the rest is looked over, with what a session gives it, when something refers to it.

use std::collections::BTreeMap;

use kube::CustomResource;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

/// Steps of a user's own, which a session runs in the place of those that it has by itself.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema, CustomResource)]
#[kube(
    group = "aquifer.dev",
    version = "v1alpha1",
    kind = "Task",
    root = "OwnTask",
    plural = "aquifertasks",
    singular = "aquifertask",
    namespaced,
    derive = "PartialEq",
    shortname = "aqt",
    category = "aquifer",
    printcolumn = r#"{"name": "Summary", "type": "string", "jsonPath": ".spec.summary"}"#,
    printcolumn = r#"{"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct OwnTaskSpec {
    /// One sentence for lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<String>,
    /// What whoever refers to it may set.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub params: Vec<OwnParam>,
    /// The steps.
    #[schemars(length(min = 1))]
    pub steps: Vec<OwnStep>,
    /// How many pipelines may run at once; 8 unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub concurrency: Option<i64>,
}

/// Something that a step of a `Task` of the same namespace can run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema, CustomResource)]
#[kube(
    group = "aquifer.dev",
    version = "v1alpha1",
    kind = "Function",
    root = "OwnFunction",
    plural = "aquiferfunctions",
    singular = "aquiferfunction",
    namespaced,
    derive = "PartialEq",
    shortname = "aqf",
    category = "aquifer",
    printcolumn = r#"{"name": "Summary", "type": "string", "jsonPath": ".spec.summary"}"#,
    printcolumn = r#"{"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("oneOf" = [{"required": ["builtin"]}, {"required": ["exec"]}, {"required": ["steps"]}]))]
pub struct OwnFunctionSpec {
    /// One sentence for lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<String>,
    /// What a step may set.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub params: Vec<OwnParam>,
    /// A function of the engine's, by its name, or as `{function: NAME, params: {…}}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "anything")]
    pub builtin: Option<Json>,
    /// A program of the image that sessions run in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exec: Option<OwnExec>,
    /// Other functions, as one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub steps: Option<Vec<OwnStep>>,
    /// The media type that it reads; `any` takes everything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stdin: Option<String>,
    /// With `exec` the media type of what it writes, with `steps` the step inside whose stdout is its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stdout: Option<String>,
    /// With `steps`: what inner steps put out, for later steps.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "any_map")]
    pub outputs: BTreeMap<String, Json>,
}

/// A program and its arguments; no shell reads them.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OwnExec {
    /// The program and its arguments.
    #[schemars(schema_with = "any_list")]
    pub command: Vec<Json>,
    /// Environment variables to add; secrets go here.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "any_map")]
    pub env: BTreeMap<String, Json>,
    /// The folder to run in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dir: Option<String>,
}

/// A param that is declared.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OwnParam {
    /// Its name.
    pub name: String,
    /// Its type; a string unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub r#type: Option<ParamType>,
    /// What holds where it is not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "anything")]
    pub default: Option<Json>,
    /// Whether it has to be given.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub required: bool,
    /// The only values that it may have.
    #[serde(default, rename = "enum", skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "any_list")]
    pub choices: Vec<Json>,
    /// Whether its value is never shown.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub secret: bool,
    /// One sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<String>,
}

/// What a param may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the words of the language")]
pub enum ParamType {
    String,
    Integer,
    Number,
    Boolean,
    List,
    Map,
}

/// One use of a function.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OwnStep {
    /// Its name.
    pub name: String,
    /// The function that it runs.
    pub function: String,
    /// The function's params: a map, or a list of `{name, value}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "anything")]
    pub params: Option<Json>,
    /// The step whose stdout it reads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stdin: Option<String>,
    /// The steps that it waits for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needs: Vec<String>,
    /// When it runs, by what became of what it depends on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<StepWhen>,
    /// Whether it is there: a template, or a boolean.
    #[serde(default, rename = "if", skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "anything")]
    pub condition: Option<Json>,
    /// How often its pipeline is tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<StepRetry>,
    /// How long one attempt of its pipeline may take, such as `10m`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<String>,
}

/// When a step runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the words of the language")]
pub enum StepWhen {
    Success,
    Failure,
    Always,
}

/// How often a pipeline is tried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StepRetry {
    /// In all, the first attempt included.
    #[schemars(range(min = 1, max = 100))]
    pub attempts: i64,
    /// The wait before the second attempt, such as `10s`; twice as long before each further one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backoff: Option<String>,
}

/// What the API server takes as it is: the engine knows what may stand there.
fn anything(_: &mut SchemaGenerator) -> Schema {
    schema(json!({"x-kubernetes-preserve-unknown-fields": true}))
}

fn any_map(_: &mut SchemaGenerator) -> Schema {
    schema(json!({"type": "object", "additionalProperties": {"x-kubernetes-preserve-unknown-fields": true}}))
}

fn any_list(_: &mut SchemaGenerator) -> Schema {
    schema(json!({"type": "array", "minItems": 1, "items": {"x-kubernetes-preserve-unknown-fields": true}}))
}

fn schema(value: Json) -> Schema {
    value.try_into().unwrap_or_default()
}
