//! Kubernetes manifests of Stash's shape, run on one machine: real Redis, real restic, a real S3 server.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use aquifer_tests::redis_server::{Certificates, RedisServer};
use aquifer_tests::s3_server::{BUCKET, S3Server};

const SECRETS: &str = "
apiVersion: v1
kind: Secret
metadata: {name: store-keys, namespace: shop}
stringData: {RESTIC_PASSWORD: correct-horse, AWS_ACCESS_KEY_ID: id, AWS_SECRET_ACCESS_KEY: hunter2-secret-key}
---
apiVersion: v1
kind: Secret
metadata: {name: carts-auth, namespace: shop}
data: {word: b3Blbi1zZXNhbWU=}
";

/// Manifests in a folder.
struct Manifests(tempfile::TempDir);

impl Manifests {
    fn new(files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        for (name, text) in files {
            std::fs::write(folder.path().join(name), text).expect("room");
        }
        Self(folder)
    }

    fn run(&self, more: &[&str]) -> (bool, String, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_aquifer"));
        command.args(["run-session", "--progress", "plain", "-f"]).arg(self.0.path()).args(more);
        let Output { status, stdout, stderr } = command.stdin(Stdio::null()).output().expect("it starts");
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        let (stdout, stderr) = (text(stdout), text(stderr));
        for secret in ["correct-horse", "hunter2-secret-key", "open-sesame"] {
            assert!(!stdout.contains(secret) && !stderr.contains(secret), "a secret is shown: {stdout}{stderr}");
        }
        (status.success(), stdout, stderr)
    }

    fn ok(&self, more: &[&str]) -> String {
        let (done, stdout, stderr) = self.run(more);
        assert!(done, "{more:?}: {stdout}{stderr}");
        stdout + &stderr
    }
}

fn restic(repository: &Path, args: &[&str], stdin: &[u8]) -> String {
    use std::io::Write;
    let mut command = Command::new("restic");
    command.args(args).arg("-r").arg(repository).env("RESTIC_PASSWORD", "correct-horse").arg("--no-cache");
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("restic must be installed: run `./test`");
    child.stdin.take().expect("piped").write_all(stdin).expect("it reads");
    let done = child.wait_with_output().expect("it ends");
    assert!(done.status.success(), "restic {args:?}");
    String::from_utf8_lossy(&done.stdout).into_owned()
}

fn binding(server: &RedisServer, more: &str) -> String {
    format!(
        "
apiVersion: appcatalog.appscode.com/v1alpha1
kind: AppBinding
metadata: {{name: carts, namespace: shop}}
spec:
  type: redis
  version: '7.0'
  clientConfig: {{url: 'redis://127.0.0.1:{}'{more}}}
  secret: {{name: carts-auth}}
  secretTransforms: [{{renameKey: {{from: word, to: password}}}}]
",
        server.port()
    )
}

fn repository(backend: &str) -> String {
    format!(
        "
apiVersion: stash.appscode.com/v1alpha1
kind: Repository
metadata: {{name: carts-store, namespace: shop}}
spec: {{backend: {{{backend}, storageSecretName: store-keys}}}}
"
    )
}

const BACKUP: &str = "
apiVersion: stash.appscode.com/v1beta1
kind: BackupConfiguration
metadata: {name: carts-backup, namespace: shop}
spec:
  schedule: '*/30 * * * *'
  task: {name: redis-backup-7.0.5, params: [{name: args, value: -db 1}]}
  repository: {name: carts-store}
  target:
    ref: {apiVersion: appcatalog.appscode.com/v1alpha1, kind: AppBinding, name: carts}
  runtimeSettings:
    container: {resources: {limits: {memory: 256Mi}}}
    pod: {securityContext: {runAsUser: 65534}}
  retentionPolicy: {name: the-last-two, keepLast: 2, prune: true}
";

const RESTORE: &str = "
apiVersion: stash.appscode.com/v1beta1
kind: RestoreSession
metadata: {name: carts-restore, namespace: shop}
spec:
  task: {name: redis-restore-7.0.5, params: [{name: args, value: --pipe-timeout 300}]}
  repository: {name: carts-store}
  target:
    ref: {apiVersion: appcatalog.appscode.com/v1alpha1, kind: AppBinding, name: carts}
  rules: [{snapshots: [latest]}]
";

#[test]
fn the_manifests_of_a_cluster_back_up_keep_and_restore_on_one_machine() {
    let server = RedisServer::with(&["--requirepass", "open-sesame"]);
    let cli = |args: &[&str]| server.cli(&[&["-a", "open-sesame", "--no-auth-warning"], args].concat());
    let store = tempfile::tempdir().expect("a folder");
    let local = format!("local: {{hostPath: {{path: {}}}, mountPath: /safe, subPath: carts}}", store.path().display());
    let all = Manifests::new(&[
        ("1-secrets.yaml", SECRETS),
        ("2-database.yaml", &binding(&server, "")),
        ("3-repository.yaml", &repository(&local)),
        ("4-backup.yaml", BACKUP),
        ("5-restore.yaml", RESTORE),
    ]);
    cli(&["-n", "0", "SET", "elsewhere", "0"]);
    for round in ["1", "2", "3"] {
        cli(&["-n", "1", "SET", "cart", round]);
        cli(&["-n", "1", "RPUSH", "items", round]);
        all.ok(&["--backup", "carts-backup"]);
    }
    let listed = restic(&store.path().join("carts"), &["snapshots", "--json"], b"");
    let snapshots: serde_json::Value = serde_json::from_str(&listed).expect("JSON");
    let snapshots = snapshots.as_array().expect("a list");
    assert_eq!(snapshots.len(), 2, "{listed}");
    assert!(snapshots.iter().all(|one| one["hostname"] == "host-0" && one["paths"][0] == "/dumpfile.resp"), "{listed}");
    restic(&store.path().join("carts"), &["check", "--read-data"], b"");

    cli(&["FLUSHALL"]);
    cli(&["-n", "1", "SET", "cart", "in the way"]);
    all.ok(&["--restore", "shop/carts-restore"]);
    assert_eq!(cli(&["-n", "1", "GET", "cart"]), "3\n");
    assert_eq!(cli(&["-n", "1", "LRANGE", "items", "0", "-1"]), "1\n2\n3\n");
    assert_eq!(cli(&["-n", "0", "DBSIZE"]), "0\n", "only the one database was in the backup");

    let (done, _, told) = all.run(&[]);
    assert!(
        !done && told.contains("--backup shop/carts-backup") && told.contains("--restore shop/carts-restore"),
        "{told}"
    );
}

const OWN: &str = "
apiVersion: aquifer.dev/v1alpha1
kind: Task
metadata: {name: proven, namespace: shop}
spec:
  params: [{name: level, type: integer, default: 3}]
  steps:
  - {name: dump, function: session-dump}
  - {name: push, function: session-push, stdin: dump}
  - {name: small, function: smaller, stdin: dump, params: {level: '{{ params.level }}'}}
  - {name: sum, function: checksum, stdin: small}
  - {name: keep, function: file-write, stdin: sum, params: {path: FILE}}
  - {name: again, function: session-pull, needs: [push], params: {snapshot: '{{ steps.push.outputs.snapshot }}'}}
  - {name: proof, function: redis-verify, stdin: again}
---
apiVersion: aquifer.dev/v1alpha1
kind: Function
metadata: {name: smaller, namespace: shop}
spec:
  params: [{name: level, type: integer}]
  stdin: any
  stdout: small
  steps: [{name: small, function: compress, stdin: input, params: {level: '{{ params.level }}'}}]
";

#[test]
fn steps_of_ones_own_run_on_one_machine_and_mistakes_are_shown() {
    let server = RedisServer::with(&["--requirepass", "open-sesame"]);
    let cli = |args: &[&str]| server.cli(&[&["-a", "open-sesame", "--no-auth-warning"], args].concat());
    cli(&["-n", "0", "SET", "cart", "full"]);
    let store = tempfile::tempdir().expect("a folder");
    let local = format!("local: {{hostPath: {{path: {}}}, mountPath: /safe}}", store.path().join("r").display());
    let task = "task: {apiGroup: aquifer.dev, name: proven, params: [{name: level, value: '9'}]}";
    let backup = BACKUP.replace("task: {name: redis-backup-7.0.5, params: [{name: args, value: -db 1}]}", task);
    let kept = store.path().join("copy.zst");
    let own = OWN.replace("FILE", &kept.display().to_string());
    let with = |own: &str, backup: &str| {
        Manifests::new(&[
            ("1-secrets.yaml", SECRETS),
            ("2-database.yaml", &binding(&server, "")),
            ("3-repository.yaml", &repository(&local)),
            ("4-backup.yaml", backup),
            ("5-own.yaml", own),
        ])
    };
    let shown = with(&own, &backup).ok(&["--dry-run"]);
    assert!(shown.contains("\"redis-verify\"") && shown.contains("\"smaller\""), "{shown}");
    with(&own, &backup).ok(&[]);
    assert!(std::fs::metadata(&kept).expect("the second copy").len() > 0);
    assert!(restic(&store.path().join("r"), &["snapshots"], b"").contains("1 snapshots"));

    let (done, _, told) = with(&own.replace("redis-verify,", "redis-verifi,"), &backup).run(&[]);
    assert!(!done && told.contains("did you mean `redis-verify`?"), "{told}");
    let (done, _, told) = with(&own.replace("session-push", "session-pusch"), &backup).run(&[]);
    assert!(!done && told.contains("has no step with the function `session-push`"), "{told}");
    // What is not known is told of, also where something else is wrong.
    let odd =
        backup.replace("repository: {name: carts-store}", "repository: {name: none}").replace("keepLast", "keepLst");
    let (done, _, told) = with(&own, &odd).run(&[]);
    assert!(!done && told.contains("keepLst") && told.contains("`none`"), "{told}");
    // Alone it stops it, too: it may be the one that says what is kept.
    let misspelt = with(&own, &backup.replace("keepLast", "keepLst"));
    let (done, _, told) = misspelt.run(&["--dry-run"]);
    assert!(!done && told.contains("`spec.retentionPolicy.keepLst`") && told.contains("--ignore-unknown"), "{told}");
    let (done, _, told) = misspelt.run(&["--dry-run", "--ignore-unknown"]);
    assert!(done && told.contains("keepLst"), "{told}");
}

#[test]
fn a_repository_that_others_wrote_is_restored_without_its_marker() {
    let server = RedisServer::with(&["--requirepass", "open-sesame"]);
    let store = tempfile::tempdir().expect("a folder");
    restic(store.path(), &["init", "-q"], b"");
    // As redis-dump-go writes it, with the key that counts the others at its end.
    let dump = b"*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n*3\r\n$3\r\nSET\r\n$3\r\nkey\r\n$5\r\nvalue\r\n\
        *3\r\n$3\r\nSET\r\n$22\r\n__redisdump_total_keys\r\n$1\r\n1\r\n";
    for (host, dump) in [("host-0", &dump[..]), ("other", b"*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n")] {
        restic(store.path(), &["backup", "-q", "--stdin", "--stdin-filename", "dumpfile.resp", "--host", host], dump);
    }
    let all = Manifests::new(&[
        ("secrets.yaml", SECRETS),
        ("database.yaml", &binding(&server, "")),
        (
            "repository.yaml",
            &repository(&format!("local: {{hostPath: {{path: {}}}, mountPath: /safe}}", store.path().display())),
        ),
        ("restore.yaml", RESTORE),
    ]);
    all.ok(&[]);
    let cli = |args: &[&str]| server.cli(&[&["-a", "open-sesame", "--no-auth-warning"], args].concat());
    assert_eq!(cli(&["GET", "key"]), "value\n");
    assert_eq!(cli(&["DBSIZE"]), "1\n", "and nothing else");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_with_keys_of_the_secret_and_tls_with_the_bindings_authority() {
    let s3 = S3Server::start().await;
    let certificates = Certificates::new();
    let server = RedisServer::tls(&certificates, &["--requirepass", "open-sesame", "--tls-auth-clients", "no"]);
    let authority = std::fs::read(certificates.path("ca.crt")).expect("there");
    let authority = format!(", caBundle: '{}'", base64(&authority));
    let place = format!("s3: {{endpoint: '{}', bucket: {BUCKET}, prefix: /carts}}", s3.endpoint());
    let backup = BACKUP.replace("-db 1", "-db 0");
    let files = [
        ("a.yaml", SECRETS.to_owned()),
        ("b.yaml", binding(&server, &authority)),
        ("c.yaml", repository(&place)),
        ("d.yaml", backup),
    ];
    let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (*name, text.as_str())).collect();
    let all = Manifests::new(&files);
    let (done, shown, told) = all.run(&["--dry-run"]);
    assert!(done && told.is_empty(), "{told}");
    let shown: serde_json::Value = serde_json::from_str(&shown).expect("JSON and nothing else");
    assert_eq!(shown["spec"]["steps"][1]["params"]["repository"]["s3"]["secretAccessKey"], "{{ params.storageKey }}");
    assert!(s3.names().await.is_empty(), "a dry run does nothing");
    all.ok(&[]);
    let names = s3.names().await;
    assert!(names.iter().any(|name| name.starts_with("carts/snapshots/")), "{names:?}");
}

fn base64(bytes: &[u8]) -> String {
    let mut child = Command::new("base64")
        .args(["-w", "0"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("coreutils");
    std::io::Write::write_all(&mut child.stdin.take().expect("piped"), bytes).expect("it reads");
    String::from_utf8(child.wait_with_output().expect("it ends").stdout).expect("ASCII")
}

#[test]
fn all_that_is_wrong_is_said_at_once_and_nothing_runs() {
    let backup = "
apiVersion: stash.appscode.com/v1beta1
kind: BackupConfiguration
metadata: {name: carts-backup, namespace: shop}
spec:
  task: {name: redis-backup-7.0.5, params: [{name: args, value: -ttl=false}]}
  repository: {name: carts-store}
  driver: VolumeSnapshotter
  shedule: '* * * * *'
  hooks: {preBackup: {exec: {command: [sync]}}}
  target:
    ref: {apiVersion: appcatalog.appscode.com/v1alpha1, kind: AppBinding, name: carts}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: something}
";
    let binding = "
apiVersion: appcatalog.appscode.com/v1alpha1
kind: AppBinding
metadata: {name: carts, namespace: shop}
spec: {clientConfig: {service: {name: carts, port: 6379}}, secret: {name: carts-auth}}
";
    let all = Manifests::new(&[
        ("a.yaml", SECRETS),
        ("b.yaml", binding),
        ("c.yaml", &repository("azure: {container: backups}")),
        ("d.yaml", backup),
    ]);
    let (done, stdout, told) = all.run(&[]);
    assert!(!done && stdout.is_empty(), "{stdout}");
    for wrong in [
        "`AZURE_ACCOUNT_NAME`",
        "`AZURE_ACCOUNT_KEY`",
        "`VolumeSnapshotter`",
        "its hook before",
        "`-ttl=false`",
        "no key `password`",
    ] {
        assert!(told.contains(wrong), "{wrong} in {told}");
    }
    let broken = Manifests::new(&[
        ("a.yaml", "kind: Secret"),
        ("b.yaml", "a: ["),
        ("c.yaml", &backup.replace("carts-store}", "7}").replace("name: 7", "nam: 7")),
    ]);
    let (done, _, told) = broken.run(&[]);
    assert!(
        !done && told.contains("a.yaml, document 1") && told.contains("b.yaml") && told.contains("c.yaml, document 1"),
        "{told}"
    );
}

#[test]
fn a_field_that_is_not_known_and_a_kind_without_a_meaning_are_told_of() {
    let server = RedisServer::with(&["--requirepass", "open-sesame"]);
    let store = tempfile::tempdir().expect("a folder");
    let local = format!("local: {{hostPath: {{path: {}}}, mountPath: /safe}}", store.path().display());
    let all = Manifests::new(&[
        ("a.yaml", SECRETS),
        ("b.yaml", &binding(&server, "")),
        ("c.yaml", &repository(&local)),
        ("d.yaml", &BACKUP.replace("schedule:", "shedule:")),
        ("e.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: something}\n"),
    ]);
    let told = all.ok(&["--ignore-unknown"]);
    assert!(told.contains("`spec.shedule`") && told.contains("the ConfigMap `something`"), "{told}");
}

/// Answers so many requests, one after the other; gives what each asked. What is called `/missing` is not there.
fn chat(count: usize) -> (u16, std::thread::JoinHandle<Vec<String>>) {
    use std::io::{Read, Write};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    let heard = std::thread::spawn(move || {
        let answer = |_| {
            let (mut peer, _) = listener.accept().expect("a peer");
            let mut text = String::new();
            // Bodies of these tests end with a full stop, and requests without one with an empty line.
            while !text.ends_with("\r\n\r\n") && !text.ends_with('.')
                || text.starts_with("POST") && !text.ends_with('.')
            {
                let mut piece = [0; 4096];
                let count = peer.read(&mut piece).expect("a request");
                text.push_str(&String::from_utf8_lossy(&piece[..count]));
            }
            let status = if text.contains(" /missing ") { "404 Not Found" } else { "200 OK" };
            write!(peer, "HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n").expect("sent");
            let body = text.rsplit("\r\n\r\n").next().unwrap_or_default();
            format!("{} {body}", text.lines().next().unwrap_or_default())
        };
        (0..count).map(answer).collect()
    });
    (port, heard)
}

#[test]
fn hooks_are_run_from_this_machine_and_by_their_policy() {
    let server = RedisServer::with(&["--requirepass", "open-sesame"]);
    let store = tempfile::tempdir().expect("a folder");
    let local = format!("local: {{hostPath: {{path: {}}}, mountPath: /safe}}", store.path().display());
    let run = |before: &str, policy: &str, port: u16| {
        let body = "'{{ .Status.Phase }} {{ .Target.Name }} {{ .Status.Error | toJson }}.'";
        let post = format!("httpPost: {{host: 127.0.0.1, port: {port}, path: /told, body: {body}}}");
        let get = format!("httpGet: {{host: 127.0.0.1, port: {port}, path: {before}}}");
        let hooks = format!("  hooks: {{preBackup: {{{get}}}, postBackup: {{{post}, executionPolicy: {policy}}}}}\n");
        let all = Manifests::new(&[
            ("1-secrets.yaml", SECRETS),
            ("2-database.yaml", &binding(&server, "")),
            ("3-repository.yaml", &repository(&local)),
            ("4-backup.yaml", &format!("{BACKUP}{hooks}")),
        ]);
        all.run(&[])
    };
    let (port, heard) = chat(2);
    let (done, _, said) = run("/before", "OnSuccess", port);
    assert!(done, "{said}");
    assert_eq!(heard.join().expect("heard"), ["GET /before HTTP/1.1 ", "POST /told HTTP/1.1 Succeeded carts \"\"."]);
    // Where the one before fails, nothing else is done.
    let (port, heard) = chat(1);
    let (done, _, said) = run("/missing", "Always", port);
    assert!(!done && said.contains("404"), "{said}");
    assert_eq!(heard.join().expect("heard"), ["GET /missing HTTP/1.1 "]);
    // Where the backup fails, that is told.
    std::fs::remove_file(store.path().join("config")).expect("there");
    let (port, heard) = chat(2);
    let (done, _, said) = run("/before", "OnFailure", port);
    let heard = heard.join().expect("heard");
    assert!(!done && heard[1].starts_with("POST /told HTTP/1.1 Failed carts \""), "{heard:?}: {said}");
    // Nobody is there to be told: the backup is there, and the run has failed.
    let mended = tempfile::tempdir().expect("a folder");
    let local = format!("local: {{hostPath: {{path: {}}}, mountPath: /safe}}", mended.path().display());
    let hooks = format!("  hooks: {{postBackup: {{tcpSocket: {{host: 127.0.0.1, port: {port}}}}}}}\n");
    let all = Manifests::new(&[
        ("1-secrets.yaml", SECRETS),
        ("2-database.yaml", &binding(&server, "")),
        ("3-repository.yaml", &repository(&local)),
        ("4-backup.yaml", &format!("{BACKUP}{hooks}")),
    ]);
    let (done, _, said) = all.run(&[]);
    assert!(!done && said.contains(&port.to_string()), "{said}");
    assert!(restic(mended.path(), &["snapshots"], b"").contains("1 snapshots"));
}
