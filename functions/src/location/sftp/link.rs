//! The connection to an SFTP server: one `ssh` process, made when it is needed, and made anew when it broke.
//!
//! Always holds: the process ends with the link; what it said when it failed is in the error, and decides what kind it is.

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use opendal::{Error, ErrorKind, Result};
use openssh_sftp_client::error::SftpErrorKind;
use openssh_sftp_client::{Sftp, SftpOptions};
use tokio::io::AsyncReadExt;
use tokio::process::{Child, Command};
use tokio::sync::Mutex;

/// How long a connection may take until files can be asked for.
const CONNECTING: Duration = Duration::from_secs(30);

/// Where a server is.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) host: String,
    pub(super) port: Option<u16>,
    pub(super) user: Option<String>,
    pub(super) key_file: Option<PathBuf>,
    pub(super) known_hosts_file: Option<PathBuf>,
}

/// A connection.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) sftp: Sftp,
    _process: Child,
}

/// The way to a connection.
#[derive(Debug)]
pub(super) struct Way {
    target: Target,
    now: Mutex<Option<Arc<Link>>>,
}

impl Way {
    pub(super) fn new(target: Target) -> Self {
        Self { target, now: Mutex::new(None) }
    }

    /// The connection that there is, or a new one.
    pub(super) async fn link(&self) -> Result<Arc<Link>> {
        let mut now = self.now.lock().await;
        if let Some(link) = &*now {
            return Ok(Arc::clone(link));
        }
        let link = Arc::new(self.connect().await?);
        *now = Some(Arc::clone(&link));
        Ok(link)
    }

    /// Gives a connection up that broke, unless there is another one already.
    async fn forget(&self, broken: &Arc<Link>) {
        let mut now = self.now.lock().await;
        if now.as_ref().is_some_and(|link| Arc::ptr_eq(link, broken)) {
            *now = None;
        }
    }

    /// An error of a request as one of the store; where the connection broke, the next request makes another one.
    pub(super) async fn failed(&self, link: &Arc<Link>, error: openssh_sftp_client::Error) -> Error {
        use openssh_sftp_client::Error as Sort;
        let kind = match &error {
            Sort::SftpError(SftpErrorKind::NoSuchFile, _) => ErrorKind::NotFound,
            Sort::SftpError(SftpErrorKind::PermDenied, _) => ErrorKind::PermissionDenied,
            Sort::SftpError(SftpErrorKind::OpUnsupported, _) | Sort::UnsupportedExtension(_) => ErrorKind::Unsupported,
            Sort::SftpError(..) => ErrorKind::Unexpected,
            _ => {
                self.forget(link).await;
                return Error::new(ErrorKind::Unexpected, "the connection broke").set_source(error).set_temporary();
            }
        };
        Error::new(kind, format!("the server says: {error}"))
    }

    async fn connect(&self) -> Result<Link> {
        let target = &self.target;
        let mut command = Command::new("ssh");
        for option in [
            "BatchMode=yes",
            "StrictHostKeyChecking=yes",
            "ConnectTimeout=15",
            "ServerAliveInterval=15",
            "ServerAliveCountMax=4",
            "ForwardX11=no",
            "ForwardAgent=no",
            "ClearAllForwardings=yes",
            "LogLevel=ERROR",
        ] {
            command.arg("-o").arg(option);
        }
        if let Some(file) = &target.known_hosts_file {
            let mut option = std::ffi::OsString::from("UserKnownHostsFile=\"");
            option.push(file);
            option.push("\"");
            command.arg("-o").arg(option).args(["-o", "GlobalKnownHostsFile=/dev/null"]);
        }
        if let Some(file) = &target.key_file {
            command.arg("-i").arg(file).args(["-o", "IdentitiesOnly=yes"]);
        }
        if let Some(port) = target.port {
            command.arg("-p").arg(port.to_string());
        }
        if let Some(user) = &target.user {
            command.arg("-l").arg(user);
        }
        command.args(["-s", "--", &target.host, "sftp"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut process = command.spawn().map_err(|error| {
            let what = match error.kind() {
                std::io::ErrorKind::NotFound => "there is no `ssh` program: install OpenSSH's client",
                _ => "the `ssh` program cannot be started",
            };
            Error::new(ErrorKind::ConfigInvalid, what).set_source(error)
        })?;
        let (Some(stdin), Some(stdout), Some(mut stderr)) =
            (process.stdin.take(), process.stdout.take(), process.stderr.take())
        else {
            return Err(Error::new(ErrorKind::Unexpected, "the `ssh` program has no pipes"));
        };
        match tokio::time::timeout(CONNECTING, Sftp::new(stdin, stdout, SftpOptions::default())).await {
            Ok(Ok(sftp)) => {
                // What it says later is nobody's, and must not fill its pipe.
                tokio::spawn(async move {
                    let mut sink = [0; 1024];
                    while stderr.read(&mut sink).await.is_ok_and(|count| count > 0) {}
                });
                Ok(Link { sftp, _process: process })
            }
            Ok(Err(error)) => {
                let mut said = String::new();
                let mut few = stderr.take(4096);
                _ = tokio::time::timeout(Duration::from_secs(5), few.read_to_string(&mut said)).await;
                Err(why(&said).set_source(error))
            }
            Err(_) => {
                let what = format!("no connection for {} seconds", CONNECTING.as_secs());
                Err(Error::new(ErrorKind::Unexpected, what).set_temporary())
            }
        }
    }
}

/// What `ssh` said when it gave up, as an error.
fn why(said: &str) -> Error {
    let last = said.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or("`ssh` ended without a word");
    let is = |parts: &[&str]| parts.iter().any(|part| said.contains(part));
    if is(&["HOST IDENTIFICATION HAS CHANGED"]) {
        let what = "the host's key is another one than before: it was set up anew, or somebody stands between";
        return Error::new(ErrorKind::PermissionDenied, what);
    }
    if is(&["Host key verification failed", "No ED25519 host key", "No RSA host key", "No ECDSA host key"]) {
        return Error::new(ErrorKind::PermissionDenied, "the host's key is not known");
    }
    if is(&["Permission denied", "Too many authentication failures", "Load key"]) {
        return Error::new(ErrorKind::PermissionDenied, last);
    }
    if is(&["Bad configuration option", "Could not resolve hostname", "subsystem request failed"]) {
        return Error::new(ErrorKind::Unexpected, last);
    }
    Error::new(ErrorKind::Unexpected, last).set_temporary()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ssh_says_decides_what_it_is() {
        for (said, kind, passes) in [
            (
                "No ED25519 host key is known for h and you have requested strict checking.\r\nHost key verification failed.\r\n",
                ErrorKind::PermissionDenied,
                false,
            ),
            (
                "@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @\r\nHost key verification failed.",
                ErrorKind::PermissionDenied,
                false,
            ),
            ("u@h: Permission denied (publickey).\r\n", ErrorKind::PermissionDenied, false),
            ("ssh: Could not resolve hostname x: Name or service not known", ErrorKind::Unexpected, false),
            ("ssh: connect to host h port 22: Connection refused", ErrorKind::Unexpected, true),
            ("", ErrorKind::Unexpected, true),
        ] {
            let error = why(said);
            assert_eq!((error.kind(), error.is_temporary()), (kind, passes), "{said}");
            assert!(!error.message().is_empty() && !error.message().contains('\n'), "{said}");
        }
    }
}
