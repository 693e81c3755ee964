//! Keeps the terminal from writing `^C` into the rows, which would push one of them up and leave it behind.
//!
//! Always holds: the terminal is as it was once the guard is dropped; a program in the background, which would be stopped
//! for touching the terminal, leaves it alone.

use std::io::Stderr;

use nix::sys::termios::{LocalFlags, SetArg, tcgetattr, tcsetattr};
use nix::unistd::{getpgrp, tcgetpgrp};

/// While it lives, control characters are not shown.
pub(crate) struct Quiet {
    terminal: Stderr,
}

impl Quiet {
    /// Nothing where stderr is no terminal, or shows none anyway.
    pub(crate) fn new() -> Option<Self> {
        let quiet = Self { terminal: std::io::stderr() };
        quiet.set(false).then_some(quiet)
    }

    /// Whether anything changed.
    fn set(&self, shown: bool) -> bool {
        let Ok(mut modes) = tcgetattr(&self.terminal) else { return false };
        let foreground = tcgetpgrp(&self.terminal).is_ok_and(|group| group == getpgrp());
        if !foreground || modes.local_flags.contains(LocalFlags::ECHOCTL) == shown {
            return false;
        }
        modes.local_flags.set(LocalFlags::ECHOCTL, shown);
        tcsetattr(&self.terminal, SetArg::TCSANOW, &modes).is_ok()
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        self.set(true);
    }
}
