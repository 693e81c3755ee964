//! Events as they come: bars on a terminal, lines elsewhere, JSON for programs. Takes events, prints to stderr.
//!
//! Always holds: nothing here decides anything; a terminal too narrow or too small loses bars, never messages.

mod bars;
mod echo;
mod lines;
mod rate;
pub(crate) mod words;

use std::io::IsTerminal;
use std::sync::Arc;

use aquifer_engine::event::{Event, EventSink, Level, What};

use crate::args::{Color, Progress};
use crate::print::{self, Screen};
use echo::Quiet;

/// The sink for a way of telling progress, and what has to live while it is used.
pub(crate) fn sink(progress: Progress, color: Color, screen: &Screen) -> (Arc<dyn EventSink>, Option<Quiet>) {
    let sink: Arc<dyn EventSink> = match progress {
        // A run that succeeded with less than was asked for must not look like any other.
        Progress::None => Arc::new(|event: &Event| {
            if matches!(event.what, What::Message { level: Level::Warning, .. })
                && let Some(line) = words::line(&event.what)
            {
                print::note(&line);
            }
        }),
        Progress::Json => Arc::new(|event: &Event| {
            if let Ok(line) = serde_json::to_string(event) {
                print::note(&line);
            }
        }),
        Progress::Auto if can_draw() => {
            let bars = bars::Bars::new(screen.clone(), print::colour_on_stderr(color));
            return (Arc::new(bars), Quiet::new());
        }
        Progress::Auto | Progress::Plain => Arc::new(lines::Lines::default()),
    };
    (sink, None)
}

fn can_draw() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("TERM").is_some_and(|term| term != "dumb")
}
