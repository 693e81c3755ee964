//! The contract between the engine and what a step runs: one trait, declared once, from which checks, help, reference
//! pages and JSON Schema all come.
//!
//! Takes a params struct, ends and a [`Call`]; gives outputs or a [`Failure`]. What always holds for an author:
//! - success means that everything is done and durable; the engine then finishes the stdout pipe, and not before;
//! - a sink commits only after its stdin said "finished" (`Ok(None)`), and returns only after it has read that far;
//! - when [`Call::cancelled`] resolves, `run` cleans up after itself (children, parts, locks) and returns soon; pipes
//!   break at the same moment, so a function that only reads and writes needs nothing more;
//! - work that blocks for as long as the step runs takes a thread of its own ([`on_own_thread`](crate::thread::on_own_thread)),
//!   not one of the runtime's pool: all steps of a pipeline run together, and a full pool would make them wait for one another;
//! - attempts belong to the engine: a function does not retry its work as a whole.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::event::Level;
use crate::failure::Failure;
use crate::ports::Ports;
use crate::report::Report;
use crate::secret::Redactor;
use crate::stream::Streams;

/// Something that a step can run.
pub trait Function: Send + Sync + 'static {
    /// Its name in documents: lower-case words joined by hyphens.
    const NAME: &'static str;
    /// One sentence for lists.
    const SUMMARY: &'static str;
    /// What running it a second time does: one sentence for the reference page.
    const REPEAT: &'static str;
    /// Its params: derive `Deserialize` and `JsonSchema`, put `deny_unknown_fields` and camelCase on it and a doc comment on every field.
    type Params: DeserializeOwned + JsonSchema + Send + 'static;
    /// Its ends: [`Source`](crate::ports::Source), [`Transform`](crate::ports::Transform), [`Sink`](crate::ports::Sink),
    /// [`Tap`](crate::ports::Tap), [`Probe`](crate::ports::Probe), [`Action`](crate::ports::Action) or [`Open`](crate::ports::Open).
    type Ports: Ports;
    /// What later steps may name as `steps.NAME.outputs.FIELD`: a struct with a doc comment on every field, camelCase.
    type Outputs: Serialize + JsonSchema + Send + 'static;

    /// The types of its streams: bytes of any kind unless said. `None` where the params are not all known when the plan is made.
    fn streams(_: Option<&Self::Params>) -> Streams {
        Streams::ANY
    }

    /// Checks what types cannot say, when the plan is made; touches no network, disk or clock.
    ///
    /// # Errors
    /// The field (a path such as `location.s3.bucket`, or empty for all) and what is wrong with it.
    fn check(_: &Self::Params) -> Result<(), ParamError> {
        Ok(())
    }

    /// How long it may take to stop once it was told to; where the run's own grace is longer, that counts.
    fn patience(_: &Self::Params) -> Duration {
        Duration::ZERO
    }

    /// Does the work.
    fn run(
        &self,
        params: Self::Params,
        ports: Self::Ports,
        call: &Call,
    ) -> impl Future<Output = Result<Self::Outputs, Failure>> + Send;
}

/// A param that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ParamError {
    /// Where: field names and list positions joined by dots; empty for the params as a whole.
    pub path: String,
    /// What is wrong, as a lower-case clause.
    pub message: String,
    /// What to write instead.
    pub help: Option<String>,
}

impl ParamError {
    /// An error at a field.
    pub fn new(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { path: path.into(), message: message.into(), help: None }
    }

    /// Says what to write instead.
    #[must_use]
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// For params that were checked when the plan was made, and turn out to be wrong when the step runs.
impl From<ParamError> for Failure {
    fn from(error: ParamError) -> Self {
        let failure = if error.path.is_empty() {
            Self::config(error.message)
        } else {
            Self::config(format!("`{}`: {}", error.path, error.message))
        };
        match error.help {
            Some(help) => failure.with_help(help),
            None => failure,
        }
    }
}

/// Params of a function that takes none.
#[derive(Debug, Clone, Copy, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NoParams {}

/// Outputs of a function that gives none.
#[derive(Debug, Clone, Copy, Default, Serialize, JsonSchema)]
pub struct NoOutputs {}

/// What a running step may know and do beyond its ends.
#[derive(Clone)]
pub struct Call {
    /// The run it belongs to.
    pub run: Arc<RunInfo>,
    /// The step's name.
    pub step: Arc<str>,
    pub(crate) cancel: CancellationToken,
    pub(crate) secrets: Redactor,
    pub(crate) voice: Arc<dyn Voice>,
}

/// The run, as its steps know it.
#[derive(Debug, Clone)]
pub struct RunInfo {
    /// The run's id.
    pub id: String,
    /// The task's name.
    pub task: String,
    /// When it began.
    pub started: Timestamp,
}

/// What the engine hears from a running step and tells it.
pub trait Voice: Send + Sync {
    /// A message from a step.
    fn say(&self, step: &str, level: Level, text: &str);
    /// What a step says about how far it is; replaces what it said before.
    fn note(&self, step: &str, text: String);
    /// The run so far.
    fn so_far(&self) -> Report;
}

impl std::fmt::Debug for Call {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Call").field("run", &self.run.id).field("step", &self.step).finish_non_exhaustive()
    }
}

impl Call {
    /// For the engine, and for whoever runs a function by itself (see [`alone`](crate::alone)).
    pub fn new(
        run: Arc<RunInfo>,
        step: impl Into<Arc<str>>,
        cancel: CancellationToken,
        secrets: Redactor,
        voice: Arc<dyn Voice>,
    ) -> Self {
        Self { run, step: step.into(), cancel, secrets, voice }
    }

    /// Resolves when the step has to stop.
    pub async fn cancelled(&self) {
        self.cancel.cancelled().await;
    }

    /// True once the step has to stop.
    pub fn is_cancelled(&self) -> bool {
        self.cancel.is_cancelled()
    }

    /// The token itself, for libraries that take one.
    pub fn cancellation(&self) -> &CancellationToken {
        &self.cancel
    }

    /// Fails once the step has to stop: for loops in blocking code.
    ///
    /// # Errors
    /// The step has been cancelled.
    pub fn check_cancelled(&self) -> Result<(), Failure> {
        if self.is_cancelled() { Err(Failure::cancelled("stopped")) } else { Ok(()) }
    }

    /// Waits for a future, unless the step has to stop first; the future is then dropped.
    ///
    /// # Errors
    /// The step has been cancelled.
    pub async fn or_cancelled<T>(&self, future: impl Future<Output = T>) -> Result<T, Failure> {
        tokio::select! {
            biased;
            () = self.cancelled() => Err(Failure::cancelled("stopped")),
            done = future => Ok(done),
        }
    }

    /// Says what is being done.
    pub fn info(&self, text: impl AsRef<str>) {
        self.voice.say(&self.step, Level::Info, text.as_ref());
    }

    /// Says what somebody should look at.
    pub fn warn(&self, text: impl AsRef<str>) {
        self.voice.say(&self.step, Level::Warning, text.as_ref());
    }

    /// Says what helps to find a cause.
    pub fn debug(&self, text: impl AsRef<str>) {
        self.voice.say(&self.step, Level::Debug, text.as_ref());
    }

    /// Says how far it is, for progress bars: `12,000 keys`. Cheap, but not free: a few times a second is enough.
    pub fn note(&self, text: impl Into<String>) {
        self.voice.note(&self.step, text.into());
    }

    /// Keeps a value that the function learnt by itself (a session token, say) out of everything that is shown.
    pub fn hide(&self, secret: &str) {
        self.secrets.hide(secret);
    }

    /// The run so far: what ended, how, and with which outputs.
    pub fn so_far(&self) -> Report {
        self.voice.so_far()
    }
}
