//! Whole runs of built-in functions, for what neither the engine's doubles nor a function by itself can show: outputs
//! that go from step to step, secrets in them, threads, and a run that is dropped.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use aquifer_engine::catalog::{Catalog, Inputs};
use aquifer_engine::event::{Event, Status};
use aquifer_engine::failure::{Failure, FailureKind};
use aquifer_engine::function::{Call, Function, NoOutputs};
use aquifer_engine::plan::Plan;
use aquifer_engine::ports::{Sink, Source};
use aquifer_engine::report::Report;
use aquifer_engine::run::{RunOptions, Stop, run};
use aquifer_engine::stream::Streams;
use aquifer_functions::builtins;
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::runtime::{Builder, Handle, Runtime};

/// Plans steps of built-ins, and of the doubles below, with a secret and a short secret.
fn planned(steps: &str, word: &str) -> Arc<Plan> {
    let text = format!(
        "apiVersion: aquifer.dev/v1alpha1\nkind: Task\nmetadata: {{name: t}}\nspec:\n  params: [{{name: word, required: true, secret: true}}]\n  steps:\n{steps}"
    );
    let mut catalog = Catalog::new(builtins().with(Endless).with(Waits));
    catalog.add_text("t.yaml", &text);
    let plan = catalog.plan("t", &Inputs::default().with_value("word", word));
    Arc::new(plan.unwrap_or_else(|problems| panic!("{problems:#?}")))
}

/// Runs a plan; gives its report and everything that it showed, as one text.
async fn shown(plan: Arc<Plan>, options: RunOptions) -> (Report, String) {
    let heard = Arc::new(Mutex::new(String::new()));
    let hear = Arc::clone(&heard);
    let events = Arc::new(move |event: &Event| {
        hear.lock().expect("no panic").push_str(&serde_json::to_string(event).expect("JSON"));
    });
    let report = run(plan, RunOptions { events, ..options }).await;
    let text = format!("{}{}", heard.lock().expect("no panic"), serde_json::to_string(&report).expect("JSON"));
    (report, text)
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).expect("a folder");
    entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect()
}

fn wait_for(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < Duration::from_secs(60), "waited for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A runtime with few threads. Where a test fails it is left behind, since waiting for its threads may take for ever.
struct Threads(Option<Runtime>);

impl Threads {
    fn start() -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(2).max_blocking_threads(8).enable_all().build();
        Self(Some(runtime.expect("a runtime")))
    }

    fn runtime(&self) -> &Runtime {
        self.0.as_ref().expect("not taken yet")
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.0.take().into_iter().for_each(Runtime::shutdown_background);
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NoParams {}

/// Writes a little and then nothing for ever.
struct Endless;

impl Function for Endless {
    const NAME: &'static str = "endless";
    const SUMMARY: &'static str = "Writes a little and waits.";
    const REPEAT: &'static str = "Writes again.";
    type Params = NoParams;
    type Ports = Source;
    type Outputs = NoOutputs;

    fn streams(_: Option<&NoParams>) -> Streams {
        Streams::ANY
    }

    async fn run(&self, _: NoParams, mut ports: Source, _: &Call) -> Result<NoOutputs, Failure> {
        ports.stdout.write(vec![7; 1000].into()).await?;
        std::future::pending().await
    }
}

/// Reads on a thread of the runtime's blocking pool.
struct Waits;

impl Function for Waits {
    const NAME: &'static str = "waits";
    const SUMMARY: &'static str = "Reads on a blocking thread.";
    const REPEAT: &'static str = "Reads again.";
    type Params = NoParams;
    type Ports = Sink;
    type Outputs = NoOutputs;

    fn streams(_: Option<&NoParams>) -> Streams {
        Streams::ANY
    }

    async fn run(&self, _: NoParams, ports: Sink, _: &Call) -> Result<NoOutputs, Failure> {
        let mut input = ports.stdin.blocking(Handle::current());
        let read = tokio::task::spawn_blocking(move || {
            while input.read_chunk()?.is_some() {}
            Ok(NoOutputs {})
        });
        read.await.map_err(|_| Failure::internal("the thread is gone"))?
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_masked_where_it_is_shown_is_whole_for_later_steps() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("f");
    // `7` stands in every SHA-256 that one can hope for: as a switch in `env`, and as a secret that is much too short.
    for word in ["some-long-word", "7"] {
        let steps = format!(
            "    - {{name: make, function: exec, params: {{command: [seq, '100'], env: {{FORCE: '7', WORD: '{{{{ params.word }}}}'}}}}}}
    - {{name: write, function: file-write, stdin: make, params: {{path: {path}, overwrite: true}}}}
    - {{name: read, function: file-read, needs: [write], params: {{path: '{{{{ steps.write.outputs.path }}}}'}}}}
    - {{name: check, function: checksum, stdin: read, params: {{expect: '{{{{ steps.write.outputs.sha256 }}}}'}}}}
",
            path = path.display()
        );
        let (report, text) = shown(planned(&steps, word), RunOptions::default()).await;
        assert_eq!(report.status, Status::Succeeded, "{word}: {report:#?}");
        let sum = report.step("write").expect("it ran").outputs["sha256"].as_str().expect("a text").to_owned();
        assert_eq!(sum.contains("***"), word == "7", "only what the task itself calls secret is masked: {sum}");
        assert!(!text.contains("some-long-word"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_output_that_holds_a_secret_goes_on_to_secret_places_only() {
    let steps = |params: &str| {
        format!(
            "    - {{name: say, function: exec, params: {{command: [sh, -c, 'echo token=$WORD'], env: {{WORD: '{{{{ params.word }}}}'}}}}}}
    - {{name: use, function: exec, needs: [say], params: {{{params}}}}}
"
        )
    };
    let said = "{{ steps.say.outputs.stdout }}";
    let hidden = steps(&format!("command: [sh, -c, 'test ${{#T}} = 15'], env: {{T: '{said}'}}"));
    let (report, text) = shown(planned(&hidden, "hush-hush"), RunOptions::default()).await;
    assert_eq!(report.status, Status::Succeeded, "{report:#?}");
    assert!(!text.contains("hush-hush"), "{text}");
    let open = steps(&format!("command: [echo, 'it is {said}']"));
    let (report, text) = shown(planned(&open, "hush-hush"), RunOptions::default()).await;
    let first = report.first_failure.expect("it failed");
    assert_eq!((first.step.as_str(), first.failure.kind), ("use", FailureKind::Config));
    assert!(first.failure.message.contains("`command[1]`") && first.failure.message.contains("`say`"), "{first:?}");
    assert!(!text.contains("hush-hush"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_of_many_lines_or_of_great_length_is_masked_line_by_line() {
    let long = "0123456789abcdef".repeat(600);
    let key = format!("-----BEGIN KEY-----\n  first line of it\t!\nsecond line of it\n{long}\n-----END KEY-----\n");
    let steps = "    - {name: a, function: exec, params: {command: [sh, -c, 'echo \"$WORD\"; echo \"$WORD\" >&2; exit 1'], env: {WORD: '{{ params.word }}'}}}\n";
    let (report, text) = shown(planned(steps, &key), RunOptions::default()).await;
    assert_eq!(report.status, Status::Failed);
    assert!(text.contains("***"), "it was said");
    for part in ["first line of it", "second line of it", "0123456789abcdef", "END KEY"] {
        assert!(!text.contains(part), "{part} is shown");
    }
}

#[test]
fn a_dropped_run_lets_go_of_its_threads_and_files() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut threads = Threads::start();
    let steps = format!(
        "    - {{name: a, function: endless}}
    - {{name: b, function: waits, stdin: a}}
    - {{name: c, function: file-write, stdin: a, params: {{path: {}}}}}
",
        folder.path().join("f").display()
    );
    let running = threads.runtime().spawn(run(planned(&steps, "hush-hush"), RunOptions::default()));
    wait_for("the file to be begun", || !names(folder.path()).is_empty());
    running.abort();
    wait_for("no file to be left", || names(folder.path()).is_empty());
    // Waits for blocking threads: one that still reads would hold it for ever.
    let runtime = threads.0.take();
    let (done, ended) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        drop(runtime);
        done.send(()).expect("somebody waits");
    });
    ended.recv_timeout(Duration::from_secs(60)).expect("the runtime ends");
}

#[test]
fn more_blocking_steps_than_the_pool_has_threads_run_at_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut steps = String::from("    - {name: a, function: exec, params: {command: [seq, '200000']}}\n");
    for at in 0..600 {
        let path = folder.path().join(at.to_string());
        steps +=
            &format!("    - {{name: w{at}, function: file-write, stdin: a, params: {{path: {}}}}}\n", path.display());
    }
    let plan = planned(&steps, "hush-hush");
    let options = RunOptions { budget: 64 << 10, ..RunOptions::default() };
    let threads = Threads::start();
    let report = threads
        .runtime()
        .block_on(async move { tokio::time::timeout(Duration::from_secs(120), run(plan, options)).await });
    assert_eq!(report.expect("no deadlock").status, Status::Succeeded);
    assert_eq!(names(folder.path()).len(), 600);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_gets_the_time_to_stop_that_its_step_gives_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let (began, clean) = (folder.path().join("began"), folder.path().join("clean"));
    let steps = format!(
        "    - {{name: a, function: exec, params: {{command: [sh, -c, 'trap \"sleep 1; echo > {}; exit 0\" TERM; echo > {}; while :; do sleep 0.05; done'], killAfter: 30s}}}}\n",
        clean.display(),
        began.display()
    );
    let stop = Stop::default();
    let options = RunOptions { grace: Duration::from_millis(100), stop: stop.clone(), ..RunOptions::default() };
    let running = tokio::spawn(run(planned(&steps, "hush-hush"), options));
    tokio::task::spawn_blocking(move || wait_for("the command", || began.exists())).await.expect("no panic");
    stop.gracefully();
    assert_eq!(running.await.expect("no panic").status, Status::Cancelled);
    assert!(clean.exists(), "it was killed before its time");
}
