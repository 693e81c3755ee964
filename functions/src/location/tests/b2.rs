//! The login at B2, by a server that answers as B2's reference says, and what is sent to the place that it leads to.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use aquifer_engine::failure::{Failure, FailureKind};
use opendal::Buffer;
use serde_json::{Value, json};

use super::double::{Answer, Asked, Double, open};

const SECRET: &str = "hunter2-of-b2";
/// `the-id:hunter2-of-b2` in base64.
const BASIC: &str = "Basic dGhlLWlkOmh1bnRlcjItb2YtYjI=";

fn location(url: &str) -> Value {
    json!({"b2": {"bucket": "backups", "prefix": "/p/", "keyId": "the-id", "key": SECRET, "endpoint": url}})
}

/// What a good login is answered with, changed by the test.
fn entered(asked: &Asked, change: impl Fn(&mut Value)) -> Option<Answer> {
    assert_eq!((asked.method.as_str(), asked.header("authorization")), ("GET", BASIC));
    let mut body = json!({
        "accountId": "an-account", "authorizationToken": "hunter2-token",
        "apiInfo": {
            "groupsApi": {"groupsApiUrl": "https://api004.backblazeb2.com", "infoType": "groupsApi"},
            "storageApi": {
                "absoluteMinimumPartSize": 5_000_000, "apiUrl": "https://api004.backblazeb2.com", "bucketId": null, "bucketName": null,
                "capabilities": ["listFiles", "readFiles", "writeFiles", "deleteFiles"], "infoType": "storageApi", "namePrefix": null,
                "s3ApiUrl": format!("http://{}", asked.header("host")),
            },
        },
    });
    change(&mut body);
    Some(Answer(200, Vec::new(), body.to_string()))
}

fn is_login(asked: &Asked) -> bool {
    asked.target == "/b2api/v3/b2_authorize_account"
}

/// What becomes of a write where the login is answered so.
async fn put(rule: impl Fn(&Asked) -> Option<Answer> + Send + Sync + 'static) -> (Result<(), Failure>, Vec<String>) {
    let server = Double::start(move |asked| {
        if is_login(asked) { rule(asked) } else { Some(Answer(200, vec![("ETag", "\"e\"".into())], String::new())) }
    })
    .await;
    let store = open(location(&server.url));
    let done = store.put("n", Buffer::from("x")).await;
    (done, server.asked())
}

#[tokio::test]
async fn a_login_that_fails_for_a_while_is_tried_again_and_one_that_works_is_kept() {
    let tried = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&tried);
    let server = Double::start(move |asked| {
        if !is_login(asked) {
            // B2 refuses a write under a condition.
            let refused = asked.headers.iter().any(|(name, _)| name.starts_with("if-"));
            return Some(Answer(if refused { 501 } else { 200 }, vec![("ETag", "\"e\"".into())], String::new()));
        }
        match count.fetch_add(1, Ordering::SeqCst) {
            0 => Some(Answer(503, Vec::new(), json!({"code": "service_unavailable", "status": 503}).to_string())),
            1 => None,
            _ => entered(asked, |_| {}),
        }
    })
    .await;
    let store = open(location(&server.url));
    assert!(server.asked().is_empty(), "nothing is sent before it is needed");
    store.put("n", Buffer::from("x")).await.expect("written");
    store.put_new("m", Buffer::from("x")).await.expect("written");
    store.operator().read("n").await.expect("read");
    let mut writer = store.once().writer("in parts").await.expect("begun");
    writer.write("x").await.expect("taken");
    writer.close().await.expect("written");
    assert_eq!(tried.load(Ordering::SeqCst), 3);
    let asked: Vec<String> = server.asked().into_iter().filter(|asked| !asked.contains("b2api")).collect();
    assert_eq!(asked[..2], ["PUT /backups/p/n", "PUT /backups/p/m"], "{asked:?}");
}

#[tokio::test]
async fn each_login_that_is_refused_is_told_as_what_it_is() {
    let refused = |status: u16, code: &'static str| {
        let body = json!({"status": status, "code": code, "message": "said"}).to_string();
        move |_: &Asked| Some(Answer(status, Vec::new(), body.clone()))
    };
    for (done, kind, part, retried) in [
        (
            put(refused(401, "unauthorized")).await,
            FailureKind::Unauthorized,
            "does not know the application key",
            false,
        ),
        (put(refused(403, "account_trouble")).await, FailureKind::Unauthorized, "account_trouble", false),
        (put(refused(403, "transaction_cap_exceeded")).await, FailureKind::Unavailable, "Caps & Alerts", false),
        (put(refused(400, "bad_request")).await, FailureKind::Config, "said (`bad_request`)", false),
        (put(refused(503, "service_unavailable")).await, FailureKind::Unavailable, "503", true),
        (
            put(|_| Some(Answer(200, Vec::new(), "<html>hunter2".into()))).await,
            FailureKind::Config,
            "not be B2's",
            false,
        ),
        (put(|_| Some(Answer(404, Vec::new(), "<html>".into()))).await, FailureKind::NotFound, "404", false),
        (
            put(|_| Some(Answer(302, vec![("Location", "http://other/?hunter2".into())], String::new()))).await,
            FailureKind::Config,
            "`http://other`",
            false,
        ),
        (
            put(|asked| entered(asked, |body| body["accountId"] = json!("the-id"))).await,
            FailureKind::Unauthorized,
            "master key",
            false,
        ),
        (
            put(|asked| entered(asked, |body| body["apiInfo"] = json!({}))).await,
            FailureKind::Unauthorized,
            "make an application key",
            false,
        ),
        (
            put(|asked| entered(asked, |body| body["apiInfo"]["storageApi"]["bucketName"] = json!("other"))).await,
            FailureKind::Unauthorized,
            "`other` alone",
            false,
        ),
        (
            put(|asked| entered(asked, |body| body["apiInfo"]["storageApi"]["namePrefix"] = json!("pq"))).await,
            FailureKind::Unauthorized,
            "begin with `pq`",
            false,
        ),
        (
            put(|asked| entered(asked, |body| body["apiInfo"]["storageApi"]["s3ApiUrl"] = json!("hunter2"))).await,
            FailureKind::Config,
            "not be B2's",
            false,
        ),
        (
            put(|asked| entered(asked, |body| body["apiInfo"]["storageApi"]["s3ApiUrl"] = json!("file:///a"))).await,
            FailureKind::Config,
            "not be B2's",
            false,
        ),
    ] {
        let (done, asked) = done;
        let failure = done.expect_err(part);
        let said = format!("{failure:?}");
        assert!(failure.kind == kind && failure.message.contains(part), "{part}: {said}");
        assert!(!said.contains("hunter2") && !said.contains(BASIC), "{said}");
        assert_eq!(asked.len() > 1, retried, "{part}: {asked:?}");
        assert!(asked.iter().all(|asked| asked.contains("b2api")), "nothing more is asked: {asked:?}");
        assert!(kind != FailureKind::Unauthorized || failure.help.is_some_and(|help| help.contains("B2_ACCOUNT_KEY")));
    }
    // A key that is bound to this very place is as good as one that is not.
    for prefix in ["p", "p/", ""] {
        let bound = move |body: &mut Value| {
            body["apiInfo"]["storageApi"]["bucketName"] = json!("backups");
            body["apiInfo"]["storageApi"]["namePrefix"] = json!(prefix);
        };
        put(move |asked| entered(asked, bound)).await.0.expect("written");
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_says_nothing_is_given_up() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let store = open(location(&format!("http://{}", silent.local_addr().expect("bound"))));
    let begun = tokio::time::Instant::now();
    let failure = store.put("n", Buffer::from("x")).await.expect_err("nobody answers");
    assert!(matches!(failure.kind, FailureKind::Unavailable | FailureKind::TimedOut), "{failure:?}");
    let took = begun.elapsed().as_secs();
    assert!(took < 30 * 60, "{took} s");
}
