//! `run`, `plan` and `check`. Always holds: all three make the same checks; a run hears signals until it has ended, and
//! never waits for stderr; with `--progress json` every line on stderr is an event, from the first to the run's last.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use aquifer_engine::catalog::Catalog;
use aquifer_engine::event::{EventSink, Status};
use aquifer_engine::plan::Plan;
use aquifer_engine::report::Report;
use aquifer_engine::run::{RunOptions, Stop};
use aquifer_engine::show;
use tokio::signal::unix::{SignalKind, signal};

use crate::args::{Args, Output, PlanArgs, Progress, RunArgs, ShowArgs, TaskArgs};
use crate::exit::Exit;
use crate::print::Screen;
use crate::queue::Queue;
use crate::store::Store;
use crate::{inputs, print, progress, summary};

/// How often progress is told.
const TICK: Duration = Duration::from_millis(200);

/// Plans; `quiet` where stderr is for programs.
fn planned(task: &TaskArgs, args: &Args, quiet: bool) -> Result<Plan, Exit> {
    let wrong = |message: String| {
        print::error(&message);
        Exit::Wrong
    };
    let (catalog, name) = inputs::target(task).map_err(wrong)?;
    let inputs = inputs::inputs(task).map_err(wrong)?;
    if !catalog.tasks().iter().any(|known| known.name == name) {
        // What could not be read is why the task is not there.
        let problems = catalog.problems();
        if problems.has_errors() {
            print::problems(&problems, args.color, "; nothing was run");
            return Err(Exit::Wrong);
        }
    }
    if !quiet {
        inputs::exposed(&catalog, &name, task).iter().for_each(|line| print::note(line));
    }
    catalog.plan(&name, &inputs).map_err(|problems| {
        print::problems(&problems, args.color, "; nothing was run");
        Exit::Wrong
    })
}

/// `aquifer plan`.
pub(crate) fn plan(plan: &PlanArgs, args: &Args) -> Exit {
    let planned = match planned(&plan.task, args, false) {
        Ok(planned) => planned,
        Err(exit) => return exit,
    };
    print::result(&match plan.output {
        Output::Text => show::text(&planned),
        Output::Json => format!("{:#}", show::json(&planned)),
        Output::Mermaid => show::mermaid(&planned),
        Output::Dot => show::dot(&planned),
    })
}

/// `aquifer check`.
pub(crate) fn check(paths: &[PathBuf], args: &Args) -> Exit {
    let mut catalog: Catalog = inputs::builtin_catalog();
    let before = (catalog.tasks().len(), catalog.functions().len());
    paths.iter().for_each(|path| catalog.add_path(path));
    let problems = catalog.problems();
    if problems.has_errors() {
        print::problems(&problems, args.color, "");
        return Exit::Wrong;
    }
    let (tasks, functions) = (catalog.tasks().len() - before.0, catalog.functions().len() - before.1);
    print::result(&format!("ok: {tasks} new task(s), {functions} new function(s), no problems"))
}

/// `aquifer run`.
pub(crate) fn run(run: &RunArgs, args: &Args, screen: &Screen) -> Exit {
    match planned(&run.task, args, run.show.progress == Progress::Json) {
        Ok(plan) => execute(plan, &run.show, args, screen),
        Err(exit) => exit,
    }
}

/// Runs a plan, and tells of it.
pub(crate) fn execute(plan: Plan, run: &ShowArgs, args: &Args, screen: &Screen) -> Exit {
    execute_and(plan, run, args, screen, |_| {})
}

/// Runs a plan, and tells of it; first to `then`.
pub(crate) fn execute_and(
    plan: Plan,
    run: &ShowArgs,
    args: &Args,
    screen: &Screen,
    then: impl FnOnce(&Report),
) -> Exit {
    let store = match run.report.as_deref().map(Store::open).transpose() {
        Ok(store) => store,
        Err(message) => {
            print::error(&message);
            return Exit::Wrong;
        }
    };
    let started = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let (sink, _quiet) = progress::sink(run.progress, args.color, screen);
    let started = started.and_then(|runtime| Ok((runtime, Queue::start(sink, screen.clone())?)));
    let (runtime, queue) = match started {
        Ok(started) => started,
        Err(error) => {
            print::error(&format!("no threads can be started: {error}"));
            return Exit::Failed;
        }
    };
    let heard = Arc::new(AtomicU8::new(0));
    let report = runtime.block_on(async {
        let stop = Stop::default();
        if let Err(error) = listen(&stop, &heard) {
            print::error(&format!("signals cannot be heard: {error}"));
            return None;
        }
        let events: Arc<dyn EventSink> = queue.clone();
        let options = RunOptions { events, stop, progress: Some(TICK), ..RunOptions::default() };
        Some(aquifer_engine::run::run(plan, options).await)
    });
    // A blocking call that ignores its cancel must not hold the exit back.
    runtime.shutdown_timeout(Duration::from_millis(500));
    let Some(report) = report else { return Exit::Failed };
    then(&report);
    // All that was said first, then the result.
    queue.drain();
    // A report that was asked for and is not there is a failure, also where the run was none. It comes before the words, because
    // it is for somebody who does not depend on what a terminal takes.
    let for_people = !store.as_ref().is_some_and(Store::is_stdout);
    let stored = match store.map_or(Ok(Exit::Success), |store| store.write(&report)) {
        Ok(exit) => exit,
        Err(error) => {
            let place = run.report.as_deref().unwrap_or(std::path::Path::new("-")).display();
            queue.note(format!("error: the report could not be written to `{place}`: {error}"));
            Exit::Failed
        }
    };
    if for_people {
        // That it cannot be printed changes nothing about the run.
        print::result(&summary::table(&report));
    }
    if let Some(text) = summary::failed(&report).filter(|_| run.progress != Progress::Json) {
        queue.note(text);
    }
    queue.drain();
    match (report.status, heard.load(Ordering::Relaxed)) {
        (Status::Succeeded, _) => stored,
        (_, 0) => Exit::Failed,
        (_, signal) => Exit::Signal(signal),
    }
}

/// SIGINT, SIGTERM and SIGHUP stop the run: gracefully first, at once when they come again. A SIGHUP that is ignored when
/// the program starts stays so: that is what `nohup` asks for.
fn listen(stop: &Stop, heard: &Arc<AtomicU8>) -> std::io::Result<()> {
    for (kind, number) in [(SignalKind::interrupt(), 2), (SignalKind::terminate(), 15), (SignalKind::hangup(), 15)] {
        if kind == SignalKind::hangup() && is_hangup_ignored() {
            continue;
        }
        let mut signals = signal(kind)?;
        let (stop, heard) = (stop.clone(), Arc::clone(heard));
        tokio::spawn(async move {
            while signals.recv().await.is_some() {
                // The first one is what the exit status tells.
                let again = heard.compare_exchange(0, number, Ordering::Relaxed, Ordering::Relaxed).is_err();
                // What watches the run hears of it by an event.
                if again {
                    stop.at_once();
                } else {
                    stop.gracefully();
                }
            }
        });
    }
    Ok(())
}

/// Whether this program was started with SIGHUP ignored, by the set of signals that Linux tells.
fn is_hangup_ignored() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let set = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let set = set.and_then(|set| u64::from_str_radix(set.trim(), 16).ok()).unwrap_or(0);
    // A signal's bit is its number less one, and SIGHUP is the first.
    set & 1 != 0
}
