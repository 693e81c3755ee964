//! What manifests come to, without running it.

use std::path::{Path, PathBuf};

use aquifer_engine::catalog::InputValue;
use aquifer_operator::manifests::{self, Manifests};
use aquifer_operator::session::{Apart, End, Session, Setting, backup, join, restore};
use serde_json::{Value as Json, json};

const SECRETS: &str = "
apiVersion: v1
kind: List
items:
  - {apiVersion: v1, kind: Secret, metadata: {name: keys, namespace: store}, stringData: {RESTIC_PASSWORD: \"correct-horse\\n\"}}
  - {apiVersion: v1, kind: Secret, metadata: {name: auth, namespace: app}, stringData: {user: default, pass: open-sesame, other: x}}
  - {apiVersion: v1, kind: Secret, metadata: {name: more, namespace: app}, stringData: {password: late}}
";

const REPOSITORY: &str = "
apiVersion: stash.appscode.com/v1alpha1
kind: Repository
metadata: {name: r, namespace: store}
spec:
  backend: {local: {hostPath: {path: /srv/}, mountPath: /safe, subPath: /a/b/}, storageSecretName: keys}
  usagePolicy: {allowedNamespaces: {from: All}}
";

const BINDING: &str = "
apiVersion: appcatalog.appscode.com/v1alpha1
kind: AppBinding
metadata: {name: db, namespace: app}
spec:
  type: kubedb.com/redis
  clientConfig: {service: {name: db, port: 6380, scheme: rediss}}
  secret: {name: auth}
  secretTransforms:
    - {renameKey: {from: user, to: username}}
    - {renameKey: {from: pass, to: password}}
    - {addKey: {key: added, stringValue: something}}
    - {removeKey: {key: other}}
";

const BACKUP: &str = "
apiVersion: stash.appscode.com/v1beta1
kind: BackupConfiguration
metadata: {name: b, namespace: app}
spec:
  repository: {name: r, namespace: store}
  target: {alias: cart, ref: {apiVersion: appcatalog.appscode.com/v1alpha1, kind: AppBinding, name: db}}
  retentionPolicy: {name: p, keepLast: 0, keepDaily: 7, keepTags: [gold], prune: true}
  timeOut: 30m
  retryConfig: {maxRetry: 2, delay: 5m}
";

/// Stash's own way to say it: a task of functions, with variables in their arguments.
const ADDON: &str = "
apiVersion: stash.appscode.com/v1beta1
kind: Task
metadata: {name: own-backup}
spec:
  steps:
    - {name: own-dump, params: [{name: args, value: -db 3}, {name: HOSTNAME, value: loses}]}
    - {name: own-status}
---
apiVersion: stash.appscode.com/v1beta1
kind: Function
metadata: {name: own-dump}
spec:
  image: example/addon
  args: [backup-redis, '--hostname=${HOSTNAME:=}', '--bucket=${REPOSITORY_BUCKET:=}', '--redis-args=${args:=}']
---
apiVersion: stash.appscode.com/v1beta1
kind: Function
metadata: {name: own-status}
spec: {image: example/stash, args: [update-status]}
";

fn here() -> Setting<'static> {
    Setting::Machine(Path::new("/files"))
}

fn read(files: &[&str]) -> Manifests {
    let folder = tempfile::tempdir().expect("a folder");
    let paths: Vec<PathBuf> = (0..files.len()).map(|number| folder.path().join(format!("{number}.yaml"))).collect();
    for (path, text) in paths.iter().zip(files) {
        std::fs::write(path, text).expect("room");
    }
    manifests::read(&paths).unwrap_or_else(|problems| panic!("{problems:#?}"))
}

fn params(session: &Session, step: usize) -> Json {
    session.document["spec"]["steps"][step]["params"].clone()
}

fn refused(files: &[&str]) -> String {
    backup(&read(files), None, here()).expect_err("refused").join("\n")
}

#[test]
fn every_word_of_a_backup_has_its_place() {
    let session = backup(&read(&[SECRETS, REPOSITORY, BINDING, BACKUP]), Some("app/b"), here()).expect("a session");
    let dump = params(&session, 0);
    // The user `default` is left out, and the password has lost its old name.
    assert_eq!(
        dump,
        json!({"url": "rediss://db.app.svc:6380", "password": "{{ params.redisPassword }}", "tls": {}}),
        "{dump}"
    );
    let place = json!({"folder": "/srv/a/b"});
    let push = &session.document["spec"]["steps"][1];
    assert_eq!((&push["timeout"], &push["retry"]), (&json!("30m"), &json!({"attempts": 3, "backoff": "5m"})));
    assert_eq!((&push["params"]["repository"], &push["params"]["host"]), (&place, &json!("cart")));
    let forget = params(&session, 2);
    let expected = json!({
        "repository": place, "password": "{{ params.repositoryPassword }}", "keepDaily": 7, "keepTags": ["gold"],
        "prune": true, "dryRun": false, "filter": {"host": "cart", "paths": ["/dumpfile.resp"]},
    });
    assert_eq!(forget, expected);
    let shown = session.document.to_string();
    assert!(!shown.contains("correct-horse") && !shown.contains("open-sesame"), "no secret is shown: {shown}");
}

#[test]
fn a_time_that_is_none_is_said_before() {
    let odd = BACKUP.replace("timeOut: 30m", "timeOut: whenever").replace("delay: 5m", "delay: soon");
    let told = refused(&[SECRETS, REPOSITORY, BINDING, &odd]);
    assert!(told.contains("`timeOut`: ") && told.contains("`retryConfig.delay`: "), "{told}");
    let odd = "
apiVersion: stash.appscode.com/v1beta1
kind: RestoreSession
metadata: {name: back, namespace: app}
spec:
  repository: {name: r, namespace: store}
  target: {ref: {apiVersion: appcatalog.appscode.com/v1alpha1, kind: AppBinding, name: db}}
  timeOut: whenever
";
    let told = restore(&read(&[SECRETS, REPOSITORY, BINDING, odd]), None, here()).expect_err("refused").join("\n");
    assert!(told.contains("`timeOut`: "), "{told}");
}

#[test]
fn snapshots_that_cannot_be_told_apart_are_told_of() {
    let twin = BACKUP.replace("name: b,", "name: twin,");
    let notes = |twin: &str| {
        let all = read(&[SECRETS, REPOSITORY, BINDING, BACKUP, twin]);
        backup(&all, Some("app/b"), here()).expect("a session").notes.join("\n")
    };
    let told = notes(&twin);
    assert!(told.contains("the BackupConfiguration `app/twin` keeps its snapshots in the same place"), "{told}");
    assert_eq!(notes(&twin.replace("alias: cart", "alias: other")), "");
}

#[test]
fn stashs_own_task_and_functions_are_read_for_what_they_mean() {
    let backup_of = |task: &str| BACKUP.replace("  timeOut", &format!("  task: {task}\n  timeOut"));
    let all = |task: &str| read(&[SECRETS, REPOSITORY, BINDING, ADDON, &backup_of(task)]);
    let databases = |task: &str| params(&backup(&all(task), None, here()).expect("a session"), 0)["databases"].clone();
    assert_eq!(databases("{name: own-backup}"), json!([3]));
    assert_eq!(
        databases("{name: own-backup, params: [{name: args, value: -db 5}]}"),
        json!([5]),
        "the session's word wins"
    );
    let other = ADDON.replace("[update-status]", "[sync]");
    let told = refused(&[SECRETS, REPOSITORY, BINDING, &other, &backup_of("{name: own-backup}")]);
    assert!(told.contains("`own-status` runs `example/stash`"), "{told}");
    let unset = ADDON.replace("${HOSTNAME:=}", "${NOBODY_KNOWS}");
    let told = refused(&[SECRETS, REPOSITORY, BINDING, &unset, &backup_of("{name: own-backup}")]);
    assert!(told.contains("NOBODY_KNOWS"), "{told}");
}

#[test]
fn keys_of_another_secret_are_added_in_their_turn() {
    let more = format!("{BINDING}    - {{addKeysFrom: {{secretRef: {{name: more}}}}}}\n");
    let session = backup(&read(&[SECRETS, REPOSITORY, &more, BACKUP]), None, here()).expect("a session");
    let inputs = session.inputs();
    let is = |name: &str, value: &str| inputs.params[name] == InputValue::Text(value.into());
    assert!(is("redisPassword", "late"));
    assert!(is("repositoryPassword", "correct-horse"), "an editor's line break is none of it");
}

#[test]
fn a_repository_of_another_namespace_says_who_may_use_it() {
    for (policy, word) in [("from: Same", "may not be used"), ("from: Selector, selector: {}", "labels")] {
        let told = refused(&[SECRETS, &REPOSITORY.replace("from: All", policy), BINDING, BACKUP]);
        assert!(told.contains(word), "{told}");
    }
}

#[test]
fn what_the_engine_would_take_for_a_template_is_refused() {
    let told = refused(&[SECRETS, REPOSITORY, BINDING, &BACKUP.replace("alias: cart", "alias: '{{ env.HOME }}'")]);
    assert!(told.contains("env.HOME"), "{told}");
}

#[test]
fn a_restore_names_the_snapshot_and_leaves_the_marker_out() {
    let wanted = "
apiVersion: stash.appscode.com/v1beta1
kind: RestoreSession
metadata: {name: r, namespace: app}
spec:
  repository: {name: r, namespace: store}
  timeOut: 1h
  target:
    ref: {apiVersion: appcatalog.appscode.com/v1alpha1, kind: AppBinding, name: db}
    rules: [{snapshots: [1a2b3c4d]}]
";
    let session = restore(&read(&[SECRETS, REPOSITORY, BINDING, wanted]), None, here()).expect("a session");
    let pull = params(&session, 0);
    assert_eq!((&pull["snapshot"], &pull["filter"]), (&json!("1a2b3c4d"), &Json::Null), "an id needs no host");
    let write = params(&session, 1);
    assert_eq!(write["filter"], json!({"exclude": ["__redisdump_total_keys"]}));
    assert_eq!((&write["onConflict"], &write["errors"]), (&json!("replace"), &json!("collect")));
    assert_eq!(session.document["spec"]["steps"][1]["timeout"], "1h");
}

#[test]
fn in_a_pod_the_repository_is_looked_over_and_nothing_is_tried_again() {
    let pod = Setting::Pod { folder: Path::new("/in/the/pod"), session: "nightly-1", retry_left: 0, exec: false };
    let session = backup(&read(&[SECRETS, REPOSITORY, BINDING, BACKUP]), None, pod).expect("a session");
    let steps = session.document["spec"]["steps"].as_array().expect("steps").clone();
    let names: Vec<&str> = steps.iter().filter_map(|step| step["name"].as_str()).collect();
    assert_eq!(names, ["dump", "push", "forget", "check", "stats"]);
    assert_eq!(steps[1]["retry"], Json::Null, "that is the operator's");
    assert_eq!(params(&session, 1)["repository"], json!({"folder": "/safe/a/b"}), "where the volume is mounted");
    let from = session.secrets["repositoryPassword"].from.clone().expect("a Secret's own");
    assert_eq!(
        (from.namespace.as_str(), from.secret.as_str(), from.key.as_str()),
        ("store", "keys", "RESTIC_PASSWORD")
    );
}

#[test]
fn the_hook_before_is_the_first_step_and_what_cannot_be_done_is_refused() {
    let hooked = |hooks: &str| format!("{BACKUP}  hooks: {{{hooks}}}\n");
    for setting in [here(), Setting::Pod { folder: Path::new("/x"), session: "s", retry_left: 0, exec: false }] {
        let with = |hooks: &str| backup(&read(&[SECRETS, REPOSITORY, BINDING, &hooked(hooks)]), None, setting);
        let session = with("preBackup: {tcpSocket: {port: 1}}").expect("a session");
        let steps = &session.document["spec"]["steps"];
        assert_eq!(steps[0]["params"], json!({"host": "db.app.svc", "port": 1}));
        assert_eq!(steps[1]["needs"], json!(["hook"]));
        for wrong in ["preBackup: {exec: {command: [a]}}", "postBackup: {httpPost: {port: 1, body: '{{ .Nothing }}'}}"]
        {
            let told = with(wrong).expect_err("refused").join("\n");
            assert!(told.contains("its hook "), "{told}");
        }
    }
}

#[test]
fn a_shard_s_dump_is_a_part_until_all_are_joined() {
    let said = BACKUP.replace("  timeOut", "  task: {params: [{name: shards, value: '3'}]}\n  timeOut");
    let manifests = read(&[SECRETS, REPOSITORY, BINDING, &said]);
    let pod = Setting::Pod { folder: Path::new("/x"), session: "s", retry_left: 0, exec: false };
    let part = backup(&manifests, None, pod).expect("a session");
    assert_eq!((part.shards, part.document["spec"]["steps"].as_array().map(Vec::len)), (Some(3), Some(2)));
    let (dump, push) = (params(&part, 0), params(&part, 1));
    assert_eq!(
        (&dump["shard"], &dump["shards"], &dump["joined"]),
        (&json!("{{ params.shard }}"), &json!(3), &json!(true))
    );
    assert_eq!(push["filename"], "dumpfile.resp.part");
    let declared = part.document["spec"]["params"].as_array().expect("params").last().cloned();
    assert_eq!(declared, Some(json!({"name": "shard", "type": "integer", "required": true})));

    let whole = join(&manifests, "app/b", pod, &["aaaa", "bbbb", "cccc"]).expect("a session");
    let steps = whole.document["spec"]["steps"].as_array().expect("steps").clone();
    let names: Vec<&str> = steps.iter().filter_map(|step| step["name"].as_str()).collect();
    assert_eq!((whole.shards, &names[..]), (None, &["push", "forget", "check", "stats"][..]));
    let joined = params(&whole, 0);
    assert_eq!(
        (&joined["snapshots"], &joined["filename"]),
        (&json!(["aaaa", "bbbb", "cccc"]), &json!("dumpfile.resp"))
    );
    assert_eq!((&joined["partTag"], &joined["host"]), (&push["tags"][0], &push["host"]));
    assert!(whole.secrets.keys().all(|name| name.starts_with("repository")), "{:?}", whole.secrets.keys());

    // One process reads them all.
    let here = backup(&manifests, None, here()).expect("a session");
    let dump = params(&here, 0);
    assert_eq!(
        (here.shards, &dump["shards"], &dump["shard"], &dump["joined"]),
        (None, &json!(3), &Json::Null, &Json::Null)
    );
    let wrong = said.replace("'3'", "three");
    let told = backup(&read(&[SECRETS, REPOSITORY, BINDING, &wrong]), None, pod).expect_err("refused").join(" ");
    assert!(told.contains("`shards` is `three`"), "{told}");
}

#[test]
fn an_address_says_whether_tls_is_spoken_and_one_of_another_kind_of_server_is_refused() {
    let with = |config: &str| {
        let binding = BINDING.replace("service: {name: db, port: 6380, scheme: rediss}", config);
        backup(&read(&[SECRETS, REPOSITORY, &binding, BACKUP]), Some("app/b"), here())
    };
    for (config, url) in [
        ("service: {name: db, port: 6380, scheme: http}", "redis://db.app.svc:6380"),
        ("service: {name: db, port: 6380, scheme: https}", "rediss://db.app.svc:6380"),
        ("service: {name: db, port: 6380}", "redis://db.app.svc:6380"),
        ("url: 'db:6380'", "redis://db:6380"),
        ("url: 'tcp://db:6380/3'", "redis://db:6380/3"),
        ("url: 'https://db:6380'", "rediss://db:6380"),
        ("url: 'redis+cluster://db:6380'", "redis+cluster://db:6380"),
    ] {
        assert_eq!(params(&with(config).expect(config), 0)["url"], json!(url), "{config}");
    }
    for config in ["service: {name: db, port: 6380, scheme: mysql}", "url: 'mysql://db:6380'", "url: 'ftp://db'"] {
        let told = with(config).expect_err(config).join("\n");
        assert!(told.contains("a Redis server is reached by `redis`"), "{told}");
    }
}

#[test]
fn a_command_whose_template_fails_after_a_failure_is_found_before() {
    let hook = "hooks: {postBackup: {exec: {command: [thaw, '{{ if .Status.Error }}{{ .Nothing }}{{ end }}']}}}";
    let pod = Setting::Pod { folder: Path::new("/x"), session: "s", retry_left: 0, exec: true };
    let hooked = format!("{BACKUP}  {hook}\n");
    let told = backup(&read(&[SECRETS, REPOSITORY, BINDING, &hooked]), None, pod);
    let told = told.expect_err("refused").join("\n");
    assert!(told.contains("its hook after") && told.contains("Nothing"), "{told}");
}

/// A command is the operator's to run, and in its own namespace alone.
#[test]
fn a_command_is_no_step_and_where_it_may_not_be_run_it_is_refused() {
    let with = |exec: bool, binding: &str, hook: &str| {
        let pod = Setting::Pod { folder: Path::new("/x"), session: "s", retry_left: 0, exec };
        let hooked = format!("{BACKUP}  hooks: {{{hook}: {{exec: {{command: [sync, '{{{{ .Namespace }}}}']}}}}}}\n");
        backup(&read(&[SECRETS, REPOSITORY, binding, &hooked]), None, pod)
    };
    for hook in ["preBackup", "postBackup"] {
        let session = with(true, BINDING, hook).expect("a session");
        assert_eq!(session.document["spec"]["steps"][0]["name"], "dump");
        assert!(session.notes.iter().any(|note| note.contains("in a pod of the Service `db`")), "{:?}", session.notes);
        assert_eq!(session.notes.iter().filter(|note| note.contains("in a pod")).count(), 1);
        for (exec, from, to, word) in [
            (false, "", "", "hooks.exec"),
            (true, "service: {", "service: {namespace: other, ", "Service `other/db`"),
            (
                true,
                "service: {name: db, port: 6380, scheme: rediss}",
                "url: 'rediss://db:6380'",
                "names no `clientConfig.service`",
            ),
        ] {
            let binding = BINDING.replace(from, to);
            let told = with(exec, &binding, hook).expect_err(word).join("\n");
            assert!(told.contains("its hook ") && told.contains(word), "{told}");
        }
    }
}

#[test]
fn a_repository_in_a_pod_lies_on_one_volume_and_where_it_says() {
    let pod = Setting::Pod { folder: Path::new("/x"), session: "s", retry_left: 0, exec: false };
    let told = |backend: &str| {
        let spec = REPOSITORY.split("spec:").next().expect("a head");
        let repository = format!(
            "{spec}spec: {{backend: {{{backend}, storageSecretName: keys}}, usagePolicy: {{allowedNamespaces: {{from: All}}}}}}\n"
        );
        backup(&read(&[SECRETS, &repository, BINDING, BACKUP]), None, pod).map(drop).map_err(|told| told.join("\n"))
    };
    assert_eq!(told("local: {mountPath: /a, nfs: {server: s, path: /b}}"), Ok(()));
    for (backend, word) in [
        ("local: {mountPath: /a}", "no volume"),
        ("local: {mountPath: /a, emptyDir: {}, nfs: {server: s, path: /b}}", "more than one volume"),
        ("local: {mountPath: /a, subPath: ../b, nfs: {server: s, path: /b}}", "leads elsewhere"),
        ("gcs: {bucket: b, prefix: a/../b}", "leads elsewhere"),
    ] {
        let why = told(backend).expect_err("refused");
        assert!(why.contains(word), "{backend}: {why}");
    }
}

#[test]
fn the_hooks_on_the_page_can_be_done() {
    let page = include_str!("../../docs/howto/kubernetes.md");
    let blocks: Vec<String> = page
        .split("```yaml manifest\nspec:\n")
        .filter(|part| part.starts_with("  hooks:"))
        .map(|rest| format!("{BACKUP}{}", rest.split("```").next().unwrap_or_default()))
        .collect();
    let [hooked, commanded] = &blocks[..] else { panic!("{blocks:?}") };
    let pod = Setting::Pod { folder: Path::new("/x"), session: "s", retry_left: 0, exec: true };
    let session = backup(&read(&[SECRETS, REPOSITORY, BINDING, commanded]), None, pod).expect("a session");
    assert!(session.notes[0].contains("runs a command"), "{:?}", session.notes);
    let session = backup(&read(&[SECRETS, REPOSITORY, BINDING, hooked]), None, here()).expect("a session");
    assert_eq!(session.document["spec"]["steps"][0]["params"]["url"], "http://app.shop.svc:8080/freeze");
    let end = End { error: Some("the disk is \"full\""), is_final: true, seconds: 3.0 };
    let after = session.asker.expect("who asks").after(end).expect("due");
    let Ok(Apart::Run(after)) = after else { panic!("{after:?}") };
    let step = &after.document["spec"]["steps"][0]["params"];
    let body: Json = serde_json::from_str(step["body"].as_str().expect("text")).expect("whole JSON");
    assert_eq!(body["text"], "app/db: the disk is \"full\"");
    assert_eq!(step["url"], "https://chat.example.com:443/hooks/backup");
}

#[test]
fn a_policy_by_labels_is_held_against_the_namespace_s() {
    let chosen = REPOSITORY.replace("from: All", "from: Selector, selector: {matchLabels: {team: shop}}");
    let namespace =
        |team: &str| format!("\napiVersion: v1\nkind: Namespace\nmetadata: {{name: app, labels: {{team: {team}}}}}\n");
    backup(&read(&[SECRETS, &chosen, BINDING, BACKUP, &namespace("shop")]), None, here()).expect("it may");
    let told = refused(&[SECRETS, &chosen, BINDING, BACKUP, &namespace("other")]);
    assert!(told.contains("has not the labels"), "{told}");
}
