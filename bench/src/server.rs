//! Servers of our own, and the programs that are run on them.
//!
//! Takes programs from the PATH, Go's folder, and the release build beside this one. Always holds: a server is on a free
//! port and ends, by its process id, with its value; a program that is missing is named with how to get it.

use std::fs::File;
use std::io::BufWriter;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A redis-server of our own in a folder of its own.
pub(crate) struct Server {
    child: Child,
    pub(crate) port: u16,
    _folder: tempfile::TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        // Only what this program started, by its id; a server that is gone already is no error.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    pub(crate) fn start() -> Result<Self, String> {
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        let port = TcpListener::bind("127.0.0.1:0")
            .and_then(|free| free.local_addr())
            .map_err(|error| error.to_string())?
            .port();
        let child = Command::new("redis-server")
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir"])
            .arg(folder.path())
            .stdout(Stdio::null())
            .spawn()
            .map_err(|error| format!("redis-server: {error}"))?;
        let server = Self { child, port, _folder: folder };
        for _ in 0..1000 {
            if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return Ok(server);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Err("redis-server did not start".to_owned())
    }

    pub(crate) fn cli(&self) -> Command {
        let mut cli = Command::new("redis-cli");
        cli.args(["-h", "127.0.0.1", "-p", &self.port.to_string()]);
        cli
    }

    pub(crate) fn ask(&self, words: &[&str]) -> Result<String, String> {
        let output = self.cli().args(words).output().map_err(|error| format!("redis-cli: {error}"))?;
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub(crate) fn flush(&self) -> Result<(), String> {
        self.ask(&["flushall", "sync"]).and_then(|_| self.ask(&["function", "flush", "sync"])).map(drop)
    }

    pub(crate) fn load(&self, commands: &Path) -> Result<(), String> {
        run(self.cli().arg("--pipe").stdin(open(commands)?))
    }

    /// Has `redis-cli --pipe` carry out what is written.
    pub(crate) fn feed(
        &self,
        write: impl FnOnce(&mut BufWriter<std::process::ChildStdin>) -> std::io::Result<()>,
    ) -> Result<(), String> {
        let failed = |error: std::io::Error| format!("redis-cli --pipe: {error}");
        let mut child = self.cli().arg("--pipe").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().map_err(failed)?;
        let mut out = BufWriter::with_capacity(1 << 20, child.stdin.take().ok_or("redis-cli has no stdin")?);
        write(&mut out).and_then(|()| std::io::Write::flush(&mut out)).map_err(failed)?;
        drop(out);
        match child.wait() {
            Ok(status) if status.success() => Ok(()),
            other => Err(format!("redis-cli --pipe: {other:?}")),
        }
    }

    /// The seconds of processor time that the server and its ended children have taken.
    pub(crate) fn processor(&self) -> Result<(f64, f64), String> {
        // A child counts only once it was waited for.
        let begun = Instant::now();
        while !self.ask(&["info", "persistence"])?.contains("rdb_bgsave_in_progress:0") {
            if begun.elapsed() > Duration::from_secs(60) {
                return Err("the server's child does not end".to_owned());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let info = self.ask(&["info", "cpu"])?;
        let sum = |names: [&str; 2]| {
            let of = |name: &str| info.lines().find_map(|line| line.trim().strip_prefix(name)?.parse::<f64>().ok());
            names.iter().filter_map(|name| of(name)).sum()
        };
        Ok((sum(["used_cpu_sys:", "used_cpu_user:"]), sum(["used_cpu_sys_children:", "used_cpu_user_children:"])))
    }
}

pub(crate) fn open(path: &Path) -> Result<File, String> {
    File::open(path).map_err(|error| format!("{}: {error}", path.display()))
}

pub(crate) fn create(path: &Path) -> Result<File, String> {
    File::create(path).map_err(|error| format!("{}: {error}", path.display()))
}

pub(crate) fn run(command: &mut Command) -> Result<(), String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.stderr(Stdio::piped()).output().map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        Ok(())
    } else {
        Err(format!("{program}: {}", String::from_utf8_lossy(&output.stderr)))
    }
}

/// The file of this name in the PATH or in Go's folder.
pub(crate) fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let go = std::env::home_dir().map(|home| home.join("go/bin"));
    std::env::split_paths(&path).chain(go).map(|folder| folder.join(name)).find(|file| file.is_file())
}

pub(crate) fn aquifer() -> Result<Command, String> {
    let beside = std::env::current_exe().map_err(|error| error.to_string())?.with_file_name("aquifer");
    if beside.is_file() {
        Ok(Command::new(beside))
    } else {
        Err("build the command first: cargo build --release --bin aquifer".to_owned())
    }
}

/// redis-dump-go on a server, as its users are told to run it for speed.
pub(crate) fn peer(server: &Server) -> Result<Command, String> {
    let go = program("redis-dump-go").ok_or(
        "redis-dump-go is neither in the PATH nor in ~/go/bin: `go install github.com/yannh/redis-dump-go@latest` makes it",
    )?;
    let mut command = Command::new(go);
    command.args(["-host", "127.0.0.1", "-port", &server.port.to_string(), "-n", "50", "-s"]);
    Ok(command)
}

pub(crate) fn restic(repository: &Path) -> Result<Command, String> {
    let mut command = Command::new(program("restic").ok_or("restic is missing: install Debian's restic")?);
    command.env("RESTIC_REPOSITORY", repository).env("RESTIC_PASSWORD", "bench").stdout(Stdio::null());
    Ok(command)
}
