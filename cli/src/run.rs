//! `run`, `plan` and `check`. Always holds: all three make the same checks; a run hears signals until it has ended.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use aquifer_engine::catalog::Catalog;
use aquifer_engine::event::Status;
use aquifer_engine::plan::Plan;
use aquifer_engine::report::Report;
use aquifer_engine::run::{RunOptions, Stop};
use aquifer_engine::show;
use tokio::signal::unix::{SignalKind, signal};

use crate::args::{Args, Output, PlanArgs, Progress, RunArgs, TaskArgs};
use crate::exit::Exit;
use crate::print::Screen;
use crate::{inputs, print, progress, summary};

/// How often progress is told.
const TICK: Duration = Duration::from_millis(200);

fn planned(task: &TaskArgs, args: &Args) -> Result<Plan, Exit> {
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
    inputs::exposed(&catalog, &name, task).iter().for_each(|line| print::note(line));
    catalog.plan(&name, &inputs).map_err(|problems| {
        print::problems(&problems, args.color, "; nothing was run");
        Exit::Wrong
    })
}

/// `aquifer plan`.
pub(crate) fn plan(plan: &PlanArgs, args: &Args) -> Exit {
    let planned = match planned(&plan.task, args) {
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
    let planned = match planned(&run.task, args) {
        Ok(planned) => planned,
        Err(exit) => return exit,
    };
    if let Some(path) = &run.report
        && let Err(error) = can_store(path)
    {
        print::error(&format!("the report cannot be written to `{}`: {error}; nothing was run", path.display()));
        return Exit::Wrong;
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
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
        let (events, _quiet) = progress::sink(run.progress, args.color, screen);
        let options = RunOptions { events, stop, progress: Some(TICK), ..RunOptions::default() };
        Some(aquifer_engine::run::run(planned, options).await)
    });
    // A blocking call that ignores its cancel must not hold the exit back.
    runtime.shutdown_timeout(Duration::from_millis(500));
    let Some(report) = report else { return Exit::Failed };
    if run.report.as_deref() != Some(Path::new("-")) {
        // That it cannot be printed changes nothing about the run.
        print::result(&summary::table(&report));
    }
    if let Some(first) = report.first_failure.as_ref().filter(|_| run.progress != Progress::Json) {
        print::note(&summary::failure(first));
    }
    let stored = run.report.as_deref().map_or(Exit::Success, |path| store(&report, path));
    match (report.status, heard.load(Ordering::Relaxed)) {
        (Status::Succeeded, _) => stored,
        (_, 0) => Exit::Failed,
        (_, signal) => Exit::Signal(signal),
    }
}

fn store(report: &Report, path: &Path) -> Exit {
    let text = match serde_json::to_string_pretty(report) {
        Ok(text) if path == Path::new("-") => return print::result(&text),
        Ok(text) => text,
        Err(error) => {
            print::error(&format!("the report is no JSON: {error}"));
            return Exit::Failed;
        }
    };
    match store_file(&text, path) {
        Ok(()) => Exit::Success,
        Err(error) => {
            print::error(&format!("the report cannot be written to `{}`: {error}", path.display()));
            Exit::Failed
        }
    }
}

/// The whole report or none of it: under its name it is complete.
fn store_file(text: &str, path: &Path) -> std::io::Result<()> {
    if !may_replace(path) {
        return writeln!(std::fs::File::create(path)?, "{text}");
    }
    let mut file = tempfile::NamedTempFile::new_in(folder(path))?;
    writeln!(file, "{text}")?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}

/// A device or a link (`/dev/stdout` is both) has to stay what it is.
fn may_replace(path: &Path) -> bool {
    path.symlink_metadata().map_or(true, |there| there.is_file())
}

fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Whether a report could be written: asked before a run of hours, not after it.
fn can_store(path: &Path) -> std::io::Result<()> {
    if path == Path::new("-") {
        return Ok(());
    }
    if path.is_dir() {
        return Err(std::io::ErrorKind::IsADirectory.into());
    }
    if may_replace(path) { tempfile::NamedTempFile::new_in(folder(path)).map(drop) } else { Ok(()) }
}

/// SIGINT, SIGTERM and SIGHUP stop the run: gracefully first, at once when they come again.
fn listen(stop: &Stop, heard: &Arc<AtomicU8>) -> std::io::Result<()> {
    for (kind, number) in [(SignalKind::interrupt(), 2), (SignalKind::terminate(), 15), (SignalKind::hangup(), 15)] {
        let mut signals = signal(kind)?;
        let (stop, heard) = (stop.clone(), Arc::clone(heard));
        tokio::spawn(async move {
            while signals.recv().await.is_some() {
                // The first one is what the exit status tells.
                let again = heard.compare_exchange(0, number, Ordering::Relaxed, Ordering::Relaxed).is_err();
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
