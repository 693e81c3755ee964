//! The plan as a person reads it: pipelines in the order in which they may run, the steps of each in the order of the
//! data with the stream's type between them, and under each step its params.

use std::fmt::Write as _;

use serde_json::Value;

use super::{duration, function, number, readers, when};
use crate::plan::{Pipeline, Plan, PlannedStep, When};

/// The plan as indented text, without colours, ending in a line break.
pub fn text(plan: &Plan) -> String {
    let mut out = String::new();
    let _ = writeln!(
        out,
        "task {}: {} in {}{}",
        plan.task,
        count(plan.steps.len(), "step"),
        count(plan.pipelines.len(), "pipeline"),
        if plan.pipelines.len() > 1 { format!(", at most {} at once", plan.concurrency) } else { String::new() },
    );
    for (place, pipeline) in plan.pipelines.iter().enumerate() {
        let _ = writeln!(out, "\n{}. {}", place + 1, pipeline.name);
        for line in conditions(plan, pipeline) {
            let _ = writeln!(out, "   {line}");
        }
        let width = pipeline.steps.iter().map(|id| plan.step(*id).name.len()).max().unwrap_or_default();
        let mut before = None;
        for id in &pipeline.steps {
            let step = plan.step(*id);
            out.push('\n');
            if let Some(from) = step.stdin {
                let fans_out = readers(plan, from).count() > 1;
                let writer = plan.step(from);
                let origin =
                    if fans_out || before != Some(from) { format!(" from {}", writer.name) } else { String::new() };
                let _ = writeln!(out, "   | {}{origin}", writer.stdout);
            }
            let _ = writeln!(out, "   {:width$}  {}", step.name, function(step));
            params(&mut out, plan, step);
            before = Some(*id);
        }
    }
    out
}

/// `1 step`, `2 steps`.
fn count(number: usize, thing: &str) -> String {
    format!("{number} {thing}{}", if number == 1 { "" } else { "s" })
}

/// What has to hold before the pipeline runs and how often it is tried: a line for each that is not the default.
fn conditions(plan: &Plan, pipeline: &Pipeline) -> Vec<String> {
    let mut lines = Vec::new();
    if !pipeline.after.is_empty() {
        let after: Vec<String> = pipeline.after.iter().map(|id| number(*id).to_string()).collect();
        lines.push(format!("after: {}", after.join(", ")));
    }
    for step in pipeline.steps.iter().map(|id| plan.step(*id)).filter(|step| !step.needs.is_empty()) {
        let needs: Vec<&str> = step.needs.iter().map(|id| plan.step(*id).name.as_str()).collect();
        lines.push(format!("needs: {} (by {})", needs.join(", "), step.name));
    }
    match pipeline.when {
        When::Success => {}
        other => lines.push(format!("when: {}", when(other))),
    }
    if pipeline.attempts > 1 {
        lines.push(format!(
            "retry: {} attempts, the second {} after the first, then twice as long each time",
            pipeline.attempts,
            duration(pipeline.backoff),
        ));
    }
    if let Some(timeout) = pipeline.timeout {
        let each = if pipeline.attempts > 1 { " for each attempt" } else { "" };
        lines.push(format!("timeout: {}{each}", duration(timeout)));
    }
    lines
}

fn params(out: &mut String, plan: &Plan, step: &PlannedStep) {
    for (key, value) in super::shown_params(plan, step) {
        entry(out, 7, &key, &value);
    }
}

/// One `key: value`, nested maps on lines of their own.
fn entry(out: &mut String, indent: usize, key: &str, value: &Value) {
    let key = scalar(key);
    match value {
        Value::Object(map) if !map.is_empty() => {
            let _ = writeln!(out, "{:indent$}{key}:", "");
            for (key, value) in map {
                entry(out, indent + 2, key, value);
            }
        }
        Value::Array(items) if items.iter().any(|item| item.is_object() || item.is_array()) => {
            let _ = writeln!(out, "{:indent$}{key}:", "");
            for item in items {
                // JSON in one line: lists of maps are rare, and short where they occur.
                let _ = writeln!(out, "{:indent$}- {}", "", on_one_line(item), indent = indent + 2);
            }
        }
        Value::String(text) => {
            let _ = writeln!(out, "{:indent$}{key}: {}", "", scalar(text));
        }
        other => {
            let _ = writeln!(out, "{:indent$}{key}: {}", "", on_one_line(other));
        }
    }
}

/// A string as it is where that cannot be misread; else in JSON's quotes.
fn scalar(text: &str) -> String {
    let other_type = serde_json::from_str::<Value>(text).is_ok();
    let plain = !text.is_empty() && text.trim() == text && !text.chars().any(char::is_control) && !other_type;
    if plain { text.to_owned() } else { on_one_line(&Value::from(text)) }
}

/// JSON, with every control character escaped (JSON itself leaves those above U+007E as they are).
fn on_one_line(value: &Value) -> String {
    let json = value.to_string();
    json.chars().fold(String::with_capacity(json.len()), |mut out, c| {
        if c.is_control() {
            let _ = write!(out, "\\u{:04x}", u32::from(c));
        } else {
            out.push(c);
        }
        out
    })
}
