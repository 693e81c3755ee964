//! How a step fails: a kind that the scheduler acts on, a message for a person, and what to do next.
//!
//! Takes whatever went wrong inside a function. Gives one value that is stored in the report. Always holds: the kind
//! alone decides whether another attempt is worth it; the message is a lower-case clause with values in backticks.

use std::fmt;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::secret::Redactor;

/// What sort of failure it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum FailureKind {
    /// A param or a document is wrong; found only while running.
    Config,
    /// Credentials were refused, or do not allow what was tried.
    Unauthorized,
    /// The thing named does not exist.
    NotFound,
    /// The other side could not be reached, or gave up: another attempt may succeed. Also a command that exited with an error.
    Unavailable,
    /// The other side understood and said no: another attempt will hear the same.
    Rejected,
    /// Data is damaged, truncated or not what it claims to be.
    Corrupt,
    /// The pipeline's timeout ran out.
    TimedOut,
    /// Stopped because something else failed or the run was told to stop.
    Cancelled,
    /// A mistake in a function: a panic, or a broken promise.
    Internal,
}

impl FailureKind {
    /// True where another attempt may end differently.
    pub fn is_retryable(self) -> bool {
        matches!(self, Self::Unavailable | Self::Corrupt | Self::TimedOut)
    }
}

impl fmt::Display for FailureKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Config => "config",
            Self::Unauthorized => "unauthorized",
            Self::NotFound => "not found",
            Self::Unavailable => "unavailable",
            Self::Rejected => "rejected",
            Self::Corrupt => "corrupt",
            Self::TimedOut => "timed out",
            Self::Cancelled => "cancelled",
            Self::Internal => "internal",
        })
    }
}

/// A step's failure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// What sort of failure it is; decides on another attempt.
    pub kind: FailureKind,
    /// What happened, as a lower-case clause.
    pub message: String,
    /// What to do next, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
    /// The errors underneath, outermost first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<String>,
}

impl Failure {
    /// A failure of this kind.
    pub fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), help: None, causes: Vec::new() }
    }

    /// Says what to do next.
    #[must_use]
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Keeps the error underneath and all that lie under it.
    #[must_use]
    pub fn caused_by(mut self, error: &(dyn std::error::Error + 'static)) -> Self {
        let mut next = Some(error);
        while let Some(error) = next {
            let text = error.to_string();
            // Many errors repeat their source in their own text; a repeated line helps nobody.
            if self.causes.last().is_none_or(|last| !last.contains(&text)) {
                self.causes.push(text);
            }
            next = error.source();
        }
        self
    }

    /// Puts what was being done in front of the message.
    #[must_use]
    pub fn during(mut self, doing: impl fmt::Display) -> Self {
        self.message = format!("{doing}: {}", self.message);
        self
    }

    /// Without the secrets that the redactor knows, message and causes on one line each.
    #[must_use]
    pub fn redacted(mut self, secrets: &Redactor) -> Self {
        self.message = one_line(&secrets.redact(&self.message));
        self.causes.iter_mut().for_each(|cause| *cause = one_line(&secrets.redact(cause)));
        self.help.iter_mut().for_each(|help| *help = secrets.redact(help).into_owned());
        self
    }

    /// A param or document that is wrong.
    pub fn config(message: impl Into<String>) -> Self {
        Self::new(FailureKind::Config, message)
    }

    /// Refused credentials.
    pub fn unauthorized(message: impl Into<String>) -> Self {
        Self::new(FailureKind::Unauthorized, message)
    }

    /// Something that does not exist.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(FailureKind::NotFound, message)
    }

    /// Something that may work on another attempt.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(FailureKind::Unavailable, message)
    }

    /// A refusal.
    pub fn rejected(message: impl Into<String>) -> Self {
        Self::new(FailureKind::Rejected, message)
    }

    /// Damaged data.
    pub fn corrupt(message: impl Into<String>) -> Self {
        Self::new(FailureKind::Corrupt, message)
    }

    /// Stopped from outside.
    pub fn cancelled(message: impl Into<String>) -> Self {
        Self::new(FailureKind::Cancelled, message)
    }

    /// A mistake in a function.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(FailureKind::Internal, message)
    }

    /// The end of a pipeline's time.
    pub fn timed_out(after: Duration) -> Self {
        Self::new(FailureKind::TimedOut, format!("timed out after {}", humantime::format_duration(after)))
    }

    /// The failure inside an [`std::io::Error`] that a pipe made, or a new one of the kind that fits the error.
    pub fn from_io(error: std::io::Error, doing: impl fmt::Display) -> Self {
        use std::io::ErrorKind;
        if let Some(failure) = error.get_ref().and_then(|inner| inner.downcast_ref::<Self>()) {
            return failure.clone();
        }
        let kind = match error.kind() {
            ErrorKind::NotFound => FailureKind::NotFound,
            ErrorKind::PermissionDenied => FailureKind::Unauthorized,
            ErrorKind::AlreadyExists
            | ErrorKind::IsADirectory
            | ErrorKind::NotADirectory
            | ErrorKind::ReadOnlyFilesystem
            | ErrorKind::FileTooLarge => FailureKind::Rejected,
            ErrorKind::InvalidData | ErrorKind::UnexpectedEof => FailureKind::Corrupt,
            _ => FailureKind::Unavailable,
        };
        let help = match error.kind() {
            ErrorKind::StorageFull => {
                "the disk is full: make room on it (`df -h` shows which), or name a place on another"
            }
            ErrorKind::QuotaExceeded => "this user's share of the disk is used up: make room, or have it raised",
            ErrorKind::ReadOnlyFilesystem => "this file system is mounted read-only: name a place on another",
            ErrorKind::FileTooLarge => "this file system takes no larger file, or `ulimit -f` forbids one",
            ErrorKind::PermissionDenied => "this user has no right to it: change the rights, or run as one who has",
            _ => return Self::new(kind, format!("{doing}: {error}")),
        };
        Self::new(kind, format!("{doing}: {error}")).with_help(help)
    }
}

/// A text as one line: a line break could be taken for another event by whoever reads lines, and other control characters
/// do things to a terminal.
pub(crate) fn one_line(text: &str) -> String {
    let breaks = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}');
    text.split(breaks).filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ")
}

impl From<Failure> for std::io::Error {
    fn from(failure: Failure) -> Self {
        Self::other(failure)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_that_takes_no_more_says_what_would_help() {
        for (code, word, retried) in
            [(28, "full", true), (122, "share", true), (30, "read-only", false), (13, "right", false)]
        {
            let failure = Failure::from_io(std::io::Error::from_raw_os_error(code), "writing `x`");
            assert!(failure.help.as_ref().is_some_and(|help| help.contains(word)), "{failure:?}");
            assert_eq!(failure.kind.is_retryable(), retried, "{failure:?}");
        }
        assert_eq!(Failure::from_io(std::io::ErrorKind::BrokenPipe.into(), "x").help, None);
    }
}
