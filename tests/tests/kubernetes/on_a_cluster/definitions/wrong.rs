//! What can never work is refused where it is written, in our own words.

use super::{defined, kubectl};

fn repository(spec: &str) -> String {
    format!("{{apiVersion: stash.appscode.com/v1alpha1, kind: Repository, metadata: {{name: r}}, spec: {{{spec}}}}}")
}

fn backup(more: &str) -> String {
    format!(
        "{{apiVersion: stash.appscode.com/v1beta1, kind: BackupConfiguration, metadata: {{name: b}}, spec: {{repository: {{name: r}}, {more}}}}}"
    )
}

fn restore(rules: &str, old_rules: &str) -> String {
    let target =
        format!("{{ref: {{apiVersion: appcatalog.appscode.com/v1alpha1, kind: AppBinding, name: a}}, rules: {rules}}}");
    format!(
        "{{apiVersion: stash.appscode.com/v1beta1, kind: RestoreSession, metadata: {{name: r}}, \
         spec: {{repository: {{name: r}}, target: {target}, rules: {old_rules}}}}}"
    )
}

fn restoring(more: &str) -> String {
    restore("[]", "[]").replace("rules: []}}", &format!("{more}}}}}"))
}

fn namespaces(which: &str) -> String {
    repository(&format!(
        "backend: {{rest: {{url: u}}, storageSecretName: k}}, usagePolicy: {{allowedNamespaces: {{{which}}}}}"
    ))
}

fn own(kind: &str, spec: &str) -> String {
    format!("{{apiVersion: aquifer.dev/v1alpha1, kind: {kind}, metadata: {{name: o}}, spec: {{{spec}}}}}")
}

const ONE_BACKEND: &str = "a repository has exactly one backend";
const ONE_ACTION: &str = "a hook does exactly one thing";
const ONE_FOR_THE_REST: &str = "at most one rule has no `targetHosts`";

#[tokio::test]
async fn what_is_wrong_is_refused_in_our_words() {
    let (rig, _) = defined("refused").await;
    let _free = rig.whole.read().await;
    let blueprint = repository("backend: {}").replace("v1alpha1", "v1beta1").replace("Repository", "BackupBlueprint");
    let port = "{apiVersion: appcatalog.appscode.com/v1alpha1, kind: AppBinding, metadata: {name: a}, spec: {clientConfig: {service: {name: s, port: 0}}}}";
    let wrong = [
        (repository("backend: {storageSecretName: k}"), ONE_BACKEND),
        (repository("backend: {gcs: {bucket: b}, b2: {bucket: b}, storageSecretName: k}"), ONE_BACKEND),
        (repository("backend: {local: {mountPath: /a}, swift: {container: c}}"), ONE_BACKEND),
        (repository("backend: {local: {mountPath: /a}, storageSecretName: k}"), "lies on exactly one volume"),
        (
            repository(
                "backend: {local: {mountPath: /a, emptyDir: {}, nfs: {server: s, path: /}}, storageSecretName: k}",
            ),
            "lies on exactly one volume",
        ),
        (repository("wipeOut: true"), "spec.backend: Required value"),
        (blueprint, ONE_BACKEND),
        (repository("backend: {azure: {container: c}}"), "`storageSecretName` is missing"),
        (repository("backend: {azure: {container: c}, storageSecretName: ''}"), "`storageSecretName` is missing"),
        (namespaces("from: All, selector: {}"), "`selector` is only read where `from` is `Selector`"),
        (namespaces("selector: {}"), "`selector` is only read where `from` is `Selector`"),
        (namespaces("from: Selector"), "there is no `selector`"),
        (namespaces("from: Some"), "Unsupported value: \"Some\""),
        (backup("hooks: {preBackup: {containerName: c}}"), ONE_ACTION),
        (backup("hooks: {preBackup: {exec: {command: [a]}, tcpSocket: {port: 1}}}"), ONE_ACTION),
        (backup("hooks: {postBackup: {executionPolicy: Always}}"), ONE_ACTION),
        (backup("hooks: {postBackup: {exec: {}, executionPolicy: Sometimes}}"), "Unsupported value: \"Sometimes\""),
        (backup("driver: Borg"), "Unsupported value: \"Borg\""),
        (backup("retentionPolicy: {name: n, keepLast: -1}"), "should be greater than or equal to 0"),
        (backup("retentionPolicy: {name: n, keepYearly: -1}"), "should be greater than or equal to 0"),
        (backup("retryConfig: {maxRetry: -1}"), "should be greater than or equal to 0"),
        (backup("shedule: '* * * * *'"), "unknown field \"spec.shedule\""),
        (restoring("hooks: {preRestore: {tcpSocket: {port: 65536}}}"), "should be less than or equal to 65535"),
        (restoring("hooks: {postRestore: {httpGet: {port: 0}}}"), "should be greater than or equal to 1"),
        (restoring("interimVolumeTemplate: {apiVersion: v2}"), "Unsupported value: \"v2\""),
        (restore("[{}]", "[{targetHosts: [h]}]"), "rules stand in one place"),
        (restore("[{}, {snapshots: [a]}]", "[]"), ONE_FOR_THE_REST),
        (restore("[]", "[{targetHosts: []}, {targetHosts: [h]}, {snapshots: [a]}]"), ONE_FOR_THE_REST),
        (port.to_owned(), "should be greater than or equal to 1"),
        (backup("task: {apiGroup: aquifer.dev}"), "which Task of aquifer.dev?"),
        (backup("task: {apiGroup: aquifer.de, name: t}"), "Unsupported value: \"aquifer.de\""),
        (own("Task", "steps: []"), "should have at least 1 items"),
        (own("Task", "steps: [{name: a, functoin: b}]"), "unknown field \"spec.steps[0].functoin\""),
        (own("Task", "steps: [{name: a, function: b, when: maybe}]"), "Unsupported value: \"maybe\""),
        (own("Task", "steps: [{name: a, function: b}], concurrency: 0"), "should be greater than or equal to 1"),
        (
            own("Task", "params: [{name: p, type: text}], steps: [{name: a, function: b}]"),
            "Unsupported value: \"text\"",
        ),
        (own("Function", "builtin: compress, exec: {command: [cat]}"), "must validate one and only one schema (oneOf)"),
        (own("Function", "summary: nothing"), "must validate one and only one schema (oneOf)"),
    ];
    for (manifest, words) in wrong {
        let (done, stdout, told) = kubectl(rig, &["create", "-n", "refused", "-f", "-"], &manifest).await;
        assert!(!done, "taken: {manifest} {stdout}");
        assert!(told.contains(words), "{words}: {manifest}: {told}");
    }
    // What is nearly as wrong, and is not.
    for sound in [
        repository("backend: {local: {mountPath: /a, emptyDir: {}}}"),
        namespaces("from: Selector, selector: {}"),
        namespaces(""),
        backup("hooks: {}"),
        backup("task: {apiGroup: stash.appscode.com}"),
        backup(
            "task: {apiGroup: aquifer.dev, name: t, params: [{name: a, valueFrom: {secretKeyRef: {name: s, key: k}}}]}",
        ),
        own("Task", "steps: [{name: a, function: b, if: true, params: {c: [1, {d: e}]}, retry: {attempts: 2}}]"),
        own(
            "Task",
            "params: [{name: p, default: {a: 1}, type: map}], steps: [{name: a, function: b, params: [{name: c, value: 1}]}]",
        ),
        own("Function", "builtin: {function: compress, params: {level: 3}}"),
        own("Function", "exec: {command: [cat, 1], env: {A: true}}, stdin: any, stdout: text/plain"),
        restoring("hooks: {preRestore: {tcpSocket: {port: 65535}}, postRestore: {tcpSocket: {port: redis}}}"),
        restoring("interimVolumeTemplate: {apiVersion: v1, kind: PersistentVolumeClaim}"),
        restore("[]", "[]"),
        restore("[{}, {targetHosts: [h]}]", "[]"),
        restore("[]", "[{}, {targetHosts: [h]}]"),
    ] {
        let how = ["create", "--dry-run=server", "-n", "refused", "-f", "-"];
        let (done, _, told) = kubectl(rig, &how, &sound).await;
        assert!(done && told.is_empty(), "{sound}: {told}");
    }
}
