//! The only place that writes to stdout and stderr. Always holds: a closed stdout or stderr ends nothing in a panic.

use std::io::{ErrorKind, IsTerminal, Write};

use aquifer_engine::diagnostic::Diagnostics;
use console::Term;
use indicatif::MultiProgress;
use miette::{GraphicalReportHandler, GraphicalTheme};

use crate::args::Color;
use crate::exit::Exit;

/// A result, to stdout. Whoever reads it may stop reading: then there is nobody left to tell. A full disk is an error.
pub(crate) fn result(text: &str) -> Exit {
    let mut out = std::io::stdout().lock();
    let newline = if text.ends_with('\n') { "" } else { "\n" };
    match write!(out, "{text}{newline}").and_then(|()| out.flush()) {
        Err(problem) if problem.kind() != ErrorKind::BrokenPipe => {
            error(&format!("stdout cannot be written: {problem}"));
            Exit::Failed
        }
        _ => Exit::Success,
    }
}

/// A word to the user, to stderr.
pub(crate) fn note(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// A text in one line, without what a terminal would act on.
pub(crate) fn plain(text: &str) -> String {
    text.chars().map(|one| if one.is_control() { ' ' } else { one }).collect()
}

/// The terminal that rows of progress may stand on. Clones are the same one.
///
/// Always holds: what is written through it stands above the rows, whole.
#[derive(Clone, Default)]
pub(crate) struct Screen(MultiProgress);

impl Screen {
    /// The rows.
    pub(crate) fn bars(&self) -> &MultiProgress {
        &self.0
    }

    /// How many lines the terminal has.
    pub(crate) fn rows(&self) -> usize {
        usize::from(Term::stderr().size().0)
    }

    /// A word to the user, to stderr.
    pub(crate) fn note(&self, text: &str) {
        if self.0.is_hidden() || self.0.println(text).is_err() {
            note(text);
        }
    }
}

impl Write for Screen {
    fn write(&mut self, text: &[u8]) -> std::io::Result<usize> {
        self.0.suspend(|| std::io::stderr().lock().write_all(text))?;
        Ok(text.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
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

/// Every problem with its snippet, and how many there are, to stderr.
pub(crate) fn problems(problems: &Diagnostics, color: Color, then: &str) {
    let theme = if colour_on_stderr(color) { GraphicalTheme::unicode() } else { GraphicalTheme::unicode_nocolor() };
    let handler = GraphicalReportHandler::new_themed(theme).with_links(false).with_wrap_lines(false);
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
    note(&format!("{count} problem{}{then}", if count == 1 { "" } else { "s" }));
}
