//! `metrics-push` to a real Pushgateway over TLS: which certificates are taken, and what is said where one is not.

use std::path::Path;
use std::process::Command;

use aquifer_engine::alone::{Input, Outcome, run_alone};
use aquifer_engine::failure::FailureKind;
use aquifer_functions::metrics_push::MetricsPush;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::metrics::Gateway;
use crate::rig::failure;

/// `hunter2`, as the gateway wants to have it.
const HASH: &str = "$2b$04$abcdefghijklmnopqrstuuV3duMsC0HpUex6N9qapiuOHHWkwRXVm";

/// Two authorities, and a certificate for `localhost` by the first.
fn certificates() -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let openssl = |line: &str| {
        let done = Command::new("openssl").args(line.split(' ')).current_dir(folder.path()).output();
        let done = done.expect("`openssl` is needed by this test");
        assert!(done.status.success(), "openssl {line}: {}", String::from_utf8_lossy(&done.stderr));
    };
    std::fs::write(folder.path().join("san"), "subjectAltName=DNS:localhost\n").expect("written");
    openssl("req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=one -keyout ca.key -out ca.crt");
    openssl("req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=two -keyout other.key -out other.crt");
    openssl("req -newkey rsa:2048 -nodes -subj /CN=server -keyout server.key -out server.csr");
    openssl("x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -extfile san -out server.crt");
    folder
}

async fn gateway(folder: &Path) -> Gateway {
    let config = format!(
        "tls_server_config: {{cert_file: server.crt, key_file: server.key}}\nbasic_auth_users: {{me: {HASH}}}\n"
    );
    std::fs::write(folder.join("web.yml"), config).expect("written");
    Gateway::with(&[format!("--web.config.file={}", folder.join("web.yml").display())]).await
}

async fn push(host: &str, gateway: &Gateway, password: &str, tls: Value) -> Outcome {
    let port = gateway.address().rsplit(':').next().expect("a port");
    let url = format!("https://{host}:{port}");
    let params = json!({"url": url, "job": "nightly", "username": "me", "password": password, "tls": tls});
    run_alone(MetricsPush, params, Input::None).await
}

#[tokio::test]
async fn only_a_certificate_that_is_trusted_is_taken() {
    let folder = certificates();
    let file = |name: &str| json!({"caFile": folder.path().join(name)});
    let gateway = gateway(folder.path()).await;

    let pushed = push("localhost", &gateway, "hunter2", file("ca.crt")).await;
    assert!(pushed.result.is_ok(), "{pushed:?}");
    let pushed = push("localhost", &gateway, "hunter2", json!({"insecure": true})).await;
    assert!(pushed.result.is_ok(), "{pushed:?}");

    let refused = push("localhost", &gateway, "wrong", file("ca.crt")).await;
    assert!(!format!("{:?}", failure(&refused, FailureKind::Unauthorized)).contains("wrong"), "{refused:?}");

    // Another authority, the system's own, and a name that the certificate is not for.
    for (host, tls) in [("localhost", file("other.crt")), ("localhost", json!({})), ("127.0.0.1", file("ca.crt"))] {
        let refused = push(host, &gateway, "hunter2", tls.clone()).await;
        let failed = failure(&refused, FailureKind::Unavailable);
        let told = format!("{} {}", failed.message, failed.causes.join(" "));
        assert!(told.contains("certificate") && !told.contains("hunter2"), "{host} {tls}: {failed:?}");
    }

    let empty = folder.path().join("empty.crt");
    std::fs::write(&empty, "").expect("written");
    failure(&push("localhost", &gateway, "hunter2", json!({"caFile": empty})).await, FailureKind::Config);
    let missing = json!({"caFile": "/no/such/file"});
    failure(&push("localhost", &gateway, "hunter2", missing).await, FailureKind::NotFound);
}
