//! Dump and restore of a million small strings, beside redis-dump-go and `redis-cli --pipe`; the command's size and start.
//!
//! Takes the programs in the PATH and the release build beside this one; gives tables. Always holds: servers are its own,
//! on free ports, and end with it.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::table::{Table, in_turn, seconds, timed};

/// A redis-server of our own in a folder of its own.
pub(crate) struct Server {
    child: Child,
    port: u16,
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

    fn ask(&self, words: &[&str]) -> Result<String, String> {
        let output = self.cli().args(words).output().map_err(|error| format!("redis-cli: {error}"))?;
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    fn flush(&self) -> Result<(), String> {
        self.ask(&["flushall"]).map(drop)
    }

    pub(crate) fn load(&self, commands: &Path) -> Result<(), String> {
        run(self.cli().arg("--pipe").stdin(open(commands)?))
    }
}

pub(crate) fn open(path: &Path) -> Result<File, String> {
    File::open(path).map_err(|error| format!("{}: {error}", path.display()))
}

fn create(path: &Path) -> Result<File, String> {
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
        Err("build the command first: cargo build --release".to_owned())
    }
}

const DUMP_TASK: &str = "apiVersion: aquifer.dev/v1alpha1
kind: Task
metadata: {name: dump}
spec:
  params: [{name: redis, required: true}, {name: path, required: true}]
  steps:
    - {name: dump, function: redis-dump, params: {url: \"{{ params.redis }}\"}}
    - {name: file, function: file-write, stdin: dump, params: {path: \"{{ params.path }}\", overwrite: true}}
---
apiVersion: aquifer.dev/v1alpha1
kind: Task
metadata: {name: restore}
spec:
  params: [{name: redis, required: true}, {name: path, required: true}]
  steps:
    - {name: file, function: file-read, params: {path: \"{{ params.path }}\"}}
    - {name: restore, function: redis-restore, stdin: file, params: {url: \"{{ params.redis }}\"}}
";

fn ours(folder: &Path, task: &str, server: &Server, path: &Path) -> Result<(), String> {
    let file = folder.join("task.yaml");
    fs::write(&file, DUMP_TASK).map_err(|error| error.to_string())?;
    run(aquifer()?.args(["run", "--progress", "none", "--task", task]).arg(&file).args([
        "--set",
        &format!("redis={}", server.url()),
        "--set",
        &format!("path={}", path.display()),
    ]))
}

/// `SET key:000001 value…` for keys in `from..to`, with a value of some 50 bytes that follows from the key and `salt`.
pub(crate) fn write_strings(path: &Path, keys: impl Iterator<Item = u64>, salt: &str) -> Result<(), String> {
    let mut file = BufWriter::new(create(path)?);
    for key in keys {
        let name = format!("key:{key:08}");
        let value = format!("{salt}{:0>40x}", u128::from(key).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835));
        let written = write!(file, "*3\r\n$3\r\nSET\r\n${}\r\n{name}\r\n${}\r\n{value}\r\n", name.len(), value.len());
        written.map_err(|error| error.to_string())?;
    }
    file.flush().map_err(|error| error.to_string())
}

/// redis-dump-go on a server, as its users are told to run it for speed.
pub(crate) fn peer(server: &Server) -> Result<Command, String> {
    let go = program("redis-dump-go").ok_or("redis-dump-go is missing: build it with Go and put it into the PATH")?;
    let mut command = Command::new(go);
    command.args(["-host", "127.0.0.1", "-port", &server.port.to_string(), "-n", "50", "-s"]);
    Ok(command)
}

pub(crate) fn measure() -> Result<Table, String> {
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let server = Server::start()?;
    let commands = folder.path().join("commands");
    write_strings(&commands, 0..1_000_000, "v")?;
    server.load(&commands)?;
    let mut table = Table::new(
        "a million small strings (medians of 3, in turn)",
        &["what", "aquifer", "peer", "aquifer : peer", "peer is"],
    );
    let (our_dump, peer_dump) = (folder.path().join("ours"), folder.path().join("peers"));
    let compare = |table: &mut Table, what: &str, peer: &str, (a, b): (Duration, Duration)| {
        table.row(&[
            what.to_owned(),
            seconds(a),
            seconds(b),
            format!("{:.3}", a.as_secs_f64() / b.as_secs_f64()),
            peer.to_owned(),
        ]);
    };
    let dump = in_turn(
        || ours(folder.path(), "dump", &server, &our_dump),
        || run(peer(&server)?.stdout(create(&peer_dump)?)),
    )?;
    compare(&mut table, "dump to a file", "redis-dump-go -n 50", dump);
    let target = Server::start()?;
    let restore = in_turn(
        || target.flush().and_then(|()| ours(folder.path(), "restore", &target, &our_dump)),
        || target.flush().and_then(|()| target.load(&peer_dump)),
    )?;
    compare(&mut table, "restore from a file", "redis-cli --pipe of its dump", restore);
    Ok(table)
}

pub(crate) fn binary() -> Result<Table, String> {
    let mut table = Table::new("the command itself", &["what", "figure"]);
    let file = PathBuf::from(aquifer()?.get_program());
    let bytes = fs::metadata(&file).map_err(|error| error.to_string())?.len();
    table.row(&["size of the binary".to_owned(), format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))]);
    let times: Result<Vec<Duration>, String> =
        (0..9).map(|_| timed(|| run(aquifer()?.arg("--version").stdout(Stdio::null())))).collect();
    table.row(&[
        "aquifer --version (median of 9)".to_owned(),
        format!("{:.1} ms", crate::table::median(times?).as_secs_f64() * 1e3),
    ]);
    let times: Result<Vec<Duration>, String> = (0..9)
        .map(|_| {
            timed(|| {
                run(aquifer()?
                    .args(["plan", "redis-backup", "--set", "repository=/r", "--set-env", "password=PATH"])
                    .stdout(Stdio::null()))
            })
        })
        .collect();
    table.row(&[
        "aquifer plan redis-backup (median of 9)".to_owned(),
        format!("{:.1} ms", crate::table::median(times?).as_secs_f64() * 1e3),
    ]);
    Ok(table)
}
