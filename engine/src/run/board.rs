//! Where everything that is known of a run stands: what each step is doing, how it ended, and the pipes to read it from.
//!
//! Takes facts from the scheduler and words from functions; gives events as they happen and the report at any time.
//! Always holds: what leaves it for somebody to see has passed the redactor, and what a later step gets has not; events are
//! emitted in the order in which the board changed.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;
use tokio::time::Instant;

use super::warnings::Warnings;
use crate::event::{Event, EventSink, Level, Status, StepHead, StepProgress, VERSION, What};
use crate::failure::{Failure, one_line};
use crate::function::{RunInfo, Voice};
use crate::pipe::Control;
use crate::plan::{PipelineId, Plan, StepId};
use crate::registry::FunctionInfo;
use crate::report::{PipelineReport, Report, StepFailure, StepReport};
use crate::secret::Redactor;

/// One run's board.
pub(super) struct Board {
    plan: Arc<Plan>,
    run: Arc<RunInfo>,
    secrets: Redactor,
    events: Arc<dyn EventSink>,
    began: Instant,
    state: Mutex<State>,
}

struct State {
    steps: Vec<StepState>,
    pipelines: Vec<PipelineState>,
    stopping: bool,
    at_once: bool,
    first_failure: Option<StepFailure>,
    ended: Option<Duration>,
}

#[derive(Clone)]
struct StepState {
    status: Status,
    started: Option<Instant>,
    took: Duration,
    stdin: Option<Control>,
    stdout: Vec<Control>,
    note: Option<String>,
    warnings: Warnings,
    failure: Option<Failure>,
    /// As the function gave them: a later step needs the value, not what may be shown of it.
    outputs: Value,
}

impl StepState {
    const PENDING: Self = Self {
        status: Status::Pending,
        started: None,
        took: Duration::ZERO,
        stdin: None,
        stdout: Vec::new(),
        note: None,
        warnings: Warnings::NONE,
        failure: None,
        outputs: Value::Null,
    };

    fn bytes_in(&self) -> u64 {
        self.stdin.as_ref().map_or(0, |stdin| stdin.level().read)
    }

    /// Counted once, however many read it; a branch that was given up stops counting, so the largest is right.
    fn bytes_out(&self) -> u64 {
        self.stdout.iter().map(|stdout| stdout.level().written).max().unwrap_or(0)
    }

    /// How full the stdin pipe is, from 0 to 1.
    fn waiting_in(&self) -> Option<f64> {
        self.stdin.as_ref().map(fullness)
    }

    /// Positive for a step that has work waiting and room to put it: the one that the others wait for.
    fn holds_back(&self) -> f64 {
        let behind = self.stdout.iter().map(fullness).fold(0.0, f64::max);
        self.waiting_in().unwrap_or(1.0) - behind
    }
}

#[expect(clippy::cast_precision_loss, reason = "a share for a progress bar needs no more than a few digits")]
fn fullness(control: &Control) -> f64 {
    let level = control.level();
    level.queued as f64 / level.budget as f64
}

#[derive(Clone)]
struct PipelineState {
    status: Status,
    attempts: u32,
    took: Duration,
    retried: Vec<StepFailure>,
    failure: Option<StepFailure>,
}

impl Board {
    pub(super) fn new(plan: Arc<Plan>, run: RunInfo, secrets: Redactor, events: Arc<dyn EventSink>) -> Self {
        let pipeline = PipelineState {
            status: Status::Pending,
            attempts: 0,
            took: Duration::ZERO,
            retried: Vec::new(),
            failure: None,
        };
        let state = State {
            steps: vec![StepState::PENDING; plan.steps.len()],
            pipelines: vec![pipeline; plan.pipelines.len()],
            stopping: false,
            at_once: false,
            first_failure: None,
            ended: None,
        };
        Self { plan, run: Arc::new(run), secrets, events, began: Instant::now(), state: Mutex::new(state) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Emits while the board is locked, so that no two events change places. A sink cannot reach the board.
    fn emit(&self, _locked: &MutexGuard<'_, State>, what: What) {
        self.events.emit(&Event { version: VERSION, run: self.run.id.clone(), at: Timestamp::now(), what });
    }

    pub(super) fn run(&self) -> &Arc<RunInfo> {
        &self.run
    }

    pub(super) fn secrets(&self) -> &Redactor {
        &self.secrets
    }

    /// Keeps what stands in a function's secret params out of every text.
    pub(super) fn hide_secrets(&self, info: &FunctionInfo, params: &Value) {
        let place = crate::secret::Place::of(info.params.as_value());
        crate::secret::collect(&place, params, &mut |secret| self.secrets.hide(secret));
    }

    pub(super) fn status(&self, id: StepId) -> Status {
        self.lock().steps[id.0].status
    }

    /// What a step gave to later ones, secrets and all.
    pub(super) fn outputs(&self, id: StepId) -> Value {
        self.lock().steps[id.0].outputs.clone()
    }

    pub(super) fn is_stopping(&self, at_once: bool) -> bool {
        let state = self.lock();
        if at_once { state.at_once } else { state.stopping }
    }

    /// A failure with its step, free of secrets.
    pub(super) fn blame(&self, id: StepId, failure: Failure) -> StepFailure {
        StepFailure { step: self.plan.step(id).name.clone(), failure: self.clean(failure) }
    }

    fn clean(&self, failure: Failure) -> Failure {
        failure.redacted(&self.secrets)
    }

    fn shown_outputs(&self, outputs: &Value) -> Value {
        let mut outputs = outputs.clone();
        self.secrets.redact_value(&mut outputs);
        outputs
    }

    pub(super) fn run_started(&self) {
        let head = |id: &StepId| {
            let step = self.plan.step(*id);
            let stdin = step.stdin.map(|from| self.plan.step(from).name.clone());
            StepHead { step: step.name.clone(), function: step.function.clone(), stdin }
        };
        let pipelines = self.plan.pipelines.iter().map(|pipeline| pipeline.steps.iter().map(head).collect()).collect();
        self.emit(&self.lock(), What::RunStarted { task: self.plan.task.clone(), pipelines });
    }

    pub(super) fn run_ended(&self) {
        let mut state = self.lock();
        let took = self.began.elapsed();
        state.ended = Some(took);
        let status = overall(&state);
        self.emit(&state, What::RunEnded { status, seconds: took.as_secs_f64() });
    }

    pub(super) fn stopping(&self, at_once: bool) {
        let mut state = self.lock();
        state.stopping = true;
        state.at_once |= at_once;
        self.emit(&state, What::Stopping { at_once });
    }

    pub(super) fn pipeline_started(&self, id: PipelineId, attempt: u32) {
        let pipeline = self.plan.pipeline(id);
        let mut state = self.lock();
        state.pipelines[id.0].status = Status::Running;
        state.pipelines[id.0].attempts = attempt;
        for step in &pipeline.steps {
            state.steps[step.0] = StepState::PENDING;
        }
        let what = What::PipelineStarted { pipeline: pipeline.name.clone(), attempt, attempts: pipeline.attempts };
        self.emit(&state, what);
    }

    pub(super) fn pipeline_retry(&self, id: PipelineId, attempt: u32, wait: Duration, first: &StepFailure) {
        let pipeline = self.plan.pipeline(id);
        let mut state = self.lock();
        state.pipelines[id.0].retried.push(first.clone());
        let what = What::PipelineRetry {
            pipeline: pipeline.name.clone(),
            attempt,
            attempts: pipeline.attempts,
            wait_seconds: wait.as_secs_f64(),
            step: first.step.clone(),
            failure: first.failure.clone(),
        };
        self.emit(&state, what);
    }

    pub(super) fn pipeline_ended(&self, id: PipelineId, status: Status, took: Duration) {
        let mut state = self.lock();
        state.pipelines[id.0].status = status;
        state.pipelines[id.0].took = took;
        self.emit(&state, What::PipelineEnded { pipeline: self.plan.pipeline(id).name.clone(), status });
    }

    /// A pipeline was not called for, or the run was stopped before its turn came.
    pub(super) fn never_started(&self, id: PipelineId, status: Status) {
        for step in self.plan.pipeline(id).steps.clone() {
            let reason = match status {
                Status::Skipped => "its turn never came: see its `when` and what it depends on",
                _ => "the run was stopped before its turn",
            };
            self.step_ended(step, status, Err(Failure::cancelled(reason)));
        }
        self.pipeline_ended(id, status, Duration::ZERO);
    }

    /// The failure that ended a pipeline for good. The report leads with the first pipeline's, and there with the first
    /// attempt's: a later attempt may only have met what the first one left behind.
    pub(super) fn pipeline_failed(&self, id: PipelineId, last: StepFailure) {
        let mut state = self.lock();
        let first = state.pipelines[id.0].retried.first().unwrap_or(&last).clone();
        state.first_failure.get_or_insert(first);
        state.pipelines[id.0].failure = Some(last);
    }

    pub(super) fn step_started(&self, id: StepId, stdin: Option<Control>, stdout: Vec<Control>) {
        let mut state = self.lock();
        let started = Some(Instant::now());
        state.steps[id.0] = StepState { status: Status::Running, started, stdin, stdout, ..StepState::PENDING };
        self.emit(&state, What::StepStarted { step: self.plan.step(id).name.clone() });
    }

    pub(super) fn step_ended(&self, id: StepId, status: Status, result: Result<Value, Failure>) {
        let mut state = self.lock();
        let step = &mut state.steps[id.0];
        step.status = status;
        step.took = step.started.map_or(Duration::ZERO, |started| started.elapsed());
        match result {
            Ok(outputs) => step.outputs = outputs,
            Err(failure) => step.failure = Some(self.clean(failure)),
        }
        let what = What::StepEnded {
            step: self.plan.step(id).name.clone(),
            status,
            failure: step.failure.clone(),
            seconds: step.took.as_secs_f64(),
            bytes_in: step.bytes_in(),
            bytes_out: step.bytes_out(),
            outputs: self.shown_outputs(&step.outputs),
        };
        self.emit(&state, what);
    }

    fn place(&self, step: &str) -> Option<usize> {
        self.plan.steps.iter().position(|planned| planned.name == step)
    }

    /// The step among these that the others wait for, by the levels of their pipes now.
    pub(super) fn slowest_of(&self, steps: &[StepId]) -> Option<StepId> {
        slowest(&self.lock(), steps)
    }

    pub(super) fn progress(&self) {
        let state = self.lock();
        let running = |pipeline: &crate::plan::Pipeline| -> Vec<StepId> {
            pipeline.steps.iter().copied().filter(|id| state.steps[id.0].status == Status::Running).collect()
        };
        let mut steps = Vec::new();
        for pipeline in &self.plan.pipelines {
            let ids = running(pipeline);
            let slowest = slowest(&state, &ids);
            for id in ids {
                let step = &state.steps[id.0];
                steps.push(StepProgress {
                    step: self.plan.step(id).name.clone(),
                    bytes_in: step.bytes_in(),
                    bytes_out: step.bytes_out(),
                    waiting: step.waiting_in(),
                    slowest: slowest == Some(id),
                    note: step.note.clone(),
                });
            }
        }
        if !steps.is_empty() {
            self.emit(&state, What::Progress { steps });
        }
    }
}

fn slowest(state: &State, steps: &[StepId]) -> Option<StepId> {
    let holds_back = |id: &StepId| state.steps[id.0].holds_back();
    // A step that runs alone holds nobody back.
    let candidates = if steps.len() < 2 { &[] } else { steps };
    candidates.iter().copied().max_by(|a, b| holds_back(a).total_cmp(&holds_back(b)))
}

fn overall(state: &State) -> Status {
    let any = |status| state.pipelines.iter().any(|pipeline| pipeline.status == status);
    if any(Status::Failed) {
        Status::Failed
    } else if any(Status::Cancelled) {
        Status::Cancelled
    } else if state.ended.is_none() {
        Status::Running
    } else {
        Status::Succeeded
    }
}

impl Voice for Board {
    fn say(&self, step: &str, level: Level, text: &str) {
        let text = one_line(&self.secrets.redact(text));
        let mut state = self.lock();
        if let Some(place) = self.place(step).filter(|_| level == Level::Warning) {
            state.steps[place].warnings.add(&text);
        }
        self.emit(&state, What::Message { step: step.to_owned(), level, text });
    }

    fn note(&self, step: &str, text: String) {
        let text = one_line(&self.secrets.redact(&text));
        if let Some(place) = self.place(step) {
            self.lock().steps[place].note = Some(text);
        }
    }

    fn so_far(&self) -> Report {
        let state = self.lock();
        let step = |id: &StepId| {
            let (planned, step) = (self.plan.step(*id), &state.steps[id.0]);
            let running = step.started.filter(|_| step.status == Status::Running);
            StepReport {
                step: planned.name.clone(),
                function: planned.function.clone(),
                status: step.status,
                seconds: running.map_or(step.took, |started| started.elapsed()).as_secs_f64(),
                warnings: step.warnings.told(),
                bytes_in: step.bytes_in(),
                bytes_out: step.bytes_out(),
                failure: step.failure.clone(),
                outputs: self.shown_outputs(&step.outputs),
            }
        };
        let pipelines = self.plan.pipelines.iter().zip(&state.pipelines).map(|(planned, pipeline)| PipelineReport {
            pipeline: planned.name.clone(),
            status: pipeline.status,
            attempts: pipeline.attempts,
            seconds: pipeline.took.as_secs_f64(),
            retried: pipeline.retried.clone(),
            failure: pipeline.failure.clone(),
            steps: planned.steps.iter().map(step).collect(),
        });
        Report {
            version: VERSION,
            run: self.run.id.clone(),
            task: self.run.task.clone(),
            status: overall(&state),
            stopped: state.stopping,
            started: self.run.started,
            seconds: state.ended.unwrap_or_else(|| self.began.elapsed()).as_secs_f64(),
            first_failure: state.first_failure.clone(),
            pipelines: pipelines.collect(),
        }
    }
}
