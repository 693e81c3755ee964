//! The plain manifests, given to a real API server: all of them are taken, the operator's pods are admitted, and it has the rights that it needs and no other.

use std::collections::BTreeSet;
use std::path::Path;

use aquifer_tests::kubernetes::wait::until;
use futures::{StreamExt, stream};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::authorization::v1::SubjectAccessReview;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::Client;
use kube::api::{Api, ListParams, PostParams};
use serde_json::{from_value, json};
use tokio::sync::OnceCell;

use super::definitions::{defined, kubectl};
use super::rig::Rig;

pub(super) const SYSTEM: &str = "aquifer-system";
pub(super) const OPERATOR: &str = "system:serviceaccount:aquifer-system:aquifer";
const NOBODY: &str = "system:serviceaccount:aquifer-system:default";

const VERBS: [&str; 12] = [
    "get",
    "list",
    "watch",
    "create",
    "update",
    "patch",
    "delete",
    "deletecollection",
    "impersonate",
    "bind",
    "escalate",
    "*",
];

/// What it may do everywhere: group, resource, verbs.
const RIGHTS: [(&str, &str, &[&str]); 20] = [
    ("stash.appscode.com", "repositories", &["get", "list", "watch", "create", "patch"]),
    ("stash.appscode.com", "backupconfigurations", &["get", "list", "watch", "create", "patch"]),
    ("stash.appscode.com", "backupsessions", &["get", "list", "watch", "create", "delete"]),
    ("stash.appscode.com", "restoresessions", &["get", "list", "watch"]),
    ("stash.appscode.com", "backupblueprints", &["get", "list", "watch"]),
    ("stash.appscode.com", "tasks", &["get", "list", "watch"]),
    ("stash.appscode.com", "functions", &["get", "list", "watch"]),
    ("aquifer.dev", "aquifertasks", &["get", "list", "watch"]),
    ("aquifer.dev", "aquiferfunctions", &["get", "list", "watch"]),
    ("stash.appscode.com", "repositories/status", &["patch"]),
    ("stash.appscode.com", "backupconfigurations/status", &["patch"]),
    ("stash.appscode.com", "backupsessions/status", &["patch"]),
    ("stash.appscode.com", "restoresessions/status", &["patch"]),
    ("appcatalog.appscode.com", "appbindings", &["get", "list", "watch"]),
    ("batch", "cronjobs", &["get", "list", "watch", "create", "update", "delete"]),
    ("batch", "jobs", &["get", "list", "watch", "create", "delete"]),
    ("", "pods", &["get", "list"]),
    ("", "secrets", &["get", "create", "delete"]),
    ("", "namespaces", &["get", "list", "watch"]),
    ("events.k8s.io", "events", &["list", "create", "patch"]),
];

/// A right: namespace, group, resource with what is below it, name, verb.
pub(super) type Right = (String, String, String, String, String);

pub(super) fn right(namespace: &str, group: &str, resource: &str, name: &str, verb: &str) -> Right {
    let [namespace, group, resource, name, verb] = [namespace, group, resource, name, verb].map(str::to_owned);
    (namespace, group, resource, name, verb)
}

static APPLIED: OnceCell<()> = OnceCell::const_new();

/// A namespace of a cluster that has the manifests.
pub(super) async fn installed(name: &'static str) -> (&'static Rig, Client) {
    let (rig, client) = defined(name).await;
    APPLIED
        .get_or_init(async || {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/manifests/aquifer.yaml");
            let manifests = std::fs::read_to_string(path).expect("the manifests");
            let _free = rig.whole.read().await;
            // A warning is a field that is not known, or a pod that would not be admitted.
            let (done, stdout, told) = kubectl(rig, &["apply", "--server-side", "-f", "-"], &manifests).await;
            assert!(done && told.is_empty(), "{stdout}{told}");
        })
        .await;
    (rig, client)
}

pub(super) async fn may(client: &Client, user: &str, right: &Right) -> bool {
    let (namespace, group, resource, name, verb) = right;
    let (resource, below) = resource.split_once('/').unwrap_or((resource, ""));
    let review = from_value(json!({"metadata": {}, "spec": {
        "user": user,
        "groups": ["system:serviceaccounts", format!("system:serviceaccounts:{SYSTEM}"), "system:authenticated"],
        "resourceAttributes": {
            "namespace": namespace, "group": group, "resource": resource, "subresource": below, "name": name, "verb": verb,
        },
    }}));
    let reviews: Api<SubjectAccessReview> = Api::all(client.clone());
    let review = reviews.create(&PostParams::default(), &review.expect("a review")).await.expect("an answer");
    review.status.expect("an answer").allowed
}

/// All resources that the API server has, and those that stand for all.
async fn resources(client: &Client) -> BTreeSet<(String, String)> {
    let mut all = BTreeSet::from([("*".to_owned(), "*".to_owned()), (String::new(), "*".to_owned())]);
    let core = client.list_core_api_resources("v1").await.expect("an answer");
    all.extend(core.resources.into_iter().map(|one| (String::new(), one.name)));
    for group in client.list_api_groups().await.expect("an answer").groups {
        for version in group.versions {
            let found = client.list_api_group_resources(&version.group_version).await.expect("an answer");
            all.extend(found.resources.into_iter().map(|one| (group.name.clone(), one.name)));
        }
    }
    // `kubectl auth` would not show them, and RBAC knows them.
    all.extend(["users", "groups", "serviceaccounts", "userextras"].map(|one| (String::new(), one.to_owned())));
    all
}

/// What a user may do in a namespace, or where that is empty in all of them; not what every account may.
async fn rights(client: &Client, namespace: &str, name: &str) -> BTreeSet<Right> {
    let mut asked = Vec::new();
    for (group, resource) in resources(client).await {
        asked.extend(VERBS.map(|verb| right(namespace, &group, &resource, name, verb)));
    }
    assert!(asked.len() > 1000, "{}", asked.len());
    let answers = stream::iter(asked).map(async |asked| {
        let is_its_own = may(client, OPERATOR, &asked).await && !may(client, NOBODY, &asked).await;
        is_its_own.then_some(asked)
    });
    answers.buffer_unordered(16).filter_map(async |found| found).collect().await
}

fn needed(namespace: &str, name: &str) -> BTreeSet<Right> {
    let all = RIGHTS.iter().flat_map(|(group, resource, verbs)| {
        verbs.iter().map(move |verb| right(namespace, group, resource, name, verb))
    });
    all.collect()
}

/// Says which rights there are too many, and which are missing.
fn compare(there: &BTreeSet<Right>, needed: &BTreeSet<Right>, place: &str) {
    let [more, less]: [Vec<_>; 2] = [there.difference(needed).collect(), needed.difference(there).collect()];
    assert!(more.is_empty() && less.is_empty(), "{place}: not needed: {more:?}; missing: {less:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operator_has_the_rights_that_it_needs_and_no_other() {
    let (rig, client) = installed("rights").await;
    let _free = rig.whole.read().await;
    compare(&rights(&client, "rights", "").await, &needed("rights", ""), "in a namespace");
    compare(&rights(&client, "", "").await, &needed("", ""), "in all namespaces");

    // In its own namespace it makes a lease, and then has that one only.
    let leases = |name: &str, verbs: &[&str]| -> BTreeSet<Right> {
        verbs.iter().map(|verb| right(SYSTEM, "coordination.k8s.io", "leases", name, verb)).collect()
    };
    let mut expected = needed(SYSTEM, "aquifer-operator");
    expected.extend(leases("aquifer-operator", &["get", "create", "update"]));
    compare(&rights(&client, SYSTEM, "aquifer-operator").await, &expected, "in its own");
    for verb in ["get", "update", "patch", "delete", "list"] {
        assert!(
            !may(&client, OPERATOR, &right(SYSTEM, "coordination.k8s.io", "leases", "another", verb)).await,
            "{verb}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn its_pods_are_admitted_where_only_restricted_ones_are() {
    let (rig, client) = installed("admitted").await;
    let _free = rig.whole.read().await;
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), SYSTEM);
    until("both replicas are made", async || {
        let status = deployments.get("aquifer").await.ok()?.status?;
        let failed = status
            .conditions
            .iter()
            .flatten()
            .find(|one| one.type_.as_deref() == Some("ReplicaFailure") && one.status.as_deref() == Some("True"));
        assert!(failed.is_none(), "{failed:?}");
        (status.replicas == Some(2)).then_some(())
    })
    .await;
    let chosen = ListParams::default().labels("app.kubernetes.io/name=aquifer");
    let pods: Api<k8s_openapi::api::core::v1::Pod> = Api::namespaced(client.clone(), SYSTEM);
    let pods = pods.list(&chosen).await.expect("an answer").items;
    assert_eq!(pods.len(), 2);
    for pod in pods {
        let spec = pod.spec.expect("a pod");
        assert_eq!(spec.service_account_name.as_deref(), Some("aquifer"));
        assert_eq!(
            spec.containers[0].security_context.as_ref().and_then(|context| context.read_only_root_filesystem),
            Some(true)
        );
    }
    let budgets: Api<PodDisruptionBudget> = Api::namespaced(client, SYSTEM);
    until("the budget counts them", async || {
        (budgets.get("aquifer").await.ok()?.status?.expected_pods == Some(2)).then_some(())
    })
    .await;
}
