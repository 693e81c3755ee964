//! What a second backup costs: bytes added to a restic repository with nothing changed, with 0.1% of the keys changed, with 1%
//! more keys, and from another server that holds the same data.
//!
//! Takes a server; ours, ours in the order of the names, and `redis-dump-go | restic backup --stdin` into repositories of their
//! own. Gives a table. Always holds: what a backup added is the growth of all files of its repository.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use crate::options::Options;
use crate::server::{Server, aquifer, open, peer, restic, run};
use crate::sets::{load, mixed, name, write_strings};
use crate::table::{Table, seconds, timed};

pub(crate) fn size(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let of = |entry: fs::DirEntry| match entry.metadata() {
        Ok(about) if about.is_dir() => size(&entry.path()),
        Ok(about) => about.len(),
        Err(_) => 0,
    };
    entries.map(of).sum()
}

fn ours(server: &Server, repository: &Path, order: &str) -> Result<(), String> {
    run(aquifer()?
        .args(["run", "redis-backup", "--progress", "none", "--set-env", "password=BENCH_PASSWORD"])
        .args(["--set", &format!("redis={}", server.url())])
        .args(["--set", &format!("repository={}", repository.display())])
        .args(["--set", "keepLast=0", "--set", &format!("order={order}")])
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

/// A way to make a backup, and what it is called.
type Way = (&'static str, fn(&Server, &Path) -> Result<(), String>);

const WAYS: [Way; 3] = [
    ("aquifer", |server, repository| ours(server, repository, "server")),
    ("aquifer, `order: name`", |server, repository| ours(server, repository, "name")),
    ("redis-dump-go -n 50 | restic backup --stdin", theirs),
];

fn mebibytes(bytes: u64) -> String {
    format!("{:.2} MiB", bytes as f64 / f64::from(1 << 20))
}

/// The repositories of one set, one for each way, with the size of the first backup in it.
struct Repositories(Vec<(Way, PathBuf, Option<u64>)>);

impl Repositories {
    fn make(folder: &Path) -> Result<Self, String> {
        let made = WAYS.iter().enumerate().map(|(number, way)| {
            let path = folder.join(number.to_string());
            run(restic(&path)?.arg("init"))?;
            Ok((*way, path, None))
        });
        Ok(Self(made.collect::<Result<_, String>>()?))
    }

    /// One backup each, and by how much the repositories grew.
    fn back_up(&mut self, table: &mut Table, what: &str, server: &Server) -> Result<(), String> {
        for ((name, backup), path, first) in &mut self.0 {
            let before = size(path);
            let took = timed(|| backup(server, path))?;
            let added = size(path).saturating_sub(before);
            let whole = *first.get_or_insert(added);
            table.row(&[
                what.to_owned(),
                (*name).to_owned(),
                mebibytes(added),
                format!("{:.2}%", added as f64 * 100.0 / whole.max(1) as f64),
                seconds(took),
            ]);
        }
        Ok(())
    }
}

type Change<'c> = &'c dyn Fn(&Server) -> Result<(), String>;

fn of_one_set(
    table: &mut Table,
    set: &str,
    server: &Server,
    change: Change<'_>,
    append: Change<'_>,
) -> Result<(), String> {
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let mut repositories = Repositories::make(folder.path())?;
    let mut back_up = |what: &str, server: &Server| repositories.back_up(table, &format!("{set}: {what}"), server);
    back_up("first", server)?;
    back_up("nothing changed", server)?;
    change(server)?;
    back_up("0.1% of the keys changed", server)?;
    append(server)?;
    back_up("1% of new keys", server)?;
    // A server that was restarted has another hash seed, and so has one that was restored.
    let other = Server::start()?;
    run(aquifer()?
        .args(["run", "redis-copy", "--progress", "none", "--set", &format!("from={}", server.url())])
        .args(["--set", &format!("to={}", other.url())])
        .stdout(Stdio::null()))?;
    back_up("another server with the same data", &other)
}

pub(crate) fn measure(options: &Options) -> Result<Table, String> {
    let mut table = Table::new(
        "what a backup adds to a restic repository (one run each)",
        &["what", "way", "added", "of the first", "took"],
    );
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let commands = folder.path().join("commands");
    let strings = options.scaled(1_000_000);
    let write = |server: &Server, keys: &mut dyn Iterator<Item = u64>, salt: &str| {
        write_strings(&commands, keys, salt)?;
        server.load(&commands)
    };
    {
        let server = Server::start()?;
        load('a', &server, options)?;
        of_one_set(
            &mut table,
            &name('a', options),
            &server,
            // Spread over the keyspace, as changes are.
            &|server| write(server, &mut (0..strings / 1000).map(|n| n * 7919 * 13 % strings), "w"),
            &|server| write(server, &mut (strings..strings + strings / 100), "v"),
        )?;
    }
    let server = Server::start()?;
    load('b', &server, options)?;
    let keys = options.scaled(200_000);
    of_one_set(
        &mut table,
        &name('b', options),
        &server,
        &|server| {
            let lines = folder.path().join("changes");
            let text: String =
                (0..keys / 1000).map(|n| format!("SET session:{} changed-{n} KEEPTTL\r\n", n * 1000)).collect();
            fs::write(&lines, text).map_err(|error| error.to_string())?;
            run(server.cli().arg("--pipe").stdin(open(&lines)?).stdout(Stdio::null()))
        },
        &|server| mixed(server, keys..keys + keys / 100, "all"),
    )?;
    Ok(table)
}
