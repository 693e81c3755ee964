//! The dashboard: promtool reads each of its expressions, and each is of metrics that there are.

use std::fmt::Write;
use std::process::Command;

use serde_json::Value;

use crate::{known, metrics, said, text};

fn dashboard() -> Value {
    serde_json::from_str(&text("deploy/grafana/aquifer.json")).expect("JSON")
}

/// Each expression, with the panel that it is of.
fn expressions(dashboard: &Value) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for panel in dashboard["panels"].as_array().expect("panels") {
        let title = panel["title"].as_str().expect("a title");
        for target in panel["targets"].as_array().into_iter().flatten() {
            found.push((title.to_owned(), target["expr"].as_str().expect("an expression").to_owned()));
        }
    }
    for variable in dashboard["templating"]["list"].as_array().expect("variables") {
        let Some(query) = variable["query"]["query"].as_str() else { continue };
        let inner =
            query.strip_prefix("label_values(").and_then(|rest| rest.rsplit_once(", ")).expect("values of a label");
        found.push((format!("the variable {}", variable["name"]), inner.0.to_owned()));
    }
    found
}

#[test]
fn promtool_reads_every_expression() {
    let mut rules = String::from("groups:\n- name: panels\n  rules:\n");
    let all = expressions(&dashboard());
    assert!(all.len() > 20);
    for (number, (_, expression)) in all.iter().enumerate() {
        let plain = expression.replace("$__rate_interval", "5m");
        writeln!(rules, "  - {{record: 'panel:{number}', expr: {}}}", Value::from(plain)).expect("a text");
    }
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("rules.yaml"), &rules).expect("room");
    let (is_sound, told) = said(Command::new("promtool").args(["check", "rules", "rules.yaml"]).current_dir(&folder));
    assert!(is_sound && told.contains(&format!("{} rules found", all.len())), "{told}\n{rules}");
}

#[test]
fn panels_are_of_metrics_that_there_are() {
    let (known, dashboard) = (known(), dashboard());
    let alerts = include_str!("../../../deploy/prometheus/alerts.yaml");
    for (title, expression) in expressions(&dashboard) {
        let names = metrics(&expression);
        assert!(!names.is_empty(), "{title}: {expression}");
        for name in names {
            // Bounds are recorded by who wants others, as the head of the alerts says.
            let is_bound = name.starts_with("aquifer:") && alerts.contains(&name);
            assert!(is_bound || known.contains(&name), "{title}: {name}");
        }
    }
}

#[test]
fn variables_are_declared_and_panels_lie_beside_each_other() {
    let dashboard = dashboard();
    let names: Vec<&str> = dashboard["templating"]["list"]
        .as_array()
        .expect("variables")
        .iter()
        .filter_map(|one| one["name"].as_str())
        .collect();
    for (title, expression) in expressions(&dashboard) {
        for used in expression.split('$').skip(1) {
            let name: String = used.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
            assert!(name == "__rate_interval" || names.contains(&name.as_str()), "{title}: ${name}");
        }
    }
    let panels = dashboard["panels"].as_array().expect("panels");
    let place = |panel: &Value| ["x", "y", "w", "h"].map(|side| panel["gridPos"][side].as_u64().expect("a place"));
    for (number, one) in panels.iter().enumerate() {
        let [x, y, w, h] = place(one);
        assert!(x + w <= 24 && !one["title"].as_str().expect("a title").is_empty(), "{}", one["title"]);
        for other in &panels[number + 1..] {
            let [ox, oy, ow, oh] = place(other);
            assert!(
                x + w <= ox || ox + ow <= x || y + h <= oy || oy + oh <= y,
                "{} is on {}",
                one["title"],
                other["title"]
            );
            assert_ne!(one["id"], other["id"]);
        }
    }
}
