//! Real Redis servers for tests.
//!
//! Takes settings. Gives a server of its own on a free port and a socket in a folder of its own, that has answered `PING`.
//! Always holds: a machine without `redis-server` fails the test; the server ends, by its process id, with the value.
//!
//! What is wrong with the rig panics: it is for tests alone.

use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// How long a server may take to start.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running server.
#[derive(Debug)]
pub struct RedisServer {
    child: Child,
    folder: TempDir,
    port: u16,
}

/// The files of a server that speaks TLS.
#[derive(Debug)]
pub struct Certificates {
    /// Where they are.
    pub folder: TempDir,
}

impl Certificates {
    /// Makes an authority, and a certificate signed by it for `localhost` and 127.0.0.1.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let openssl = |line: &str| {
            let done = Command::new("openssl").args(line.split(' ')).current_dir(folder.path()).output();
            let done = done.expect("openssl must be installed");
            assert!(done.status.success(), "openssl {line}: {}", String::from_utf8_lossy(&done.stderr));
        };
        std::fs::write(folder.path().join("san"), "subjectAltName=DNS:localhost,IP:127.0.0.1\n").expect("room");
        openssl("req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=authority -keyout ca.key -out ca.crt");
        openssl("req -newkey rsa:2048 -nodes -subj /CN=server -keyout server.key -out server.csr");
        openssl(
            "x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -extfile san -out server.crt",
        );
        Self { folder }
    }

    /// One of `ca.crt`, `server.crt` and `server.key`.
    pub fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }
}

impl Default for Certificates {
    fn default() -> Self {
        Self::new()
    }
}

impl RedisServer {
    /// A server with the settings that it has by itself.
    pub fn start() -> Self {
        Self::with(&[])
    }

    /// A server with settings as on its command line: `["--databases", "300"]`.
    pub fn with(settings: &[&str]) -> Self {
        Self::of("redis-server", settings)
    }

    /// A Valkey server.
    pub fn valkey(settings: &[&str]) -> Self {
        Self::of("valkey-server", settings)
    }

    fn of(program: &str, settings: &[&str]) -> Self {
        // A port may be taken by another between the moment it is found free and the moment the server takes it.
        for _ in 0..5 {
            let (folder, port) = (tempfile::tempdir().expect("a temporary folder"), free_port());
            let place = ["--port", &port.to_string(), "--bind", "127.0.0.1"];
            let child = spawn(program, folder.path(), &place, settings);
            let mut server = Self { child, folder, port };
            if server.answers() {
                return server;
            }
        }
        panic!("{program} does not start");
    }

    /// A server that has loaded this RDB; nothing where it refuses to.
    pub fn loading(rdb: &[u8], settings: &[&str]) -> Option<Self> {
        // A port that was taken by another makes it end too.
        for _ in 0..3 {
            let (folder, port) = (tempfile::tempdir().expect("a temporary folder"), free_port());
            std::fs::write(folder.path().join("dump.rdb"), rdb).expect("room");
            let place = ["--port", &port.to_string(), "--bind", "127.0.0.1"];
            let child = spawn("redis-server", folder.path(), &place, settings);
            let mut server = Self { child, folder, port };
            if server.answers() {
                return Some(server);
            }
        }
        None
    }

    /// Saves an RDB; gives its bytes.
    pub fn saved(&self) -> Vec<u8> {
        assert_eq!(self.cli(&["SAVE"]), "OK\n");
        std::fs::read(self.folder.path().join("dump.rdb")).expect("it was written")
    }

    /// A server that speaks TLS on its port, and not on its socket.
    pub fn tls(certificates: &Certificates, settings: &[&str]) -> Self {
        let port = free_port().to_string();
        let [ca, cert, key] = ["ca.crt", "server.crt", "server.key"].map(|name| certificates.path(name));
        let mut all = vec!["--tls-port", &port, "--tls-ca-cert-file", &ca, "--tls-cert-file", &cert];
        all.extend(["--tls-key-file", &key]);
        all.extend(settings);
        let mut server = Self::with(&all);
        server.port = port.parse().expect("a port");
        server
    }

    fn answers(&mut self) -> bool {
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            if self.child.try_wait().expect("a child").is_some() {
                return false;
            }
            let ping = Command::new("redis-cli").arg("-s").arg(self.socket()).arg("PING").output();
            let answer = ping.expect("redis-cli must be installed").stdout;
            // A server that wants a password answers too.
            if answer.starts_with(b"PONG") || answer.starts_with(b"NOAUTH") {
                return true;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        false
    }

    /// The path of its socket.
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("redis.sock")
    }

    /// Its TCP port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its url over TCP.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Its url over the socket.
    pub fn socket_url(&self) -> String {
        format!("redis+unix://{}", self.socket().display())
    }

    /// A client of another make than ours.
    pub fn client(&self) -> redis::Connection {
        let client = redis::Client::open(self.socket_url()).expect("a url");
        client.get_connection().expect("the server answers")
    }

    /// Runs `redis-cli`; gives what it prints.
    pub fn cli(&self, args: &[&str]) -> String {
        let done = Command::new("redis-cli").arg("-s").arg(self.socket()).args(args).output();
        let done = done.expect("redis-cli must be installed");
        assert!(done.status.success(), "redis-cli {args:?}: {}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8_lossy(&done.stdout).into_owned()
    }

    /// Runs `redis-cli`; gives what it prints, if it could ask the server.
    pub fn asked(&self, args: &[&str]) -> Option<String> {
        let done = Command::new("redis-cli").arg("-s").arg(self.socket()).args(args).output();
        let done = done.expect("redis-cli must be installed");
        done.status.success().then(|| String::from_utf8_lossy(&done.stdout).into_owned())
    }

    /// Loads a stream with `redis-cli --pipe`; gives what it prints.
    pub fn pipe(&self, stream: &[u8]) -> String {
        let mut child = Command::new("redis-cli")
            .arg("-s")
            .arg(self.socket())
            .arg("--pipe")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("redis-cli must be installed");
        let mut stdin = child.stdin.take().expect("a pipe");
        let stream = stream.to_vec();
        let feeding = std::thread::spawn(move || stdin.write_all(&stream));
        let done = child.wait_with_output().expect("it ends");
        feeding.join().expect("no panic").expect("redis-cli reads all of it");
        String::from_utf8_lossy(&done.stdout).into_owned()
    }

    /// Kills the server at once, as a crash would.
    pub fn kill(&mut self) {
        self.child.kill().expect("it was running");
        self.child.wait().expect("it ends");
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        // It may have ended by itself; there is nobody to tell.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A port that nobody listens on.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port").port()
}

fn spawn(program: &str, folder: &Path, place: &[&str], settings: &[&str]) -> Child {
    Command::new(program)
        .args(place)
        .args(["--unixsocket", "redis.sock", "--save", "", "--appendonly", "no", "--enable-debug-command", "yes"])
        // Else every dump by replication waits 5 seconds for other replicas.
        .args(["--repl-diskless-sync-delay", "0"])
        .args(settings)
        .current_dir(folder)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap_or_else(|error| panic!("{program} must be installed (`./test` does that): {error}"))
}
