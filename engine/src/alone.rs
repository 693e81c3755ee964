//! Runs one function by itself, outside of any plan: for tests of functions, and for programs that need only one.
//!
//! Takes a function, its params as JSON and its input as pieces; gives its output bytes, outputs and messages. Always
//! holds: the pipes, the rules for their ends, the params' checks, the masking of secrets in failures and messages, and
//! the grace of a function that was told to stop are those of a real run. Outputs are as a later step would get them.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

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
use crate::secret::{Place, Redactor, collect};
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
    /// What it wrote: all of it after success; after a failure only what was read before that.
    pub stdout: Vec<u8>,
    /// True where a reader was told that this is all of it.
    pub finished: bool,
    /// What it declared its stdout to be; the plan's type where it declared nothing.
    pub stream: StreamType,
    /// Everything that it said.
    pub messages: Vec<(Level, String)>,
}

#[derive(Default)]
struct Notebook {
    said: Mutex<Vec<(Level, String)>>,
    secrets: Redactor,
}

impl Voice for Notebook {
    fn say(&self, _: &str, level: Level, text: &str) {
        let text = self.secrets.redact(text).into_owned();
        self.said.lock().unwrap_or_else(PoisonError::into_inner).push((level, text));
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

/// How long a function may take to stop.
const GRACE: Duration = Duration::from_secs(10);

/// Runs a function until its end, telling it to stop when `cancel` says so. Its pipes break then, as in a real run, and it
/// is dropped where it does not stop in time.
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
        finished: false,
        stream: StreamType::unknown(),
        messages: Vec::new(),
    };
    let Some(function) = registry.get(F::NAME) else {
        return failed(Failure::internal("the registry lost a function"));
    };
    collect(&Place::of(function.info().params.as_value()), &params, &mut |secret| notebook.secrets.hide(secret));
    let prepared = match function.prepare(params) {
        Ok(prepared) => prepared,
        Err(error) => return failed(Failure::from(error)),
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
            loop {
                match reader.read().await {
                    Ok(Some(chunk)) => all.extend_from_slice(&chunk),
                    end => return (all, end.is_ok()),
                }
            }
        }));
    }
    let run = RunInfo { id: "alone".into(), task: "alone".into(), started: Timestamp::now() };
    let voice: Arc<dyn Voice> = notebook.clone();
    let call = Call::new(Arc::new(run), F::NAME, cancel.clone(), notebook.secrets.clone(), voice);
    let grace = GRACE.max(prepared.patience);
    let running = prepared.run(ends, call);
    let mut running = Box::pin(running);
    let mut result = tokio::select! {
        result = &mut running => result,
        () = cancel.cancelled() => {
            let stopped = Failure::cancelled("stopped");
            stdin_control.iter().for_each(|control| control.break_off(stopped.clone()));
            stdout_control.iter().for_each(|control| control.break_off(stopped.clone()));
            let dropped = || Err(Failure::cancelled("did not stop when told to, and was dropped"));
            tokio::time::timeout(grace, running).await.unwrap_or_else(|_| dropped())
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
        match &result {
            Ok(_) => control.finish(),
            Err(failure) => control.break_off(failure.clone()),
        }
    }
    let (stdout, finished) = match collecting {
        Some(collecting) => collecting.await.unwrap_or_default(),
        None => Default::default(),
    };
    let stream = declared.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let result = result.map_err(|failure| failure.redacted(&notebook.secrets));
    let messages = notebook.said.lock().unwrap_or_else(PoisonError::into_inner).clone();
    Outcome { result, stdout, finished, stream, messages }
}

#[cfg(test)]
mod tests {
    use schemars::JsonSchema;
    use serde::Deserialize;

    use super::*;
    use crate::function::NoOutputs;
    use crate::ports::Source;
    use crate::secret::Secret;
    use crate::stream::Streams;

    #[derive(Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields)]
    struct Word {
        word: Secret,
        deaf: bool,
    }

    /// Says its secret and fails, or hears nothing.
    struct Bad;

    impl Function for Bad {
        const NAME: &'static str = "bad";
        const SUMMARY: &'static str = "Fails.";
        const REPEAT: &'static str = "Fails again.";
        type Params = Word;
        type Ports = Source;
        type Outputs = NoOutputs;

        fn streams(_: Option<&Word>) -> Streams {
            Streams::ANY
        }

        async fn run(&self, params: Word, mut ports: Source, call: &Call) -> Result<NoOutputs, Failure> {
            if params.deaf {
                std::future::pending::<()>().await;
            }
            ports.stdout.write(Bytes::from_static(b"half")).await?;
            call.info(params.word.expose());
            Err(Failure::corrupt(format!("it is {}", params.word.expose())))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_breaks_the_output_shows_no_secret_and_a_deaf_function_is_dropped() {
        let params = |deaf: bool| serde_json::json!({"word": "hush-hush", "deaf": deaf});
        let outcome = run_alone(Bad, params(false), Input::None).await;
        assert!(!outcome.finished, "half a stream must not look complete");
        assert_eq!(outcome.result.expect_err("it fails").message, "it is ***");
        assert_eq!(outcome.messages, [(Level::Info, "***".to_owned())]);
        let cancel = CancellationToken::new();
        cancel.cancel();
        let outcome = run_alone_until(Bad, params(true), Input::None, cancel).await;
        assert!(outcome.result.expect_err("it is dropped").message.contains("was dropped"));
    }
}
