//! The errors of `rustic_core` as failures, and the memory of the first thing that went wrong in the store.
//!
//! Always holds: where the store itself failed, that failure is told, with its own kind, rather than what `rustic_core` made of
//! it; once it has failed, everything that asks stops.

use std::sync::{Arc, OnceLock};

use aquifer_engine::failure::{Failure, FailureKind};
use rustic_core::{ErrorKind, RusticError};

/// The first failure of a repository's store, shared by everything that uses it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Trouble(Arc<OnceLock<Failure>>);

impl Trouble {
    /// Remembers a failure, unless there was one already.
    pub(crate) fn tell(&self, failure: Failure) {
        // The first one is the cause; what follows it is not.
        _ = self.0.set(failure);
    }

    /// Fails where something has gone wrong.
    ///
    /// # Errors
    /// The first failure.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        match self.0.get() {
            Some(failure) => Err(failure.clone()),
            None => Ok(()),
        }
    }

    /// What to report for an error of `rustic_core`; `doing` says what was tried.
    pub(crate) fn failure(&self, error: &RusticError, doing: &str) -> Failure {
        match self.0.get() {
            Some(first) => first.clone(),
            None => failure(error, doing),
        }
    }
}

/// An error of `rustic_core` in the project's terms.
fn failure(error: &RusticError, doing: &str) -> Failure {
    // The library gives access to its message and its kind only as one line: `Error: MESSAGE (kind: related to KIND…)…`.
    let line = error.display_log();
    let text = line.strip_prefix("Error: ").unwrap_or(&line);
    let (message, rest) = text.split_once(" (kind: related to ").unwrap_or((text, ""));
    let is = |kind: ErrorKind| rest.starts_with(&kind.to_string());
    let kind = if is(ErrorKind::Credentials) || error.is_incorrect_password() {
        FailureKind::Unauthorized
    } else if is(ErrorKind::AppendOnly) || is(ErrorKind::Unsupported) {
        FailureKind::Rejected
    } else if is(ErrorKind::InvalidInput) || is(ErrorKind::MissingInput) {
        FailureKind::Config
    } else if is(ErrorKind::Backend) || is(ErrorKind::InputOutput) {
        FailureKind::Unavailable
    } else {
        FailureKind::Corrupt
    };
    let message = message.split_whitespace().collect::<Vec<_>>().join(" ");
    let failure = Failure::new(kind, format!("{doing}: {message}"));
    match std::error::Error::source(error) {
        Some(source) => failure.caused_by(source),
        None => failure,
    }
}

/// What a failure begins with where the lock cannot be written.
pub(super) const LOCKING: &str = "locking the repository";

/// Says that there is a way without a lock, where none could be written: for functions that have the param `lock`.
pub(crate) fn or_without(failure: Failure) -> Failure {
    let refused = matches!(failure.kind, FailureKind::Unauthorized | FailureKind::Rejected);
    if !refused || !failure.message.starts_with(LOCKING) {
        return failure;
    }
    let help = "where nothing may be written, use the function with `lock: false`: it reads without a lock, and nobody may prune meanwhile";
    let before = failure.help.as_ref().map(|before| format!("{before}; ")).unwrap_or_default();
    Failure { help: Some(format!("{before}{help}")), ..failure }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stores_own_failure_is_told_before_the_librarys() {
        let error = RusticError::new(ErrorKind::Repository, "cannot read `{what}`").attach_context("what", "index");
        let trouble = Trouble::default();
        let told = trouble.failure(&error, "opening");
        assert_eq!((told.kind, told.message.as_str()), (FailureKind::Corrupt, "opening: cannot read `index`"));
        assert!(trouble.check().is_ok());
        trouble.tell(Failure::unavailable("the disk is full"));
        trouble.tell(Failure::internal("what followed"));
        assert_eq!(trouble.failure(&error, "opening").message, "the disk is full");
        assert_eq!(trouble.check().expect_err("told").message, "the disk is full");
    }

    #[test]
    fn kinds_are_read_from_the_librarys_line() {
        for (kind, expected) in [
            (ErrorKind::Credentials, FailureKind::Unauthorized),
            (ErrorKind::AppendOnly, FailureKind::Rejected),
            (ErrorKind::InvalidInput, FailureKind::Config),
            (ErrorKind::Backend, FailureKind::Unavailable),
            (ErrorKind::Cryptography, FailureKind::Corrupt),
        ] {
            assert_eq!(failure(&RusticError::new(kind, "no"), "doing").kind, expected, "{kind}");
        }
    }
}
