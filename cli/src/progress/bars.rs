//! Progress on a terminal: a row for each running step, in the plan's order, with bytes and rate; what is said goes above.
//!
//! Always holds: rows that the screen has no room for are counted, not drawn; whatever is printed while rows stand there
//! goes through the [`Screen`], so no row is left behind and no word is lost.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use aquifer_engine::event::{Event, EventSink, StepProgress, What};
use indicatif::{ProgressBar, ProgressStyle};

use super::rate::Rate;
use super::words;
use crate::print::Screen;

/// How much of a name is shown at most, in columns.
const NAME: usize = 24;

/// Lines that stay free for what is said.
const FREE: usize = 4;

pub(super) struct Bars {
    screen: Screen,
    calm: ProgressStyle,
    slow: ProgressStyle,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// All steps, in the plan's order.
    order: Vec<String>,
    /// The width of the column of names.
    width: usize,
    running: HashMap<String, Row>,
    /// The row that counts the steps without one.
    rest: Option<ProgressBar>,
}

#[derive(Default)]
struct Row {
    bar: Option<ProgressBar>,
    rate: Rate,
}

impl Bars {
    pub(super) fn new(screen: Screen, colour: bool) -> Self {
        let (calm, slow) = if colour {
            (
                "  {spinner:.cyan} {prefix:.bold}  {wide_msg}",
                "\u{1b}[33m▸\u{1b}[0m {spinner:.cyan} {prefix:.bold}  {wide_msg}",
            )
        } else {
            ("  {spinner} {prefix}  {wide_msg}", "▸ {spinner} {prefix}  {wide_msg}")
        };
        let style =
            |template| ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner());
        Self { screen, calm: style(calm), slow: style(slow), state: Mutex::default() }
    }

    fn progress(&self, state: &mut State, steps: &[StepProgress]) {
        let now = Instant::now();
        for step in steps {
            let Some(row) = state.running.get_mut(&step.step) else { continue };
            let moved = step.bytes_in.max(step.bytes_out);
            let rate = row.rate.add(now, moved);
            if let Some(bar) = &row.bar {
                bar.set_style(if step.slowest { self.slow.clone() } else { self.calm.clone() });
                bar.set_message(message(step, moved, rate));
                bar.tick();
            }
        }
    }

    /// Gives rows to running steps while there is room, and counts the others.
    fn arrange(&self, state: &mut State) {
        let room = self.screen.rows().saturating_sub(FREE).max(1);
        let mut drawn = state.running.values().filter(|row| row.bar.is_some()).count();
        let mut place = 0;
        for step in &state.order {
            let Some(row) = state.running.get_mut(step) else { continue };
            if row.bar.is_none() && drawn < room {
                let bar = self.screen.bars().insert(place, ProgressBar::new_spinner().with_style(self.calm.clone()));
                bar.set_prefix(name(step, state.width));
                bar.tick();
                row.bar = Some(bar);
                drawn += 1;
            }
            place += usize::from(row.bar.is_some());
        }
        let without = state.running.len() - drawn;
        if let Some(rest) = state.rest.take_if(|_| without == 0) {
            rest.finish_and_clear();
            self.screen.bars().remove(&rest);
        }
        if without > 0 {
            let style = ProgressStyle::with_template("    {msg}").unwrap_or_else(|_| ProgressStyle::default_spinner());
            let rest =
                state.rest.get_or_insert_with(|| self.screen.bars().add(ProgressBar::new_spinner().with_style(style)));
            rest.set_message(format!("and {without} more"));
            rest.tick();
        }
    }
}

impl EventSink for Bars {
    fn emit(&self, event: &Event) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match &event.what {
            What::Progress { steps } => return self.progress(&mut state, steps),
            What::RunStarted { pipelines, .. } => {
                state.order = pipelines.iter().flatten().map(|head| head.step.clone()).collect();
                state.width = state.order.iter().map(|step| step.chars().count()).max().unwrap_or(0).min(NAME);
            }
            What::StepStarted { step } => {
                let mut row = Row::default();
                row.rate.add(Instant::now(), 0);
                state.running.insert(step.clone(), row);
                return self.arrange(&mut state);
            }
            What::StepEnded { step, .. } => {
                if let Some(Row { bar: Some(bar), .. }) = state.running.remove(step) {
                    bar.finish_and_clear();
                    self.screen.bars().remove(&bar);
                }
                self.arrange(&mut state);
            }
            // The summary says it.
            What::RunEnded { .. } => return,
            _ => {}
        }
        if let Some(line) = words::line(&event.what) {
            self.screen.note(&line);
        }
    }
}

/// A name in its column; of a long one the end, which tells steps inside a composite apart.
fn name(step: &str, width: usize) -> String {
    let length = step.chars().count();
    if length <= width {
        return format!("{step:<width$}");
    }
    let tail: String = step.chars().skip(length + 1 - width.max(1)).collect();
    format!("…{tail}")
}

fn message(step: &StepProgress, moved: u64, rate: u64) -> String {
    let bytes = if moved > 0 { words::bytes(moved) } else { String::new() };
    let rate = if moved > 0 { format!("{}/s", words::bytes(rate)) } else { String::new() };
    let note = step.note.as_ref().map(|note| format!("  {note}")).unwrap_or_default();
    let slowest = if step.slowest { "  the others wait for it" } else { "" };
    format!("{bytes:>8}  {rate:>10}{note}{slowest}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_keep_their_column() {
        assert_eq!(name("zip", 5), "zip  ");
        assert_eq!(name("outer/inner", 6), "…inner");
    }
}
