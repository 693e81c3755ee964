//! Room 5: runs a plan. Takes a [`Plan`] and [`RunOptions`], emits events, gives a [`Report`]; failures are values.
//!
//! Always holds: a pipeline starts only when everything it waits for has ended, and no more run at once than the plan
//! allows; whatever functions do (fail, panic, hang, ignore the cancel), every step ends and the report names each once.
//! Dropping the future of [`run`] breaks every pipe and drops every step, so no sink can commit, and what reads or writes a
//! pipe on a thread of its own ends too.

mod attempt;
mod board;
mod policy;
mod warnings;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use jiff::Timestamp;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::event::{EventSink, Silent, Status};
use crate::function::{RunInfo, Voice};
use crate::pipe::DEFAULT_BUDGET;
use crate::plan::{PipelineId, Plan, When};
use crate::report::Report;
use crate::secret::Redactor;
use attempt::Attempt;
use board::Board;

/// How a run goes, beyond what the plan says.
#[derive(Clone)]
pub struct RunOptions {
    /// The run's id; a new one (UUID version 7) unless given.
    pub id: Option<String>,
    /// Where events go.
    pub events: Arc<dyn EventSink>,
    /// How the run is told to stop.
    pub stop: Stop,
    /// How long a step may take to stop once it was told to; then it is dropped.
    pub grace: Duration,
    /// How often progress is told; never where `None`.
    pub progress: Option<Duration>,
    /// How many bytes each pipe may hold.
    pub budget: usize,
}

impl std::fmt::Debug for RunOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RunOptions").field("id", &self.id).field("grace", &self.grace).finish_non_exhaustive()
    }
}

impl Default for RunOptions {
    fn default() -> Self {
        Self {
            id: None,
            events: Arc::new(Silent),
            stop: Stop::default(),
            grace: Duration::from_secs(10),
            progress: None,
            budget: DEFAULT_BUDGET,
        }
    }
}

/// How long steps get after [`Stop::at_once`]: enough to kill a child or to drop a part, too short to be felt.
const LAST_GRACE: Duration = Duration::from_secs(1);

/// Tells a run to stop. Clones tell the same run.
#[derive(Debug, Clone, Default)]
pub struct Stop {
    gracefully: CancellationToken,
    at_once: CancellationToken,
}

impl Stop {
    /// Stops what runs; `when: always` and `when: failure` steps still run (what a first Ctrl-C does).
    pub fn gracefully(&self) {
        self.gracefully.cancel();
    }

    /// Stops everything (what a second Ctrl-C does).
    pub fn at_once(&self) {
        self.at_once.cancel();
        self.gracefully.cancel();
    }
}

/// Runs a plan to its end.
///
/// Needs a Tokio runtime with its timer enabled.
pub async fn run(plan: impl Into<Arc<Plan>>, options: RunOptions) -> Report {
    let plan = plan.into();
    let info = RunInfo {
        id: options.id.clone().unwrap_or_else(|| new_id().to_string()),
        task: plan.task.clone(),
        started: Timestamp::now(),
    };
    let secrets = Redactor::default();
    plan.secrets.iter().for_each(|secret| secrets.hide(secret));
    let board = Arc::new(Board::new(Arc::clone(&plan), info, secrets, Arc::clone(&options.events)));
    board.run_started();
    Scheduler { plan, board: Arc::clone(&board), options }.run().await;
    board.run_ended();
    board.so_far()
}

/// A run's id: by the time, and else random. A clock before 1970 counts as 1970.
fn new_id() -> uuid::Uuid {
    let now = Timestamp::now();
    let seconds = u64::try_from(now.as_second()).unwrap_or(0);
    let nanoseconds = u32::try_from(now.subsec_nanosecond()).unwrap_or(0);
    uuid::Uuid::new_v7(uuid::Timestamp::from_unix(uuid::NoContext, seconds, nanoseconds))
}

struct Scheduler {
    plan: Arc<Plan>,
    board: Arc<Board>,
    options: RunOptions,
}

impl Scheduler {
    async fn run(&self) {
        let Stop { gracefully, at_once } = &self.options.stop;
        let mut pending: BTreeSet<usize> = (0..self.plan.pipelines.len()).collect();
        let mut ended = BTreeSet::new();
        let mut running = FuturesUnordered::new();
        let mut ticks = self.options.progress.map(tokio::time::interval);
        loop {
            // Here too: a pipeline may have ended because of the request before the request itself was looked at below.
            if gracefully.is_cancelled() && !self.board.is_stopping(false) {
                self.board.stopping(at_once.is_cancelled());
            }
            for place in pending.clone() {
                let id = PipelineId(place);
                if !self.plan.pipeline(id).after.iter().all(|before| ended.contains(&before.0)) {
                    continue;
                }
                match self.turn(id) {
                    Turn::Start if running.len() >= self.plan.concurrency => continue,
                    Turn::Start => running.push(self.pipeline(id)),
                    Turn::Never(status) => {
                        self.board.never_started(id, status);
                        ended.insert(place);
                    }
                }
                pending.remove(&place);
            }
            if running.is_empty() {
                // Ends of pipelines that never started may have freed others; without one, nothing can free any.
                if pending.iter().any(|place| self.is_ready(*place, &ended)) {
                    continue;
                }
                break;
            }
            tokio::select! {
                biased;
                Some(PipelineId(place)) = running.next() => { ended.insert(place); }
                () = at_once.cancelled(), if !self.board.is_stopping(true) => self.board.stopping(true),
                () = gracefully.cancelled(), if !self.board.is_stopping(false) => self.board.stopping(false),
                () = tick(ticks.as_mut()) => self.board.progress(),
            }
        }
        for place in pending {
            // Only a plan that was not made by the planner can have a cycle here.
            self.board.never_started(PipelineId(place), Status::Cancelled);
        }
    }

    fn is_ready(&self, place: usize, ended: &BTreeSet<usize>) -> bool {
        self.plan.pipeline(PipelineId(place)).after.iter().all(|before| ended.contains(&before.0))
    }

    /// Whether a pipeline that waits for nothing any more is called for.
    fn turn(&self, id: PipelineId) -> Turn {
        let stop = &self.options.stop;
        if stop.at_once.is_cancelled() {
            return Turn::Never(Status::Cancelled);
        }
        let stopping = stop.gracefully.is_cancelled();
        let went_wrong = policy::ancestors(&self.plan, id)
            .into_iter()
            .any(|step| matches!(self.board.status(step), Status::Failed | Status::Cancelled));
        match self.plan.pipeline(id).when {
            When::Always => Turn::Start,
            When::Failure if went_wrong => Turn::Start,
            When::Success if stopping => Turn::Never(Status::Cancelled),
            When::Success if !went_wrong => Turn::Start,
            When::Success | When::Failure => Turn::Never(Status::Skipped),
        }
    }

    /// Runs one pipeline with all its attempts.
    async fn pipeline(&self, id: PipelineId) -> PipelineId {
        let pipeline = self.plan.pipeline(id);
        // What cleans up goes on after a first request to stop: it is there to run then.
        let stop = match pipeline.when {
            When::Success => self.options.stop.gracefully.clone(),
            When::Failure | When::Always => self.options.stop.at_once.clone(),
        };
        let began = Instant::now();
        let mut number = 1;
        let status = loop {
            self.board.pipeline_started(id, number);
            let attempt = Attempt::new(&self.plan, &self.board, id, &self.options);
            let first = match attempt.run(&stop).await {
                Ok(()) => break Status::Succeeded,
                Err(None) => break Status::Cancelled,
                Err(Some(first)) => first,
            };
            let wait = policy::wait_before_next(pipeline, number, &first.failure);
            let Some(wait) = wait.filter(|_| !stop.is_cancelled()) else {
                self.board.pipeline_failed(id, first);
                break Status::Failed;
            };
            self.board.pipeline_retry(id, number, wait, &first);
            tokio::select! {
                () = tokio::time::sleep(wait) => number += 1,
                () = stop.cancelled() => {
                    self.board.pipeline_failed(id, first);
                    break Status::Failed;
                }
            }
        };
        self.board.pipeline_ended(id, status, began.elapsed());
        id
    }
}

enum Turn {
    Start,
    Never(Status),
}

async fn tick(ticks: Option<&mut tokio::time::Interval>) {
    match ticks {
        Some(ticks) => {
            ticks.tick().await;
        }
        None => std::future::pending().await,
    }
}
