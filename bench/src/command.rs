//! The size of the command, and how long it takes to start and to plan.

use std::fs;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use crate::server::{aquifer, run};
use crate::table::{Table, median, timed};

pub(crate) fn measure() -> Result<Table, String> {
    let mut table = Table::new("the command itself", &["what", "figure"]);
    let file = PathBuf::from(aquifer()?.get_program());
    let bytes = fs::metadata(&file).map_err(|error| error.to_string())?.len();
    table.row(&["size of the binary".to_owned(), format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))]);
    let plan = ["plan", "redis-backup", "--set", "repository=/r", "--set-env", "password=PATH"];
    for (what, args) in [("aquifer --version", &["--version"][..]), ("aquifer plan redis-backup", &plan)] {
        let times: Result<Vec<Duration>, String> =
            (0..9).map(|_| timed(|| run(aquifer()?.args(args).stdout(Stdio::null())))).collect();
        table.row(&[format!("{what} (median of 9)"), format!("{:.1} ms", median(times?).as_secs_f64() * 1e3)]);
    }
    Ok(table)
}
