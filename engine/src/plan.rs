//! Room 3: a task with its names bound, its params checked and its functions unfolded.
//!
//! Takes a document and the catalog that it stands in; for a plan, inputs too. Gives a [`Plan`], or everything that is
//! wrong. The way: `unfold` goes through the steps, renders and checks their params and takes Function documents apart
//! into drafts; `links` finds who reads and awaits whom; `assemble` asks the graph for pipelines and checks what only
//! they show. Always holds: the same inputs make the same plan; nothing here touches network, disk, clock or environment.

mod assemble;
mod draft;
mod inputs;
mod late;
mod links;
mod names;
#[cfg(test)]
mod tests;
mod unfold;

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use crate::catalog::{Catalog, Inputs};
use crate::diagnostic::Diagnostic;
use crate::document::Document;
use crate::failure::Failure;
use crate::function::RunInfo;
use crate::registry::AnyFunction;
use crate::secret::Redactor;
use crate::stream::{StreamType, Streams};

/// A step's place in [`Plan::steps`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StepId(pub usize);

/// A pipeline's place in [`Plan::pipelines`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PipelineId(pub usize);

/// When a pipeline runs, by what became of its ancestors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum When {
    /// None of them failed.
    #[default]
    Success,
    /// One of them failed.
    Failure,
    /// They have ended.
    Always,
}

/// A task, ready to run any number of times.
pub struct Plan {
    /// The task's name.
    pub task: String,
    /// How many pipelines may run at once, at least 1.
    pub concurrency: usize,
    /// All steps, those of composites unfolded; a step stands behind the one that it reads.
    pub steps: Vec<PlannedStep>,
    /// All pipelines, in an order in which they could run one by one.
    pub pipelines: Vec<Pipeline>,
    /// The values of secret params: what a run has to keep out of every text.
    pub(crate) secrets: Vec<String>,
}

/// One step.
pub struct PlannedStep {
    /// Its name; `outer/inner` inside a composite.
    pub name: String,
    /// The function named in the document.
    pub function: String,
    /// The built-in that does the work.
    pub runs: Arc<dyn AnyFunction>,
    /// Its params, as far as they are known.
    pub params: Params,
    /// The step whose stdout it reads.
    pub stdin: Option<StepId>,
    /// The steps that it waits for.
    pub needs: Vec<StepId>,
    /// What it takes and gives.
    pub streams: Streams,
    /// The type of its stdout as far as the plan knows.
    pub stdout: StreamType,
    /// The pipeline that it belongs to.
    pub pipeline: PipelineId,
    /// Its params with secrets masked, and as written where they are not known.
    pub(crate) shown: Value,
}

impl PlannedStep {
    /// Its params for printing: secrets are masked, and what a run fills in stands there as it was written.
    pub fn shown_params(&self) -> &Value {
        &self.shown
    }
}

/// What came of planning a task.
pub(crate) struct Planned {
    /// The plan, where nothing stands in its way.
    pub(crate) plan: Option<Plan>,
    /// What is wrong.
    pub(crate) problems: Vec<Diagnostic>,
    /// What must not stand in a message.
    pub(crate) secrets: Redactor,
}

/// Plans a task.
pub(crate) fn plan(catalog: &Catalog, task: &Document, inputs: &Inputs) -> Planned {
    let mut problems = Vec::new();
    let params = inputs::bind(&task.params, inputs, &mut problems);
    let mut draft = unfold::task(catalog, task, params, Some(inputs.env.clone()));
    problems.append(&mut draft.problems);
    let secrets = Redactor::default();
    draft.secrets.iter().for_each(|secret| secrets.hide(secret));
    let plan = assemble::assemble(draft, task, catalog, &mut problems);
    Planned { plan, problems, secrets }
}

/// Checks a document by itself: its params may have any values of their types.
pub(crate) fn check(catalog: &Catalog, document: &Document) -> Vec<Diagnostic> {
    let params = inputs::unknown(&document.params);
    let mut draft = match document.is_task() {
        true => unfold::task(catalog, document, params, None),
        false => unfold::function(catalog, document, params),
    };
    let mut problems = std::mem::take(&mut draft.problems);
    assemble::assemble(draft, document, catalog, &mut problems);
    problems
}

/// A step's params.
pub enum Params {
    /// All known and checked.
    Known(Value),
    /// Some are rendered just before the pipeline starts.
    Late(Arc<dyn LateParams>),
}

/// Params that wait for a run.
pub trait LateParams: Send + Sync {
    /// Renders them.
    ///
    /// # Errors
    /// A [`FailureKind::Config`](crate::failure::FailureKind::Config) failure that names the place in the document.
    fn render(&self, scope: &LateScope<'_>) -> Result<Value, Failure>;

    /// The params with what is not yet known as it was written, for printing a plan.
    fn as_written(&self) -> Value;
}

/// What late params may name.
pub struct LateScope<'a> {
    /// The run.
    pub run: &'a RunInfo,
    /// The outputs of a step: null unless it succeeded.
    pub outputs: &'a dyn Fn(StepId) -> Value,
}

/// Steps that run together.
#[derive(Debug, Clone)]
pub struct Pipeline {
    /// Its steps' names joined by ` | `.
    pub name: String,
    /// Its steps, each behind the one that it reads.
    pub steps: Vec<StepId>,
    /// The pipelines that have to end before it, directly.
    pub after: Vec<PipelineId>,
    /// When it runs.
    pub when: When,
    /// How many attempts there are, at least 1.
    pub attempts: u32,
    /// How long to wait before the second attempt; doubles after each.
    pub backoff: Duration,
    /// How long one attempt may take.
    pub timeout: Option<Duration>,
}

impl std::fmt::Debug for PlannedStep {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PlannedStep")
            .field("name", &self.name)
            .field("function", &self.function)
            .field("params", &self.shown)
            .field("stdin", &self.stdin)
            .field("needs", &self.needs)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Plan {
    // All but the secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Plan")
            .field("task", &self.task)
            .field("concurrency", &self.concurrency)
            .field("steps", &self.steps)
            .field("pipelines", &self.pipelines)
            .finish_non_exhaustive()
    }
}

impl Plan {
    /// The step at this place.
    pub fn step(&self, id: StepId) -> &PlannedStep {
        &self.steps[id.0]
    }

    /// A new redactor that hides every secret of this plan: for whatever prints something that a run may have touched.
    pub fn redactor(&self) -> crate::secret::Redactor {
        let redactor = crate::secret::Redactor::default();
        self.secrets.iter().for_each(|secret| redactor.hide(secret));
        redactor
    }

    /// The pipeline at this place.
    pub fn pipeline(&self, id: PipelineId) -> &Pipeline {
        &self.pipelines[id.0]
    }
}
