//! The end of a run for people: what each step did, what it put out, and, after a failure, the reason first.

use std::fmt::Write as _;

use aquifer_engine::report::{Report, StepFailure};
use indicatif::HumanBytes;

use crate::args::Progress;
use crate::progress;

/// What is to be said; without progress only a failure is worth words, and programs have their events.
pub(crate) fn text(report: &Report, progress: Progress) -> Vec<String> {
    if progress == Progress::Json {
        return Vec::new();
    }
    let table = (progress != Progress::None).then(|| table(report));
    let failure = report.first_failure.as_ref().map(|first| failure(first) + &last_attempt(report, first));
    table.into_iter().chain(failure).collect()
}

/// The end of the last attempt, where it was another one than that of the first.
fn last_attempt(report: &Report, first: &StepFailure) -> String {
    let of = report.pipelines.iter().find(|pipeline| pipeline.retried.first() == Some(first));
    let Some((pipeline, last)) = of.and_then(|pipeline| Some((pipeline, pipeline.failure.as_ref()?))) else {
        return String::new();
    };
    if (&last.step, &last.failure.message) == (&first.step, &first.failure.message) {
        return String::new();
    }
    let mut text = format!(
        "\nthe last attempt, number {}, failed at step `{}` ({}): {}",
        pipeline.attempts, last.step, last.failure.kind, last.failure.message
    );
    if let Some(help) = &last.failure.help {
        let _ = write!(text, "\n  help: {help}");
    }
    text
}

fn table(report: &Report) -> String {
    let mut text = String::from("\n");
    let width = report.steps().map(|step| step.step.chars().count()).max().unwrap_or(0);
    for step in report.steps() {
        let bytes = step.bytes_in.max(step.bytes_out);
        let bytes = if bytes > 0 { HumanBytes(bytes).to_string() } else { String::new() };
        let line =
            format!("  {:<width$}  {:<9}  {:>7.1} s  {bytes}", step.step, progress::word(step.status), step.seconds);
        let _ = writeln!(text, "{}", line.trim_end());
        for (name, value) in step.outputs.as_object().into_iter().flatten() {
            let value = match value {
                serde_json::Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            // Long outputs are for the report.
            if !value.is_empty() && value.chars().count() <= 100 {
                let _ = writeln!(text, "  {:<width$}    {name}: {value}", "");
            }
        }
    }
    let _ = write!(
        text,
        "{} {} in {:.1} s (run {})",
        report.task,
        progress::word(report.status),
        report.seconds,
        report.run
    );
    text
}

fn failure(first: &StepFailure) -> String {
    let mut text = format!("\nfailed first: step `{}` ({}): {}", first.step, first.failure.kind, first.failure.message);
    for cause in &first.failure.causes {
        let _ = write!(text, "\n  because: {cause}");
    }
    if let Some(help) = &first.failure.help {
        let _ = write!(text, "\n  help: {help}");
    }
    text
}

#[cfg(test)]
mod tests {
    use aquifer_engine::event::Status;
    use aquifer_engine::failure::Failure;

    use super::*;

    #[test]
    fn a_failure_says_step_kind_cause_and_what_to_do() {
        let failure = Failure::unavailable("connection refused").with_help("is the server running?");
        let text = super::failure(&StepFailure { step: "dump".into(), failure });
        assert_eq!(
            text,
            "\nfailed first: step `dump` (unavailable): connection refused\n  help: is the server running?"
        );
        assert_ne!(progress::word(Status::Failed), progress::word(Status::Cancelled));
    }
}
