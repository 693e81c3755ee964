//! The alerts, tried by promtool on series that we made.

use std::process::Command;

use serde_json::Value;

use crate::{home, known, metrics, said, text, yaml};

fn alerts() -> Vec<Value> {
    let file = yaml(&text("deploy/prometheus/alerts.yaml"));
    let groups = file["groups"].as_array().expect("groups");
    groups.iter().flat_map(|group| group["rules"].as_array().expect("rules").clone()).collect()
}

#[test]
fn each_alert_fires_when_it_shall_and_only_then() {
    let folder = home().join("deploy/prometheus");
    let (is_sound, told) = said(Command::new("promtool").args(["check", "rules", "alerts.yaml"]).current_dir(&folder));
    assert!(is_sound, "{told}");
    let (is_so, told) = said(Command::new("promtool").args(["test", "rules", "alerts_test.yaml"]).current_dir(&folder));
    assert!(is_so, "{told}");
}

#[test]
fn no_alert_is_untried() {
    let file = yaml(&text("deploy/prometheus/alerts_test.yaml"));
    let tests = file["tests"].as_array().expect("tests");
    let tried: Vec<&Value> =
        tests.iter().flat_map(|test| test["alert_rule_test"].as_array().expect("questions")).collect();
    let all = alerts();
    assert!(all.len() > 8);
    for alert in &all {
        let name = alert["alert"].as_str().expect("all rules are alerts");
        let of_it = || tried.iter().filter(|test| test["alertname"] == name);
        assert!(of_it().any(|test| test["exp_alerts"].is_array()), "{name} is never seen to fire");
        assert!(["critical", "warning"].contains(&alert["labels"]["severity"].as_str().expect("a severity")), "{name}");
    }
    for test in tried {
        assert!(all.iter().any(|alert| alert["alert"] == test["alertname"]), "{} is no alert", test["alertname"]);
    }
}

#[test]
fn alerts_are_of_metrics_that_there_are() {
    let known = known();
    let head = text("deploy/prometheus/alerts.yaml");
    for alert in alerts() {
        for name in metrics(alert["expr"].as_str().expect("an expression")) {
            // Bounds are the reader's own series, told of at the head of the file.
            let is_told = if name.starts_with("aquifer:") {
                head.lines().take_while(|line| line.starts_with('#')).any(|line| line.contains(&name))
            } else {
                known.contains(&name)
            };
            assert!(is_told, "{}: {name}", alert["alert"]);
        }
    }
}
