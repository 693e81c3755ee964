//! What becomes of the parts of objects in Swift, on a server that can be made to lose answers.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};

use aquifer_engine::failure::FailureKind;
use futures::TryStreamExt;
use serde_json::{Value, json};

use super::double::{Answer, Asked, Double, open};
use crate::location::store::Store;

/// By their paths below the account: bytes, and whether they are a manifest.
type Held = Arc<Mutex<BTreeMap<String, (Vec<u8>, bool)>>>;

/// How the request is answered that makes a large object visible: 0 as it should be, 1 not at all and it is carried out, 2 not at all,
/// else with this status.
type Commit = Arc<AtomicU16>;

fn path(named: &Value) -> String {
    named.as_str().unwrap_or_default().trim_start_matches('/').to_owned()
}

fn named(bytes: &[u8]) -> Vec<Value> {
    serde_json::from_slice(bytes).expect("a manifest")
}

fn answered(asked: &Asked, held: &Held, commit: &AtomicU16) -> Option<Answer> {
    if asked.target.starts_with("/auth/") {
        let storage = format!("http://{}/v1/a", asked.header("host"));
        return Some(Answer(200, vec![("X-Auth-Token", "t".into()), ("X-Storage-Url", storage)], String::new()));
    }
    let mut held = held.lock().expect("no panic");
    let (path_asked, query) = asked.target.split_once('?').unwrap_or((&asked.target, ""));
    let at = path_asked.trim_start_matches("/v1/a/").to_owned();
    let found = held.get(&at).cloned();
    let large = |large: bool| if large { vec![("X-Static-Large-Object", "True".to_owned())] } else { Vec::new() };
    Some(match (asked.method.as_str(), found) {
        ("PUT", _) => {
            let manifest = query == "multipart-manifest=put";
            match commit.load(Ordering::SeqCst) {
                _ if !manifest => {}
                0 => {}
                1 => {
                    held.insert(at, (asked.body.clone(), manifest));
                    return None;
                }
                2 => return None,
                status => return Some(Answer(status, Vec::new(), String::new())),
            }
            held.insert(at, (asked.body.clone(), manifest));
            Answer(201, Vec::new(), String::new())
        }
        (_, None) => Answer(404, Vec::new(), String::new()),
        ("GET", Some((bytes, true))) if query == "multipart-manifest=get" => {
            let lines = named(&bytes).into_iter().map(|line| json!({"name": line["path"]}));
            Answer(200, Vec::new(), Value::Array(lines.collect()).to_string())
        }
        ("DELETE", Some((bytes, manifest))) => {
            held.remove(&at);
            if manifest && query == "multipart-manifest=delete" {
                for line in named(&bytes) {
                    held.remove(&path(&line["path"]));
                }
            }
            Answer(200, Vec::new(), json!({"Response Status": "200 OK"}).to_string())
        }
        (_, Some((_, manifest))) => Answer(200, large(manifest), String::new()),
    })
}

async fn start() -> (Double, Store, Held, Commit) {
    let (held, commit) = (Held::default(), Commit::default());
    let (of_server, rule) = (Arc::clone(&held), Arc::clone(&commit));
    let server = Double::start(move |asked| answered(asked, &of_server, &rule)).await;
    let store = open(location(&server));
    (server, store, held, commit)
}

fn location(server: &Double) -> Value {
    let auth_url = format!("{}/auth/v1.0", server.url);
    json!({"swift": {"container": "c", "prefix": "p", "authUrl": auth_url, "username": "u", "password": "k"}})
}

/// Writes an object of two parts.
async fn write(store: &Store, name: &str) -> opendal::Result<()> {
    let mut writer = store.once().writer(name).await?;
    for piece in ["one", "two"] {
        writer.write(piece).await?;
    }
    match writer.close().await {
        Ok(_) => Ok(()),
        Err(error) => {
            writer.abort().await?;
            Err(error)
        }
    }
}

fn parts(held: &Held) -> usize {
    held.lock().expect("no panic").keys().filter(|name| name.contains(".aquifer-parts")).count()
}

#[tokio::test]
async fn the_parts_that_a_copied_manifest_shares_outlive_the_copy() {
    let (_server, store, held, _) = start().await;
    write(&store, "n").await.expect("written");
    assert_eq!(parts(&held), 2);
    let copy = |to: &str| {
        let mut held = held.lock().expect("no panic");
        let manifest = held["c/p/n"].clone();
        held.insert(format!("c/p/{to}"), manifest);
    };
    copy("removed");
    store.operator().delete("removed").await.expect("removed");
    copy("replaced");
    store.operator().write("replaced", "small").await.expect("written");
    copy("replaced by parts");
    write(&store, "replaced by parts").await.expect("written");
    assert_eq!(parts(&held), 4, "those of `n`, and those of what took a copy's place");
    assert!(!held.lock().expect("no panic").contains_key("c/p/removed"));
    // An object's own are removed with it, and when another takes its place.
    store.operator().write("replaced by parts", "small").await.expect("written");
    assert_eq!(parts(&held), 2);
    store.operator().delete("n").await.expect("removed");
    assert_eq!(parts(&held), 0);
}

#[tokio::test]
async fn what_a_manifest_names_elsewhere_is_left_there_and_the_rest_removed() {
    let (_server, store, held, _) = start().await;
    write(&store, "n").await.expect("written");
    {
        let mut held = held.lock().expect("no panic");
        let mut lines = named(&held["c/p/n"].0);
        lines.push(json!({"path": "/c/p/other"}));
        held.insert("c/p/n".to_owned(), (Value::Array(lines).to_string().into_bytes(), true));
        held.insert("c/p/other".to_owned(), (b"x".to_vec(), false));
    }
    store.operator().delete("n").await.expect("removed");
    assert_eq!(held.lock().expect("no panic").keys().collect::<Vec<_>>(), ["c/p/other"]);
}

#[tokio::test]
async fn parts_stay_where_the_object_may_yet_appear_and_go_where_it_was_refused() {
    for (commit, stay) in [(1, 2), (2, 2), (500, 2), (504, 2), (403, 0), (412, 0), (422, 0)] {
        let (_server, store, held, how) = start().await;
        how.store(commit, Ordering::SeqCst);
        write(&store, "n").await.expect_err("no answer, or a refusal");
        assert_eq!(parts(&held), stay, "{commit}");
    }
}

#[tokio::test]
async fn a_look_that_fails_removes_and_replaces_nothing() {
    let server = Double::start(|asked| match asked.method.as_str() {
        "HEAD" => Some(Answer(403, Vec::new(), String::new())),
        _ => answered(asked, &Held::default(), &AtomicU16::new(0)),
    })
    .await;
    let store = open(location(&server));
    let error = store.operator().delete("n").await.expect_err("refused");
    assert_eq!(error.kind(), opendal::ErrorKind::PermissionDenied);
    write(&store, "n").await.expect_err("refused");
    let asked = server.asked();
    assert!(
        !asked.iter().any(|asked| asked == "DELETE /v1/a/c/p/n" || asked.starts_with("PUT /v1/a/c/p/n")),
        "{asked:?}"
    );
}

/// A listing of two pages, and a server that gives the first again and again.
#[tokio::test]
async fn a_listing_goes_forward_or_is_an_error() {
    for knows in [true, false] {
        let server = Double::start(move |asked| {
            let (_, marker) = asked.target.split_once("marker=").unwrap_or_default();
            let page = |names: [&str; 2]| {
                let lines = names.map(|name| json!({"name": format!("p/s/{name}"), "bytes": 1}));
                Some(Answer(200, Vec::new(), json!(lines).to_string()))
            };
            match marker {
                _ if asked.target.starts_with("/auth/") => answered(asked, &Held::default(), &AtomicU16::new(0)),
                "" => page(["a", "b"]),
                _ if !knows => page(["a", "b"]),
                "p%2Fs%2Fb" => page(["c", "d"]),
                _ => Some(Answer(200, Vec::new(), "[]".to_owned())),
            }
        })
        .await;
        let lister = open(location(&server)).operator().lister_with("s/").recursive(true).await.expect("begun");
        let listed: opendal::Result<Vec<_>> = lister.map_ok(|entry| entry.path().to_owned()).try_collect().await;
        match knows {
            true => assert_eq!(listed.expect("whole"), ["s/a", "s/b", "s/c", "s/d"]),
            false => assert!(listed.expect_err("refused").message().contains("marker")),
        }
    }
}

/// What passes by itself must not be told as wrong keys, which nobody would try again.
#[tokio::test]
async fn a_sign_in_that_the_server_cannot_do_now_is_no_refusal() {
    for (status, kind) in [(503, FailureKind::Unavailable), (401, FailureKind::Unauthorized)] {
        let server = Double::start(move |_| Some(Answer(status, Vec::new(), String::new()))).await;
        let failure = open(location(&server)).put("n", "x".into()).await.expect_err("refused");
        assert_eq!(failure.kind, kind, "{failure:?}");
    }
}
