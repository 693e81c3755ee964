//! One attempt of one pipeline: its params rendered, its pipes opened, its steps started together and brought to an end.
//!
//! Takes the plan and the board; tells the board how each step ended; gives the step that failed first. Always holds:
//! - a pipe is finished only after its writer returned success, having read its own input to the end;
//! - a failure is recorded before anything is cancelled because of it, so what fails later is known to be a consequence;
//! - after a failure, whatever can no longer contribute to a living end of the pipeline is cancelled at once;
//! - a step that does not stop within the grace is dropped;
//! - an attempt that is dropped itself tells every step to stop and breaks every pipe: threads that wait on one end.

mod prepare;

use std::any::Any;
use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::board::Board;
use super::{LAST_GRACE, RunOptions};
use crate::event::{Level, Status};
use crate::failure::{Failure, FailureKind};
use crate::function::{Call, Voice};
use crate::pipe::{Control, OnDeclare, pipe};
use crate::plan::{PipelineId, Plan, StepId};
use crate::ports::OpenEnds;
use crate::registry::Prepared;
use crate::report::StepFailure;
use crate::stream::StreamType;

/// How long a dropped step may take to let go of what it holds.
const DROP_TIME: Duration = Duration::from_millis(500);

/// Longer than any run: thirty years.
const NEVER: Duration = Duration::from_secs(30 * 365 * 24 * 3600);

type Ended = (StepId, Result<Value, Failure>);

/// A step of this attempt that has started.
struct Stage {
    stdin: Option<Control>,
    stdout: Vec<Control>,
    cancel: CancellationToken,
    task: Option<AbortOnDropHandle<()>>,
    status: Status,
    /// How long it may take to stop where that is longer than the run's grace.
    patience: Duration,
    /// Why it was told to stop, and until when it may take.
    cancelled: Option<(Failure, Instant)>,
}

pub(super) struct Attempt<'a> {
    plan: &'a Arc<Plan>,
    board: &'a Arc<Board>,
    id: PipelineId,
    options: &'a RunOptions,
    stages: BTreeMap<StepId, Stage>,
    first: Option<StepFailure>,
    late: Option<Late>,
    /// Every step's stdout, for what is declared after the start.
    opened: Arc<Mutex<BTreeMap<StepId, Vec<Control>>>>,
}

/// How long a step gets.
#[derive(Clone, Copy)]
enum Haste {
    Graceful,
    AtOnce,
}

/// The timeout ran out: the running step that held the others back then, and what is said of it.
struct Late {
    step: StepId,
    failure: Failure,
}

impl<'a> Attempt<'a> {
    pub(super) fn new(plan: &'a Arc<Plan>, board: &'a Arc<Board>, id: PipelineId, options: &'a RunOptions) -> Self {
        Self { plan, board, id, options, stages: BTreeMap::new(), first: None, late: None, opened: Arc::default() }
    }

    /// Runs to the end. `Err(None)`: it was stopped from outside, nothing failed by itself.
    pub(super) async fn run(mut self, stop: &CancellationToken) -> Result<(), Option<StepFailure>> {
        let prepared = match self.prepare() {
            Ok(prepared) => prepared,
            Err(first) => return Err(Some(first)),
        };
        let (tell, mut ends) = mpsc::unbounded_channel();
        self.start(prepared, &tell);
        drop(tell);
        let timeout = self.plan.pipeline(self.id).timeout;
        let deadline = timeout.map(after);
        let at_once = self.options.stop.at_once.clone();
        let mut stopped = false;
        let mut hurried = false;
        while self.stages.values().any(|stage| stage.status == Status::Running) {
            let give_up = self.running().filter_map(|(_, stage)| Some(stage.cancelled.as_ref()?.1)).min();
            tokio::select! {
                biased;
                Some(ended) = ends.recv() => self.ended(ended),
                () = at_once.cancelled(), if !hurried => {
                    hurried = true;
                    self.cancel_all(&Failure::cancelled("the run was stopped at once"), Haste::AtOnce);
                }
                () = stop.cancelled(), if !stopped => {
                    stopped = true;
                    self.cancel_all(&Failure::cancelled("the run was stopped"), Haste::Graceful);
                }
                () = until(deadline), if self.late.is_none() && !stopped => {
                    self.late = self.slowest().map(|step| Late { step, failure: Failure::timed_out(timeout.unwrap_or_default()) });
                    self.cancel_all(&Failure::cancelled("the pipeline timed out"), Haste::Graceful);
                }
                () = until(give_up) => self.drop_overdue().await,
            }
        }
        if self.stages.values().all(|stage| stage.status == Status::Succeeded) {
            return Ok(());
        }
        // The step that was blamed for the timeout made it in the end, but others had been stopped because of it.
        let late = self.late.take().map(|late| self.board.blame(late.step, late.failure));
        Err(self.first.take().or(late))
    }

    fn running(&self) -> impl Iterator<Item = (StepId, &Stage)> {
        self.stages.iter().filter(|(_, stage)| stage.status == Status::Running).map(|(id, stage)| (*id, stage))
    }

    /// Opens every pipe and starts every step.
    fn start(&mut self, prepared: Vec<(StepId, Prepared)>, tell: &mpsc::UnboundedSender<Ended>) {
        let mut readers = BTreeMap::new();
        let mut ready = Vec::with_capacity(prepared.len());
        for (id, prepared) in prepared {
            let reading: Vec<StepId> = self.readers_of(id).collect();
            let mut ends = OpenEnds::default();
            let mut stage = Stage {
                stdin: None,
                stdout: Vec::new(),
                cancel: CancellationToken::new(),
                task: None,
                status: Status::Running,
                patience: prepared.patience,
                cancelled: None,
            };
            if let Some((reader, control)) = readers.remove(&id) {
                ends.stdin = Some(reader);
                stage.stdin = Some(control);
            }
            if !reading.is_empty() {
                let stream = &self.plan.step(id).stdout;
                let (writer, branches) =
                    pipe(reading.len(), self.options.budget, stream, Some(self.declaration_check(id)));
                ends.stdout = Some(writer);
                for (reader_id, (reader, control)) in reading.into_iter().zip(branches) {
                    stage.stdout.push(control.clone());
                    readers.insert(reader_id, (reader, control));
                }
            }
            self.board.step_started(id, stage.stdin.clone(), stage.stdout.clone());
            ready.push((id, prepared, ends, stage.cancel.clone()));
            self.stages.insert(id, stage);
        }
        *self.opened.lock().unwrap_or_else(PoisonError::into_inner) =
            self.stages.iter().map(|(id, stage)| (*id, stage.stdout.clone())).collect();
        for (id, prepared, ends, cancel) in ready {
            let voice: Arc<dyn Voice> = self.board.clone();
            let name: Arc<str> = self.plan.step(id).name.as_str().into();
            let call = Call::new(Arc::clone(self.board.run()), name, cancel, self.board.secrets().clone(), voice);
            let tell = tell.clone();
            let task = tokio::spawn(async move {
                // Calling `run` is inside too: a function may panic before its future exists.
                let running = AssertUnwindSafe(async move { prepared.run(ends, call).await }).catch_unwind();
                let result = running.await.unwrap_or_else(|panic| Err(panicked(panic.as_ref())));
                // Nobody listens any more only when the whole run was dropped.
                let _ = tell.send((id, result));
            });
            if let Some(stage) = self.stages.get_mut(&id) {
                stage.task = Some(AbortOnDropHandle::new(task));
            }
        }
    }

    fn readers_of(&self, id: StepId) -> impl Iterator<Item = StepId> {
        let plan = self.plan;
        plan.pipeline(self.id).steps.iter().copied().filter(move |other| plan.step(*other).stdin == Some(id))
    }

    /// Checks what a stored stream turned out to be against everything that reads it, however far down, and tells them.
    fn declaration_check(&self, id: StepId) -> OnDeclare {
        let plan = Arc::clone(self.plan);
        let opened = Arc::clone(&self.opened);
        let pipeline = self.id;
        Arc::new(move |declared| {
            let mut known = BTreeMap::from([(id, declared)]);
            for step_id in &plan.pipeline(pipeline).steps {
                let step = plan.step(*step_id);
                let Some(found) = step.stdin.and_then(|from| known.get(&from)) else { continue };
                step.streams.stdin.check(found).map_err(|mismatch| {
                    let failure = Failure::config(format!("step `{}` {mismatch}", step.name));
                    match mismatch.help {
                        Some(help) => failure.with_help(help),
                        None => failure,
                    }
                })?;
                let written: StreamType = step.streams.stdout.resolve(Some(found));
                known.insert(*step_id, written);
            }
            let opened = opened.lock().unwrap_or_else(PoisonError::into_inner);
            for (step_id, stream) in known {
                opened.get(&step_id).into_iter().flatten().for_each(|pipe| pipe.declare(stream.clone()));
            }
            Ok(())
        })
    }

    /// A step ended by itself.
    fn ended(&mut self, (id, result): Ended) {
        let Some(stage) = self.stages.get(&id).filter(|stage| stage.status == Status::Running) else { return };
        let name = &self.plan.step(id).name;
        let unread = stage.stdin.as_ref().is_some_and(|stdin| !stdin.was_read_to_the_end());
        let result = match result {
            Ok(_) if unread => Err(Failure::internal("returned success before it had read its input to the end")
                .with_help("a reader that stops early could make half a stream look complete: let it read all of it")),
            other => other,
        };
        match (result, stage.cancelled.clone()) {
            (Ok(outputs), _) => {
                stage.stdout.iter().for_each(Control::finish);
                self.close(id, Status::Succeeded, Ok(outputs));
            }
            (Err(own), Some((reason, _))) => self.close_cancelled(id, &reason, Some(own)),
            (Err(failure), None) => {
                let reason = Failure::cancelled(format!("step `{name}` failed"));
                self.first.get_or_insert_with(|| self.board.blame(id, failure.clone()));
                self.close(id, Status::Failed, Err(failure));
                self.cancel_the_dead(&reason);
            }
        }
    }

    /// A step ended because it was told to. The one that held the others back past the timeout is the one that failed.
    fn close_cancelled(&mut self, id: StepId, reason: &Failure, own: Option<Failure>) {
        let late = self.late.as_ref().filter(|late| late.step == id && self.first.is_none());
        let (status, mut failure) = match late {
            Some(late) => (Status::Failed, late.failure.clone()),
            None => (Status::Cancelled, reason.clone()),
        };
        // What it ran into while it stopped may be worth a look; that it was stopped is known already, but not what it leaves behind.
        match own {
            Some(own) if own.kind == FailureKind::Cancelled => failure.causes.extend(own.causes),
            Some(own) => failure.causes.push(format!("while it stopped: {}", own.message)),
            None => {}
        }
        if status == Status::Failed {
            self.first = Some(self.board.blame(id, failure.clone()));
        }
        self.close(id, status, Err(failure));
    }

    /// Records how a step ended and lets go of its pipes.
    fn close(&mut self, id: StepId, status: Status, result: Result<Value, Failure>) {
        if let Some(stage) = self.stages.get_mut(&id) {
            stage.status = status;
            if let Err(failure) = &result {
                let broken = Failure::cancelled(format!("the stream broke: {}", failure.message));
                stage.stdout.iter().for_each(|control| control.break_off(broken.clone()));
            }
            stage.stdin.iter().for_each(|stdin| stdin.cut(Failure::cancelled("the step has ended")));
        }
        self.board.step_ended(id, status, result);
    }

    /// Cancels every step that can no longer contribute to a living end of the pipeline.
    fn cancel_the_dead(&mut self, reason: &Failure) {
        let mut alive: BTreeMap<StepId, bool> = self
            .stages
            .iter()
            .map(|(id, stage)| {
                (*id, matches!(stage.status, Status::Running | Status::Succeeded) && stage.cancelled.is_none())
            })
            .collect();
        loop {
            let dead: Vec<StepId> = self
                .stages
                .keys()
                .filter(|id| alive[id])
                .filter(|id| {
                    let writer_gone = self.plan.step(**id).stdin.is_some_and(|from| !alive[&from]);
                    let mut readers = self.readers_of(**id).peekable();
                    let readers_gone = readers.peek().is_some() && readers.all(|reader| !alive[&reader]);
                    writer_gone || readers_gone
                })
                .copied()
                .collect();
            if dead.is_empty() {
                break;
            }
            alive.extend(dead.into_iter().map(|id| (id, false)));
        }
        for (id, alive) in alive {
            if !alive {
                self.cancel(id, reason, Haste::Graceful);
            }
        }
    }

    fn cancel_all(&mut self, reason: &Failure, haste: Haste) {
        for id in self.plan.pipeline(self.id).steps.clone() {
            self.cancel(id, reason, haste);
        }
    }

    /// Tells a running step to stop; said twice, the shorter grace counts.
    fn cancel(&mut self, id: StepId, reason: &Failure, haste: Haste) {
        let Some(stage) = self.stages.get_mut(&id).filter(|stage| stage.status == Status::Running) else { return };
        let until = after(match haste {
            Haste::Graceful => self.options.grace.max(stage.patience),
            // At once means at once, whatever a function asks for.
            Haste::AtOnce => LAST_GRACE,
        });
        match &mut stage.cancelled {
            Some((_, earlier)) => *earlier = until.min(*earlier),
            None => stage.cancelled = Some((reason.clone(), until)),
        }
        stage.cancel.cancel();
        stage.stdin.iter().for_each(|stdin| stdin.cut(reason.clone()));
        stage.stdout.iter().for_each(|stdout| stdout.break_off(reason.clone()));
    }

    /// Drops the steps whose grace is over.
    async fn drop_overdue(&mut self) {
        let now = Instant::now();
        let overdue: Vec<(StepId, Failure)> = self
            .running()
            .filter_map(|(id, stage)| {
                stage.cancelled.as_ref().filter(|(_, until)| *until <= now).map(|(why, _)| (id, why.clone()))
            })
            .collect();
        for (id, reason) in overdue {
            if let Some(task) = self.stages.get_mut(&id).and_then(|stage| stage.task.take()) {
                task.abort();
                // A task that blocks its thread never notices; the run must end all the same.
                let _ = tokio::time::timeout(DROP_TIME, task).await;
            }
            let name = &self.plan.step(id).name;
            self.board.say(name, Level::Warning, "did not stop when told to, and was dropped");
            self.close_cancelled(id, &reason, None);
        }
    }

    /// The running step that holds the others back, or any that runs.
    fn slowest(&self) -> Option<StepId> {
        let running: Vec<StepId> = self.running().map(|(id, _)| id).collect();
        self.board.slowest_of(&running).or_else(|| running.first().copied())
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        // Steps that have ended hold nothing any more, so this does something only where the run itself was dropped.
        self.cancel_all(&Failure::cancelled("the run was dropped"), Haste::AtOnce);
    }
}

/// The text of a panic, where it has one.
fn panicked(panic: &(dyn Any + Send)) -> Failure {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    Failure::internal(format!("panicked: {}", text.unwrap_or("without a message")))
        .with_help("this is a bug in the function: please report it")
}

/// The time so much later; one that no clock has is as good as never.
fn after(wait: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(wait).unwrap_or(now + NEVER)
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
