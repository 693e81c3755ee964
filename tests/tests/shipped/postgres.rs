//! PostgreSQL by its shipped tasks, on a real server: nothing is special about Redis.

use std::path::{Path, PathBuf};
use std::process::Command;

use aquifer_engine::catalog::Inputs;
use aquifer_engine::event::Status;

use crate::{catalog, played};

/// Debian keeps the server's programs out of the PATH, in a folder per version.
fn program(name: &str) -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> =
        versions.map(|one| one.path().join("bin").join(name)).filter(|one| one.is_file()).collect();
    found.sort();
    found.pop().unwrap_or_else(|| panic!("`{name}` is needed by this test: install Debian's postgresql"))
}

/// A server of our own, which listens on a socket in its folder only.
struct Postgres {
    folder: tempfile::TempDir,
}

/// PostgreSQL refuses to run as root, where Debian has a user for it.
fn as_somebody(program: PathBuf) -> Command {
    if nix::unistd::getuid().is_root() {
        let mut command = Command::new("runuser");
        command.args(["-u", "postgres", "--"]).arg(program);
        command
    } else {
        Command::new(program)
    }
}

fn done(command: &mut Command) -> String {
    let output = command.current_dir("/").output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

impl Postgres {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        if nix::unistd::getuid().is_root() {
            done(Command::new("chown").arg("postgres").arg(folder.path()));
        }
        let server = Self { folder };
        done(
            as_somebody(program("initdb"))
                .args(["--auth=trust", "--username=postgres", "--no-sync", "-D"])
                .arg(server.data()),
        );
        let options = format!("-c listen_addresses= -c fsync=off -k {}", server.host());
        done(
            as_somebody(program("pg_ctl"))
                .args(["start", "--wait", "--silent", "-o", &options, "-l"])
                .arg(server.folder.path().join("log"))
                .arg("-D")
                .arg(server.data()),
        );
        server
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// The folder of its socket, which its programs take for a host.
    fn host(&self) -> String {
        Path::new(self.folder.path()).display().to_string()
    }

    fn sql(&self, database: &str, text: &str) -> String {
        done(Command::new("psql").args(["-h", &self.host(), "-U", "postgres", "-d", database, "-tAc", text]))
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        _ = as_somebody(program("pg_ctl"))
            .args(["stop", "--mode=immediate", "--silent", "-D"])
            .arg(self.data())
            .output();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_goes_into_a_repository_and_comes_back() {
    let server = Postgres::start();
    let repository = tempfile::tempdir().expect("a folder");
    server.sql("postgres", "CREATE DATABASE shop");
    server.sql("shop", "CREATE TABLE t AS SELECT n, md5(n::text) AS m FROM generate_series(1, 20000) AS n");
    let digest = "SELECT md5(string_agg(t::text, ',' ORDER BY n)) FROM t";
    let before = server.sql("shop", digest);
    let inputs = |database: &str| {
        Inputs::default()
            .with_text("host", server.host())
            .with_text("database", database)
            .with_text("repository", repository.path().join("repository").display().to_string())
            .with_text("password", "correct horse")
    };
    let report = played(&catalog(), "postgres-backup", &inputs("shop")).await;
    assert_eq!(report.status, Status::Succeeded, "{report:#?}");
    server.sql("postgres", "CREATE DATABASE again");
    let report = played(&catalog(), "postgres-restore", &inputs("again").with_text("from", "shop")).await;
    assert_eq!(report.status, Status::Succeeded, "{report:#?}");
    assert_eq!(server.sql("again", digest), before);
    // A dump that fails is no backup.
    let report = played(&catalog(), "postgres-backup", &inputs("nothing")).await;
    assert_eq!(report.status, Status::Failed);
    assert_eq!(report.first_failure.map(|first| first.step).as_deref(), Some("dump"));
}
