//! Dump and restore of the data sets, each way in turn on the same server, beside redis-dump-go and redis-cli.
//!
//! Takes the options. Gives three tables per data set: dump, restore and, for `a` and `e`, from end to end with restic.
//! Always holds: every figure is the median of the rounds; a way that does not work here has a row that says why.

use std::path::Path;
use std::process::Command;

use crate::ends;
use crate::options::Options;
use crate::server::Server;
use crate::sets;
use crate::table::Table;
use crate::watch::{Figures, watched};
use crate::ways::{self, DUMPS, OURS, PEER, SCAN};

const COLUMNS: [&str; 9] = [
    "way",
    "wall",
    "server CPU",
    "its child's",
    "longest stall",
    "stream",
    "peak memory",
    "times as fast as the peer",
    "server CPU : peer's",
];

/// What the rounds of one way gave.
pub(crate) struct Measured {
    pub(crate) name: String,
    pub(crate) rounds: Result<Vec<Figures>, String>,
}

impl Measured {
    pub(crate) fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), rounds: Ok(Vec::new()) }
    }

    /// One more round, unless an earlier one failed.
    pub(crate) fn round(&mut self, run: impl FnOnce() -> Result<Figures, String>) {
        let Ok(rounds) = &mut self.rounds else { return };
        match run() {
            Ok(figures) => rounds.push(figures),
            Err(error) => self.rounds = Err(error),
        }
    }
}

/// A table of ways, the peer first.
pub(crate) fn table(title: String, all: &[Measured]) -> Table {
    let mut table = Table::new(title, &COLUMNS);
    let medians: Vec<Result<Figures, String>> = all
        .iter()
        .map(|way| match &way.rounds {
            Ok(rounds) if rounds.is_empty() => Err("not measured".to_owned()),
            Ok(rounds) => Ok(Figures::median(rounds)),
            Err(error) => Err(error.split_whitespace().collect::<Vec<_>>().join(" ")),
        })
        .collect();
    let peer = medians.first().and_then(|first| first.as_ref().ok().copied());
    for (way, median) in all.iter().zip(&medians) {
        match median {
            Ok(figures) => {
                let ratio = |of: fn(&Figures) -> f64, turned: bool| match peer {
                    Some(peer) if turned => format!("{:.2}", of(&peer) / of(figures)),
                    Some(peer) => format!("{:.2}", of(figures) / of(&peer)),
                    None => "?".to_owned(),
                };
                let mebibytes = |bytes: f64| format!("{:.1} MiB", bytes / f64::from(1 << 20));
                let cells = [
                    way.name.clone(),
                    format!("{:.3} s", figures.wall),
                    format!("{:.2} s", figures.processor),
                    format!("{:.2} s", figures.children),
                    format!("{:.1} ms", figures.stall * 1e3),
                    mebibytes(figures.bytes),
                    mebibytes(figures.memory),
                    ratio(|f| f.wall, true),
                    ratio(|f| f.processor + f.children, false),
                ];
                table.row_of(&cells, figures.to_json());
            }
            Err(error) => {
                let short: String = error.chars().take(300).collect();
                table.row(&[way.name.clone(), "not had".to_owned()]);
                table.note(format!("{}: {short}", way.name));
            }
        }
    }
    table
}

fn sized(path: &Path, run: impl FnOnce() -> Result<Figures, String>) -> Result<Figures, String> {
    let mut figures = run()?;
    figures.bytes = std::fs::metadata(path).map_err(|error| error.to_string())?.len() as f64;
    Ok(figures)
}

fn one_set(set: char, options: &Options, give: &mut dyn FnMut(Table)) -> Result<(), String> {
    let name = sets::name(set, options);
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let folder = folder.path();
    let server = Server::start()?;
    sets::load(set, &server, options)?;
    let path = |way: &str| folder.join(way.replace(|c: char| !c.is_ascii_alphanumeric(), "-"));

    let chosen: Vec<_> = DUMPS.into_iter().filter(|way| way.name == PEER || options.wants(way.name)).collect();
    let mut dumps: Vec<Measured> = chosen.iter().map(|way| Measured::new(way.name)).collect();
    for _ in 0..options.rounds {
        for (way, measured) in chosen.iter().zip(&mut dumps) {
            measured.round(|| {
                server.ask(&["config", "set", "repl-diskless-sync-delay", way.delay])?;
                let to = path(way.name);
                sized(&to, || watched(&server, vec![way.dump(&server, folder, &to)?]))
            });
        }
    }
    give(table(format!("dump of {name}"), &dumps));

    let target = Server::start()?;
    type Make<'a> = Box<dyn Fn() -> Result<Command, String> + 'a>;
    let (peers, replicated, scanned) = (path(PEER), path(OURS), path(SCAN));
    let sources: [(&str, &Path, Make<'_>); 3] = [
        ("redis-cli --pipe of the peer's dump", &peers, Box::new(|| ways::pipe(&target, &peers))),
        ("aquifer, of its dump by replication", &replicated, Box::new(|| ways::restore(&target, folder, &replicated))),
        ("aquifer, of its dump by scan", &scanned, Box::new(|| ways::restore(&target, folder, &scanned))),
    ];
    let mut restores: Vec<Measured> = sources.iter().map(|(name, ..)| Measured::new(*name)).collect();
    for _ in 0..options.rounds {
        for ((_, from, make), measured) in sources.iter().zip(&mut restores) {
            measured.round(|| {
                target.flush()?;
                sized(from, || watched(&target, vec![make()?]))
            });
        }
    }
    give(table(format!("restore of {name}"), &restores));
    if set == 'a' || set == 'e' {
        ends::measure(&name, &server, &target, options, give)?;
    }
    Ok(())
}

pub(crate) fn measure(options: &Options, give: &mut dyn FnMut(Table)) -> Result<(), String> {
    for set in options.sets.chars() {
        one_set(set, options, give).map_err(|error| format!("data set {set}: {error}"))?;
    }
    Ok(())
}
