//! The engine's promises, one test each, with the doubles that try to break it. The simulation looks for what nobody
//! thought of; these say what was thought of.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use aquifer_engine::catalog::{Catalog, Inputs};
use aquifer_engine::event::{Event, Status, What};
use aquifer_engine::failure::FailureKind;
use aquifer_engine::report::Report;
use aquifer_engine::run::{RunOptions, Stop, run};
use aquifer_tests::doubles::Ledger;

struct Played {
    report: Report,
    ledger: Ledger,
    events: Vec<Event>,
}

impl Played {
    fn status(&self, step: &str) -> Status {
        self.report.step(step).expect("the step is in the report").status
    }

    fn commits(&self) -> usize {
        self.ledger.page().commits.len()
    }
}

/// Runs steps of doubles, told to stop after these times.
async fn play_until(steps: &str, stop_at: Option<Duration>, again_at: Option<Duration>) -> Played {
    let text = format!(
        "apiVersion: aquifer.dev/v1alpha1\nkind: Task\nmetadata: {{name: t}}\nspec:\n  params: [{{name: word, default: hush-hush, secret: true}}]\n  steps:\n{steps}"
    );
    let ledger = Ledger::default();
    let mut catalog = Catalog::new(ledger.registry());
    catalog.add_text("t.yaml", &text);
    let plan = catalog.plan("t", &Inputs::default()).unwrap_or_else(|problems| panic!("{problems:#?}"));
    let events = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&events);
    let stop = Stop::default();
    let options = RunOptions {
        events: Arc::new(move |event: &Event| seen.lock().expect("no panic").push(event.clone())),
        stop: stop.clone(),
        ..RunOptions::default()
    };
    let stopping = tokio::spawn(async move {
        if let Some(at) = stop_at {
            tokio::time::sleep(at).await;
            stop.gracefully();
        }
        if let Some(at) = again_at {
            tokio::time::sleep(at).await;
            stop.at_once();
        }
    });
    let report = run(plan, options).await;
    stopping.abort();
    let events = std::mem::take(&mut *events.lock().expect("no panic"));
    Played { report, ledger, events }
}

async fn play(steps: &str) -> Played {
    play_until(steps, None, None).await
}

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn a_whole_stream_is_committed() {
    let played = play(
        "    - {name: a, function: test-source, params: {size: 100000}}
    - {name: b, function: test-transform, stdin: a}
    - {name: c, function: test-sink, stdin: b, params: {size: 100000}}
",
    )
    .await;
    assert_eq!(played.report.status, Status::Succeeded, "{:#?}", played.report);
    assert_eq!(played.commits(), 1);
    let sink = played.report.step("c").expect("it ran");
    assert_eq!((sink.bytes_in, sink.outputs["bytes"].as_u64()), (100_000, Some(100_000)));
    assert_eq!(played.report.step("a").expect("it ran").bytes_out, 100_000);
}

/// Promise 1. Whatever goes wrong before the end of a stream, its sink commits nothing.
#[tokio::test(start_paused = true)]
async fn nothing_is_committed_of_a_stream_that_broke() {
    for wrong in ["unavailable", "rejected", "panic", "hang", "deaf", "drop-ends"] {
        for (source, middle) in [(wrong, ""), ("", wrong)] {
            let order =
                |wrong: &str| if wrong.is_empty() { String::new() } else { format!(", wrong: {wrong}, after: 60000") };
            let played = play(&format!(
                "    - {{name: a, function: test-source, timeout: 1h, params: {{size: 100000{}}}}}
    - {{name: b, function: test-transform, stdin: a, params: {{wrong: swallow}}}}
    - {{name: c, function: test-transform, stdin: b, params: {{chunk: 10{}}}}}
    - {{name: d, function: test-sink, stdin: c, params: {{size: 100000}}}}
",
                order(source),
                order(middle)
            ))
            .await;
            assert_eq!(played.report.status, Status::Failed, "{wrong}");
            assert_eq!(played.commits(), 0, "{wrong}");
            assert_eq!(played.ledger.page().alive, 0, "{wrong}");
        }
    }
}

/// Promise 1, the other end: a reader that says it is done before it has read everything is not believed.
#[tokio::test(start_paused = true)]
async fn success_without_reading_to_the_end_is_a_failure() {
    let played = play(
        "    - {name: a, function: test-source, params: {size: 100000}}
    - {name: b, function: test-transform, stdin: a, params: {wrong: close-early, after: 50000}}
    - {name: c, function: test-sink, stdin: b, params: {size: 100000}}
",
    )
    .await;
    assert_eq!(played.commits(), 0);
    let first = played.report.first_failure.expect("it failed");
    assert_eq!((first.step.as_str(), first.failure.kind), ("b", FailureKind::Internal));
    assert!(first.failure.message.contains("before it had read its input to the end"), "{first:?}");
}

/// Promise 3. The step that failed first is named; those that ended because of it are cancelled, not failed.
#[tokio::test(start_paused = true)]
async fn the_first_failure_is_named_and_the_rest_is_cancelled_at_once() {
    let played = play(
        "    - {name: a, function: test-source, params: {size: 1000000, pace: 1000}}
    - {name: b, function: test-transform, stdin: a}
    - {name: c, function: test-sink, stdin: b, params: {size: 1000000, wrong: rejected, after: 9000}}
",
    )
    .await;
    assert_eq!(played.report.first_failure.as_ref().map(|first| first.step.as_str()), Some("c"));
    assert_eq!(played.status("a"), Status::Cancelled);
    assert_eq!(played.status("b"), Status::Cancelled);
    // The source paces itself a second a piece: three pieces until the sink fails, and not one second more.
    assert!(played.report.seconds < 4.0, "{}", played.report.seconds);
}

/// The other branches of a fan-out go on to their end.
#[tokio::test(start_paused = true)]
async fn a_failed_branch_leaves_the_others_alone() {
    let played = play(
        "    - {name: a, function: test-source, params: {size: 500000}}
    - {name: left, function: test-sink, stdin: a, params: {size: 500000, wrong: rejected, after: 100000}}
    - {name: mid, function: test-transform, stdin: a}
    - {name: right, function: test-sink, stdin: mid, params: {size: 500000}}
    - {name: after-left, function: test-action, needs: [left]}
    - {name: after-right, function: test-action, needs: [right]}
",
    )
    .await;
    assert_eq!(played.status("right"), Status::Succeeded);
    assert_eq!(played.status("after-right"), Status::Succeeded);
    assert_eq!(played.status("left"), Status::Failed);
    assert_eq!(played.status("after-left"), Status::Skipped);
    assert_eq!(played.report.status, Status::Failed);
}

/// Promise 4. What cleans up runs after success, failure, timeout and a first request to stop, and only a second one stops it.
#[tokio::test(start_paused = true)]
async fn always_and_failure_steps_run_when_they_are_called_for() {
    let steps = |wrong: &str| {
        format!(
            "    - {{name: work, function: test-action, timeout: 10s, params: {{pace: 2000{wrong}}}}}
    - {{name: next, function: test-action, needs: [work]}}
    - {{name: undo, function: test-action, needs: [next], when: failure}}
    - {{name: tell, function: test-action, needs: [undo], when: always, params: {{pace: 3000}}}}
    - {{name: last, function: test-action, needs: [tell]}}
"
        )
    };
    use Status::{Cancelled, Failed, Skipped, Succeeded};
    let statuses = |played: &Played| ["work", "next", "undo", "tell", "last"].map(|step| played.status(step));

    let well = play(&steps("")).await;
    assert_eq!(statuses(&well), [Succeeded, Succeeded, Skipped, Succeeded, Succeeded]);
    let failed = play(&steps(", wrong: rejected")).await;
    assert_eq!(statuses(&failed), [Failed, Skipped, Succeeded, Succeeded, Skipped]);
    let late = play(&steps(", wrong: deaf")).await;
    assert_eq!(statuses(&late), [Failed, Skipped, Succeeded, Succeeded, Skipped]);
    assert_eq!(late.report.first_failure.map(|first| first.failure.kind), Some(FailureKind::TimedOut));
    let stopped = play_until(&steps(""), Some(SECOND), None).await;
    assert_eq!(statuses(&stopped), [Cancelled, Cancelled, Succeeded, Succeeded, Cancelled]);
    assert!(stopped.report.stopped && stopped.report.first_failure.is_none());
    let twice = play_until(&steps(""), Some(SECOND), Some(SECOND)).await;
    assert_eq!(statuses(&twice), [Cancelled, Cancelled, Succeeded, Cancelled, Cancelled]);
    assert!(twice.report.seconds < 4.0, "at once means at once: {}", twice.report.seconds);
    assert_eq!(twice.ledger.page().alive, 0);
}

/// Promise 5. A retry runs the whole pipeline again from its source, and only after what may pass.
#[tokio::test(start_paused = true)]
async fn a_retry_starts_again_from_the_source() {
    let steps = |wrong: &str| {
        format!(
            "    - {{name: a, function: test-source, params: {{size: 100000}}}}
    - {{name: b, function: test-sink, stdin: a, retry: {{attempts: 4, backoff: 10s}}, params: {{size: 100000, wrong: {wrong}, after: 50000, attempts: 2}}}}
"
        )
    };
    let passing = play(&steps("unavailable")).await;
    assert_eq!(passing.report.status, Status::Succeeded);
    assert_eq!((passing.report.pipelines[0].attempts, passing.ledger.page().starts["a"]), (3, 3));
    assert_eq!(passing.ledger.page().commits, [("b".to_owned(), 3)]);
    assert_eq!(passing.report.pipelines[0].retried.len(), 2);
    assert!((30.0..31.0).contains(&passing.report.seconds), "10 s and 20 s of waiting: {}", passing.report.seconds);
    assert!(passing.report.first_failure.is_none());
    let lasting = play(&steps("rejected")).await;
    assert_eq!(lasting.report.pipelines[0].attempts, 1);
}

/// Promise 6. A secret that functions shout in messages, errors, panics and outputs is not heard.
#[tokio::test(start_paused = true)]
async fn a_secret_is_heard_nowhere() {
    for wrong in ["", ", wrong: rejected", ", wrong: panic"] {
        let played = play(&format!(
            "    - {{name: a, function: test-action, params: {{say: \"{{{{ params.word }}}}\"{wrong}}}}}\n"
        ))
        .await;
        let heard = format!("{:?} {:?}", played.events, played.report);
        assert!(!heard.contains("hush-hush"), "{heard}");
        assert!(heard.contains("***"), "the double did say it: {heard}");
    }
}

/// Dropping the run's future leaves nothing behind and commits nothing.
#[tokio::test(start_paused = true)]
async fn a_dropped_run_commits_nothing() {
    let ledger = Ledger::default();
    let mut catalog = Catalog::new(ledger.registry());
    catalog.add_text(
        "t.yaml",
        "{apiVersion: aquifer.dev/v1alpha1, kind: Task, metadata: {name: t}, spec: {steps: [{name: a, function: test-source, params: {size: 100000, pace: 1000}}, {name: b, function: test-sink, stdin: a, params: {size: 100000}}]}}",
    );
    let plan = Arc::new(catalog.plan("t", &Inputs::default()).unwrap_or_else(|problems| panic!("{problems:#?}")));
    let dropped = tokio::time::timeout(3 * SECOND, run(plan, RunOptions::default())).await;
    assert!(dropped.is_err(), "it takes longer than that");
    tokio::time::timeout(SECOND, async {
        while ledger.page().alive > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("the steps are dropped with the run");
    tokio::time::advance(1000 * SECOND).await;
    assert!(ledger.page().commits.is_empty());
}

/// A message cannot fake another line of a log, whatever kind of line break it holds.
#[tokio::test(start_paused = true)]
async fn a_message_is_one_line() {
    let played = play(
        "    - {name: a, function: test-action, params: {shout: \"one\\ntwo\\r\\nthree\\rfour\\vfive\\x85six\\u2028seven\"}}\n",
    )
    .await;
    let said = |event: &Event| match &event.what {
        What::Message { text, .. } => Some(text.clone()),
        _ => None,
    };
    let texts: Vec<String> = played.events.iter().filter_map(said).collect();
    assert_eq!(texts, ["one two three four five six seven"]);
}

/// Where attempts fail in different ways, the first one has the cause: a later one may only have met what the first left.
#[tokio::test(start_paused = true)]
async fn the_first_attempts_failure_leads_and_the_last_one_is_told_too() {
    let played = play(
        "    - {name: a, function: test-source, params: {size: 100000}}
    - {name: b, function: test-sink, stdin: a, retry: {attempts: 3, backoff: 1s}, params: {size: 100000}}
    - {name: c, function: test-sink, stdin: a, params: {size: 100000, wrong: unavailable, after: 50000, attempts: 1, then: rejected}}
",
    )
    .await;
    let first = played.report.first_failure.as_ref().expect("it failed");
    assert_eq!((first.step.as_str(), first.failure.kind), ("c", FailureKind::Unavailable));
    let pipeline = &played.report.pipelines[0];
    assert_eq!((pipeline.attempts, pipeline.retried.len()), (2, 1));
    assert_eq!(pipeline.failure.as_ref().map(|last| last.failure.kind), Some(FailureKind::Rejected));
}

/// No length of time that a task or a program can give ends the engine.
#[tokio::test(start_paused = true)]
async fn the_longest_times_are_no_panic() {
    let played = play("    - {name: a, function: test-action, timeout: 9years, params: {wrong: unavailable}, retry: {attempts: 2, backoff: 9years}}\n").await;
    assert_eq!(played.report.pipelines[0].attempts, 2);
    let ledger = Ledger::default();
    let mut catalog = Catalog::new(ledger.registry());
    let text = "{apiVersion: aquifer.dev/v1alpha1, kind: Task, metadata: {name: t}, spec: {steps: [{name: a, function: test-action, params: {wrong: hang}}]}}";
    catalog.add_text("t.yaml", text);
    let mut plan = catalog.plan("t", &Inputs::default()).unwrap_or_else(|problems| panic!("{problems:#?}"));
    plan.pipelines[0].timeout = Some(Duration::MAX);
    let stop = Stop::default();
    let options = RunOptions { grace: Duration::MAX, stop: stop.clone(), ..RunOptions::default() };
    let stopping = tokio::spawn(async move {
        tokio::time::sleep(SECOND).await;
        stop.gracefully();
    });
    let report = run(Arc::new(plan), options).await;
    stopping.await.expect("no panic");
    assert_eq!((report.status, ledger.page().starts["a"]), (Status::Cancelled, 1));
}

/// Events begin and end with the run.
#[tokio::test(start_paused = true)]
async fn events_end_with_the_run() {
    let played = play("    - {name: a, function: test-action}\n").await;
    assert!(matches!(played.events.first().map(|event| &event.what), Some(What::RunStarted { .. })));
    assert!(matches!(
        played.events.last().map(|event| &event.what),
        Some(What::RunEnded { status: Status::Succeeded, .. })
    ));
}
