//! What a second backup costs: bytes added to a restic repository with nothing changed, and with 0.1% of the keys changed.
//!
//! Takes a server that is not restarted in between; ours and `redis-dump-go | restic backup --stdin` into repositories of their
//! own. Gives a table. Always holds: what a backup added is the growth of all files of its repository.

use std::fs;
use std::path::Path;
use std::process::Stdio;

use crate::server::{Server, aquifer, open, peer, restic, run};
use crate::sets::{mixed, write_strings};
use crate::table::{Table, seconds, timed};

/// How many keys the small set of strings has.
const STRINGS: u64 = 1_000_000;

pub(crate) fn size(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let of = |entry: fs::DirEntry| match entry.metadata() {
        Ok(about) if about.is_dir() => size(&entry.path()),
        Ok(about) => about.len(),
        Err(_) => 0,
    };
    entries.map(of).sum()
}

fn ours(server: &Server, repository: &Path) -> Result<(), String> {
    run(aquifer()?
        .args(["run", "redis-backup", "--progress", "none", "--set-env", "password=BENCH_PASSWORD"])
        .args([
            "--set",
            &format!("redis={}", server.url()),
            "--set",
            &format!("repository={}", repository.display()),
            "--set",
            "keepLast=0",
        ])
        .env("BENCH_PASSWORD", "bench")
        .stdout(Stdio::null()))
}

fn theirs(server: &Server, repository: &Path) -> Result<(), String> {
    // It names every stream that it leaves out.
    let mut dump = peer(server)?
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| format!("redis-dump-go: {error}"))?;
    let output = dump.stdout.take().ok_or("redis-dump-go has no stdout")?;
    run(restic(repository)?.args(["backup", "--stdin", "--quiet"]).stdin(output))?;
    match dump.wait() {
        Ok(status) if status.success() => Ok(()),
        other => Err(format!("redis-dump-go: {other:?}")),
    }
}

type Backup = fn(&Server, &Path) -> Result<(), String>;

fn mebibytes(bytes: u64) -> String {
    format!("{:.2} MiB", bytes as f64 / f64::from(1 << 20))
}

/// One backup: its time in words, and by how much the repository grew.
fn grown(backup: Backup, server: &Server, repository: &Path) -> Result<(std::time::Duration, u64), String> {
    let before = size(repository);
    let took = timed(|| backup(server, repository))?;
    Ok((took, size(repository).saturating_sub(before)))
}

fn of_one_set(
    table: &mut Table,
    what: &str,
    server: &Server,
    change: &dyn Fn() -> Result<(), String>,
) -> Result<(), String> {
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let (mine, peers) = (folder.path().join("ours"), folder.path().join("theirs"));
    run(restic(&peers)?.arg("init"))?;
    run(restic(&mine)?.arg("init"))?;
    for (when, changes) in [("first", false), ("nothing changed", false), ("0.1% of the keys changed", true)] {
        if changes {
            change()?;
        }
        let (our_time, our_bytes) = grown(ours, server, &mine)?;
        let (peer_time, peer_bytes) = grown(theirs, server, &peers)?;
        table.row(&[
            format!("{what}: {when}"),
            mebibytes(our_bytes),
            mebibytes(peer_bytes),
            seconds(our_time),
            seconds(peer_time),
        ]);
    }
    Ok(())
}

pub(crate) fn measure() -> Result<Table, String> {
    let mut table = Table::new(
        "what a backup adds to a restic repository (one run each)",
        &["what", "aquifer adds", "peer adds", "aquifer takes", "redis-dump-go -n 50 | restic takes"],
    );
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let commands = folder.path().join("commands");
    {
        let server = Server::start()?;
        write_strings(&commands, 0..STRINGS, "v")?;
        server.load(&commands)?;
        of_one_set(&mut table, "1,000,000 small strings", &server, &|| {
            // Spread over the keyspace, as changes are.
            write_strings(&commands, (0..STRINGS / 1000).map(|n| n * 7919 * 13 % STRINGS), "w")?;
            server.load(&commands)
        })?;
    }
    let server = Server::start()?;
    mixed(&server, 120_000, "all")?;
    of_one_set(&mut table, "120,000 mixed keys", &server, &|| {
        let lines = folder.path().join("changes");
        let text: String = (0..120).map(|n| format!("SET session:{} changed-{n} KEEPTTL\r\n", n * 1000)).collect();
        fs::write(&lines, text).map_err(|error| error.to_string())?;
        run(server.cli().arg("--pipe").stdin(open(&lines)?).stdout(Stdio::null()))
    })?;
    Ok(table)
}
