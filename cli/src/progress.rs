//! Events as they come: bars on a terminal, lines elsewhere, JSON for programs. Takes events, prints to stderr.
//!
//! Always holds: nothing here decides anything; a terminal too narrow or too small loses bars, never messages.

use std::collections::HashMap;
use std::io::IsTerminal;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use aquifer_engine::event::{Event, EventSink, Level, Silent, Status, StepProgress, What};
use aquifer_engine::failure::Failure;
use indicatif::{HumanBytes, MultiProgress, ProgressBar, ProgressStyle};

use crate::args::{Color, Progress};
use crate::print;

/// The sink for a way of telling progress.
pub(crate) fn sink(progress: Progress, color: Color) -> Arc<dyn EventSink> {
    match progress {
        Progress::None => Arc::new(Silent),
        Progress::Json => Arc::new(|event: &Event| {
            if let Ok(line) = serde_json::to_string(event) {
                print::note(&line);
            }
        }),
        Progress::Auto
            if std::io::stderr().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb") =>
        {
            Arc::new(Bars::new(color))
        }
        Progress::Auto | Progress::Plain => Arc::new(Lines(Mutex::new(None))),
    }
}

/// How often a line of progress is printed where there are no bars.
const BETWEEN_LINES: Duration = Duration::from_secs(10);

/// A line for each event; the time of the last line of progress.
struct Lines(Mutex<Option<Instant>>);

impl EventSink for Lines {
    fn emit(&self, event: &Event) {
        let time = event.at.strftime("%H:%M:%S");
        if let What::Progress { steps } = &event.what {
            let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if last.get_or_insert_with(Instant::now).elapsed() >= BETWEEN_LINES {
                *last = Some(Instant::now());
                steps.iter().for_each(|step| print::note(&format!("{time} {}", far(step))));
            }
        } else if let Some(line) = line(&event.what) {
            print::note(&format!("{time} {line}"));
        }
    }
}

fn far(step: &StepProgress) -> String {
    let bytes = step.bytes_in.max(step.bytes_out);
    let note = step.note.as_ref().map(|note| format!(", {note}")).unwrap_or_default();
    let slowest = if step.slowest { ", the others wait for it" } else { "" };
    format!("{}: {}{note}{slowest}", step.step, HumanBytes(bytes))
}

/// An event in words; nothing for what the end of the run tells better.
fn line(what: &What) -> Option<String> {
    Some(match what {
        What::RunStarted { task, .. } => format!("{task}: started"),
        What::PipelineStarted { pipeline, attempt, attempts } if *attempt > 1 => {
            format!("{pipeline}: attempt {attempt} of {attempts}")
        }
        What::PipelineStarted { .. } | What::PipelineEnded { .. } | What::Progress { .. } => return None,
        What::StepStarted { step } => format!("{step}: started"),
        What::Message { step, level: Level::Warning, text } => format!("{step}: warning: {text}"),
        What::Message { level: Level::Debug, .. } => return None,
        What::Message { step, text, .. } => format!("{step}: {text}"),
        What::StepEnded { step, status, failure, seconds, bytes_in, bytes_out, .. } => {
            ended(step, *status, failure.as_ref(), *seconds, *bytes_in.max(bytes_out))
        }
        What::PipelineRetry { pipeline, attempt, attempts, wait_seconds, step, failure } => format!(
            "{pipeline}: attempt {attempt} of {attempts} failed at {step} ({}: {}); the next one starts in {wait_seconds:.0} s",
            failure.kind, failure.message
        ),
        What::Stopping { at_once: true } => "stopping at once".to_owned(),
        What::Stopping { at_once: false } => "stopping".to_owned(),
        What::RunEnded { status, seconds } => format!("{} after {seconds:.1} s", word(*status)),
    })
}

fn ended(step: &str, status: Status, failure: Option<&Failure>, seconds: f64, bytes: u64) -> String {
    let why = failure.map(|failure| format!(": {}", failure.message)).unwrap_or_default();
    match status {
        Status::Skipped => format!("{step}: skipped"),
        Status::Succeeded if bytes > 0 => format!("{step}: done, {} in {seconds:.1} s", HumanBytes(bytes)),
        Status::Succeeded => format!("{step}: done in {seconds:.1} s"),
        status => format!("{step}: {}{why}", word(status)),
    }
}

pub(crate) fn word(status: Status) -> &'static str {
    match status {
        Status::Pending => "pending",
        Status::Running => "running",
        Status::Succeeded => "succeeded",
        Status::Failed => "failed",
        Status::Cancelled => "cancelled",
        Status::Skipped => "skipped",
    }
}

/// A bar for each running step; what is said goes above them.
struct Bars {
    all: MultiProgress,
    style: ProgressStyle,
    running: Mutex<HashMap<String, ProgressBar>>,
}

impl Bars {
    fn new(color: Color) -> Self {
        let template = if print::colour_on_stderr(color) {
            "  {spinner:.cyan} {prefix:.bold} {wide_msg}"
        } else {
            "  {spinner} {prefix} {wide_msg}"
        };
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner());
        Self { all: MultiProgress::new(), style, running: Mutex::default() }
    }
}

impl EventSink for Bars {
    fn emit(&self, event: &Event) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        match &event.what {
            What::StepStarted { step } => {
                let bar =
                    self.all.add(ProgressBar::new_spinner().with_style(self.style.clone()).with_prefix(step.clone()));
                running.insert(step.clone(), bar);
            }
            What::Progress { steps } => {
                for step in steps {
                    if let Some(bar) = running.get(&step.step) {
                        let bytes = step.bytes_in.max(step.bytes_out);
                        bar.set_position(bytes);
                        let seconds = bar.elapsed().as_secs().max(1);
                        let note = step.note.as_ref().map(|note| format!(" · {note}")).unwrap_or_default();
                        let slowest = if step.slowest { " ◀ the others wait for it" } else { "" };
                        bar.set_message(format!(
                            "{} · {}/s{note}{slowest}",
                            HumanBytes(bytes),
                            HumanBytes(bytes / seconds)
                        ));
                        bar.tick();
                    }
                }
            }
            what => {
                if let What::StepEnded { step, .. } = what
                    && let Some(bar) = running.remove(step)
                {
                    bar.finish_and_clear();
                    self.all.remove(&bar);
                }
                if let Some(line) = line(what) {
                    // Where there is nothing to draw on, the words still have to reach somebody.
                    if self.all.println(&line).is_err() {
                        print::note(&line);
                    }
                }
            }
        }
    }
}
