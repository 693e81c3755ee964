//! What became of a Job: what its pod said, and why it failed.
//!
//! Always holds: what failed has a reason in words; what a pod says of itself may be anything.

use aquifer_engine::event::Status;

use crate::outcome::Outcome;

/// What became of it.
#[derive(Debug, Clone, PartialEq)]
pub(in super::super) struct Ended {
    /// Whether it did all that it was to do.
    pub(in super::super) succeeded: bool,
    /// What its pod said, where it said something that is known here.
    pub(in super::super) outcome: Option<Outcome>,
    /// Why it failed; nothing after success.
    pub(in super::super) error: Option<String>,
    /// Whether its time was over.
    pub(in super::super) late: bool,
    /// What its pods said, in their order, where a Job of several succeeded; nothing of those that were gone before they were heard.
    pub(in super::super) parts: Vec<Option<Outcome>>,
    /// What the pods of its Job are called in locks, where there was one.
    pub(in super::super) host: Option<String>,
    /// The repository that its Job was made for, as `namespace/name`, where there was a Job.
    pub(in super::super) repository: Option<String>,
}

impl Ended {
    /// The end of what could not be run.
    pub(in super::super) fn failed(error: impl Into<String>) -> Self {
        Self {
            succeeded: false,
            outcome: None,
            error: Some(error.into()),
            late: false,
            parts: Vec::new(),
            host: None,
            repository: None,
        }
    }

    /// With what became of the hook after it: a session whose hook failed has not done all that it was to do.
    pub(in super::super) fn with_hook(self, hook: Result<(), String>) -> Self {
        match hook {
            Err(why) if self.succeeded => {
                Self { succeeded: false, error: Some(format!("the hook after it failed: {why}")), ..self }
            }
            _ => self,
        }
    }

    /// How long the engine ran.
    pub(in super::super) fn seconds(&self) -> Option<f64> {
        self.outcome.as_ref().map(|outcome| outcome.seconds)
    }

    /// How a step ended; nothing where it did not run.
    pub(in super::super) fn status(&self, step: &str) -> Option<Status> {
        self.outcome.as_ref()?.status(step)
    }

    /// A number among a step's outputs.
    pub(in super::super) fn number(&self, step: &str, output: &str) -> Option<i64> {
        self.outcome.as_ref()?.number(step, output)
    }

    /// A text among a step's outputs.
    pub(in super::super) fn words(&self, step: &str, output: &str) -> Option<&str> {
        self.outcome.as_ref()?.words(step, output)
    }
}

/// A snapshot's id as people read it. A pod may say anything.
pub(in super::super) fn short(id: &str) -> &str {
    id.get(..8).unwrap_or(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_that_is_none_is_not_cut_in_a_letter() {
        assert_eq!(
            [short("0123456789"), short("a"), short("a\u{e9}\u{e9}\u{e9}\u{e9}")],
            ["01234567", "a", "a\u{e9}\u{e9}\u{e9}\u{e9}"]
        );
    }
}
