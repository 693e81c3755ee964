//! Certificates of a cluster, and files by which clients reach it.
//!
//! Takes a folder, in which the files are made. Always holds: whoever has the authority's key is trusted; the folder goes with the cluster.

use std::path::{Path, PathBuf};
use std::process::Command;

use k8s_openapi::ByteString;
use serde_json::json;

fn openssl(folder: &Path, args: &[&str]) {
    let done = Command::new("openssl").args(args).current_dir(folder).output().expect("openssl: `./test` installs it");
    assert!(done.status.success(), "openssl {args:?}: {}", String::from_utf8_lossy(&done.stderr));
}

const KEY: [&str; 5] = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];

/// Makes the authority (`ca.crt`), the server's certificate (`server.crt`, `server.key`), the one that it shows to kubelets (`to-kubelets.crt`,
/// `to-kubelets.key`) and the key that tokens of service accounts are signed
/// with (`accounts.key`, `accounts.pub`).
pub(super) fn make(folder: &Path) {
    let names = "subjectAltName=DNS:localhost,DNS:kubernetes,DNS:kubernetes.default.svc,IP:127.0.0.1,IP:10.96.0.1\n";
    std::fs::write(folder.join("server.names"), names).expect("written");
    let own = ["-keyout", "ca.key", "-out", "ca.crt", "-subj", "/CN=authority of the tests", "-days", "2"];
    openssl(folder, &[&["req", "-x509"], &KEY[..], &own].concat());
    sign(folder, "server", "/CN=kube-apiserver", "server.names");
    client(folder, "to-kubelets", "/CN=kube-apiserver-kubelet-client");
    openssl(folder, &["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", "accounts.key"]);
    openssl(folder, &["pkey", "-in", "accounts.key", "-pubout", "-out", "accounts.pub"]);
}

fn sign(folder: &Path, name: &str, subject: &str, more: &str) {
    let [key, request, certificate] = ["key", "csr", "crt"].map(|ending| format!("{name}.{ending}"));
    openssl(folder, &[&["req"], &KEY[..], &["-keyout", &key, "-out", &request, "-subj", subject]].concat());
    let authority = ["x509", "-req", "-in", &request, "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial"];
    openssl(folder, &[&authority[..], &["-days", "2", "-out", &certificate, "-extfile", more]].concat());
}

fn client(folder: &Path, name: &str, subject: &str) {
    // Without any extension it would be a certificate of the first version, which rustls does not take.
    std::fs::write(folder.join("client.use"), "extendedKeyUsage=clientAuth\n").expect("written");
    sign(folder, name, subject, "client.use");
}

/// Writes a file for a client that is this user and of this group; gives its path. It holds all that it needs.
pub(super) fn kubeconfig(folder: &Path, url: &str, user: &str, group: Option<&str>) -> PathBuf {
    let group = group.map(|group| format!("/O={group}")).unwrap_or_default();
    // A colon parts the files of `KUBECONFIG`.
    let name = user.replace(':', "-");
    client(folder, &name, &format!("{group}/CN={user}"));
    let data = |file: &str| ByteString(std::fs::read(folder.join(file)).expect("it was made"));
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "tests",
        "clusters": [{"name": "tests", "cluster": {"server": url, "certificate-authority-data": data("ca.crt")}}],
        "users": [{"name": user, "user": {
            "client-certificate-data": data(&format!("{name}.crt")),
            "client-key-data": data(&format!("{name}.key")),
        }}],
        "contexts": [{"name": "tests", "context": {"cluster": "tests", "user": user}}],
    });
    let path = folder.join(format!("{name}.kubeconfig"));
    std::fs::write(&path, config.to_string()).expect("written");
    path
}
