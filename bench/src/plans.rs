//! How long it takes to check and plan a task of 10, 100 and 1,000 steps, from its text to the plan.

use std::fmt::Write as _;
use std::time::Duration;

use aquifer_engine::catalog::{Catalog, Inputs};

use crate::table::{Table, median, timed};

/// Pipelines of three steps, each waiting for the one before, with params and late templates.
fn task(steps: usize) -> String {
    let mut text = String::from(
        "apiVersion: aquifer.dev/v1alpha1\nkind: Task\nmetadata: {name: big}\nspec:\n  params: [{name: folder, default: /tmp}]\n  steps:\n",
    );
    for i in 0..steps / 3 {
        let needs = if i == 0 { String::new() } else { format!("needs: [write-{}], ", i - 1) };
        let last = if i == 0 { String::new() } else { format!("-{{{{ steps.write-{}.outputs.bytes }}}}", i - 1) };
        let _ = write!(
            text,
            "    - {{name: read-{i}, function: file-read, params: {{path: \"{{{{ params.folder }}}}/in-{i}\"}}}}
    - {{name: zip-{i}, function: compress, stdin: read-{i}, retry: {{attempts: 2}}}}
    - {{name: write-{i}, {needs}function: file-write, stdin: zip-{i}, params: {{path: \"{{{{ params.folder }}}}/out-{i}{last}\"}}}}\n"
        );
    }
    for i in steps / 3 * 3..steps {
        let _ = writeln!(text, "    - {{name: say-{i}, function: exec, params: {{command: [echo, \"{i}\"]}}}}");
    }
    text
}

pub(crate) fn measure() -> Result<Table, String> {
    let mut table = Table::new("plan time, from text to plan (median of 9)", &["steps", "milliseconds"]);
    for steps in [10, 100, 1000] {
        let text = task(steps);
        let times: Result<Vec<Duration>, String> = (0..9)
            .map(|_| {
                timed(|| {
                    let mut catalog = Catalog::new(aquifer_functions::builtins());
                    catalog.add_text("big.yaml", &text);
                    let plan = catalog.plan("big", &Inputs::default()).map_err(|problems| format!("{problems:?}"))?;
                    if plan.steps.len() == steps { Ok(()) } else { Err(format!("{} steps planned", plan.steps.len())) }
                })
            })
            .collect();
        table.row(&[steps.to_string(), format!("{:.2}", median(times?).as_secs_f64() * 1e3)]);
    }
    Ok(table)
}
