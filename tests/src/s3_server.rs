//! An S3 server for tests: `moto_server`.
//!
//! Takes nothing. Gives a server of its own on a free port, with one bucket in it, and a client of another make than ours.
//! Always holds: a machine without `moto_server` fails the test; the server ends, by its process id, with the value.
//!
//! What is wrong with the rig panics: it is for tests alone.

use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};

/// How long the server may take to start: it is Python, and the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(60);

/// The bucket that is there from the beginning.
pub const BUCKET: &str = "backups";

/// A running server.
#[derive(Debug)]
pub struct S3Server {
    child: Child,
    port: u16,
    client: Client,
}

impl S3Server {
    /// A server that knows no key at all, so that any is refused.
    pub async fn that_refuses() -> Self {
        let server = Self::start().await;
        server.request(Method::POST, "moto-api/reset-auth", b"0".to_vec()).await;
        server
    }

    /// A server that takes any keys.
    pub async fn start() -> Self {
        let port =
            TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port").port();
        let child = Command::new("moto_server")
            .args(["-H", "127.0.0.1", "-p", &port.to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("moto_server must be installed: run `./test`, or `pip install 'moto[server]'`");
        let mut server = Self { child, port, client: Client::new() };
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(server.child.try_wait().expect("a child").is_none(), "moto_server has ended");
            assert!(begun.elapsed() < PATIENCE, "moto_server does not start");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let (status, _) = server.request(Method::PUT, BUCKET, Vec::new()).await;
        assert!(status.is_success(), "the bucket is made: {status}");
        server
    }

    /// Its address.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The bucket as a location, with keys.
    pub fn location(&self) -> Value {
        json!({"s3": {
            "bucket": BUCKET, "endpoint": self.endpoint(),
            "accessKeyId": "id", "secretAccessKey": "hunter2-secret-key",
        }})
    }

    async fn request(&self, method: Method, path: &str, body: Vec<u8>) -> (StatusCode, Vec<u8>) {
        let answer = self
            .client
            .request(method, format!("{}/{path}", self.endpoint()))
            // The server does not look whether it is right, only that it is there.
            .header(
                "authorization",
                "AWS4-HMAC-SHA256 Credential=id/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0",
            )
            .body(body)
            .send()
            .await
            .expect("the server answers");
        let status = answer.status();
        (status, answer.bytes().await.expect("a whole answer").to_vec())
    }

    /// An object's bytes; `None` where there is none.
    pub async fn get(&self, name: &str) -> Option<Vec<u8>> {
        let (status, body) = self.request(Method::GET, &format!("{BUCKET}/{name}"), Vec::new()).await;
        match status {
            StatusCode::OK => Some(body),
            StatusCode::NOT_FOUND => None,
            other => panic!("{name}: {other} {}", String::from_utf8_lossy(&body)),
        }
    }

    /// Writes an object.
    pub async fn put(&self, name: &str, bytes: impl Into<Vec<u8>>) {
        let (status, _) = self.request(Method::PUT, &format!("{BUCKET}/{name}"), bytes.into()).await;
        assert!(status.is_success(), "{name}: {status}");
    }

    /// Removes an object.
    pub async fn delete(&self, name: &str) {
        self.request(Method::DELETE, &format!("{BUCKET}/{name}"), Vec::new()).await;
    }

    /// The names of all objects.
    pub async fn names(&self) -> Vec<String> {
        self.keys("list-type=2").await
    }

    /// The names of all objects whose parts are kept and not put together.
    pub async fn pending(&self) -> Vec<String> {
        self.keys("uploads").await
    }

    async fn keys(&self, query: &str) -> Vec<String> {
        let (status, body) = self.request(Method::GET, &format!("{BUCKET}?{query}"), Vec::new()).await;
        assert!(status.is_success(), "{query}: {status}");
        let text = String::from_utf8(body).expect("XML");
        text.split("<Key>").skip(1).map(|rest| rest.split("</Key>").next().unwrap_or_default().to_owned()).collect()
    }
}

impl Drop for S3Server {
    fn drop(&mut self) {
        // It may have ended by itself; there is nobody to tell.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
