//! What a server of WebDAV may say and not do, and a server that sends requests elsewhere.

use std::sync::{Arc, Mutex};

use opendal::ErrorKind;
use serde_json::json;

use super::double::{Answer, Asked, Double, open};
use crate::location::store::Store;

/// What the server does otherwise than it should.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lie {
    None,
    /// It stores less than it was sent.
    Short,
    /// It answers a `MOVE` with a status of success in which each file's own says no.
    Moves,
    /// The same of a `DELETE`.
    Deletes,
    /// Nobody may look into the folder of what is half-written.
    Closed,
}

fn said(status: u16) -> Option<Answer> {
    Some(Answer(status, Vec::new(), String::new()))
}

fn answered(asked: &Asked, stored: &Mutex<Option<usize>>, lie: Lie) -> Option<Answer> {
    let refused = || {
        let body = "<D:multistatus xmlns:D='DAV:'><D:response><D:href>/d/n</D:href><D:status>HTTP/1.1 423 Locked</D:status>\
                    </D:response></D:multistatus>";
        Some(Answer(207, Vec::new(), body.to_owned()))
    };
    let mut stored = stored.lock().expect("no panic");
    match asked.method.as_str() {
        "PROPFIND" if asked.target.ends_with(".aquifer-parts/") => said(if lie == Lie::Closed { 403 } else { 404 }),
        "PROPFIND" => {
            let Some(bytes) = *stored else { return said(404) };
            let body = format!(
                "<D:multistatus xmlns:D='DAV:'><D:response><D:href>{}</D:href><D:propstat><D:prop><D:resourcetype/>\
                 <D:getcontentlength>{bytes}</D:getcontentlength></D:prop><D:status>HTTP/1.1 200 OK</D:status></D:propstat>\
                 </D:response></D:multistatus>",
                asked.target
            );
            Some(Answer(207, Vec::new(), body))
        }
        "PUT" => {
            *stored = Some(if lie == Lie::Short { asked.body.len() - 1 } else { asked.body.len() });
            said(201)
        }
        "MOVE" if lie == Lie::Moves => refused(),
        "DELETE" if lie == Lie::Deletes => refused(),
        _ => said(201),
    }
}

async fn start(lie: Lie) -> (Double, Store) {
    let stored = Arc::new(Mutex::new(None));
    let server = Double::start(move |asked| answered(asked, &stored, lie)).await;
    let store = open(json!({"webdav": {"url": format!("{}/d/", server.url)}}));
    (server, store)
}

#[tokio::test]
async fn a_file_that_was_not_stored_whole_gets_no_name() {
    let (server, store) = start(Lie::Short).await;
    let error = store.operator().write("n", "content").await.expect_err("it is short");
    assert!(error.message().contains("6 bytes of 7"), "{error}");
    assert!(!server.asked().iter().any(|asked| asked.starts_with("MOVE")), "{:?}", server.asked());
}

#[tokio::test]
async fn a_success_that_says_no_for_each_file_is_a_refusal() {
    let (_server, store) = start(Lie::Moves).await;
    assert!(store.operator().write("n", "content").await.is_err_and(|error| error.message().contains("207")));
    let (_server, store) = start(Lie::Deletes).await;
    assert!(store.operator().delete("n").await.is_err_and(|error| error.message().contains("207")));
}

#[tokio::test]
async fn what_cannot_be_looked_through_for_leftovers_keeps_nobody_from_writing() {
    for lie in [Lie::None, Lie::Closed] {
        let (server, store) = start(lie).await;
        store.operator().write("n", "content").await.expect("written");
        assert!(server.asked().iter().any(|asked| asked.starts_with("PROPFIND /d/.aquifer-parts/")));
    }
}

#[tokio::test]
async fn nothing_is_sent_to_where_the_server_sends_it() {
    let other = Double::start(|_| said(200)).await;
    let to = format!("{}/d/n?secret=hunter2", other.url);
    for status in [301, 302, 303, 307, 308] {
        let to = to.clone();
        let server = Double::start(move |_| Some(Answer(status, vec![("Location", to.clone())], String::new()))).await;
        let store = open(json!({"webdav": {"url": format!("{}/d/", server.url), "username": "u", "password": "p"}}));
        for error in [
            store.operator().write("n", "content").await.expect_err("refused"),
            store.operator().delete("n").await.expect_err("refused"),
            store.operator().read("n").await.expect_err("refused"),
        ] {
            assert_eq!(error.kind(), ErrorKind::ConfigInvalid, "{error}");
            let told = error.message().contains(&format!("`{}`", other.url)) && !error.message().contains("hunter2");
            assert!(told, "{error}");
        }
    }
    assert_eq!(other.asked(), [""; 0]);
}
