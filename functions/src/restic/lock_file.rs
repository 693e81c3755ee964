//! A lock's file: whose it is, and whether anybody can still be behind it.
//!
//! Always holds: a lock counts as held unless its process is known to be gone, it is half an hour old, or this process knows better:
//! it wrote it and could not take it away, or was told that nobody else holds locks under its host's name.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use rustic_core::Id;
use serde::{Deserialize, Serialize};

/// How old a lock may be before nobody can be behind it: restic's own rule.
pub(super) const STALE: Duration = Duration::from_secs(30 * 60);

/// What this process knows of its own locks. Others judge by whether the process lives, and what it could not take away would stop them for half
/// an hour; so this is one for the process. What is not in it may be another's: in containers, hosts and process numbers are often
/// the same.
#[derive(Debug)]
pub(super) struct Own {
    /// Those that it wrote and could not take away, because the way to the store was broken.
    pub(super) left: BTreeSet<Id>,
    /// All that it ever wrote.
    pub(super) written: BTreeSet<Id>,
    /// The name that belongs to it alone, in the place of this machine's.
    alone: Option<String>,
}

static OWN: Mutex<Own> = Mutex::new(Own { left: BTreeSet::new(), written: BTreeSet::new(), alone: None });

pub(super) fn own() -> MutexGuard<'static, Own> {
    OWN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Says under which name this process takes locks, in the place of this machine's, and that no other does at the same time, as whoever starts it knows:
/// what an earlier one left under it is nobody's. A fact about where the program runs, and not about what it does.
pub fn host_is_ours_alone(name: String) {
    own().alone = Some(name);
}

/// What a lock excludes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Only exclusive ones: for reading and adding.
    Shared,
    /// All others: for removing.
    Exclusive,
}

/// A lock file's content.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Content {
    time: Timestamp,
    pub(super) exclusive: bool,
    #[serde(default)]
    hostname: String,
    #[serde(default)]
    username: String,
    #[serde(default)]
    pid: i64,
    #[serde(default)]
    uid: u32,
    #[serde(default)]
    gid: u32,
}

impl Content {
    pub(super) fn ours(kind: Kind) -> Self {
        Self {
            time: Timestamp::now(),
            exclusive: kind == Kind::Exclusive,
            hostname: hostname(),
            username: username(),
            pid: std::process::id().into(),
            uid: nix::unistd::getuid().as_raw(),
            gid: nix::unistd::getgid().as_raw(),
        }
    }

    /// True where nobody can be behind it any more.
    pub(super) fn is_stale(&self, id: &Id) -> bool {
        let age = Timestamp::now().duration_since(self.time);
        if age > jiff::SignedDuration::try_from(STALE).unwrap_or(jiff::SignedDuration::MAX) {
            return true;
        }
        let here = self.hostname == hostname() && self.pid > 0;
        if here && self.pid == i64::from(std::process::id()) {
            let own = own();
            return own.left.contains(id) || (own.alone.is_some() && !own.written.contains(id));
        }
        here && i32::try_from(self.pid).is_ok_and(|pid| {
            // Without a signal, `kill` only asks whether there is such a process.
            nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), None) == Err(nix::errno::Errno::ESRCH)
        })
    }

    pub(super) fn owner(&self) -> String {
        let kind = if self.exclusive { "an exclusive" } else { "a" };
        format!("{kind} lock of `{}@{}` (process {}), taken at {}", self.username, self.hostname, self.pid, self.time)
    }
}

/// This machine's name, or the one that stands in its place.
pub(crate) fn hostname() -> String {
    if let Some(name) = own().alone.clone() {
        return name;
    }
    nix::unistd::gethostname().map_or_else(|_| "localhost".to_owned(), |name| name.to_string_lossy().into_owned())
}

/// Whose process this is; the number where it has no name.
pub(crate) fn username() -> String {
    let uid = nix::unistd::getuid();
    let known = nix::unistd::User::from_uid(uid).ok().flatten();
    known.map_or_else(|| uid.to_string(), |user| user.name)
}
