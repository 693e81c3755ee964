//! The only place that writes to stdout and stderr. Always holds: a closed stdout or stderr ends nothing in a panic.

use std::io::{IsTerminal, Write};

use aquifer_engine::diagnostic::Diagnostics;
use miette::{GraphicalReportHandler, GraphicalTheme};

use crate::args::Color;

/// A result, to stdout. Whoever reads it may stop reading: then there is nobody left to tell.
pub(crate) fn result(text: &str) {
    let mut out = std::io::stdout().lock();
    let newline = if text.ends_with('\n') { "" } else { "\n" };
    let _ = write!(out, "{text}{newline}").and_then(|()| out.flush());
}

/// A word to the user, to stderr.
pub(crate) fn note(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// A mistake outside of any file.
pub(crate) fn error(text: &str) {
    note(&format!("error: {text}"));
}

/// Whether stderr gets colours.
pub(crate) fn colour_on_stderr(color: Color) -> bool {
    match color {
        Color::Always => true,
        Color::Never => false,
        Color::Auto => std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty()) && std::io::stderr().is_terminal(),
    }
}

/// Every problem with its snippet, to stderr.
pub(crate) fn problems(problems: &Diagnostics, color: Color) {
    let theme = if colour_on_stderr(color) { GraphicalTheme::unicode() } else { GraphicalTheme::unicode_nocolor() };
    let handler = GraphicalReportHandler::new_themed(theme).with_links(false).with_width(100);
    for report in problems.reports() {
        let mut text = String::new();
        // Writing into a string cannot fail; a report that cannot be drawn is at least named.
        if handler.render_report(&mut text, report.as_ref()).is_err() {
            text = report.to_string();
        }
        note(text.trim_end());
        note("");
    }
    let count = problems.len();
    note(&format!("{count} problem{}; nothing was run", if count == 1 { "" } else { "s" }));
}
