//! Repositories beside the newest restic: push and pull of 4 GiB, a second push with 1% changed, check, and forget with prune of
//! 200 snapshots, on a folder and on MinIO.
//!
//! Takes the options (`--scale`, `--rounds`, and `--ways` with parts of `folder-random`, `minio-prune` and so on). Gives a table for each place and data. Always holds: both sides work on the same bytes,
//! in turn, each in a repository of its own that was made the same way; what is read comes from memory (`/dev/shm`).

use std::fs::File;
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::options::Options;
use crate::server::{aquifer, open, program, run};
use crate::table::Table;
use crate::watch::alone;

const COLUMNS: [&str; 6] = ["what", "restic", "aquifer", "times as fast", "restic's memory", "aquifer's memory"];

const TASKS: &str = "apiVersion: aquifer.dev/v1alpha1
kind: Task
metadata: {name: push}
spec:
  params: [{name: repository, required: true}, {name: password, required: true, secret: true}, {name: input}]
  steps:
    - {name: read, function: file-read, params: {path: '{{ params.input }}'}}
    - {name: push, function: restic-push, stdin: read, params: {repository: '{{ params.repository }}', password: '{{ params.password }}', filename: dump}}
---
apiVersion: aquifer.dev/v1alpha1
kind: Task
metadata: {name: pull}
spec:
  params: [{name: repository, required: true}, {name: password, required: true, secret: true}]
  steps:
    - {name: pull, function: restic-pull, params: {repository: '{{ params.repository }}', password: '{{ params.password }}'}}
    - {name: away, function: exec, stdin: pull, params: {command: [sh, -c, 'cat > /dev/null']}}
---
apiVersion: aquifer.dev/v1alpha1
kind: Task
metadata: {name: check}
spec:
  params: [{name: repository, required: true}, {name: password, required: true, secret: true}]
  steps:
    - {name: check, function: restic-check, params: {repository: '{{ params.repository }}', password: '{{ params.password }}', readData: true}}
---
apiVersion: aquifer.dev/v1alpha1
kind: Task
metadata: {name: forget}
spec:
  params: [{name: repository, required: true}, {name: password, required: true, secret: true}]
  steps:
    - {name: forget, function: restic-forget, params: {repository: '{{ params.repository }}', password: '{{ params.password }}', keepLast: 10, groupBy: [], prune: true}}
";

const KEY: &str = "benchkey";
const SECRET: &str = "bench-secret-key";

/// A MinIO over a folder, which ends with the value.
struct Minio {
    child: Child,
    port: u16,
}

impl Drop for Minio {
    fn drop(&mut self) {
        // Only what this program started, by its id.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Minio {
    fn start(folder: &Path) -> Result<Self, String> {
        let cache =
            std::env::home_dir().map(|home| home.join(".cache/aquifer/go/bin/minio")).filter(|file| file.is_file());
        let file = program("minio").or(cache).ok_or("minio is missing: `./test all` installs it")?;
        let free =
            TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).map_err(|error| error.to_string())?;
        let address = format!("127.0.0.1:{}", free.port());
        let child = Command::new(file)
            .args(["server", "--quiet", "--address", &address, "--console-address", "127.0.0.1:0"])
            .arg(folder)
            .envs([("MINIO_ROOT_USER", KEY), ("MINIO_ROOT_PASSWORD", SECRET), ("MINIO_BROWSER", "off")])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("minio: {error}"))?;
        let minio = Self { child, port: free.port() };
        let bucket = format!("http://{address}/bench");
        run(Command::new("curl")
            .args(["-sS", "--fail", "--retry", "30", "--retry-delay", "1", "--retry-connrefused", "-X", "PUT"])
            .args(["--aws-sigv4", "aws:amz:us-east-1:s3", "--user", &format!("{KEY}:{SECRET}"), &bucket]))?;
        Ok(minio)
    }
}

/// Where both sides keep their repositories.
struct Place {
    folder: tempfile::TempDir,
    minio: Option<Minio>,
}

/// Whose repository it is.
#[derive(Clone, Copy, PartialEq)]
enum Side {
    Restic,
    Ours,
}

impl Side {
    fn name(self) -> &'static str {
        if self == Self::Restic { "restic" } else { "aquifer" }
    }
}

impl Place {
    fn repository(&self, side: Side) -> String {
        match &self.minio {
            Some(minio) => format!("s3:http://127.0.0.1:{}/bench/{}", minio.port, side.name()),
            None => self.folder.path().join(side.name()).display().to_string(),
        }
    }

    fn dressed(mut command: Command, repository: &str) -> Command {
        command.env("RESTIC_REPOSITORY", repository).env("RESTIC_PASSWORD", "bench").env("BENCH_PASSWORD", "bench");
        command.envs([("AWS_ACCESS_KEY_ID", KEY), ("AWS_SECRET_ACCESS_KEY", SECRET)]).stdout(Stdio::null());
        command
    }

    /// The newest restic, as its users run it on a server: without a cache, which none of both has on its first run.
    fn restic(&self, side: Side, args: &[&str]) -> Result<Command, String> {
        let cache = std::env::home_dir().map(|home| home.join(".cache/aquifer/debian/bin/restic-newest"));
        let file: PathBuf = cache
            .filter(|file| file.is_file())
            .or_else(|| program("restic-newest"))
            .ok_or("restic-newest is missing: `./test` installs it")?;
        let mut command = Command::new(file);
        command.args(args).args(["--no-cache", "--quiet"]);
        Ok(Self::dressed(command, &self.repository(side)))
    }

    fn ours(&self, tasks: &Path, task: &str, input: Option<&Path>) -> Result<Command, String> {
        let mut command = aquifer()?;
        command.arg("run").arg(tasks).args([
            "--task",
            task,
            "--progress",
            "none",
            "--set-env",
            "password=BENCH_PASSWORD",
        ]);
        command.args(["--set", &format!("repository={}", self.repository(Side::Ours))]);
        if let Some(input) = input {
            command.args(["--set", &format!("input={}", input.display())]);
        }
        Ok(Self::dressed(command, &self.repository(Side::Ours)))
    }
}

/// What one piece of work costs each side: seconds and bytes of memory, round by round.
#[derive(Default)]
struct Row {
    restic: Vec<(f64, f64)>,
    ours: Vec<(f64, f64)>,
}

impl Row {
    fn round(&mut self, restic: Command, ours: Command) -> Result<(), String> {
        self.piped(vec![restic], ours)
    }

    /// Where restic needs another command for what is a step of ours.
    fn piped(&mut self, restic: Vec<Command>, ours: Command) -> Result<(), String> {
        self.restic.push(alone(restic)?);
        self.ours.push(alone(vec![ours])?);
        Ok(())
    }

    fn into_table(self, table: &mut Table, what: &str) {
        let median = |figures: &[(f64, f64)], of: fn(&(f64, f64)) -> f64| {
            let mut values: Vec<f64> = figures.iter().map(of).collect();
            values.sort_by(f64::total_cmp);
            values.get(values.len() / 2).copied().unwrap_or_default()
        };
        let (restic, ours) = (median(&self.restic, |one| one.0), median(&self.ours, |one| one.0));
        let (their_memory, our_memory) = (median(&self.restic, |one| one.1), median(&self.ours, |one| one.1));
        let mebibytes = |bytes: f64| format!("{:.0} MiB", bytes / f64::from(1 << 20));
        table.row_of(
            &[
                what.to_owned(),
                format!("{restic:.2} s"),
                format!("{ours:.2} s"),
                format!("{:.2}", restic / ours),
                mebibytes(their_memory),
                mebibytes(our_memory),
            ],
            serde_json::json!({"resticSeconds": restic, "seconds": ours, "resticMemory": their_memory, "memory": our_memory}),
        );
    }
}

/// Bytes that do not compress, or records that do, as a dump has them.
fn fill(path: &Path, length: u64, compressible: bool) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("{}: {error}", path.display());
    let mut out = BufWriter::with_capacity(1 << 20, File::create(path).map_err(failed)?);
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let mut written = 0;
    let mut number = 0_u64;
    while written < length {
        let piece = if compressible {
            number += 1;
            let value = next();
            format!("*3\r\n$3\r\nSET\r\n$14\r\nsession:{number:06}\r\n$60\r\n{{\"user\":{:>10},\"state\":\"active\",\"seen\":{:>20}}}\r\n", value % 1_000_000, value >> 8)
                .into_bytes()
        } else {
            (0..128).flat_map(|_| next().to_le_bytes()).collect()
        };
        out.write_all(&piece).map_err(failed)?;
        written += piece.len() as u64;
    }
    out.flush().map_err(failed)
}

/// Changes a hundredth, in runs of 64 KiB spread evenly.
fn change(path: &Path) -> Result<(), String> {
    const RUN: usize = 64 << 10;
    let failed = |error: std::io::Error| format!("{}: {error}", path.display());
    let mut file = File::options().read(true).write(true).open(path).map_err(failed)?;
    let length = file.metadata().map_err(failed)?.len();
    let mut bytes = vec![0; RUN];
    for at in (0..length.saturating_sub(RUN as u64)).step_by(RUN * 100) {
        file.seek(SeekFrom::Start(at)).and_then(|_| file.read_exact(&mut bytes)).map_err(failed)?;
        bytes.iter_mut().for_each(|byte| *byte = byte.wrapping_add(1));
        file.seek(SeekFrom::Start(at)).and_then(|_| file.write_all(&bytes)).map_err(failed)?;
    }
    Ok(())
}

fn place(on_minio: bool) -> Result<Place, String> {
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let minio = on_minio.then(|| Minio::start(&folder.path().join("minio"))).transpose()?;
    Ok(Place { folder, minio })
}

fn backup(place: &Place, side: Side, input: &Path) -> Result<Command, String> {
    let mut command = place.restic(side, &["backup", "--stdin", "--stdin-filename", "dump"])?;
    command.stdin(open(input)?);
    Ok(command)
}

/// Push, second push, pull and check.
fn streams(
    on_minio: bool,
    compressible: bool,
    tasks: &Path,
    memory: &Path,
    options: &Options,
) -> Result<Table, String> {
    let length = options.scaled(4 << 30);
    let (where_to, what) = (
        if on_minio { "MinIO" } else { "a folder" },
        if compressible { "records that compress" } else { "random bytes" },
    );
    let mut table =
        Table::new(format!("{:.2} GiB of {what} on {where_to}", length as f64 / f64::from(1 << 30)), &COLUMNS);
    let mut rows: [Row; 5] = Default::default();
    let input = memory.join("input");
    for _ in 0..options.rounds {
        fill(&input, length, compressible)?;
        let place = place(on_minio)?;
        for side in [Side::Restic, Side::Ours] {
            run(&mut place.restic(side, &["init"])?)?;
        }
        rows[0].round(backup(&place, Side::Restic, &input)?, place.ours(tasks, "push", Some(&input))?)?;
        let dump = || place.restic(Side::Restic, &["dump", "latest", "/dump"]);
        let mut cat = Command::new("cat");
        cat.stdout(Stdio::null());
        rows[1].piped(vec![dump()?, cat], place.ours(tasks, "pull", None)?)?;
        rows[2].round(dump()?, place.ours(tasks, "pull", None)?)?;
        change(&input)?;
        rows[3].round(backup(&place, Side::Restic, &input)?, place.ours(tasks, "push", Some(&input))?)?;
        rows[4].round(place.restic(Side::Restic, &["check", "--read-data"])?, place.ours(tasks, "check", None)?)?;
    }
    let names =
        ["push", "pull into a command", "the same, restic into /dev/null", "push with 1% changed", "check of all data"];
    for (row, what) in rows.into_iter().zip(names) {
        row.into_table(&mut table, what);
    }
    Ok(table)
}

/// Forget and prune of many snapshots, in copies of one repository that restic made.
fn prune(on_minio: bool, tasks: &Path, memory: &Path, options: &Options) -> Result<Table, String> {
    let count = options.scaled(200).max(12);
    let where_to = if on_minio { "MinIO" } else { "a folder" };
    let mut table = Table::new(format!("forget and prune of {count} snapshots, 10 stay, on {where_to}"), &COLUMNS);
    let mut row = Row::default();
    let input = memory.join("input");
    for _ in 0..options.rounds {
        fill(&input, 24 << 20, false)?;
        let place = place(on_minio)?;
        for side in [Side::Restic, Side::Ours] {
            run(&mut place.restic(side, &["init"])?)?;
        }
        for number in 0..count {
            // A fourth is new each time, at another place.
            let failed = |error: std::io::Error| error.to_string();
            let mut file = File::options().write(true).open(&input).map_err(failed)?;
            let fresh = memory.join("fresh");
            fill(&fresh, 6 << 20, false)?;
            let mut bytes = std::fs::read(&fresh).map_err(failed)?;
            bytes.iter_mut().for_each(|byte| *byte = byte.wrapping_mul(number as u8 | 1).wrapping_add(number as u8));
            file.seek(SeekFrom::Start((number * (5 << 20)) % (18 << 20)))
                .and_then(|_| file.write_all(&bytes))
                .map_err(failed)?;
            drop(file);
            for side in [Side::Restic, Side::Ours] {
                run(&mut backup(&place, side, &input)?)?;
            }
        }
        row.round(
            place.restic(Side::Restic, &["forget", "--keep-last", "10", "--group-by", "", "--prune"])?,
            place.ours(tasks, "forget", None)?,
        )?;
        for side in [Side::Restic, Side::Ours] {
            run(&mut place.restic(side, &["check", "--read-data"])?)?;
        }
    }
    row.into_table(&mut table, "forget and prune");
    Ok(table)
}

pub(crate) fn measure(options: &Options, give: &mut dyn FnMut(Table)) -> Result<(), String> {
    let memory = tempfile::tempdir_in("/dev/shm").map_err(|error| format!("/dev/shm: {error}"))?;
    let tasks = memory.path().join("tasks.yaml");
    std::fs::write(&tasks, TASKS).map_err(|error| error.to_string())?;
    for (on_minio, place) in [(false, "folder"), (true, "minio")] {
        for (compressible, bytes) in [(false, "random"), (true, "records")] {
            if options.wants(&format!("{place}-{bytes}")) {
                give(streams(on_minio, compressible, &tasks, memory.path(), options)?);
            }
        }
        if options.wants(&format!("{place}-prune")) {
            give(prune(on_minio, &tasks, memory.path(), options)?);
        }
    }
    Ok(())
}
