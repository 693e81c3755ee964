//! Room 6: what became of a run. Takes the scheduler's outcome, gives a [`Report`] that is printed, stored and pushed.
//!
//! Always holds: every step of the plan stands in it exactly once, whatever happened; the step that failed first is
//! named apart from those that ended because of it; no secret is in it. The JSON form is versioned like the events.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::event::Status;
use crate::failure::Failure;

/// A whole run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// [`crate::event::VERSION`].
    pub version: u32,
    /// The run's id.
    pub run: String,
    /// The task's name.
    pub task: String,
    /// How the run ended (or `running`, in the view that a step gets of its own run).
    pub status: Status,
    /// True where the run was told to stop.
    pub stopped: bool,
    /// When it began.
    #[schemars(with = "String")]
    pub started: Timestamp,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// The step that failed first and why, in the first attempt where there were several; absent after success.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_failure: Option<StepFailure>,
    /// The pipelines, in the plan's order.
    pub pipelines: Vec<PipelineReport>,
}

/// One pipeline.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PipelineReport {
    /// Its steps' names joined by ` | `.
    pub pipeline: String,
    /// How it ended.
    pub status: Status,
    /// How many attempts were made.
    pub attempts: u32,
    /// How long all attempts and the waits between them took, in seconds.
    pub seconds: f64,
    /// The attempts that failed before the last one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub retried: Vec<StepFailure>,
    /// What ended the last attempt, where the pipeline failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<StepFailure>,
    /// Its steps, as the last attempt left them.
    pub steps: Vec<StepReport>,
}

/// One step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StepReport {
    /// Its name.
    pub step: String,
    /// The function it ran.
    pub function: String,
    /// How it ended.
    pub status: Status,
    /// How long it ran, in seconds.
    pub seconds: f64,
    /// What it warned of, in its last attempt; of more than a hundred warnings the first ones, and how many more there were.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// Bytes that it read.
    pub bytes_in: u64,
    /// Bytes that it wrote.
    pub bytes_out: u64,
    /// Why, where it did not succeed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// What it gave to later steps; null unless it succeeded.
    pub outputs: Value,
}

/// A failure with the step that it belongs to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StepFailure {
    /// The step.
    pub step: String,
    /// Why it failed.
    pub failure: Failure,
}

impl Report {
    /// Every step, in the plan's order.
    pub fn steps(&self) -> impl Iterator<Item = &StepReport> {
        self.pipelines.iter().flat_map(|pipeline| &pipeline.steps)
    }

    /// One step by name.
    pub fn step(&self, name: &str) -> Option<&StepReport> {
        self.steps().find(|step| step.step == name)
    }

    /// One output of one step; null where there is none.
    pub fn output(&self, step: &str, output: &str) -> &Value {
        self.step(step).map_or(&Value::Null, |step| step.outputs.get(output).unwrap_or(&Value::Null))
    }
}
