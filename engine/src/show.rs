//! A plan as something to look at: text for a person, JSON for a program, Mermaid and DOT for a picture.
//!
//! Takes a [`Plan`]; gives strings and nothing else: no colours, no printing, nothing is run. Always holds: every form
//! shows each step, pipe and dependency exactly once; secret values are masked before any form sees them, by the
//! plan's own rules for each step and again by the values that the plan knows to be secret; control characters in
//! params never reach a terminal.

mod dot;
mod json;
mod mermaid;
mod text;

use std::time::Duration;

use serde_json::{Map, Value};

use crate::plan::{PipelineId, Plan, PlannedStep, StepId, When};

pub use dot::dot;
pub use json::{json, schema as json_schema};
pub use mermaid::mermaid;
pub use text::text;

/// The step's params, fit to be shown.
fn shown_params(plan: &Plan, step: &PlannedStep) -> Map<String, Value> {
    let mut params = step.shown_params().clone();
    plan.redactor().redact_value(&mut params);
    match params {
        Value::Object(params) => params,
        _ => Map::new(),
    }
}

/// The steps that read what this one writes, in the plan's order.
fn readers(plan: &Plan, id: StepId) -> impl Iterator<Item = &PlannedStep> {
    plan.steps.iter().filter(move |step| step.stdin == Some(id))
}

/// What the step runs, and the built-in behind it where that has another name.
fn function(step: &PlannedStep) -> String {
    let builtin = step.runs.info().name;
    if step.function == builtin { step.function.clone() } else { format!("{} ({builtin})", step.function) }
}

/// A pipeline's place as people count.
fn number(id: PipelineId) -> usize {
    id.0 + 1
}

/// The word of the language.
fn when(when: When) -> &'static str {
    match when {
        When::Success => "success",
        When::Failure => "failure",
        When::Always => "always",
    }
}

/// A duration as the language writes it: `2h`, `1m 30s`.
fn duration(duration: Duration) -> String {
    humantime::format_duration(duration).to_string()
}

#[cfg(test)]
mod tests;
