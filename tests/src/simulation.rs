//! Random tasks of doubles that misbehave at random moments, and every promise of the engine held against their runs.
//!
//! Takes a seed (or a Task file that an earlier failure printed); makes a [`SimTask`], runs it on a paused clock, and
//! gives what broke, if anything. Always holds: one seed makes one task, on every machine and for good: the random
//! numbers are our own, so that no library's new version changes what a seed means.

pub mod check;
pub mod generate;

use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aquifer_engine::catalog::{Catalog, Inputs};
use aquifer_engine::event::Event;
use aquifer_engine::report::Report;
use aquifer_engine::run::{RunOptions, Stop, run};
use serde::{Deserialize, Serialize};

use crate::doubles::{Ledger, Orders};

/// The secret that some doubles say in every text they can.
pub const WORD: &str = "xyzzy-Secret/1 2";

/// How long a simulated step may take to stop.
pub const GRACE: Duration = Duration::from_secs(5);

/// A task of doubles.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SimTask {
    /// How many pipelines may run at once.
    pub concurrency: usize,
    /// How many bytes each pipe holds.
    pub budget: usize,
    /// When the run is told to stop, in milliseconds.
    pub stop_at: Option<u64>,
    /// When it is told a second time.
    pub stop_again_at: Option<u64>,
    /// The steps; one stands behind those that it reads and needs.
    pub steps: Vec<SimStep>,
}

/// One step of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SimStep {
    /// Its name.
    pub name: String,
    /// A double.
    pub function: String,
    /// What it reads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stdin: Option<String>,
    /// What it waits for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needs: Vec<String>,
    /// `success`, `failure` or `always`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<String>,
    /// Attempts and the first wait between them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<SimRetry>,
    /// Of one attempt, such as `300ms`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<String>,
    /// Its orders.
    pub params: Orders,
}

/// A step's `retry`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SimRetry {
    /// All attempts, the first one too.
    pub attempts: u32,
    /// The first wait.
    pub backoff: String,
}

#[derive(Deserialize)]
struct Document {
    metadata: Metadata,
    spec: Spec,
}

#[derive(Deserialize)]
struct Metadata {
    annotations: Annotations,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Annotations {
    budget: String,
    stop_at: String,
    stop_again_at: String,
}

#[derive(Deserialize)]
struct Spec {
    concurrency: usize,
    steps: Vec<SimStep>,
}

impl SimTask {
    /// The Task file: what the engine reads, and what is printed when a promise breaks.
    ///
    /// # Panics
    /// A step that is no JSON: a mistake in this crate.
    pub fn to_yaml(&self) -> String {
        let millis = |at: Option<u64>| at.map_or("never".to_owned(), |at| at.to_string());
        let mut text = format!(
            "apiVersion: aquifer.dev/v1alpha1\nkind: Task\nmetadata:\n  name: simulated\n  annotations: {{budget: \"{}\", stopAt: \"{}\", \
             stopAgainAt: \"{}\"}}\nspec:\n  summary: A simulated task.\n  concurrency: {}\n  params: [{{name: word, required: true, secret: true}}]\n  steps:\n",
            self.budget,
            millis(self.stop_at),
            millis(self.stop_again_at),
            self.concurrency,
        );
        for step in &self.steps {
            // JSON is YAML, one step a line is easy to cut down by hand.
            let line = serde_json::to_string(step).expect("a step is plain data");
            writeln!(text, "    - {line}").expect("a string takes it");
        }
        text
    }

    /// Reads back what [`SimTask::to_yaml`] wrote.
    ///
    /// # Errors
    /// The text is no such file.
    pub fn from_yaml(text: &str) -> Result<Self, String> {
        let document: Document = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
        let annotations = document.metadata.annotations;
        Ok(Self {
            concurrency: document.spec.concurrency,
            budget: annotations.budget.parse().map_err(|_| "annotation `budget` is no number".to_owned())?,
            stop_at: annotations.stop_at.parse().ok(),
            stop_again_at: annotations.stop_again_at.parse().ok(),
            steps: document.spec.steps,
        })
    }
}

/// Everything that one run left behind.
#[derive(Debug)]
pub struct Trace {
    /// What the doubles did.
    pub ledger: Ledger,
    /// What the engine said.
    pub events: Vec<Event>,
    /// What it reported.
    pub report: Report,
}

/// Plans and runs a task on a paused clock.
///
/// # Errors
/// The task was refused, two plans of it differ, or the run never ended.
pub fn play(task: &SimTask) -> Result<Trace, String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .map_err(|error| error.to_string())?;
    runtime.block_on(async {
        let ledger = Ledger::default();
        let mut catalog = Catalog::new(ledger.registry());
        catalog.add_text("simulated.yaml", &task.to_yaml());
        let inputs = Inputs::default().with_text("word", WORD);
        let plan = || {
            catalog.plan("simulated", &inputs).map_err(|problems| {
                problems.iter().map(|problem| problem.message.clone()).collect::<Vec<_>>().join("\n")
            })
        };
        let (first, second) = (plan()?, plan()?);
        if format!("{first:#?}") != format!("{second:#?}") {
            return Err("the same inputs made two different plans".to_owned());
        }
        let events = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&events);
        let stop = Stop::default();
        let options = RunOptions {
            id: Some("simulated".into()),
            events: Arc::new(move |event: &Event| {
                seen.lock().unwrap_or_else(PoisonError::into_inner).push(event.clone())
            }),
            stop: stop.clone(),
            grace: GRACE,
            progress: Some(Duration::from_millis(700)),
            budget: task.budget,
        };
        let (stop_at, stop_again_at) = (task.stop_at, task.stop_again_at);
        let stopping = tokio::spawn(async move {
            let wait = |at: Option<u64>| async move {
                match at {
                    Some(at) => tokio::time::sleep(Duration::from_millis(at)).await,
                    None => std::future::pending().await,
                }
            };
            wait(stop_at).await;
            stop.gracefully();
            wait(stop_again_at).await;
            stop.at_once();
        });
        // A day of simulated time is far beyond what the waits, timeouts and graces of thirty steps add up to.
        let report = tokio::time::timeout(Duration::from_secs(86_400), run(Arc::new(first), options))
            .await
            .map_err(|_| "the run never ended".to_owned())?;
        stopping.abort();
        let events = std::mem::take(&mut *events.lock().unwrap_or_else(PoisonError::into_inner));
        Ok(Trace { ledger, events, report })
    })
}
