//! Servers, their cgroups and a folder that are gone when the test's process is, however that ends.
//!
//! Always holds: a process of it ends by its id; the cgroups and the folder are removed after them. A value that is kept for the whole process is never dropped:
//! what watches is a shell, whose input ends with the process.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Ends what has its id in a file, then removes the cgroups and the folder; what was killed may still write for a moment, and takes one to end. What
/// ends the tests from a terminal is sent to it, too.
const WATCH: &str = r#"trap '' HUP INT TERM
read -r _
for file in "$1"/ids/*; do [ ! -f "$file" ] || kill -9 "$(cat "$file")" 2>/dev/null; done
touch "$1/groups"
tries=100
while read -r group; do
  while [ -d "$group" ] && [ $tries -gt 0 ]; do
    find "$group" -depth -type d -exec rmdir {} \; 2>/dev/null
    [ ! -d "$group" ] || { sleep 0.1; tries=$((tries - 1)); }
  done
done <"$1/groups"
for _ in 1 2 3 4 5 6 7 8 9 10; do rm -rf "$1" 2>/dev/null && exit; sleep 0.2; done"#;

/// Servers by name, and their folder.
#[derive(Debug)]
pub(super) struct Guard {
    folder: PathBuf,
    watcher: Child,
    servers: Mutex<BTreeMap<String, Server>>,
}

#[derive(Debug)]
struct Server {
    command: Command,
    child: Child,
}

impl Guard {
    pub(super) fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("aquifer-kubernetes-").tempdir().expect("a folder").keep();
        std::fs::create_dir(folder.join("ids")).expect("made");
        let mut watcher = Command::new("sh");
        watcher
            .args(["-c", WATCH, "sh"])
            .arg(&folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let watcher = watcher.spawn().expect("sh is there");
        Self { folder, watcher, servers: Mutex::default() }
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The file with the cgroups that go with the servers, a path on each line.
    pub(super) fn groups(&self) -> PathBuf {
        self.folder.join("groups")
    }

    fn servers(&self) -> MutexGuard<'_, BTreeMap<String, Server>> {
        self.servers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn log(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.log"))
    }

    /// What a server has said, its last 4000 bytes.
    pub(super) fn said(&self, name: &str) -> String {
        let said = std::fs::read(self.log(name)).unwrap_or_default();
        String::from_utf8_lossy(&said[said.len().saturating_sub(4000)..]).into_owned()
    }

    /// Starts a server; what it says is added to its log.
    pub(super) fn start(&self, name: &str, program: &Path, args: &[String]) {
        self.start_with(name, program, args, &[]);
    }

    /// The same, with variables.
    pub(super) fn start_with(&self, name: &str, program: &Path, args: &[String], variables: &[(&str, String)]) {
        let log = File::options().create(true).append(true).open(self.log(name)).expect("room");
        let mut command = Command::new(program);
        command.args(args).envs(variables.iter().cloned()).current_dir(&self.folder).stdin(Stdio::null());
        command.stdout(log.try_clone().expect("a file")).stderr(log);
        let child = self.spawn(name, &mut command);
        let before = self.servers().insert(name.to_owned(), Server { command, child });
        assert!(before.is_none(), "{name} runs already");
    }

    fn spawn(&self, name: &str, command: &mut Command) -> Child {
        let child = command.spawn().unwrap_or_else(|error| panic!("{}: {error}", command.get_program().display()));
        std::fs::write(self.folder.join("ids").join(name), child.id().to_string()).expect("room");
        child
    }

    /// Starts a server again that has ended by itself with this exit status; one that was killed, or ended otherwise, stays so.
    pub(super) fn start_again(&self, name: &str, after: i32) {
        if let Some(server) = self.servers().get_mut(name)
            && server.child.try_wait().expect("a child").is_some_and(|ended| ended.code() == Some(after))
        {
            server.child = self.spawn(name, &mut server.command);
        }
    }

    /// Whether a server that was started has ended by itself.
    pub(super) fn ended(&self, name: &str) -> bool {
        self.servers().get_mut(name).is_none_or(|server| server.child.try_wait().expect("a child").is_some())
    }

    /// The id of a server's process.
    pub(super) fn process(&self, name: &str) -> Option<u32> {
        self.servers().get(name).map(|server| server.child.id())
    }

    /// Waits until a server ends by itself; gives whether it succeeded.
    pub(super) fn wait(&self, name: &str) -> Option<bool> {
        let mut server = self.servers().remove(name)?;
        let ended = server.child.wait().expect("a child");
        std::fs::remove_file(self.folder.join("ids").join(name)).expect("it was written");
        Some(ended.success())
    }

    /// Kills a server as a crash would; it has ended when this comes back.
    pub(super) fn kill(&self, name: &str) {
        let Some(mut server) = self.servers().remove(name) else { return };
        // It may have ended by itself.
        drop(server.child.kill());
        drop(server.child.wait());
        std::fs::remove_file(self.folder.join("ids").join(name)).expect("it was written");
    }
}

#[cfg(test)]
impl Guard {
    /// Has all end as it does when the process ends; gives the folder.
    pub(super) fn orphaned(mut self) -> PathBuf {
        // As the system closes it, however the process ends.
        drop(self.watcher.stdin.take());
        assert!(self.watcher.wait().expect("a child").success());
        for mut server in std::mem::take(&mut *self.servers()).into_values() {
            assert!(!server.child.wait().expect("a child").success());
        }
        self.folder.clone()
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let names: Vec<String> = self.servers().keys().cloned().collect();
        for name in names {
            self.kill(&name);
        }
        drop(self.watcher.stdin.take());
        drop(self.watcher.wait());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_it_started_is_gone_with_the_process() {
        let guard = Guard::new();
        for name in ["one", "two"] {
            guard.start(name, Path::new("sleep"), &["1000".to_owned()]);
        }
        guard.kill("one");
        guard.start("one", Path::new("sleep"), &["1000".to_owned()]);
        assert!(!guard.ended("one") && !guard.ended("two"));
        assert!(!guard.orphaned().exists());
    }

    #[test]
    fn what_ended_by_itself_is_started_again_and_nothing_else() {
        let guard = Guard::new();
        let ends = |name: &str, code: &str| {
            guard.start(name, Path::new("sh"), &["-c".to_owned(), format!("echo begun; exit {code}")]);
            while !guard.ended(name) {
                std::thread::yield_now();
            }
        };
        ends("one", "1");
        ends("two", "101");
        guard.start("three", Path::new("sleep"), &["1000".to_owned()]);
        guard.kill("three");
        let before = guard.process("one");
        for name in ["one", "two", "three"] {
            guard.start_again(name, 1);
        }
        assert_ne!(guard.process("one"), before);
        assert!(guard.ended("two") && guard.process("three").is_none());
        while !guard.ended("one") {
            std::thread::yield_now();
        }
        assert_eq!((guard.said("one"), guard.said("two")), ("begun\nbegun\n".to_owned(), "begun\n".to_owned()));
    }

    #[test]
    fn what_it_started_is_gone_with_the_value() {
        let guard = Guard::new();
        guard.start("one", Path::new("sleep"), &["1000".to_owned()]);
        let process = guard.process("one").expect("it runs");
        let folder = guard.folder().to_owned();
        drop(guard);
        assert!(!Path::new(&format!("/proc/{process}")).exists() && !folder.exists());
    }
}
