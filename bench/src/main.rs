//! Aquifer beside its peers. `cargo run --release -p aquifer-bench -- [plans] [pipes] [redis] [increments] [repositories] [binary]` runs these
//! parts, or all; prints tables and writes every figure to `target/bench.json`. `redis --scale 0.01` is a try in seconds.
//!
//! Always holds: both sides of a ratio are measured in the same run on the same data, in turn, as medians of three; a
//! peer that is missing is named and its row left out, never guessed.
#![expect(clippy::print_stdout, reason = "a program whose result is its printed tables")]

mod command;
mod ends;
mod increments;
mod options;
mod pipes;
mod plans;
mod redis;
mod repositories;
mod server;
mod sets;
mod table;
mod watch;
mod ways;

use std::process::ExitCode;

use options::{Options, USAGE};
use table::Table;

/// Measures one part, and gives each table as soon as there is one.
type Measure = fn(&Options, &mut dyn FnMut(Table)) -> Result<(), String>;

fn main() -> ExitCode {
    let parts: [(&str, Measure); 6] = [
        ("plans", |_, give| plans::measure().map(give)),
        ("pipes", |_, give| pipes::measure().map(give)),
        ("redis", redis::measure),
        ("increments", |options, give| increments::measure(options).map(give)),
        ("repositories", repositories::measure),
        ("binary", |_, give| command::measure().map(give)),
    ];
    let options = match Options::read(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(error) => {
            println!("{error}");
            return ExitCode::from(2);
        }
    };
    if let Some(unknown) = options.parts.iter().find(|asked| parts.iter().all(|(name, _)| name != asked)) {
        println!("there is no part `{unknown}`; there are: {USAGE}");
        return ExitCode::from(2);
    }
    let mut results = serde_json::Map::new();
    for (name, measure) in parts {
        if !options.parts.is_empty() && !options.parts.iter().any(|asked| asked == name) {
            continue;
        }
        let mut tables = Vec::new();
        let measured = measure(&options, &mut |table| {
            println!("{table}");
            tables.push(table.to_json());
        });
        results.insert(name.to_owned(), tables.into());
        // After each part, for a later one may take an hour.
        let text = serde_json::Value::Object(results.clone()).to_string();
        if let Err(error) = std::fs::write("target/bench.json", text) {
            println!("target/bench.json: {error}");
            return ExitCode::FAILURE;
        }
        if let Err(error) = measured {
            println!("{name}: {error}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}
