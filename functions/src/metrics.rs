//! A run's report as metrics, in Prometheus's text format (version 0.0.4).
//!
//! Takes a [`Report`], as it stands; gives the text. Always holds: every family is declared once, with its help and all
//! its samples behind it; only what has ended is measured; `aquifer_last_success_timestamp_seconds` is there only when
//! nothing has failed, so that a gateway which replaces family by family keeps the old one. The names are documented in
//! `docs/reference/metrics.md`.

use std::collections::BTreeMap;
use std::fmt::Write;

use aquifer_engine::event::Status;
use aquifer_engine::report::Report;
use jiff::Timestamp;
use serde_json::Value;

/// The labels that samples carry; a grouping label of the same name would overwrite them.
pub(crate) const LABELS: [&str; 5] = ["function", "output", "pipeline", "status", "step"];

/// The text and how many samples it holds.
#[derive(Debug, Default)]
pub(crate) struct Exposition {
    pub(crate) text: String,
    pub(crate) samples: u64,
}

impl Exposition {
    fn family(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (Vec<(&'static str, String)>, f64)>,
    ) {
        let mut samples = samples.into_iter().peekable();
        if samples.peek().is_none() {
            return;
        }
        // Writing into a String cannot fail.
        _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} gauge");
        for (labels, value) in samples {
            let labels: Vec<_> = labels.iter().map(|(label, text)| format!("{label}=\"{}\"", escaped(text))).collect();
            let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
            _ = writeln!(self.text, "{name}{labels} {value}");
            self.samples += 1;
        }
    }
}

/// A label's value as the format wants it between the quotes.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

fn name(status: Status) -> &'static str {
    match status {
        Status::Pending => "pending",
        Status::Running => "running",
        Status::Succeeded => "succeeded",
        Status::Failed => "failed",
        Status::Cancelled => "cancelled",
        Status::Skipped => "skipped",
    }
}

fn has_ended(status: Status) -> bool {
    !matches!(status, Status::Pending | Status::Running)
}

/// True where nothing has failed or was stopped so far.
pub(crate) fn is_sound(report: &Report) -> bool {
    let bad = |status| matches!(status, Status::Failed | Status::Cancelled);
    !report.stopped
        && !bad(report.status)
        && !report.pipelines.iter().any(|pipeline| bad(pipeline.status))
        && !report.steps().any(|step| bad(step.status))
}

/// Every metric of a run, as it stands at `now`.
#[expect(clippy::cast_precision_loss, reason = "the format's numbers are 64-bit floats")]
pub(crate) fn exposition(report: &Report, now: Timestamp) -> Exposition {
    let mut all = Exposition::default();
    let plain = |value: f64| [(Vec::new(), value)];
    let seconds = |at: Timestamp| at.as_millisecond() as f64 / 1000.0;
    let sound = is_sound(report);
    all.family(
        "aquifer_run_success",
        "1 where no step of the latest run had failed or was stopped, 0 otherwise.",
        plain(f64::from(u8::from(sound))),
    );
    all.family("aquifer_run_start_timestamp_seconds", "When the latest run began.", plain(seconds(report.started)));
    all.family("aquifer_run_duration_seconds", "How long the latest run had taken.", plain(report.seconds));
    if sound {
        all.family("aquifer_last_success_timestamp_seconds", "When a run last succeeded.", plain(seconds(now)));
    }
    let mut counts = BTreeMap::new();
    for step in report.steps().filter(|step| has_ended(step.status)) {
        *counts.entry(name(step.status)).or_insert(0_u32) += 1;
    }
    all.family(
        "aquifer_run_steps",
        "How many steps of the latest run ended in each status.",
        ["succeeded", "failed", "cancelled", "skipped"].map(|status| {
            (vec![("status", status.to_owned())], f64::from(counts.get(status).copied().unwrap_or_default()))
        }),
    );
    pipelines(&mut all, report);
    steps(&mut all, report);
    all
}

fn pipelines(all: &mut Exposition, report: &Report) {
    let ended = || {
        let pipelines = report.pipelines.iter().filter(|pipeline| has_ended(pipeline.status));
        pipelines.map(|pipeline| (vec![("pipeline", pipeline.pipeline.clone())], pipeline))
    };
    all.family(
        "aquifer_pipeline_success",
        "1 where the pipeline succeeded or was not called for, 0 otherwise.",
        ended().map(|(labels, pipeline)| {
            let good = matches!(pipeline.status, Status::Succeeded | Status::Skipped);
            (labels, f64::from(u8::from(good)))
        }),
    );
    all.family(
        "aquifer_pipeline_attempts",
        "How many attempts the pipeline took.",
        ended().map(|(labels, pipeline)| (labels, f64::from(pipeline.attempts))),
    );
    all.family(
        "aquifer_pipeline_duration_seconds",
        "How long all attempts and the waits between them took.",
        ended().map(|(labels, pipeline)| (labels, pipeline.seconds)),
    );
}

#[expect(clippy::cast_precision_loss, reason = "the format's numbers are 64-bit floats")]
fn steps(all: &mut Exposition, report: &Report) {
    let ended = || {
        let steps = report.steps().filter(|step| has_ended(step.status));
        steps.map(|step| (vec![("step", step.step.clone()), ("function", step.function.clone())], step))
    };
    all.family(
        "aquifer_step_status",
        "1, with how the step ended as a label.",
        ended().map(|(mut labels, step)| {
            labels.push(("status", name(step.status).to_owned()));
            (labels, 1.0)
        }),
    );
    all.family(
        "aquifer_step_duration_seconds",
        "How long the step ran, in its last attempt.",
        ended().map(|(labels, step)| (labels, step.seconds)),
    );
    all.family(
        "aquifer_step_read_bytes",
        "How many bytes the step read.",
        ended().map(|(labels, step)| (labels, step.bytes_in as f64)),
    );
    all.family(
        "aquifer_step_written_bytes",
        "How many bytes the step wrote.",
        ended().map(|(labels, step)| (labels, step.bytes_out as f64)),
    );
    all.family(
        "aquifer_step_output",
        "A number that the step put out.",
        ended().flat_map(|(labels, step)| {
            let outputs = step.outputs.as_object().into_iter().flatten();
            outputs.filter_map(move |(output, value)| {
                let Value::Number(number) = value else { return None };
                let mut labels = labels.clone();
                labels.push(("output", output.clone()));
                Some((labels, number.as_f64()?))
            })
        }),
    );
}
