//! TLS: who is trusted, who we are, and what is said where one side speaks it and the other does not.

use aquifer_engine::alone::{Input, Outcome, run_alone};
use aquifer_engine::failure::FailureKind;
use aquifer_functions::redis_dump::RedisDump;
use aquifer_tests::redis_server::{Certificates, RedisServer};
use serde_json::{Value as Json, json};

use super::rig::{by_scan, run};

async fn with_tls(url: &str, tls: Json) -> Outcome {
    run_alone(RedisDump, by_scan(url, json!({"tls": tls})), Input::None).await
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_is_spoken_with_those_who_are_trusted() {
    let certificates = Certificates::new();
    let server = RedisServer::tls(&certificates, &["--tls-auth-clients", "no"]);
    run(&mut server.client(), "SET a b");
    let url = format!("rediss://127.0.0.1:{}", server.port());
    let dump = async |tls: serde_json::Value| {
        run_alone(RedisDump, by_scan(&url, json!({"tls": tls})), Input::None).await.result
    };
    let ca = certificates.path("ca.crt");
    assert_eq!(dump(json!({"caFile": ca})).await.expect("trusted")["keys"], 1);
    assert_eq!(dump(json!({"insecure": true})).await.expect("not asked")["keys"], 1);
    assert_eq!(dump(json!({"caFile": ca, "serverName": "localhost"})).await.expect("its other name")["keys"], 1);
    let failure = dump(json!({"caFile": ca, "serverName": "example.com"})).await.expect_err("another name");
    assert!(failure.help.is_some_and(|help| help.contains("tls.serverName")), "{}", failure.message);
    let failure = dump(serde_json::Value::Null).await.expect_err("a stranger");
    assert!(failure.help.is_some_and(|help| help.contains("tls.caFile")), "{}", failure.message);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_certificate_is_shown() {
    let certificates = Certificates::new();
    let server = RedisServer::tls(&certificates, &["--tls-auth-clients", "yes"]);
    let [ca, cert, key] = ["ca.crt", "server.crt", "server.key"].map(|name| certificates.path(name));
    let url = format!("rediss://127.0.0.1:{}", server.port());
    let without = with_tls(&url, json!({"caFile": ca})).await;
    let failure = without.result.expect_err("no certificate");
    assert_eq!(failure.kind, FailureKind::Unauthorized, "another attempt has none either: {failure:?}");
    assert!(failure.help.is_some_and(|help| help.contains("tls.certFile") && help.contains("tls.keyFile")));
    let strange = Certificates::new();
    let [own, its_key] = ["server.crt", "server.key"].map(|name| strange.path(name));
    let tls = json!({"caFile": ca, "certFile": own, "keyFile": its_key});
    let failure = run_alone(RedisDump, by_scan(&url, json!({"tls": tls})), Input::None).await.result;
    let failure = failure.expect_err("a certificate of somebody else's authority");
    assert_eq!(failure.kind, FailureKind::Unauthorized, "{failure:?}");
    let tls = json!({"caFile": ca, "certFile": cert, "keyFile": key});
    run_alone(RedisDump, by_scan(&url, json!({"tls": tls})), Input::None).await.result.expect("one that is trusted");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_speaks_no_tls_is_told_from_one_that_is_not_there() {
    let server = RedisServer::start();
    let url = format!("rediss://127.0.0.1:{}", server.port());
    let params = json!({"url": url, "tls": {"insecure": true}, "connectTimeout": "1s"});
    let failure = run_alone(RedisDump, params, Input::None).await.result.expect_err("no TLS there");
    assert!(failure.message.contains("takes connections"), "{failure:?}");
    assert!(failure.help.is_some_and(|help| help.contains("`redis://`")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_speaks_tls_alone_is_asked_for_by_another_scheme() {
    let server = RedisServer::tls(&Certificates::new(), &["--tls-auth-clients", "no"]);
    let url = format!("redis://127.0.0.1:{}", server.port());
    let failure = run_alone(RedisDump, json!({"url": url}), Input::None).await.result.expect_err("TLS alone");
    assert!(failure.help.as_ref().is_some_and(|help| help.contains("write `rediss://`")), "{failure:?}");
    // One that hangs up after it has answered is another matter.
    let server = RedisServer::start();
    run(&mut server.client(), "SET a b");
    let params = json!({"url": server.url(), "username": "x", "password": "y"});
    let failure = run_alone(RedisDump, params, Input::None).await.result.expect_err("nobody of that name");
    assert!(!failure.help.unwrap_or_default().contains("rediss://"));
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_do_not_fit_are_named_with_their_params() {
    let certificates = Certificates::new();
    let [ca, cert, key] = ["ca.crt", "server.crt", "ca.key"].map(|name| certificates.path(name));
    let server = RedisServer::tls(&certificates, &["--tls-auth-clients", "no"]);
    let url = format!("rediss://127.0.0.1:{}", server.port());
    for (tls, param) in [
        (json!({"caFile": "/nowhere/ca.crt"}), "tls.caFile"),
        (json!({"caFile": key}), "tls.caFile"),
        (json!({"caFile": ca, "certFile": "/nowhere/x.crt", "keyFile": key}), "tls.certFile"),
        (json!({"caFile": ca, "certFile": cert, "keyFile": ca}), "tls.keyFile"),
        (json!({"caFile": ca, "certFile": cert, "keyFile": key}), "tls.keyFile"),
    ] {
        let failure = with_tls(&url, tls.clone()).await.result.expect_err("files that do not fit");
        assert!(failure.help.as_ref().is_some_and(|help| help.contains(param)), "{tls}: {failure:?}");
        assert!(!failure.kind.is_retryable(), "{tls}: {failure:?}");
    }
}
