//! How the command ends. The numbers are public: scripts and schedulers rely on them.

use std::process::ExitCode;

/// The exit statuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Everything went well.
    Success,
    /// The run failed, or what was to be printed or stored could not be written.
    Failed,
    /// The definitions or the arguments are wrong; nothing ran.
    Wrong,
    /// Stopped by this signal.
    Signal(u8),
}

impl Exit {
    pub(crate) const HELP: &'static str = "Exit status: 0 success; 1 the run failed, or what it should print or store could not be written; 2 the definitions or arguments are wrong, \
        nothing ran; 130 stopped by Ctrl-C (SIGINT), 143 by SIGTERM or SIGHUP.";
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        match exit {
            Exit::Success => Self::SUCCESS,
            Exit::Failed => Self::from(1),
            Exit::Wrong => Self::from(2),
            Exit::Signal(signal) => Self::from(128 + signal),
        }
    }
}
