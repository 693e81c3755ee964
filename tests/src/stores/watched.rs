//! A server's process that ends with the test's process, however that ends.

use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a server may take to start: some are Python or JavaScript, and the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs the server, and ends it when its own input does: the other end of that is ours.
const WATCH: &str =
    r#"log=$1; shift; "$@" </dev/null >"$log" 2>&1 & server=$!; read -r _; kill -9 $server; wait $server"#;

/// A server's process.
#[derive(Debug)]
pub(super) struct Watched {
    watcher: Child,
}

/// A port of 127.0.0.1 that is free.
///
/// # Panics
/// There is none.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port").port()
}

/// The folder of programs that were installed for the tests.
///
/// # Panics
/// There is no home.
#[expect(clippy::disallowed_methods, reason = "the scripts that install them go by the environment")]
pub fn installed(below: &str) -> String {
    let cache = std::env::var("XDG_CACHE_HOME")
        .unwrap_or_else(|_| format!("{}/.cache", std::env::var("HOME").expect("a home")));
    format!("{cache}/aquifer/{below}")
}

/// A program of Debian's development branch, by the path where `./test` puts it, or by its name where it is on the search path.
pub fn debian_newest(program: &str) -> String {
    let path = installed(&format!("debian/bin/{program}"));
    if Path::new(&path).exists() { path } else { program.to_owned() }
}

impl Watched {
    /// Starts a server; what it says goes into `log`.
    pub(super) fn start(program: &str, args: &[&str], more: &[(&str, &str)], log: &Path) -> Self {
        let found = Command::new("sh").args(["-c", "command -v \"$1\"", "sh", program]).stdout(Stdio::null()).status();
        assert!(found.expect("sh is there").success(), "{program} is missing: `./test` installs it");
        let watcher = Command::new("sh")
            .args(["-c", WATCH, "sh"])
            .arg(log)
            .arg(program)
            .args(args)
            .envs(more.iter().copied())
            .stdin(Stdio::piped())
            .spawn()
            .expect("sh is there");
        Self { watcher }
    }

    /// Ends it, and waits until it has ended: another may take its port then.
    pub(super) fn end(mut self) {
        drop(self.watcher.stdin.take());
        self.watcher.wait().expect("it was started");
    }

    /// Waits until it listens.
    pub(super) async fn listens(self, port: u16, log: &Path) -> Self {
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            let said = || std::fs::read_to_string(log).unwrap_or_default();
            assert!(begun.elapsed() < PATIENCE, "the server does not start: {}", said());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self
    }
}

/// The names below a place, of all that are there, in order.
pub(super) fn below(all: Vec<String>, place: &str) -> Vec<String> {
    let mut names: Vec<String> =
        all.into_iter().filter_map(|name| Some(name.strip_prefix(&format!("{place}/"))?.to_owned())).collect();
    names.sort();
    names
}

/// A name as a URL has it.
pub(super) fn encoded(name: &str, keep_slashes: bool) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) || (keep_slashes && byte == b'/');
    name.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}
