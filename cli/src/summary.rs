//! The end of a run for people: what each step did and put out, for stdout; and, after a failure, the reason, for stderr.
//!
//! Always holds: only a value that is too long to be read is shortened; the report has all of it.

use std::fmt::Write as _;

use aquifer_engine::report::{Report, StepFailure, StepReport};
use serde_json::Value;

use crate::progress::words;

/// How wide lines of outputs become at most, unless one value alone is wider.
const COLUMNS: usize = 80;

/// What there is to say of a failure: the first one, and the end of the last attempt where that was another one.
pub(crate) fn failed(report: &Report) -> Option<String> {
    report.first_failure.as_ref().map(|first| failure(first) + &last_attempt(report, first))
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

/// How much of a value is shown.
const VALUE: usize = 200;

/// A line for each step, with its outputs below, and one for the run.
pub(crate) fn table(report: &Report) -> String {
    let mut text = String::new();
    let name = report.steps().map(|step| step.step.chars().count()).max().unwrap_or(0).min(32);
    let time = report.steps().map(|step| words::time(step.seconds).len()).max().unwrap_or(0);
    for step in report.steps() {
        let bytes = step.bytes_in.max(step.bytes_out);
        let bytes = if bytes > 0 { words::bytes(bytes) } else { String::new() };
        let (status, took) = (words::status(step.status), words::time(step.seconds));
        let line = format!("{:<name$}  {status:<9}  {took:>time$}  {bytes:>8}", step.step);
        let _ = writeln!(text, "{}", line.trim_end());
        outputs(&mut text, step);
    }
    let (status, took) = (words::status(report.status), words::time(report.seconds));
    let _ = writeln!(text, "{}: {status} in {took}, run {}", report.task, report.run);
    text
}

/// As many to a line as fit.
fn outputs(text: &mut String, step: &StepReport) {
    let mut line = String::new();
    for (name, value) in step.outputs.as_object().into_iter().flatten() {
        if let Some(rows) = rows(value) {
            if !line.is_empty() {
                let _ = writeln!(text, "{line}");
                line.clear();
            }
            let _ = writeln!(text, "  {name}:");
            rows.iter().for_each(|row| _ = writeln!(text, "    {row}"));
            continue;
        }
        let Some(value) = shown(value) else { continue };
        let item = format!("{name}: {value}");
        if !line.is_empty() && line.chars().count() + 2 + item.chars().count() > COLUMNS {
            let _ = writeln!(text, "{line}");
            line.clear();
        }
        let _ = write!(line, "  {item}");
    }
    if !line.is_empty() {
        let _ = writeln!(text, "{line}");
    }
}

/// A list of things with fields (snapshots, say) as a row for each; none where it is something else.
fn rows(value: &Value) -> Option<Vec<String>> {
    let things = value.as_array().filter(|things| !things.is_empty())?;
    let row = |thing: &Value| -> Option<String> {
        let cell = |value: &Value| match value {
            // An id: its beginning is what people use.
            Value::String(id) if id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit()) => {
                Some(id[..8].to_owned())
            }
            Value::Array(parts) => {
                let parts: Vec<String> = parts.iter().filter_map(shown).collect();
                Some(parts.join(" ")).filter(|text| !text.is_empty())
            }
            other => shown(other),
        };
        Some(thing.as_object()?.values().filter_map(cell).collect::<Vec<_>>().join("  "))
    };
    things.iter().map(row).collect()
}

fn shown(value: &Value) -> Option<String> {
    let text = match value {
        Value::Null => return None,
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    if text.is_empty() || text == "[]" {
        return None;
    }
    // What a command printed may hold line breaks, and sequences that a terminal would obey.
    let clean = |c: char| if c.is_control() { ' ' } else { c };
    let mut short: String = text.trim().chars().map(clean).take(VALUE).collect();
    if text.trim().chars().count() > VALUE {
        short.push('…');
    }
    Some(short)
}

/// Why a run failed.
pub(crate) fn failure(first: &StepFailure) -> String {
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
    #[test]
    fn a_list_of_things_is_a_row_for_each() {
        let id = "0123456789abcdef".repeat(4);
        let list =
            serde_json::json!([{"id": id, "time": "now", "tags": [], "paths": ["/a", "/b"], "bytes": 7, "none": null}]);
        assert_eq!(super::rows(&list), Some(vec!["01234567  now  /a /b  7".to_owned()]));
        for other in [serde_json::json!([]), serde_json::json!(["a"]), serde_json::json!({"a": 1})] {
            assert_eq!(super::rows(&other), None);
        }
    }

    use aquifer_engine::failure::Failure;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_failure_says_step_kind_cause_and_what_to_do() {
        let failure = Failure::unavailable("connection refused").with_help("is the server running?");
        let text = super::failure(&StepFailure { step: "dump".into(), failure });
        assert_eq!(
            text,
            "\nfailed first: step `dump` (unavailable): connection refused\n  help: is the server running?"
        );
    }

    #[test]
    fn a_run_is_told_in_a_table_of_eighty_columns() {
        let step = |name: &str, status: &str, outputs: Value| {
            json!({"step": name, "function": "f", "status": status, "seconds": 4.04, "bytesIn": 0,
                   "bytesOut": 5000, "outputs": outputs})
        };
        let digest = "0123456789abcdef".repeat(4);
        let steps = [
            step(
                "dump",
                "succeeded",
                json!({"keys": 12, "digest": digest, "none": null, "empty": "", "databases": [0, 3]}),
            ),
            step("say", "succeeded", json!({"stdout": "a\u{1b}[2Jb\nc\n", "long": "x".repeat(300)})),
        ];
        let report: Report = serde_json::from_value(json!({
            "version": 1, "run": "r1", "task": "backup", "status": "succeeded", "stopped": false,
            "started": "2026-11-23T10:00:00Z", "seconds": 200.0,
            "pipelines": [{"pipeline": "dump | say", "status": "succeeded", "attempts": 1, "seconds": 1, "steps": steps}],
        }))
        .expect("a report");
        let expected = format!(
            "dump  succeeded  4.0 s  4.88 KiB\n  keys: 12\n  digest: {digest}\n  databases: [0,3]\n\
             say   succeeded  4.0 s  4.88 KiB\n  stdout: a [2Jb c\n  long: {}…\n\
             backup: succeeded in 3 min 20 s, run r1\n",
            "x".repeat(200)
        );
        assert_eq!(table(&report), expected);
    }
}
