//! The plan as JSON, versioned like events and reports: fields are only ever added within a version.

use schemars::{JsonSchema, Schema, schema_for};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::event::VERSION;
use crate::plan::{Plan, PlannedStep};
use crate::stream::StreamType;

/// A plan.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct ShownPlan<'a> {
    /// The version of this form.
    version: u32,
    /// The task's name.
    task: &'a str,
    /// How many pipelines may run at once.
    concurrency: usize,
    /// The pipelines, in an order in which they could run one by one.
    pipelines: Vec<ShownPipeline<'a>>,
}

/// Steps that run together.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct ShownPipeline<'a> {
    /// Its steps' names joined by ` | `.
    pipeline: &'a str,
    /// The pipelines that have to end before it, directly.
    after: Vec<&'a str>,
    /// When it runs, by what became of those: `success`, `failure` or `always`.
    when: &'static str,
    /// How many attempts there are.
    attempts: u32,
    /// How long to wait before the second attempt, in seconds; doubles after each.
    backoff_seconds: f64,
    /// How long one attempt may take, in seconds; null where it may take forever.
    timeout_seconds: Option<f64>,
    /// Its steps, each behind the one that it reads.
    steps: Vec<ShownStep<'a>>,
}

/// One step.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct ShownStep<'a> {
    /// Its name; `outer/inner` inside a composite.
    step: &'a str,
    /// The function named in the document.
    function: &'a str,
    /// The built-in that does the work.
    builtin: &'static str,
    /// The step whose stdout it reads, or null.
    stdin: Option<&'a str>,
    /// The steps that it waits for.
    needs: Vec<&'a str>,
    /// The type of its stdout as far as the plan knows; null where nobody reads it.
    stdout: Option<&'a StreamType>,
    /// Its params: secrets masked, what is known only during the run as it was written.
    params: Map<String, Value>,
}

/// The plan as one JSON object.
pub fn json(plan: &Plan) -> Value {
    let pipelines = plan.pipelines.iter().map(|pipeline| ShownPipeline {
        pipeline: &pipeline.name,
        after: pipeline.after.iter().map(|id| plan.pipeline(*id).name.as_str()).collect(),
        when: super::when(pipeline.when),
        attempts: pipeline.attempts,
        backoff_seconds: pipeline.backoff.as_secs_f64(),
        timeout_seconds: pipeline.timeout.map(|timeout| timeout.as_secs_f64()),
        steps: pipeline
            .steps
            .iter()
            .map(|id| shown_step(plan, plan.step(*id), super::readers(plan, *id).count()))
            .collect(),
    });
    let shown =
        ShownPlan { version: VERSION, task: &plan.task, concurrency: plan.concurrency, pipelines: pipelines.collect() };
    // Strings, numbers and maps with string keys: nothing in there that JSON could not hold.
    serde_json::to_value(shown).unwrap_or_default()
}

fn shown_step<'a>(plan: &'a Plan, step: &'a PlannedStep, readers: usize) -> ShownStep<'a> {
    let name = |id: &crate::plan::StepId| plan.step(*id).name.as_str();
    ShownStep {
        step: &step.name,
        function: &step.function,
        builtin: step.runs.info().name,
        stdin: step.stdin.as_ref().map(name),
        needs: step.needs.iter().map(name).collect(),
        stdout: (readers > 0).then_some(&step.stdout),
        params: super::shown_params(plan, step),
    }
}

/// The JSON Schema of what [`json`] gives.
pub fn schema() -> Schema {
    schema_for!(ShownPlan<'static>)
}
