//! Events in words. Takes events, gives lines without a time; what the end of the run tells better gets none.

use std::time::Duration;

use aquifer_engine::event::{Level, Status, What};
use aquifer_engine::failure::Failure;

/// A number of bytes in three digits: `22.8 MiB`.
pub(crate) fn bytes(count: u64) -> String {
    if count < 1024 {
        return format!("{count} B");
    }
    #[allow(clippy::cast_precision_loss, reason = "three digits are shown")]
    let mut value = count as f64 / 1024.0;
    let mut units = ["KiB", "MiB", "GiB", "TiB", "PiB"].into_iter();
    let mut unit = units.next().unwrap_or_default();
    for larger in units {
        if value < 1023.5 {
            break;
        }
        (value, unit) = (value / 1024.0, larger);
    }
    let decimals = match value {
        value if value < 9.995 => 2,
        value if value < 99.95 => 1,
        _ => 0,
    };
    format!("{value:.decimals$} {unit}")
}

/// A time as people say it: `4.2 s`, `3 min 20 s`, `2 h 5 min`.
pub(crate) fn time(seconds: f64) -> String {
    if seconds < 60.0 {
        return format!("{seconds:.1} s");
    }
    let whole = Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX).as_secs();
    match whole {
        0..3600 => format!("{} min {} s", whole / 60, whole % 60),
        _ => format!("{} h {} min", whole / 3600, whole % 3600 / 60),
    }
}

pub(crate) fn status(status: Status) -> &'static str {
    match status {
        Status::Pending => "pending",
        Status::Running => "running",
        Status::Succeeded => "succeeded",
        Status::Failed => "failed",
        Status::Cancelled => "cancelled",
        Status::Skipped => "skipped",
    }
}

/// One event.
pub(super) fn line(what: &What) -> Option<String> {
    Some(match what {
        What::RunStarted { task, .. } => format!("{task}: started"),
        What::PipelineStarted { pipeline, attempt, attempts } if *attempt > 1 => {
            format!("{pipeline}: attempt {attempt} of {attempts}")
        }
        What::PipelineStarted { .. } | What::PipelineEnded { .. } | What::Progress { .. } => return None,
        What::StepStarted { step } => format!("{step}: started"),
        What::Message { step, level: Level::Warning, text } => format!("{step}: warning: {text}"),
        What::Message { level: Level::Debug, .. } => return None,
        What::Message { step, text, .. } => format!("{step}: {text}"),
        What::StepEnded { step, status, failure, seconds, bytes_in, bytes_out, .. } => {
            ended(step, *status, failure.as_ref(), *seconds, *bytes_in.max(bytes_out))
        }
        // Which step and why was said when it ended.
        What::PipelineRetry { pipeline, attempt, attempts, wait_seconds, .. } => format!(
            "{pipeline}: attempt {attempt} of {attempts} failed; the next one starts in {}",
            self::time(*wait_seconds)
        ),
        What::Stopping { at_once: true } => "stopping at once".to_owned(),
        What::Stopping { at_once: false } => {
            "stopping: what runs is told to end, `when: always` and `when: failure` steps still run; once more stops at once".to_owned()
        }
        What::RunEnded { status, seconds } => format!("{} after {}", self::status(*status), self::time(*seconds)),
    })
}

fn ended(step: &str, status: Status, failure: Option<&Failure>, seconds: f64, count: u64) -> String {
    let time = time(seconds);
    match (status, failure) {
        (Status::Succeeded, _) if count > 0 => format!("{step}: done, {} in {time}", bytes(count)),
        (Status::Succeeded, _) => format!("{step}: done in {time}"),
        (Status::Failed, Some(failure)) => format!("{step}: failed ({}): {}", failure.kind, failure.message),
        // The reason is another step's failure or the request to stop, and has been said; what it leaves behind has not.
        (Status::Cancelled, Some(failure)) if !failure.causes.is_empty() => {
            format!("{step}: cancelled; {}", failure.causes.join("; "))
        }
        (status, _) => format!("{step}: {}", self::status(status)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        let said: Vec<String> = [0, 1023, 1024, 23_900_000, 1_073_000_000, u64::MAX].into_iter().map(bytes).collect();
        assert_eq!(said, ["0 B", "1023 B", "1.00 KiB", "22.8 MiB", "1023 MiB", "16384 PiB"]);
        let said: Vec<String> = [0.04, 59.9, 200.0, 7500.0].into_iter().map(time).collect();
        assert_eq!(said, ["0.0 s", "59.9 s", "3 min 20 s", "2 h 5 min"]);
    }

    #[test]
    fn a_failure_is_told_once_and_what_it_pulled_along_without_its_reason() {
        let failure = Failure::unavailable("connection refused");
        let said = ended("dump", Status::Failed, Some(&failure), 1.0, 0);
        assert_eq!(said, "dump: failed (unavailable): connection refused");
        assert_eq!(ended("zip", Status::Cancelled, Some(&failure), 1.0, 0), "zip: cancelled");
        let leaves = Failure { causes: vec!["3 keys are there".into()], ..Failure::cancelled("stopped") };
        assert_eq!(ended("load", Status::Cancelled, Some(&leaves), 1.0, 0), "load: cancelled; 3 keys are there");
    }
}
