//! The promises, held against one run: a second, simpler telling of `docs/language.md` that shares no code with the engine.
//!
//! Takes a [`SimTask`] and the [`Trace`] of its run; gives every promise that was broken, in words.

use std::collections::{BTreeMap, BTreeSet};

use aquifer_engine::event::{Status, What};
use aquifer_engine::failure::FailureKind;
use aquifer_engine::report::{PipelineReport, Report, StepReport};

use super::{SimStep, SimTask, Trace, WORD};

/// Everything that broke.
pub fn broken_promises(task: &SimTask, trace: &Trace) -> Vec<String> {
    let model = Model::new(task);
    let mut broken = Vec::new();
    model.whole(trace, &mut broken);
    model.commits(trace, &mut broken);
    model.turns(trace, &mut broken);
    model.attempts(trace, &mut broken);
    model.first_failures(trace, &mut broken);
    events(task, trace, &mut broken);
    secrets(trace, &mut broken);
    broken
}

struct Model<'a> {
    task: &'a SimTask,
    steps: BTreeMap<&'a str, &'a SimStep>,
    /// The first step of each step's pipeline.
    head: BTreeMap<&'a str, &'a str>,
}

impl<'a> Model<'a> {
    fn new(task: &'a SimTask) -> Self {
        let steps = task.steps.iter().map(|step| (step.name.as_str(), step)).collect();
        let mut head: BTreeMap<&str, &str> = BTreeMap::new();
        for step in &task.steps {
            let first = step.stdin.as_deref().and_then(|from| head.get(from).copied()).unwrap_or(&step.name);
            head.insert(&step.name, first);
        }
        Self { task, steps, head }
    }

    fn pipeline(&self, of: &str) -> Vec<&'a SimStep> {
        self.task.steps.iter().filter(|step| self.head[step.name.as_str()] == self.head[of]).collect()
    }

    fn setting<T>(&self, of: &str, get: impl Fn(&'a SimStep) -> Option<T>) -> Option<T> {
        self.pipeline(of).into_iter().find_map(get)
    }

    /// What reads from `step`, directly or not.
    fn is_below(&self, mut step: &'a str, above: &str) -> bool {
        while let Some(from) = self.steps[step].stdin.as_deref() {
            if from == above {
                return true;
            }
            step = from;
        }
        false
    }

    fn ancestors(&self, of: &str) -> BTreeSet<&'a str> {
        let mut found = BTreeSet::new();
        let mut next: Vec<&str> = self.pipeline(of).iter().flat_map(|step| &step.needs).map(String::as_str).collect();
        while let Some(name) = next.pop() {
            if found.insert(name) {
                next.extend(self.steps[name].stdin.as_deref());
                next.extend(self.pipeline(name).iter().flat_map(|step| &step.needs).map(String::as_str));
            }
        }
        found
    }

    /// Every step once, every pipeline ended, nothing left alive.
    fn whole(&self, trace: &Trace, broken: &mut Vec<String>) {
        let mut named: Vec<&str> = trace.report.steps().map(|step| step.step.as_str()).collect();
        let mut wanted: Vec<&str> = self.steps.keys().copied().collect();
        named.sort_unstable();
        wanted.sort_unstable();
        if named != wanted {
            broken.push(format!("the report names {named:?}, the task has {wanted:?}"));
        }
        for step in trace.report.steps().filter(|step| matches!(step.status, Status::Pending | Status::Running)) {
            broken.push(format!("`{}` is {:?} in a run that has ended", step.step, step.status));
        }
        let alive = trace.ledger.page().alive;
        if alive > 0 {
            broken.push(format!("{alive} steps are still alive after the run"));
        }
    }

    /// Promise 1: only whole streams are committed, and what is reported is what happened.
    fn commits(&self, trace: &Trace, broken: &mut Vec<String>) {
        let page = trace.ledger.page();
        broken.extend(page.bad_commits.iter().cloned());
        for pipeline in &trace.report.pipelines {
            for step in pipeline.steps.iter().filter(|step| step.function == "test-sink") {
                let commits = page
                    .commits
                    .iter()
                    .filter(|(name, attempt)| *name == step.step && *attempt == pipeline.attempts)
                    .count();
                let expected = usize::from(step.status == Status::Succeeded);
                // A sink that was told to stop while it committed may have been dropped behind it; never the reverse.
                if commits < expected || commits > 1 {
                    broken.push(format!(
                        "`{}` is {:?} and committed {commits} times in its last attempt",
                        step.step, step.status
                    ));
                }
                if commits == 1 && step.status != Status::Succeeded {
                    broken.push(format!("`{}` committed, and is reported as {:?}", step.step, step.status));
                }
            }
            for step in pipeline.steps.iter().filter(|step| step.status == Status::Succeeded) {
                let from = self.steps[step.step.as_str()].stdin.as_deref();
                let writer = from.and_then(|from| trace.report.step(from));
                if writer.is_some_and(|writer| writer.status != Status::Succeeded) {
                    broken.push(format!("`{}` succeeded though what it reads did not", step.step));
                }
            }
        }
    }

    /// Promise 4 and the rules of `when`: who ran is who was called for.
    fn turns(&self, trace: &Trace, broken: &mut Vec<String>) {
        let report = &trace.report;
        for pipeline in &report.pipelines {
            let name = pipeline.steps[0].step.as_str();
            let went_wrong = self.ancestors(name).into_iter().any(|ancestor| {
                report.step(ancestor).is_some_and(|step| matches!(step.status, Status::Failed | Status::Cancelled))
            });
            let when = self.setting(name, |step| step.when.as_deref()).unwrap_or("success");
            let called = match when {
                "always" => true,
                "failure" => went_wrong,
                _ => !went_wrong,
            };
            let started = pipeline.attempts > 0;
            let fits = match pipeline.status {
                Status::Skipped => !started && !called,
                Status::Cancelled if !started => {
                    report.stopped && (when == "success" || self.task.stop_again_at.is_some())
                }
                _ => started && called,
            };
            if !fits {
                broken.push(format!(
                    "pipeline `{}` (when: {when}) is {:?} after {} attempts, and its ancestors went {}",
                    pipeline.pipeline,
                    pipeline.status,
                    pipeline.attempts,
                    if went_wrong { "wrong" } else { "well" },
                ));
            }
        }
    }

    /// Promise 5: as many attempts as were asked for, and only after failures that may pass.
    fn attempts(&self, trace: &Trace, broken: &mut Vec<String>) {
        for pipeline in &trace.report.pipelines {
            let name = pipeline.steps[0].step.as_str();
            let most = self.setting(name, |step| step.retry.as_ref()).map_or(1, |retry| retry.attempts);
            if pipeline.attempts > most {
                broken.push(format!("`{}` made {} of {most} attempts", pipeline.pipeline, pipeline.attempts));
            }
            if pipeline.attempts > 0
                && pipeline.retried.len() + 1 != pipeline.attempts as usize
                && !trace.report.stopped
            {
                broken.push(format!(
                    "`{}`: {} attempts, {} retried",
                    pipeline.pipeline,
                    pipeline.attempts,
                    pipeline.retried.len()
                ));
            }
            if let Some(retried) = pipeline.retried.iter().find(|retried| !retried.failure.kind.is_retryable()) {
                broken.push(format!("`{}` was retried after {:?}", pipeline.pipeline, retried.failure.kind));
            }
            let starts = trace.ledger.page().starts.get(name).copied().unwrap_or(0);
            if starts != pipeline.attempts {
                broken.push(format!("`{}` started {starts} times in {} attempts", name, pipeline.attempts));
            }
            let last = first_failed(pipeline);
            let gave_up =
                last.and_then(|step| step.failure.as_ref()).is_some_and(|failure| failure.kind.is_retryable());
            if pipeline.status == Status::Failed
                && gave_up
                && pipeline.attempts < most
                && !trace.report.stopped
                && only_one_failed(pipeline)
            {
                broken.push(format!("`{}` gave up after {} of {most} attempts", pipeline.pipeline, pipeline.attempts));
            }
        }
    }

    /// Promise 3: what failed failed by itself; what was cancelled had to be; the other branches went on.
    fn first_failures(&self, trace: &Trace, broken: &mut Vec<String>) {
        let page = trace.ledger.page();
        for pipeline in trace.report.pipelines.iter().filter(|pipeline| pipeline.attempts > 0) {
            let failed: Vec<&StepReport> = pipeline.steps.iter().filter(|step| step.status == Status::Failed).collect();
            for step in &failed {
                let wronged = page.wrongs.contains(&(step.step.clone(), pipeline.attempts));
                let timed_out = step.failure.as_ref().is_some_and(|failure| failure.kind == FailureKind::TimedOut);
                if !wronged && !timed_out {
                    broken.push(format!("`{}` is blamed for {:?}, and did nothing wrong", step.step, step.failure));
                }
            }
            let timed_out = failed
                .iter()
                .any(|step| step.failure.as_ref().is_some_and(|failure| failure.kind == FailureKind::TimedOut));
            let has_timeout = self.setting(&pipeline.steps[0].step, |step| step.timeout.as_ref()).is_some();
            let is_leaf = |name: &str| !self.task.steps.iter().any(|step| step.stdin.as_deref() == Some(name));
            for step in pipeline.steps.iter().filter(|step| step.status == Status::Cancelled && is_leaf(&step.step)) {
                let doomed = failed.iter().any(|failed| self.is_below(&step.step, &failed.step));
                if !doomed && !timed_out && !has_timeout && !trace.report.stopped {
                    broken.push(format!("`{}` was cancelled though nothing that it reads had failed", step.step));
                }
            }
            let all_well = pipeline.steps.iter().all(|step| step.status == Status::Succeeded);
            if all_well != (pipeline.status == Status::Succeeded) {
                broken.push(format!(
                    "`{}` is {:?} with steps {:?}",
                    pipeline.pipeline,
                    pipeline.status,
                    statuses(pipeline)
                ));
            }
            if pipeline.status == Status::Cancelled && !trace.report.stopped {
                broken.push(format!("`{}` was cancelled, and nobody stopped the run", pipeline.pipeline));
            }
        }
        outcome(&trace.report, broken);
    }
}

fn statuses(pipeline: &PipelineReport) -> Vec<Status> {
    pipeline.steps.iter().map(|step| step.status).collect()
}

fn first_failed(pipeline: &PipelineReport) -> Option<&StepReport> {
    pipeline.steps.iter().find(|step| step.status == Status::Failed)
}

fn only_one_failed(pipeline: &PipelineReport) -> bool {
    pipeline.steps.iter().filter(|step| step.status == Status::Failed).count() == 1
}

/// The run's own end follows from its pipelines'.
fn outcome(report: &Report, broken: &mut Vec<String>) {
    let any = |status| report.pipelines.iter().any(|pipeline| pipeline.status == status);
    let expected = if any(Status::Failed) {
        Status::Failed
    } else if any(Status::Cancelled) {
        Status::Cancelled
    } else {
        Status::Succeeded
    };
    if report.status != expected {
        broken.push(format!("the run is {:?}, its pipelines make it {expected:?}", report.status));
    }
    match &report.first_failure {
        None if expected == Status::Failed => broken.push("a failed run names no first failure".to_owned()),
        Some(first) if expected != Status::Failed => {
            broken.push(format!("a run that did not fail blames `{}`", first.step))
        }
        Some(first) if first.failure.kind == FailureKind::Cancelled => {
            broken.push(format!("`{}` is named as the first failure, and was only cancelled", first.step));
        }
        _ => {}
    }
}

/// Events come in order, each start has its end, no more runs at once than was allowed, pipes keep their budgets.
fn events(task: &SimTask, trace: &Trace, broken: &mut Vec<String>) {
    let mut running = BTreeSet::new();
    let mut pipelines = BTreeSet::new();
    let mut ended = BTreeMap::new();
    for event in &trace.events {
        match &event.what {
            What::PipelineStarted { pipeline, .. } => {
                pipelines.insert(pipeline.clone());
                if pipelines.len() > task.concurrency {
                    broken.push(format!(
                        "{} pipelines ran at once, {} were allowed",
                        pipelines.len(),
                        task.concurrency
                    ));
                }
            }
            What::StepStarted { step } => {
                if !running.insert(step.clone()) {
                    broken.push(format!("`{step}` started twice without an end"));
                }
                for need in task.steps.iter().filter(|other| other.name == *step).flat_map(|step| &step.needs) {
                    if !ended.contains_key(need) {
                        broken.push(format!("`{step}` started before `{need}` had ended"));
                    }
                }
            }
            What::StepEnded { step, status, .. } => {
                running.remove(step);
                ended.insert(step.clone(), *status);
            }
            What::PipelineEnded { pipeline, .. } => {
                pipelines.remove(pipeline);
            }
            What::Progress { steps } => {
                for step in steps.iter().filter(|step| step.waiting.is_some_and(|waiting| waiting > 1.0)) {
                    broken.push(format!("the pipe before `{}` held more than its budget", step.step));
                }
            }
            What::RunStarted { .. }
            | What::PipelineRetry { .. }
            | What::Stopping { .. }
            | What::Message { .. }
            | What::RunEnded { .. } => {}
        }
    }
    if !running.is_empty() || !pipelines.is_empty() {
        broken.push(format!("without an end: steps {running:?}, pipelines {pipelines:?}"));
    }
    if !matches!(trace.events.last().map(|event| &event.what), Some(What::RunEnded { .. })) {
        broken.push("the last event is not the run's end".to_owned());
    }
    for step in trace.report.steps() {
        if ended.get(&step.step) != Some(&step.status) {
            broken.push(format!(
                "`{}`: the events say {:?}, the report {:?}",
                step.step,
                ended.get(&step.step),
                step.status
            ));
        }
    }
}

/// Promise 6: the word that doubles say everywhere stands nowhere.
fn secrets(trace: &Trace, broken: &mut Vec<String>) {
    let texts = [serde_json::to_string(&trace.events), serde_json::to_string(&trace.report)];
    for text in texts.into_iter().flatten() {
        if let Some(at) = text.find(WORD) {
            let start = text.floor_char_boundary(at.saturating_sub(200));
            broken.push(format!("the secret is shown: …{}…", &text[start..at]));
        }
    }
}
