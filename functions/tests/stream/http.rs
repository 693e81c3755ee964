//! `http-request` and `tcp-connect` to real sockets.

use aquifer_engine::alone::{Input, run_alone};
use aquifer_engine::failure::FailureKind;
use aquifer_engine::registry::Registry;
use aquifer_functions::http_request::HttpRequest;
use aquifer_functions::tcp_connect::TcpConnect;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::rig::failure;

/// Gives these answers, one after the other; gives what was asked.
async fn server(answers: &'static [&'static str]) -> (String, tokio::task::JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound").to_string();
    let asked = tokio::spawn(async move {
        let mut all = Vec::new();
        for answer in answers {
            let (mut peer, _) = listener.accept().await.expect("a peer");
            let mut text = vec![0; 64 << 10];
            let count = peer.read(&mut text).await.expect("a request");
            all.push(String::from_utf8_lossy(&text[..count]).into_owned());
            let answer = format!("HTTP/1.1 {answer}\r\nconnection: close\r\ncontent-length: 3\r\n\r\nwhy");
            peer.write_all(answer.as_bytes()).await.expect("sent");
        }
        all
    });
    (address, asked)
}

#[tokio::test]
async fn what_is_asked_is_sent_and_what_is_answered_is_judged() {
    let (address, asked) = server(&["200 OK", "302 Found\r\nlocation: /elsewhere", "204 No Content", "500 Oh"]).await;
    let url = format!("http://{address}/a?b=c");
    let headers = json!([{"name": "X-Token", "value": "hunter2"}]);
    let outcome = run_alone(HttpRequest, json!({"url": url, "headers": headers}), Input::None).await;
    assert_eq!(outcome.result.expect("an answer")["status"], 200);
    // It is not followed: who is told of a backup is who was meant.
    let outcome = run_alone(HttpRequest, json!({"url": url, "method": "PUT", "body": "whole"}), Input::None).await;
    assert_eq!(outcome.result.expect("an answer")["status"], 302);
    let form = json!([{"name": "a b", "value": "1&2"}, {"name": "a b", "value": "ü"}]);
    let outcome = run_alone(HttpRequest, json!({"url": url, "method": "POST", "form": form}), Input::None).await;
    assert_eq!(outcome.result.expect("an answer")["status"], 204);
    let outcome = run_alone(HttpRequest, json!({"url": url, "headers": headers}), Input::None).await;
    let failed = failure(&outcome, FailureKind::Unavailable);
    assert!(failed.message.ends_with("500 Internal Server Error: why") && !format!("{failed:?}").contains("hunter2"));
    let asked = asked.await.expect("no panic");
    assert!(asked[0].starts_with("GET /a?b=c HTTP/1.1\r\n") && asked[0].contains("x-token: hunter2\r\n"), "{asked:?}");
    assert!(asked[1].starts_with("PUT ") && asked[1].ends_with("\r\n\r\nwhole"), "{asked:?}");
    assert!(asked[2].ends_with("\r\n\r\na+b=1%262&a+b=%C3%BC"), "{asked:?}");
}

#[tokio::test]
async fn a_port_is_tried() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let params = json!({"host": "localhost", "port": address.port()});
    let outcome = run_alone(TcpConnect, params.clone(), Input::None).await;
    assert_eq!(outcome.result.expect("connected")["address"], address.to_string());
    drop(listener);
    let outcome = run_alone(TcpConnect, params, Input::None).await;
    assert!(failure(&outcome, FailureKind::Unavailable).message.contains(&format!("localhost:{}", address.port())));
    let outcome = run_alone(HttpRequest, json!({"url": format!("http://me:hunter2@{address}")}), Input::None).await;
    let failed = failure(&outcome, FailureKind::Unavailable);
    assert!(failed.message.contains("cannot be reached") && !format!("{failed:?}").contains("hunter2"), "{failed:?}");
}

#[test]
fn wrong_params_are_refused_at_their_place() {
    let registry = Registry::new().with(HttpRequest).with(TcpConnect);
    for (function, params, path) in [
        ("http-request", json!({"url": "ftp://h"}), "url"),
        ("http-request", json!({"url": "http://me:a/b@h"}), "url"),
        ("http-request", json!({"url": "http://h", "headers": [{"name": "a b", "value": ""}]}), "headers[0]"),
        ("http-request", json!({"url": "http://h", "headers": [{"name": "a", "value": "\n"}]}), "headers[0]"),
        ("http-request", json!({"url": "http://h", "body": "x"}), "method"),
        (
            "http-request",
            json!({"url": "http://h", "method": "POST", "body": "x", "form": [{"name": "a", "value": "b"}]}),
            "form",
        ),
        ("tcp-connect", json!({"host": "", "port": 1}), "host"),
        ("tcp-connect", json!({"host": "h", "port": 0}), "port"),
    ] {
        let error = registry.get(function).expect("registered").prepare(params.clone()).expect_err("refused");
        assert_eq!(error.path, path, "{params}: {error}");
    }
}
