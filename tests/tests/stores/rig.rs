//! What these tests share: a place in each store, and running the functions on it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use aquifer_engine::alone::{Input, Outcome, run_alone};
use aquifer_engine::event::Level;
use aquifer_engine::failure::Failure;
use aquifer_engine::function::{Call, RunInfo, Voice};
use aquifer_engine::pipe::pipe;
use aquifer_engine::ports::OpenEnds;
use aquifer_engine::registry::Registry;
use aquifer_engine::report::Report;
use aquifer_engine::secret::Redactor;
use aquifer_engine::stream::StreamType;
use aquifer_functions::download::Download;
use aquifer_functions::upload::Upload;
use aquifer_tests::stores::{StoreServer, all, place};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub(crate) use aquifer_tests::streams::{chunks, pieces, refused, sample};

/// A place of a test's own in a store.
#[derive(Clone)]
pub(crate) struct Place {
    pub(crate) server: &'static dyn StoreServer,
    pub(crate) name: String,
}

/// Runs a test on each server, one after the other, at a place of its own.
#[expect(clippy::disallowed_methods, reason = "a test binary is steered by its environment")]
pub(crate) async fn on_each(test: impl AsyncFn(Place)) {
    // For a look at one kind alone, by hand.
    let only = std::env::var("ONLY_STORE").ok();
    for server in
        all().await.iter().filter(|server| only.as_ref().is_none_or(|only| server.called().contains(only.as_str())))
    {
        eprintln_of_tests(server.called());
        test(Place { server: &**server, name: place() }).await;
    }
}

/// As [`on_each`], on those that take objects, each once.
pub(crate) async fn on_each_for_objects(test: impl AsyncFn(Place)) {
    on_each(async |place| {
        if place.server.takes_objects() && !place.server.is_other_way() {
            test(place).await;
        }
    })
    .await;
}

/// Shown with a test that fails: the server that was at work.
#[expect(clippy::print_stderr, reason = "a test's output is shown where it fails")]
fn eprintln_of_tests(server: &str) {
    eprintln!("on {server}");
}

impl Place {
    pub(crate) fn location(&self) -> Value {
        self.server.location(&self.name)
    }

    pub(crate) async fn names(&self) -> Vec<String> {
        self.server.names(&self.name).await
    }

    pub(crate) fn params(&self, name: &str, more: Value) -> Value {
        with(json!({"location": self.location(), "name": name}), more)
    }

    pub(crate) async fn upload(&self, name: &str, bytes: &[u8], more: Value) -> Result<Value, Failure> {
        run_alone(Upload, self.params(name, more), pieces(bytes)).await.result
    }

    pub(crate) async fn download(&self, name: &str, more: Value) -> Outcome {
        run_alone(Download, self.params(name, more), Input::None).await
    }

    /// Waits until nothing is there any more, nor on its way.
    pub(crate) async fn until_nothing_is_left(&self) {
        let begun = Instant::now();
        loop {
            let left = self.names().await;
            if left.is_empty() {
                return;
            }
            assert!(begun.elapsed() < Duration::from_secs(60), "{left:?} is left on {}", self.server.called());
            tokio::task::yield_now().await;
        }
    }

    /// The bytes of an object that must be sound.
    pub(crate) async fn downloaded(&self, name: &str) -> Vec<u8> {
        let outcome = self.download(name, json!({})).await;
        outcome.result.unwrap_or_else(|failure| panic!("{}: {failure:?}", self.server.called()));
        outcome.stdout
    }
}

/// A map with more in it.
pub(crate) fn with(mut all: Value, more: Value) -> Value {
    all.as_object_mut().expect("a map").extend(more.as_object().expect("a map").clone());
    all
}

struct Deaf;

impl Voice for Deaf {
    fn say(&self, _: &str, _: Level, _: &str) {}

    fn note(&self, _: &str, _: String) {}

    fn so_far(&self) -> Report {
        unreachable!("no function here asks for the run so far")
    }
}

/// An upload that has begun, and goes on until its source is told how to end.
pub(crate) struct Begun {
    pub(crate) running: JoinHandle<Result<Value, Failure>>,
    pub(crate) cancel: CancellationToken,
    pub(crate) control: aquifer_engine::pipe::Control,
    /// Ends the feeding, and with it the source's end of the pipe.
    pub(crate) feeding: JoinHandle<()>,
}

fn call(cancel: &CancellationToken) -> Call {
    let started = "2026-11-23T10:00:00Z".parse().expect("a time");
    let run = RunInfo { id: "run".into(), task: "task".into(), started };
    Call::new(Arc::new(run), "step", cancel.clone(), Redactor::default(), Arc::new(Deaf))
}

/// Downloads without keeping what comes; gives what the step says, and each chunk to `taken`.
pub(crate) async fn downloaded_by(params: Value, mut taken: impl FnMut(&[u8])) -> Result<Value, Failure> {
    let registry = Registry::new().with(Download);
    let (writer, mut ends) = pipe(1, 8 << 20, &StreamType::unknown(), None);
    let (mut reader, control) = ends.remove(0);
    let prepared = registry.get("download").expect("registered").prepare(params).expect("sound params");
    let cancel = CancellationToken::new();
    let running = tokio::spawn(async move {
        let done = prepared.run(OpenEnds { stdin: None, stdout: Some(writer) }, call(&cancel)).await;
        match &done {
            Ok(_) => control.finish(),
            Err(failure) => control.break_off(failure.clone()),
        }
        done
    });
    while let Ok(Some(chunk)) = reader.read().await {
        taken(&chunk);
    }
    running.await.expect("no panic")
}

/// Begins an upload of `bytes`, and comes back when it has read at least `read` of them.
pub(crate) async fn begin(params: Value, bytes: &[u8], read: u64) -> Begun {
    let registry = Registry::new().with(Upload);
    let (mut writer, mut ends) = pipe(1, 8 << 20, &StreamType::unknown(), None);
    let (reader, control) = ends.remove(0);
    let prepared = registry.get("upload").expect("registered").prepare(params).expect("sound params");
    let cancel = CancellationToken::new();
    let call = call(&cancel);
    let running = tokio::spawn(prepared.run(OpenEnds { stdin: Some(reader), stdout: None }, call));
    let pieces = chunks(bytes);
    let feeding = tokio::spawn(async move {
        for piece in pieces {
            if writer.write(piece).await.is_err() {
                return;
            }
        }
        // The pipe stays open until it is told how it ends.
        std::future::pending::<()>().await;
    });
    while control.level().read < read && !running.is_finished() {
        tokio::task::yield_now().await;
    }
    Begun { running, cancel, control, feeding }
}
