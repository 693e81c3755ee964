//! What a container sees and may do.

use aquifer_tests::kubernetes::Image;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
use kube::api::{Api, PostParams};
use serde_json::{from_value, json};

use super::rig::*;

const LOOK: &str = "cat /etc/app/key /etc/words/a/word; echo; echo $PASSWORD $WORD $GREETING $POD $1
id -u; id -g; cat /shared/note; cat /var/run/secrets/kubernetes.io/serviceaccount/namespace; echo
[ -s /var/run/secrets/kubernetes.io/serviceaccount/token ] && echo token
touch /x 2>/dev/null || echo root is read-only
touch /etc/app/x 2>/dev/null || echo secret is read-only
touch /shared/x && echo shared is not
grep CapBnd /proc/self/status; ls -d /proc/[0-9]* | wc -l; ls /work /home/* 2>/dev/null
exit 0";

#[tokio::test]
async fn a_container_sees_what_its_pod_mounts() {
    let (rig, client) = room("sees").await;
    let _free = rig.whole.read().await;
    make::<Secret>(
        &client,
        "sees",
        json!({"metadata": {"name": "s"}, "stringData": {"key": "hunter2\n", "pw": "swordfish"}}),
    )
    .await;
    make::<ConfigMap>(&client, "sees", json!({"metadata": {"name": "m"}, "data": {"word": "river", "other": "lake"}}))
        .await;
    let security = json!({
        "readOnlyRootFilesystem": true, "allowPrivilegeEscalation": false, "runAsUser": 1234, "runAsGroup": 4321,
        "capabilities": {"drop": ["ALL"]},
    });
    let mut main = script("main", LOOK);
    main["command"] = json!(["sh", "-c", LOOK, "name", "$(GREETING)-$$(GREETING)"]);
    main["securityContext"] = security;
    main["env"] = json!([
        {"name": "PASSWORD", "valueFrom": {"secretKeyRef": {"name": "s", "key": "pw"}}},
        {"name": "WORD", "valueFrom": {"configMapKeyRef": {"name": "m", "key": "word"}}},
        {"name": "GREETING", "value": "hello-$(WORD)"},
        {"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
    ]);
    main["volumeMounts"] = json!([
        {"name": "secret", "mountPath": "/etc/app"}, {"name": "words", "mountPath": "/etc/words"}, {"name": "shared", "mountPath": "/shared"},
    ]);
    let mut first = script("first", "echo from the first >/shared/note");
    first["volumeMounts"] = json!([{"name": "shared", "mountPath": "/shared"}]);
    let mut looking = pod("looking", "");
    looking["spec"]["containers"] = json!([main]);
    looking["spec"]["initContainers"] = json!([first]);
    looking["spec"]["volumes"] = json!([
        {"name": "secret", "secret": {"secretName": "s", "items": [{"key": "key", "path": "key"}]}},
        {"name": "words", "configMap": {"name": "m", "items": [{"key": "word", "path": "a/word"}]}},
        {"name": "shared", "emptyDir": {}},
    ]);
    make::<Pod>(&client, "sees", looking).await;
    let ended = over(&client, "sees", "looking").await;
    let said = rig.node.log("sees", "looking", "main");
    assert_eq!(phase(&ended), "Succeeded", "{said}");
    let expected = "hunter2\nriver\nswordfish river hello-river looking hello-river-$(GREETING)\n1234\n4321\nfrom the first\nsees\ntoken\n\
                    root is read-only\nsecret is read-only\nshared is not\nCapBnd:\t0000000000000000\n";
    let (seen, rest) = said.split_at(expected.len().min(said.len()));
    assert_eq!(seen, expected, "{rest}");
    // Its own processes: the shell and what counts them; and nothing of this machine's folders.
    assert!(["2\n", "3\n"].contains(&rest), "{rest}");
}

#[tokio::test]
async fn a_pod_that_is_too_free_is_refused() {
    let rig = rig().await;
    let _free = rig.whole.read().await;
    rig.cluster.namespace("strict", &[("pod-security.kubernetes.io/enforce", "restricted")]).await;
    let client = rig.cluster.client().await;
    let pods: Api<Pod> = Api::namespaced(client.clone(), "strict");
    let free: Pod = from_value(pod("free", "exit 0")).expect("a pod");
    let refused = pods.create(&PostParams::default(), &free).await.expect_err("refused").to_string();
    assert!(refused.contains("violates PodSecurity \"restricted:latest\""), "{refused}");
    let mut careful = pod("careful", "exit 0");
    careful["spec"]["securityContext"] =
        json!({"runAsNonRoot": true, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}});
    careful["spec"]["containers"][0]["securityContext"] =
        json!({"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}});
    make::<Pod>(&client, "strict", careful).await;
    assert_eq!(phase(&over(&client, "strict", "careful").await), "Succeeded");
}

#[tokio::test]
async fn what_is_missing_is_waited_for() {
    let (rig, client) = room("missing").await;
    let _free = rig.whole.read().await;
    let mut early = pod("early", "echo $PASSWORD");
    early["spec"]["containers"][0]["image"] = "later".into();
    early["spec"]["containers"][0]["env"] =
        json!([{"name": "PASSWORD", "valueFrom": {"secretKeyRef": {"name": "s", "key": "pw"}}}]);
    make::<Pod>(&client, "missing", early).await;
    let waits = |reason: &'static str| {
        move |pod: &Pod| {
            phase(pod) == "Pending"
                && pod.status.as_ref().is_some_and(|status| status.container_statuses.is_some())
                && state(pod)["waiting"]["reason"] == reason
        }
    };
    pod_that(&client, "missing", "early", "has no image", waits("ImagePullBackOff")).await;
    rig.node.offer("later", Image::default());
    let told = pod_that(&client, "missing", "early", "has no secret", waits("CreateContainerConfigError")).await;
    assert_eq!(state(&told)["waiting"]["message"], "secret \"s\" not found");
    make::<Secret>(&client, "missing", json!({"metadata": {"name": "s"}, "stringData": {"pw": "swordfish"}})).await;
    assert_eq!(phase(&over(&client, "missing", "early").await), "Succeeded");
    assert_eq!(rig.node.log("missing", "early", "main"), "swordfish\n");
}

#[tokio::test]
async fn an_image_brings_its_program() {
    let (rig, client) = room("image").await;
    let _free = rig.whole.read().await;
    rig.node.offer("truth", Image { user: Some(99), ..Image::of("/bin/true".as_ref()) });
    let mut truth = pod("truth", "");
    truth["spec"]["containers"] = json!([{"name": "main", "image": "truth"}]);
    make::<Pod>(&client, "image", truth).await;
    assert_eq!(phase(&over(&client, "image", "truth").await), "Succeeded");
    // By its path, which nothing else has.
    let mut path = pod("path", "exec /usr/local/bin/true; id -u");
    path["spec"]["containers"][0]["image"] = "truth".into();
    make::<Pod>(&client, "image", path).await;
    assert_eq!(phase(&over(&client, "image", "path").await), "Succeeded");
    make::<Pod>(&client, "image", pod("none", "exec /usr/local/bin/true")).await;
    let none = over(&client, "image", "none").await;
    assert_eq!(state(&none)["terminated"]["exitCode"], 127);
    rig.node.withdraw("truth");
    let mut late = pod("late", "exit 0");
    late["spec"]["containers"][0]["image"] = "truth".into();
    make::<Pod>(&client, "image", late).await;
    pod_that(&client, "image", "late", "has no image", |pod| {
        pod.status.as_ref().is_some_and(|status| status.container_statuses.is_some())
            && state(pod)["waiting"]["reason"] == "ImagePullBackOff"
    })
    .await;
}
