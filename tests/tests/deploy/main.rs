//! What is in `deploy/`: the chart, alerts and dashboard. What of it needs a cluster stands with the tests on one, the image with those of the command.

mod alerts;
mod chart;
mod dashboard;
mod with_helm;

use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

fn home() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// A file, by its path below the workspace.
fn text(path: &str) -> String {
    std::fs::read_to_string(home().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn yaml(text: &str) -> Value {
    serde_saphyr::from_str(text).expect("YAML")
}

/// Runs a program; gives whether it succeeded, and all that it said.
fn said(command: &mut Command) -> (bool, String) {
    let name = command.get_program().to_string_lossy().into_owned();
    let done = command.output().unwrap_or_else(|error| panic!("{name}: {error}; `./test` installs it"));
    (done.status.success(), [done.stdout, done.stderr].map(|part| String::from_utf8_lossy(&part).into_owned()).concat())
}

/// The names of metrics that an expression has. promtool has accepted it, so that what is no name of ours is part of the language.
fn metrics(expression: &str) -> Vec<String> {
    let ours = ["aquifer_", "aquifer:", "stash_", "process_", "container_", "kube_", "up"];
    let mut rest = expression.to_owned();
    // What stands in quotes is a value.
    while let Some(begin) = rest.find('"') {
        let end = rest[begin + 1..].find('"').expect("the end of a value") + begin + 1;
        rest.replace_range(begin..=end, " ");
    }
    let words = rest.split(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != ':');
    words.filter(|word| ours.iter().any(|first| word.starts_with(first))).map(str::to_owned).collect()
}

/// The metrics that the reference says there are.
fn known() -> Vec<String> {
    let page = text("docs/reference/kubernetes-metrics.md");
    let rows = page.lines().filter(|line| line.starts_with("| `"));
    let firsts = rows.filter_map(|line| line.split('|').nth(1).map(str::to_owned));
    let known: Vec<String> =
        firsts.flat_map(|first| first.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>()).collect();
    assert!(known.len() > 20, "{known:?}");
    known
}

#[test]
fn the_names_in_an_expression_are_found() {
    let expression =
        r#"sum by (namespace) (rate(aquifer_a_total{phase="aquifer_no"}[5m])) or vector(1) > on () aquifer:limit"#;
    assert_eq!(metrics(expression), ["aquifer_a_total", "aquifer:limit"]);
}
