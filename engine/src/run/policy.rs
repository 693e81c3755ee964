//! The rules of a run that need no clock and no task: who depends on whom, and whether another attempt is made.
//!
//! Takes the plan, and a failure's kind. Always holds: the kind alone decides; nothing here looks at a function's name.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::failure::Failure;
use crate::plan::{Pipeline, PipelineId, Plan, StepId};

/// The longest wait between two attempts.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);

/// How long to wait before the attempt after this one; `None` where there is none.
pub(super) fn wait_before_next(pipeline: &Pipeline, attempt: u32, failure: &Failure) -> Option<Duration> {
    if attempt >= pipeline.attempts || !failure.kind.is_retryable() {
        return None;
    }
    // Beyond 2^31 the longest wait is long reached, whatever the first one is.
    let doubled = 1_u32.checked_shl(attempt - 1).unwrap_or(u32::MAX);
    Some(pipeline.backoff.saturating_mul(doubled).min(LONGEST_WAIT))
}

/// The steps that a pipeline depends on, directly or not: what its steps need, what those read, and what the pipelines
/// of those need. A branch of a fan-out that nobody here needs is not among them.
pub(super) fn ancestors(plan: &Plan, id: PipelineId) -> BTreeSet<StepId> {
    let needs_of =
        |id: PipelineId| plan.pipeline(id).steps.iter().flat_map(|step| plan.step(*step).needs.iter().copied());
    let mut found = BTreeSet::new();
    let mut seen_pipelines = BTreeSet::from([id]);
    let mut next: Vec<StepId> = needs_of(id).collect();
    while let Some(step) = next.pop() {
        if !found.insert(step) {
            continue;
        }
        next.extend(plan.step(step).stdin);
        let pipeline = plan.step(step).pipeline;
        if seen_pipelines.insert(pipeline) {
            next.extend(needs_of(pipeline));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_an_hour_and_only_for_what_may_pass() {
        let pipeline = Pipeline {
            name: "a".into(),
            steps: Vec::new(),
            after: Vec::new(),
            when: crate::plan::When::Success,
            attempts: 40,
            backoff: Duration::from_secs(10),
            timeout: None,
        };
        let lost = Failure::unavailable("gone");
        assert_eq!(wait_before_next(&pipeline, 1, &lost), Some(Duration::from_secs(10)));
        assert_eq!(wait_before_next(&pipeline, 3, &lost), Some(Duration::from_secs(40)));
        assert_eq!(wait_before_next(&pipeline, 39, &lost), Some(LONGEST_WAIT));
        assert_eq!(wait_before_next(&pipeline, 40, &lost), None);
        assert_eq!(wait_before_next(&pipeline, 1, &Failure::unauthorized("no")), None);
    }
}
