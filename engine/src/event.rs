//! What a run says while it runs: the one stream that progress bars, logs, reports and a cluster's status are made from.
//!
//! Takes facts from the scheduler and from functions (through [`Call`](crate::function::Call)). Gives [`Event`]s in the
//! order in which they happened, already free of secrets. Always holds: the JSON form is versioned by [`VERSION`]; fields
//! are only ever added within a version; every `step-started` is followed by its `step-ended`, every `pipeline-started` by
//! `pipeline-retry` or `pipeline-ended`, and `run-ended` is the last. What never started only ends.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::failure::Failure;

/// The version of the JSON form of events and reports.
pub const VERSION: u32 = 1;

/// One fact about a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Event {
    /// [`VERSION`].
    pub version: u32,
    /// The run it belongs to.
    pub run: String,
    /// When it happened.
    #[schemars(with = "String")]
    pub at: Timestamp,
    /// What happened.
    pub what: What,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", rename_all_fields = "camelCase", tag = "type")]
pub enum What {
    /// The run began.
    RunStarted {
        /// The task's name.
        task: String,
        /// The pipelines in the order in which they may run, each with its steps in the order of the data.
        pipelines: Vec<Vec<StepHead>>,
    },
    /// A pipeline's attempt began: all its steps start together.
    PipelineStarted {
        /// The pipeline's name: its steps' names joined by ` | `.
        pipeline: String,
        /// This attempt, from 1.
        attempt: u32,
        /// The most attempts there may be.
        attempts: u32,
    },
    /// A step started.
    StepStarted {
        /// The step.
        step: String,
    },
    /// How far the running steps are; sent every so often.
    Progress {
        /// Only steps that run now.
        steps: Vec<StepProgress>,
    },
    /// A function says something.
    Message {
        /// Who says it.
        step: String,
        /// How loud.
        level: Level,
        /// What, without a line break.
        text: String,
    },
    /// A step ended.
    StepEnded {
        /// The step.
        step: String,
        /// How.
        status: Status,
        /// Why, where it did not succeed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        failure: Option<Failure>,
        /// How long it ran, in seconds.
        seconds: f64,
        /// Bytes that it read.
        bytes_in: u64,
        /// Bytes that it wrote (once, however many read them).
        bytes_out: u64,
        /// What it gave to later steps.
        #[serde(default, skip_serializing_if = "serde_json::Value::is_null")]
        outputs: serde_json::Value,
    },
    /// An attempt failed and another will be made.
    PipelineRetry {
        /// The pipeline.
        pipeline: String,
        /// The attempt that failed.
        attempt: u32,
        /// The most attempts there may be.
        attempts: u32,
        /// How long until the next one, in seconds.
        wait_seconds: f64,
        /// The step that failed first.
        step: String,
        /// Why.
        failure: Failure,
    },
    /// A pipeline ended, all attempts counted.
    PipelineEnded {
        /// The pipeline.
        pipeline: String,
        /// How.
        status: Status,
    },
    /// The run was told to stop; `when: always` and `when: failure` steps still run.
    Stopping {
        /// True where it was told a second time: nothing more runs.
        at_once: bool,
    },
    /// The run ended.
    RunEnded {
        /// How.
        status: Status,
        /// How long it took, in seconds.
        seconds: f64,
    },
}

/// A step, before it runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StepHead {
    /// The step's name; steps inside a composite function are `outer/inner`.
    pub step: String,
    /// The function it runs.
    pub function: String,
    /// The step whose stdout it reads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stdin: Option<String>,
}

/// How far a running step is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StepProgress {
    /// The step.
    pub step: String,
    /// Bytes read so far.
    pub bytes_in: u64,
    /// Bytes written so far.
    pub bytes_out: u64,
    /// How full its stdin pipe is, from 0 to 1; absent without a stdin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting: Option<f64>,
    /// True for the step that holds the others of its pipeline back: what comes before it waits for room, what comes
    /// after it waits for bytes.
    pub slowest: bool,
    /// What the function says about itself (`12,000 keys`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// How loud a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// For whoever looks for a cause.
    Debug,
    /// What is being done.
    Info,
    /// Somebody should look at it; the run goes on.
    Warning,
}

/// How something ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// It is still waiting for its turn.
    Pending,
    /// It is running.
    Running,
    /// It did what it should.
    Succeeded,
    /// It did not, and was the reason.
    Failed,
    /// It was stopped because another failed, or because the run was told to stop.
    Cancelled,
    /// It was not called for: its `when` did not hold.
    Skipped,
}

/// Where events go. Called in order, while the run's board is locked, by the scheduler and by whatever function speaks:
/// return at once. A sink that blocks (on a terminal, a socket) holds up every step that speaks or ends, the progress and
/// the answer to a request to stop: hand events to a thread of your own, and decide what is dropped where it falls behind.
pub trait EventSink: Send + Sync {
    /// Takes one event.
    fn emit(&self, event: &Event);
}

/// Drops every event.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl EventSink for Silent {
    fn emit(&self, _: &Event) {}
}

impl<F: Fn(&Event) + Send + Sync> EventSink for F {
    fn emit(&self, event: &Event) {
        self(event);
    }
}
