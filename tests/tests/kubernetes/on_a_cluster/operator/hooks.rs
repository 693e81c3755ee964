//! Hooks: what is asked and told before and after sessions, however they end.

use std::sync::{Arc, Mutex};

use aquifer_operator::resources::backup::BackupConfiguration;
use aquifer_operator::resources::backup_session::{BackupPhase, BackupSession, BackupSessionStatus};
use aquifer_operator::resources::condition::{Condition, ConditionStatus};
use aquifer_operator::resources::restore::{RestorePhase, RestoreSession};
use aquifer_tests::kubernetes::wait::until;
use k8s_openapi::api::core::v1::Secret;
use kube::Client;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::super::rig::{make, running_of};
use super::bad_days::shop;
use super::rig::*;

/// A server that keeps what it is asked: `METHOD PATH BODY`. It does not know what is called `/missing`.
pub(super) struct Chat {
    pub(super) port: u16,
    heard: Arc<Mutex<Vec<String>>>,
}

impl Chat {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let heard = Arc::<Mutex<Vec<String>>>::default();
        let keeps = Arc::clone(&heard);
        tokio::spawn(async move {
            while let Ok((peer, _)) = listener.accept().await {
                let said = answer(peer).await;
                keeps.lock().expect("sound").push(said);
            }
        });
        Self { port, heard }
    }

    pub(super) fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.heard.lock().expect("sound"))
    }
}

/// Reads one request and answers it; gives what it asked.
async fn answer(mut peer: TcpStream) -> String {
    let mut text = Vec::new();
    let (head, length) = loop {
        let mut piece = [0; 4096];
        let count = peer.read(&mut piece).await.expect("a request");
        text.extend_from_slice(&piece[..count]);
        let so_far = String::from_utf8_lossy(&text).into_owned();
        let head = so_far.split_once("\r\n\r\n").map(|(head, _)| head.to_ascii_lowercase());
        let Some(head) = head else { continue };
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
        if text.len() >= head.len() + 4 + length.unwrap_or_default() {
            break (so_far, length.unwrap_or_default());
        }
    };
    let mut words = head.split(' ');
    let (method, path) = (words.next().expect("a method"), words.next().expect("a path"));
    let status = if path == "/missing" { "404 Not Found" } else { "204 No Content" };
    let said = format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
    peer.write_all(said.as_bytes()).await.expect("sent");
    format!("{method} {path} {}", &head[head.len() - length..])
}

fn is(conditions: &[Condition], kind: &str) -> Option<ConditionStatus> {
    conditions.iter().find(|one| one.r#type == kind).map(|one| one.status)
}

async fn run(client: &Client, room: &str, name: &str) -> BackupSessionStatus {
    make::<BackupSession>(client, room, session(name)).await;
    over(client, room, name).await.status.expect("a status")
}

fn error(status: &BackupSessionStatus) -> &str {
    status.targets[0].stats[0].error.as_deref().unwrap_or_default()
}

/// What a chat is told: a template, as people have it in their manifests.
fn told(chat: &Chat, policy: &str) -> Value {
    let body = "{{ .Namespace }}/{{ .Target.Name }} {{ .Status.Phase }} {{ .Status.Error | default \"-\" | trunc 20 }} {{ .Invoker.Name }}";
    let post = json!({"host": "127.0.0.1", "port": chat.port, "path": "/told", "body": body});
    json!({"httpPost": post, "executionPolicy": policy})
}

#[tokio::test]
async fn what_is_before_and_after_a_backup_is_done_and_said() {
    const ROOM: &str = "hooks";
    let (rig, client, _) = operated(ROOM).await;
    let _free = rig.whole.read().await;
    let chat = Chat::start().await;
    let before = |path: &str| json!({"httpGet": {"host": "127.0.0.1", "port": chat.port, "path": path}});
    let hooks = |before: Value, after: Value| json!({"spec": {"hooks": {"preBackup": before, "postBackup": after}}});
    let hooked = async |before: Value, after: Value| {
        patch::<BackupConfiguration>(&client, ROOM, "backup", json!({"spec": {"hooks": null}})).await;
        patch::<BackupConfiguration>(&client, ROOM, "backup", hooks(before, after)).await;
    };
    let shop = shop(&client, ROOM, json!({"backupHistoryLimit": 10})).await;

    hooked(before("/before"), told(&chat, "Always")).await;
    let done = run(&client, ROOM, "both").await;
    assert_eq!(done.phase, Some(BackupPhase::Succeeded), "{done:#?}");
    assert_eq!(is(&done.conditions, "PreBackupHookExecutionSucceeded"), Some(ConditionStatus::True));
    assert_eq!(is(&done.conditions, "PostBackupHookExecutionSucceeded"), Some(ConditionStatus::True));
    assert_eq!(chat.take(), ["GET /before ", "POST /told hooks/db Succeeded - backup"]);

    // What is before it fails: nothing is backed up, and nothing is done after it.
    hooked(before("/missing"), told(&chat, "Always")).await;
    let done = run(&client, ROOM, "before").await;
    assert!(done.phase == Some(BackupPhase::Failed) && error(&done).contains("404"), "{done:#?}");
    assert_eq!(is(&done.conditions, "PreBackupHookExecutionSucceeded"), Some(ConditionStatus::False));
    assert!(done.targets[0].stats[0].snapshots.is_empty(), "{done:#?}");
    assert_eq!(chat.take(), ["GET /missing "]);

    // What is after it fails: the backup is there, and the session has not done all.
    hooked(json!({"tcpSocket": {"port": shop.server.port()}}), before("/missing")).await;
    let done = run(&client, ROOM, "after").await;
    assert!(
        done.phase == Some(BackupPhase::Failed) && error(&done).starts_with("the hook after it failed"),
        "{done:#?}"
    );
    assert_eq!(is(&done.conditions, "PostBackupHookExecutionSucceeded"), Some(ConditionStatus::False));
    assert_eq!(done.targets[0].stats[0].snapshots.len(), 1);
    chat.take();

    // After a failure, where one is waited for; also where the session could not even begin.
    hooked(json!({"tcpSocket": {"port": shop.server.port()}}), told(&chat, "OnFailure")).await;
    assert_eq!(run(&client, ROOM, "well").await.phase, Some(BackupPhase::Succeeded));
    assert!(chat.take().is_empty());
    patch::<Secret>(&client, ROOM, "auth", json!({"stringData": {"password": "close-sesame"}})).await;
    let done = run(&client, ROOM, "password").await;
    assert!(error(&done).contains("WRONGPASS"), "{done:#?}");
    let heard = chat.take();
    assert!(heard.len() == 1 && heard[0].starts_with("POST /told hooks/db Failed `dump` failed: "), "{heard:?}");
    let secrets: kube::Api<Secret> = kube::Api::namespaced(client.clone(), ROOM);
    secrets.delete("auth", &kube::api::DeleteParams::default()).await.expect("deleted");
    let done = run(&client, ROOM, "secret").await;
    assert_eq!(error(&done), "the Secret `hooks/auth` is not there");
    assert_eq!(chat.take(), ["POST /told hooks/db Failed the Secret `hooks/au backup"]);
    make::<Secret>(&client, ROOM, auth()).await;

    // And where its pod is killed, which can say nothing any more.
    let held = hold(&shop.server);
    make::<BackupSession>(&client, ROOM, session("killed")).await;
    let pod = running_of(&client, ROOM, "stash-backup-killed").await;
    rig.node.kill(ROOM, &pod, "aquifer");
    drop(held);
    let done = over(&client, ROOM, "killed").await.status.expect("a status");
    assert!(error(&done).contains("was killed"), "{done:#?}");
    let heard = chat.take();
    assert!(heard.len() == 1 && heard[0].starts_with("POST /told hooks/db Failed its pod was killed"), "{heard:?}");
}

#[tokio::test]
async fn a_restore_has_hooks_too_and_what_cannot_be_done_is_said_before() {
    const ROOM: &str = "restore-hooks";
    let (rig, client, _) = operated(ROOM).await;
    let _free = rig.whole.read().await;
    let chat = Chat::start().await;
    let shop = shop(&client, ROOM, json!({})).await;
    assert_eq!(run(&client, ROOM, "first").await.phase, Some(BackupPhase::Succeeded));
    shop.server.cli(&["-a", "open-sesame", "FLUSHALL"]);
    let restore = |name: &str, before: Value| {
        json!({"metadata": {"name": name}, "spec": {"repository": {"name": "repo"}, "target": target(),
            "hooks": {"preRestore": before, "postRestore": told(&chat, "OnSuccess")}}})
    };
    let form = json!({"httpPost": {"host": "127.0.0.1", "port": chat.port, "path": "/form", "form": [{"key": "a b", "values": ["1&2"]}]}});
    make::<RestoreSession>(&client, ROOM, restore("back", form)).await;
    let back = restored(&client, ROOM, "back").await.status.expect("a status");
    assert_eq!(back.phase, Some(RestorePhase::Succeeded), "{back:#?}");
    assert_eq!(is(&back.conditions, "PostRestoreHookExecutionSucceeded"), Some(ConditionStatus::True));
    assert_eq!(chat.take(), ["POST /form a+b=1%262", "POST /told restore-hooks/db Succeeded - back"]);
    assert_eq!(shop.server.cli(&["-a", "open-sesame", "GET", "key"]).trim(), "value");

    let command = json!({"exec": {"command": ["true"]}});
    make::<RestoreSession>(&client, ROOM, restore("command", command)).await;
    let held = that(&client, ROOM, "command", "is invalid", |one: &RestoreSession| {
        (one.status.as_ref()?.phase? == RestorePhase::Invalid).then(|| one.clone())
    })
    .await;
    let said = serde_json::to_string(&held.status).expect("JSON");
    assert!(said.contains("`exec`"), "{said}");
    until("nothing more is heard", async || chat.take().is_empty().then_some(())).await;
}
