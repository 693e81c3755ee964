//! Runs one function by itself, outside of any plan: for tests of functions, and for programs that need only one.
//!
//! Takes a function, its params as JSON and its input as pieces; gives its output bytes, outputs and messages. Always
//! holds: the pipes, the rules for their ends and the params' checks are those of a real run.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::event::{Level, Status, VERSION};
use crate::failure::Failure;
use crate::function::{Call, Function, RunInfo, Voice};
use crate::pipe::{DEFAULT_BUDGET, pipe};
use crate::ports::{Need, OpenEnds};
use crate::registry::Registry;
use crate::report::Report;
use crate::secret::Redactor;
use crate::stream::StreamType;

/// How a function's input goes.
#[derive(Debug, Clone)]
pub enum Input {
    /// It has none.
    None,
    /// These pieces, and then it is finished.
    Finished(Vec<Bytes>),
    /// These pieces, and then it breaks.
    Broken(Vec<Bytes>, Failure),
}

impl Input {
    /// These bytes as one piece.
    pub fn bytes(bytes: impl Into<Bytes>) -> Self {
        Self::Finished(vec![bytes.into()])
    }
}

/// What became of it.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Its outputs, or why it failed.
    pub result: Result<Value, Failure>,
    /// Everything that it wrote.
    pub stdout: Vec<u8>,
    /// What it declared its stdout to be; the plan's type where it declared nothing.
    pub stream: StreamType,
    /// Everything that it said.
    pub messages: Vec<(Level, String)>,
}

#[derive(Default)]
struct Notebook(Mutex<Vec<(Level, String)>>);

impl Voice for Notebook {
    fn say(&self, _: &str, level: Level, text: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push((level, text.to_owned()));
    }

    fn note(&self, _: &str, _: String) {}

    fn so_far(&self) -> Report {
        Report {
            version: VERSION,
            run: "alone".into(),
            task: "alone".into(),
            status: Status::Running,
            stopped: false,
            started: Timestamp::now(),
            seconds: 0.0,
            first_failure: None,
            pipelines: Vec::new(),
        }
    }
}

/// Runs a function to its end.
pub async fn run_alone<F: Function>(function: F, params: Value, input: Input) -> Outcome {
    run_alone_until(function, params, input, CancellationToken::new()).await
}

/// Runs a function until its end, telling it to stop when `cancel` says so. Its pipes break then, as in a real run.
pub async fn run_alone_until<F: Function>(
    function: F,
    params: Value,
    input: Input,
    cancel: CancellationToken,
) -> Outcome {
    let registry = Registry::new().with(function);
    let notebook = Arc::new(Notebook::default());
    let unknown = StreamType::unknown();
    let failed = |failure| Outcome {
        result: Err(failure),
        stdout: Vec::new(),
        stream: StreamType::unknown(),
        messages: Vec::new(),
    };
    let Some(function) = registry.get(F::NAME) else {
        return failed(Failure::internal("the registry lost a function"));
    };
    let prepared = match function.prepare(params) {
        Ok(prepared) => prepared,
        Err(error) => return failed(Failure::config(format!("`{}`: {error}", error.path))),
    };
    let mut ends = OpenEnds::default();
    let declared = Arc::new(Mutex::new(prepared.streams.stdout.resolve(None)));

    let mut feeding = None;
    let mut stdin_control = None;
    if !matches!(input, Input::None) {
        let (mut writer, mut readers) = pipe(1, DEFAULT_BUDGET, &unknown, None);
        let (reader, control) = readers.remove(0);
        ends.stdin = Some(reader);
        stdin_control = Some(control.clone());
        feeding = Some(tokio::spawn(async move {
            let (pieces, end) = match input {
                Input::None => (Vec::new(), Ok(())),
                Input::Finished(pieces) => (pieces, Ok(())),
                Input::Broken(pieces, failure) => (pieces, Err(failure)),
            };
            for piece in pieces {
                if writer.write(piece).await.is_err() {
                    return;
                }
            }
            match end {
                Ok(()) => control.finish(),
                Err(failure) => control.break_off(failure),
            }
        }));
    }
    let mut collecting = None;
    let mut stdout_control = None;
    if function.info().stdout != Need::Never {
        let seen = Arc::clone(&declared);
        let on_declare: crate::pipe::OnDeclare = Arc::new(move |stream| {
            *seen.lock().unwrap_or_else(PoisonError::into_inner) = stream;
            Ok(())
        });
        let (writer, mut readers) = pipe(1, DEFAULT_BUDGET, &unknown, Some(on_declare));
        let (mut reader, control) = readers.remove(0);
        ends.stdout = Some(writer);
        stdout_control = Some(control);
        collecting = Some(tokio::spawn(async move {
            let mut all = Vec::new();
            while let Ok(Some(chunk)) = reader.read().await {
                all.extend_from_slice(&chunk);
            }
            all
        }));
    }
    let run = RunInfo { id: "alone".into(), task: "alone".into(), started: Timestamp::now() };
    let voice: Arc<dyn Voice> = notebook.clone();
    let call = Call::new(Arc::new(run), F::NAME, cancel.clone(), Redactor::default(), voice);
    let running = prepared.run(ends, call);
    tokio::pin!(running);
    let mut result = tokio::select! {
        result = &mut running => result,
        () = cancel.cancelled() => {
            let stopped = Failure::cancelled("stopped");
            stdin_control.iter().for_each(|control| control.break_off(stopped.clone()));
            stdout_control.iter().for_each(|control| control.break_off(stopped.clone()));
            running.await
        }
    };
    if let Some(control) = stdin_control {
        if result.is_ok() && !control.was_read_to_the_end() {
            result = Err(Failure::internal("returned success before it had read its input to the end"));
        }
        control.cut(Failure::cancelled("the step has ended"));
    }
    if let Some(feeding) = feeding {
        feeding.abort();
    }
    if let Some(control) = stdout_control {
        control.finish();
    }
    let stdout = match collecting {
        Some(collecting) => collecting.await.unwrap_or_default(),
        None => Vec::new(),
    };
    let stream = declared.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let messages = notebook.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
    Outcome { result, stdout, stream, messages }
}
