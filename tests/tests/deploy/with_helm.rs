//! The chart, rendered by Helm. `./test` without `all` leaves this module out: Helm is a Go program.

use std::process::Command;

use aquifer_tests::stores::installed;
use serde_json::Value;

use crate::{home, said, text, yaml};

/// Every part that is not there by default.
const ALL: &[&str] = &[
    "networkPolicy.enabled=true",
    "serviceMonitor.enabled=true",
    "prometheusRule.enabled=true",
    "grafanaDashboard.enabled=true",
    "operator.pushgateway=http://gateway.monitoring.svc:9091",
];

fn helm(verb: &[&str], set: &[&str]) -> (bool, String) {
    let mut command = Command::new(installed("go/bin/helm"));
    command.args(verb).arg(home().join("deploy/chart/aquifer")).args(["--namespace", "backups"]);
    command.args(set.iter().flat_map(|one| ["--set", one]));
    said(&mut command)
}

/// The objects that come of these values.
fn rendered(set: &[&str]) -> Vec<Value> {
    let (is_sound, told) = helm(&["template", "aquifer"], set);
    assert!(is_sound, "{told}");
    serde_saphyr::from_multiple(&told).unwrap_or_else(|error| panic!("{error}: {told}"))
}

fn of_kind<'a>(all: &'a [Value], kind: &str) -> Vec<&'a Value> {
    all.iter().filter(|one| one["kind"] == kind).collect()
}

#[test]
fn the_plain_manifests_are_fresh() {
    let bin = installed("go/bin");
    let script = r#"PATH="$1:$PATH" exec "$2""#;
    let render = home().join("deploy/manifests/render");
    let (is_sound, told) = said(Command::new("sh").args(["-c", script, "sh", &bin]).arg(render));
    assert!(is_sound, "{told}");
    assert_eq!(
        told,
        text("deploy/manifests/aquifer.yaml"),
        "deploy/manifests/aquifer.yaml is stale: run deploy/generate"
    );
}

#[test]
fn nothing_that_is_optional_is_there_unasked() {
    let kinds = |set: &[&str]| {
        let mut kinds: Vec<String> =
            rendered(set).iter().map(|one| one["kind"].as_str().expect("a kind").to_owned()).collect();
        kinds.sort();
        kinds.join(" ")
    };
    let few = "ClusterRole ClusterRoleBinding Deployment PodDisruptionBudget Role RoleBinding Service ServiceAccount";
    assert_eq!(kinds(&[]), few);
    let all = "ClusterRole ClusterRoleBinding ConfigMap Deployment NetworkPolicy PodDisruptionBudget PrometheusRule Role RoleBinding Service ServiceAccount ServiceMonitor";
    assert_eq!(kinds(ALL), all);
    // A single replica that may not be away could never be moved.
    assert!(of_kind(&rendered(&["replicas=1"]), "PodDisruptionBudget").is_empty());
}

/// Whoever may make a hook could run commands in all pods: only who asks for it has that.
#[test]
fn commands_in_pods_are_a_right_that_is_asked_for() {
    let (few, more) = (rendered(&[]), rendered(&["hooks.exec=true"]));
    let rules = |all: &[Value]| of_kind(all, "ClusterRole")[0]["rules"].as_array().expect("rules").clone();
    let mut wanted = rules(&few);
    wanted.push(serde_json::json!({"apiGroups": [""], "resources": ["services"], "verbs": ["get"]}));
    wanted.push(serde_json::json!({"apiGroups": [""], "resources": ["pods/exec"], "verbs": ["get", "create"]}));
    assert_eq!(rules(&more), wanted);
    let args =
        |all: &[Value]| of_kind(all, "Deployment")[0]["spec"]["template"]["spec"]["containers"][0]["args"].to_string();
    assert!(!args(&few).contains("exec") && args(&more).contains("--exec-hooks"), "{}", args(&more));
}

#[test]
fn values_that_are_wrong_are_refused() {
    let (is_sound, told) = helm(&["lint", "--strict"], ALL);
    assert!(is_sound, "{told}");
    for wrong in [
        "replica=2",
        "replicas=two",
        "image.repository=",
        "image.digest=sha256:12",
        "operator.sessionTimeout=soon",
        "operator.pushgateway=gateway:9091",
        "prometheusRule.backupConfigurations[0].name=weekly",
        "networkPolicy.apiServerPorts[0]=0",
        "hooks.exec=maybe",
    ] {
        let (is_sound, told) = helm(&["template", "aquifer"], &[wrong]);
        assert!(!is_sound && told.contains("values don't meet the specifications of the schema"), "{wrong}: {told}");
    }
}

#[test]
fn the_rules_are_the_alerts_and_the_bounds_that_were_asked_for() {
    let groups = |set: &[&str]| {
        let rule = of_kind(&rendered(&[ALL, set].concat()), "PrometheusRule")[0].clone();
        rule["spec"]["groups"].as_array().expect("groups").clone()
    };
    let alerts = yaml(&text("deploy/prometheus/alerts.yaml"));
    assert_eq!(Value::from(groups(&[])), alerts["groups"]);
    let more = groups(&[
        "prometheusRule.noBackupWithinHours=50",
        "prometheusRule.backupConfigurations[0].namespace=shop",
        "prometheusRule.backupConfigurations[0].name=weekly",
        "prometheusRule.backupConfigurations[0].noBackupWithinHours=192",
        "prometheusRule.without[0]=AquiferRestoreTooOld",
    ]);
    let bounds = serde_json::json!([
        {"record": "aquifer:no_backup_within_seconds", "expr": "vector(50 * 3600)"},
        {
            "record": "aquifer:no_backup_within_seconds",
            "expr": "vector(192 * 3600)",
            "labels": {"namespace": "shop", "invoker_name": "weekly"},
        },
    ]);
    assert_eq!(more[0]["rules"], bounds);
    let written = Value::from(more).to_string();
    assert!(!written.contains("AquiferRestoreTooOld") && written.contains("AquiferRepositoryNotChecked"));
}

#[test]
fn values_come_to_where_they_belong() {
    let all = rendered(
        &[ALL, &["image.repository=registry.example/aquifer", "image.tag=edge", "nameOverride=backups"]].concat(),
    );
    let container = &of_kind(&all, "Deployment")[0]["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(container["image"], "registry.example/aquifer:edge");
    let variables = container["env"].as_array().expect("variables");
    let value = |name: &str| variables.iter().find(|one| one["name"] == name).map(|one| &one["value"]);
    assert_eq!(value("AQUIFER_IMAGE"), Some(&container["image"]));
    assert_eq!(value("AQUIFER_PUSHGATEWAY"), Some(&Value::from("http://gateway.monitoring.svc:9091")));
    let policy = &of_kind(&all, "NetworkPolicy")[0]["spec"];
    assert_eq!(policy["ingress"], Value::from(Vec::<Value>::new()));
    assert_eq!(policy["egress"][2]["ports"][0]["port"], 9091);
    let monitor = &of_kind(&all, "ServiceMonitor")[0]["spec"];
    assert_eq!(monitor["endpoints"][0]["honorLabels"], true);
    // What the monitor chooses is what the service has, and the service chooses what the pods have.
    let has = |labels: &Value, chosen: &Value| {
        chosen.as_object().expect("labels").iter().all(|(name, value)| labels[name] == *value)
    };
    let service = of_kind(&all, "Service")[0];
    assert!(has(&service["metadata"]["labels"], &monitor["selector"]["matchLabels"]));
    let pods = &of_kind(&all, "Deployment")[0]["spec"]["template"]["metadata"]["labels"];
    for chosen in [
        &service["spec"]["selector"],
        &policy["podSelector"]["matchLabels"],
        &of_kind(&all, "PodDisruptionBudget")[0]["spec"]["selector"]["matchLabels"],
    ] {
        assert!(has(pods, chosen), "{chosen}");
    }
    assert_eq!(of_kind(&all, "ServiceAccount")[0]["metadata"]["name"], "backups");
    let dashboard = &of_kind(&all, "ConfigMap")[0]["data"]["aquifer.json"];
    assert_eq!(dashboard.as_str().expect("a text").trim(), text("deploy/grafana/aquifer.json").trim());
}
