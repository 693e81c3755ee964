//! Aquifer beside its peers. `cargo run --release -p aquifer-bench -- [plans] [pipes] [redis] [increments] [binary]` runs these
//! parts, or all; prints one table each and writes every figure to `target/bench.json`.
//!
//! Always holds: both sides of a ratio are measured in the same run on the same data, in turn, as medians of three; a
//! peer that is missing is named and its row left out, never guessed.
#![expect(clippy::print_stdout, reason = "a program whose result is its printed tables")]

mod increments;
mod pipes;
mod plans;
mod redis;
mod table;

use std::process::ExitCode;

use table::Table;

/// Measures one part.
type Measure = fn() -> Result<Table, String>;

fn main() -> ExitCode {
    let asked: Vec<String> = std::env::args().skip(1).collect();
    let parts: [(&str, Measure); 5] = [
        ("plans", plans::measure),
        ("pipes", pipes::measure),
        ("redis", redis::measure),
        ("increments", increments::measure),
        ("binary", redis::binary),
    ];
    if let Some(unknown) = asked.iter().find(|asked| parts.iter().all(|(name, _)| name != asked)) {
        println!("there is no part `{unknown}`; there are: {}", parts.map(|(name, _)| name).join(", "));
        return ExitCode::from(2);
    }
    let mut results = serde_json::Map::new();
    for (name, measure) in parts {
        if !asked.is_empty() && !asked.iter().any(|asked| asked == name) {
            continue;
        }
        match measure() {
            Ok(table) => {
                println!("{table}");
                results.insert(name.to_owned(), table.to_json());
            }
            Err(error) => {
                println!("{name}: {error}");
                return ExitCode::FAILURE;
            }
        }
    }
    let text = serde_json::Value::Object(results).to_string();
    if let Err(error) = std::fs::write("target/bench.json", text) {
        println!("target/bench.json: {error}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
