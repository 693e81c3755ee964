//! From end to end: a backup into a restic repository and the way back, beside `redis-dump-go | restic backup --stdin` and
//! `restic dump | redis-cli --pipe`.
//!
//! Takes a filled server and one to restore into. Gives two tables. Always holds: each backup goes into a new repository,
//! so that none finds the chunks of an earlier one.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::options::Options;
use crate::redis::{Measured, table};
use crate::server::{Server, aquifer, peer, restic, run};
use crate::table::Table;
use crate::watch::{Figures, watched};

/// A task of ours between a server and a repository.
fn ours(task: &str, server: &Server, repository: &Path, params: &[&str]) -> Result<Command, String> {
    let mut command = aquifer()?;
    command
        .args(["run", task, "--progress", "none", "--set-env", "password=BENCH_PASSWORD", "--set"])
        .arg(format!("redis={}", server.url()))
        .arg("--set")
        .arg(format!("repository={}", repository.display()))
        .env("BENCH_PASSWORD", "bench")
        .stdout(Stdio::null());
    for param in params {
        command.args(["--set", param]);
    }
    Ok(command)
}

fn backup(server: &Server, repository: &Path) -> Result<Command, String> {
    ours("redis-backup", server, repository, &["keepLast=0"])
}

fn theirs(server: &Server, repository: &Path) -> Result<Vec<Command>, String> {
    let mut store = restic(repository)?;
    store.args(["backup", "--stdin", "--quiet"]);
    Ok(vec![peer(server)?, store])
}

fn their_way_back(target: &Server, repository: &Path) -> Result<Vec<Command>, String> {
    let mut read = restic(repository)?;
    read.args(["dump", "latest", "/stdin"]);
    let mut load = target.cli();
    load.arg("--pipe").stdout(Stdio::null());
    Ok(vec![read, load])
}

/// Empties a folder and makes a repository there, which neither side is timed for.
fn fresh(repository: &Path) -> Result<(), String> {
    if repository.exists() {
        std::fs::remove_dir_all(repository).map_err(|error| error.to_string())?;
    }
    run(restic(repository)?.arg("init"))
}

fn stored(repository: &Path, figures: Figures) -> Figures {
    Figures { bytes: crate::increments::size(repository) as f64, ..figures }
}

pub(crate) fn measure(
    name: &str,
    server: &Server,
    target: &Server,
    options: &Options,
    give: &mut dyn FnMut(Table),
) -> Result<(), String> {
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let (mine, peers) = (folder.path().join("ours"), folder.path().join("theirs"));
    server.ask(&["config", "set", "repl-diskless-sync-delay", "5"])?;
    let mut backups = [
        Measured::new("redis-dump-go -n 50 | restic backup --stdin"),
        Measured::new("aquifer run redis-backup"),
        Measured::new("aquifer run redis-backup, the server's delay 0"),
    ];
    for _ in 0..options.rounds {
        backups[0].round(|| {
            fresh(&peers)?;
            watched(server, theirs(server, &peers)?).map(|figures| stored(&peers, figures))
        });
        for (way, delay) in [(1, "5"), (2, "0")] {
            backups[way].round(|| {
                server.ask(&["config", "set", "repl-diskless-sync-delay", delay])?;
                fresh(&mine)?;
                watched(server, vec![backup(server, &mine)?]).map(|figures| stored(&mine, figures))
            });
        }
    }
    give(table(format!("backup into a restic repository of {name} (stream: what was stored)"), &backups));
    let mut restores = [Measured::new("restic dump | redis-cli --pipe"), Measured::new("aquifer run redis-restore")];
    for _ in 0..options.rounds {
        restores[0].round(|| {
            target.flush()?;
            watched(target, their_way_back(target, &peers)?).map(|figures| stored(&peers, figures))
        });
        restores[1].round(|| {
            target.flush()?;
            watched(target, vec![ours("redis-restore", target, &mine, &[])?]).map(|figures| stored(&mine, figures))
        });
    }
    give(table(format!("restore from a restic repository of {name} (stream: what is stored)"), &restores));
    Ok(())
}
