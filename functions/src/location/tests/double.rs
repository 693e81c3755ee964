//! A server of the tests' own, that speaks HTTP.
//!
//! Takes a rule. Gives what it was asked. Always holds: each connection carries one request, which is read whole before it is answered.

use std::sync::{Arc, Mutex};

use aquifer_engine::event::Level;
use aquifer_engine::function::{Call, RunInfo, Voice};
use aquifer_engine::report::Report;
use aquifer_engine::secret::Redactor;
use serde_json::{Value, from_value};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::super::Location;
use super::super::store::{Purpose, Store};

/// A request.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) method: String,
    pub(crate) target: String,
    /// The names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Asked {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(header, _)| header == name).map_or("", |(_, value)| value)
    }

    fn of(text: &str) -> Self {
        let mut lines = text.split("\r\n");
        let mut words = lines.next().unwrap_or_default().split(' ').map(str::to_owned);
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let headers = lines.filter_map(|line| line.split_once(": "));
        let headers = headers.map(|(name, value)| (name.to_lowercase(), value.to_owned())).collect();
        Self { method, target, headers, body: Vec::new() }
    }
}

/// An answer: its status, headers and body.
#[derive(Debug, Clone, Default)]
pub(crate) struct Answer(pub(crate) u16, pub(crate) Vec<(&'static str, String)>, pub(crate) String);

pub(crate) struct Double {
    /// Without a slash at its end.
    pub(crate) url: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Double {
    /// Begins to serve; where the rule gives nothing, the connection is closed without an answer.
    pub(crate) async fn start(rule: impl Fn(&Asked) -> Option<Answer> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let (asked, rule) = (Arc::new(Mutex::new(Vec::new())), Arc::new(rule));
        let noted = Arc::clone(&asked);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (noted, rule) = (Arc::clone(&noted), Arc::clone(&rule));
                tokio::spawn(async move { serve(client, &noted, &*rule).await });
            }
        });
        Self { url, asked }
    }

    /// The requests so far: method and target.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("no panic").clone()
    }
}

async fn serve(
    mut client: TcpStream,
    noted: &Mutex<Vec<String>>,
    rule: &(impl Fn(&Asked) -> Option<Answer> + Send + Sync),
) -> Option<()> {
    let (mut all, mut piece) = (Vec::new(), vec![0; 64 << 10]);
    let end = loop {
        if let Some(at) = all.windows(4).position(|four| four == b"\r\n\r\n") {
            break at;
        }
        let count = client.read(&mut piece).await.ok().filter(|count| *count > 0)?;
        all.extend_from_slice(&piece[..count]);
    };
    let mut asked = Asked::of(&String::from_utf8_lossy(&all[..end]));
    all.drain(..end + 4);
    let length = asked.header("content-length").parse().unwrap_or(0);
    let chunked = asked.header("transfer-encoding") == "chunked";
    while all.len() < length || (chunked && !all.ends_with(b"0\r\n\r\n")) {
        let count = client.read(&mut piece).await.ok().filter(|count| *count > 0)?;
        all.extend_from_slice(&piece[..count]);
    }
    asked.body = all;
    noted.lock().expect("no panic").push(format!("{} {}", asked.method, asked.target));
    let Answer(status, headers, body) = rule(&asked)?;
    let mut head = format!("HTTP/1.1 {status} Said\r\nConnection: close\r\n");
    // A look tells the length of what it does not bring.
    if headers.iter().all(|(name, _)| *name != "Content-Length") {
        head += &format!("Content-Length: {}\r\n", body.len());
    }
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    client.write_all(format!("{head}\r\n{body}").as_bytes()).await.ok()
}

struct Deaf;

impl Voice for Deaf {
    fn say(&self, _: &str, _: Level, _: &str) {}

    fn note(&self, _: &str, _: String) {}

    fn so_far(&self) -> Report {
        unreachable!("no store asks for the run so far")
    }
}

/// Opens a location for writing.
pub(crate) fn open(location: Value) -> Store {
    let started = "2026-11-23T10:00:00Z".parse().expect("a time");
    let run = RunInfo { id: "run".into(), task: "task".into(), started };
    let call = Call::new(Arc::new(run), "step", Default::default(), Redactor::default(), Arc::new(Deaf));
    let location: Location = from_value(location).expect("sound");
    Store::open(&location, Purpose::Write, &call).expect("open")
}
