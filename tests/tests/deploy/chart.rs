//! What in the chart is made from something else is as fresh as that.

use crate::{text, yaml};

const STALE: &str = "is stale: run deploy/generate";

#[test]
fn the_definitions_are_fresh() {
    let now = aquifer_operator::crds::documents().expect("YAML");
    // Too long to be shown.
    assert!(text("deploy/chart/aquifer/crds/aquifer.yaml") == now, "deploy/chart/aquifer/crds/aquifer.yaml {STALE}");
}

#[test]
fn the_copies_are_fresh() {
    for (from, to) in [("prometheus/alerts.yaml", "alerts.yaml"), ("grafana/aquifer.json", "dashboard.json")] {
        assert!(text(&format!("deploy/{from}")) == text(&format!("deploy/chart/aquifer/files/{to}")), "{to} {STALE}");
    }
}

#[test]
fn its_version_is_that_of_the_workspace() {
    let chart = yaml(&text("deploy/chart/aquifer/Chart.yaml"));
    assert_eq!(chart["appVersion"], env!("CARGO_PKG_VERSION"));
    assert_eq!(chart["version"], env!("CARGO_PKG_VERSION"));
}
