//! TLS in front of a server that speaks none: nginx, with a certificate of an authority of its own.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::watched::{Watched, free_port};

/// A running front.
#[derive(Debug)]
pub struct TlsFront {
    _server: Watched,
    folder: TempDir,
    port: u16,
}

fn openssl(folder: &Path, args: &[&str]) {
    let done = Command::new("openssl").args(args).current_dir(folder).output().expect("openssl: `./test` installs it");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

impl TlsFront {
    /// Opens a front of the server at a port.
    ///
    /// # Panics
    /// `nginx` or `openssl` is missing.
    pub async fn start(behind: u16) -> Self {
        Self::start_as("IP:127.0.0.1", behind).await
    }

    /// Opens a front that says of itself to be what OpenSSL calls so, such as `DNS:host.example`.
    ///
    /// # Panics
    /// `nginx` or `openssl` is missing.
    pub async fn start_as(name: &str, behind: u16) -> Self {
        let (folder, port) = (tempfile::tempdir().expect("a folder"), free_port());
        let at = folder.path();
        std::fs::write(at.join("names"), format!("subjectAltName={name}\n")).expect("written");
        let subject = ["-subj", "/CN=authority of the tests"];
        openssl(
            at,
            &[&["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "ca.key", "-out", "ca.pem"], &subject[..]]
                .concat(),
        );
        openssl(
            at,
            &["req", "-newkey", "rsa:2048", "-nodes", "-keyout", "key.pem", "-out", "request", "-subj", "/CN=server"],
        );
        let sign = ["x509", "-req", "-in", "request", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial"];
        openssl(at, &[&sign[..], &["-out", "cert.pem", "-extfile", "names"]].concat());
        let shown = at.display();
        let config = format!(
            "daemon off; master_process off; pid {shown}/pid; error_log stderr;\nevents {{}}\nhttp {{\n  access_log off;\n  \
             client_body_temp_path {shown}/body; proxy_temp_path {shown}/proxy; fastcgi_temp_path {shown}/f; \
             uwsgi_temp_path {shown}/u; scgi_temp_path {shown}/s;\n  server {{\n    listen 127.0.0.1:{port} ssl;\n    \
             ssl_certificate {shown}/cert.pem; ssl_certificate_key {shown}/key.pem;\n    client_max_body_size 0;\n    \
             location / {{ proxy_pass http://127.0.0.1:{behind}; proxy_set_header Host $http_host; }}\n  }}\n}}\n"
        );
        std::fs::write(at.join("nginx.conf"), config).expect("written");
        let log = at.join("log");
        let arguments = ["-c", &format!("{shown}/nginx.conf"), "-p", &shown.to_string()];
        let server = Watched::start("nginx", &arguments, &[], &log).listens(port, &log).await;
        Self { _server: server, folder, port }
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The certificate of its authority.
    pub fn ca_file(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }
}
