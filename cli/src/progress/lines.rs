//! Progress where there is no terminal: a line for each event, and every ten seconds one for each running step.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use aquifer_engine::event::{Event, EventSink, StepProgress, What};

use super::rate::Rate;
use super::words;
use crate::print;

/// How often a line of progress is printed.
const EVERY: Duration = Duration::from_secs(10);

#[derive(Default)]
pub(super) struct Lines(Mutex<State>);

#[derive(Default)]
struct State {
    printed: Option<Instant>,
    rates: HashMap<String, Rate>,
}

impl EventSink for Lines {
    fn emit(&self, event: &Event) {
        let time = event.at.strftime("%H:%M:%S");
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &event.what {
            What::Progress { steps } => {
                let now = Instant::now();
                let due = now.duration_since(*state.printed.get_or_insert(now)) >= EVERY;
                for step in steps {
                    let moved = step.bytes_in.max(step.bytes_out);
                    let rate = state.rates.entry(step.step.clone()).or_default().add(now, moved);
                    if due {
                        print::note(&format!("{time} {}", far(step, moved, rate)));
                    }
                }
                if due {
                    state.printed = Some(now);
                }
            }
            what => {
                if let What::StepStarted { step } | What::StepEnded { step, .. } = what {
                    state.rates.remove(step);
                }
                if let Some(line) = words::line(what) {
                    print::note(&format!("{time} {line}"));
                }
            }
        }
    }
}

fn far(step: &StepProgress, moved: u64, rate: u64) -> String {
    let bytes = if moved > 0 { format!("{}, {}/s", words::bytes(moved), words::bytes(rate)) } else { String::new() };
    let slowest = if step.slowest { "the others wait for it" } else { "" };
    let note = step.note.as_deref().unwrap_or_default();
    let parts: Vec<&str> = [bytes.as_str(), note, slowest].into_iter().filter(|part| !part.is_empty()).collect();
    format!("{}: {}", step.step, if parts.is_empty() { "running".to_owned() } else { parts.join(", ") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_how_far_how_fast_and_who_holds_the_others_back() {
        let note = Some("12 keys".to_owned());
        let mut step =
            StepProgress { step: "zip".into(), bytes_in: 0, bytes_out: 0, waiting: None, slowest: false, note };
        assert_eq!(far(&step, 2048, 1024), "zip: 2.00 KiB, 1.00 KiB/s, 12 keys");
        (step.slowest, step.note) = (true, None);
        assert_eq!(far(&step, 2048, 0), "zip: 2.00 KiB, 0 B/s, the others wait for it");
        step.slowest = false;
        assert_eq!(far(&step, 0, 0), "zip: running");
    }
}
