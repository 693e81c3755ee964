//! What stands in front of a server and answers for it where it must: a login, a check of tokens; and a way to it under a provider's name.
//!
//! Always holds: a connection's first request decides what becomes of the connection; what is not answered here goes through as it came.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::PathBuf;

use serde_json::Value;

use super::tls_front::TlsFront;
use crate::proxy;

/// What a request may have at most to be shown to the rule whole.
const SMALL: usize = 16 << 10;

/// A request: the head in lower case, and the body where it is small.
pub(super) struct First {
    pub(super) head: String,
    pub(super) body: String,
}

impl First {
    pub(super) fn header(&self, name: &str) -> &str {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).unwrap_or_default()
    }

    /// The first request of a connection, and all that was read.
    fn read(client: &mut TcpStream) -> Option<(Self, Vec<u8>)> {
        let (mut all, mut piece) = (Vec::new(), [0; 4096]);
        loop {
            if let Some(at) = all.windows(4).position(|end| end == b"\r\n\r\n") {
                let first = Self { head: String::from_utf8_lossy(&all[..at]).into_owned(), body: String::new() };
                // Names of headers come in small letters and great ones; values stay what they are.
                let lines = first.head.lines().map(|line| match line.split_once(": ") {
                    Some((name, value)) => format!("{}: {value}", name.to_lowercase()),
                    None => line.to_owned(),
                });
                let head: Vec<String> = lines.collect();
                let first = Self { head: head.join("\n"), ..first };
                let length = first.header("content-length").parse().unwrap_or(0);
                let body = &all[at + 4..];
                if length > SMALL || body.len() >= length {
                    let body = String::from_utf8_lossy(&body[..body.len().min(length)]).into_owned();
                    return Some((Self { body, ..first }, all));
                }
            }
            match client.read(&mut piece).ok()? {
                0 => return None,
                count => all.extend_from_slice(&piece[..count]),
            }
        }
    }
}

fn answer(client: &mut TcpStream, status: &str, body: &str) -> Option<()> {
    let length = body.len();
    let head = "Content-Type: application/json\r\nConnection: close\r\n";
    write!(client, "HTTP/1.1 {status}\r\n{head}Content-Length: {length}\r\n\r\n{body}").ok()?;
    client.shutdown(Shutdown::Write).ok()
}

/// Opens a front. `rule` answers a connection's first request by a status and a body, or lets it through; a request with the header
/// `never` is answered as one that is not implemented.
pub(super) fn front(
    behind: u16,
    never: Option<&'static str>,
    rule: impl Fn(&First) -> Option<(&'static str, Value)> + Send + Sync + 'static,
) -> u16 {
    proxy::open(move |mut client| {
        let (first, mut piece) = First::read(&mut client)?;
        if let Some((status, body)) = rule(&first) {
            return answer(&mut client, status, &body.to_string());
        }
        let mut server = TcpStream::connect(("127.0.0.1", behind)).ok()?;
        let (mut from, mut to) = (server.try_clone().ok()?, client.try_clone().ok()?);
        std::thread::spawn(move || {
            _ = std::io::copy(&mut from, &mut to);
            to.shutdown(Shutdown::Write)
        });
        let header = never.map(|never| format!("\r\n{never}: ").into_bytes());
        let mut buffer = vec![0; 64 << 10];
        loop {
            let has = |header: &Vec<u8>| piece.windows(header.len()).any(|part| part.eq_ignore_ascii_case(header));
            if header.as_ref().is_some_and(has) {
                let why = "<Error><Code>NotImplemented</Code><Message>A header is not implemented.</Message></Error>";
                _ = server.shutdown(Shutdown::Both);
                return answer(&mut client, "501 Not Implemented", why);
            }
            server.write_all(&piece).ok()?;
            let count = client.read(&mut buffer).ok()?;
            if count == 0 {
                return server.shutdown(Shutdown::Write).ok();
            }
            piece = buffer[..count].to_vec();
        }
    })
}

/// A proxy that leads every connection to one port, whatever host it was asked for.
fn leads_to(port: u16) -> u16 {
    proxy::open(move |mut client| {
        let mut asked = BufReader::new(client.try_clone().ok()?).lines();
        while !asked.next()?.ok()?.is_empty() {}
        let mut server = TcpStream::connect(("127.0.0.1", port)).ok()?;
        client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").ok()?;
        let (mut from, mut to) = (client.try_clone().ok()?, server.try_clone().ok()?);
        std::thread::spawn(move || {
            _ = std::io::copy(&mut from, &mut to);
            to.shutdown(Shutdown::Write)
        });
        std::io::copy(&mut server, &mut client).ok()?;
        client.shutdown(Shutdown::Both).ok()
    })
}

/// A provider's own names and TLS in front of a server, and the way there: for what knows no other address.
pub(super) struct Provider {
    front: TlsFront,
    way: u16,
}

impl Provider {
    /// `names` as OpenSSL calls them, such as `DNS:host.example`.
    pub(super) async fn start(names: &str, behind: u16) -> Self {
        let front = TlsFront::start_as(names, behind).await;
        let way = leads_to(front.port());
        Self { front, way }
    }

    pub(super) fn proxy(&self) -> String {
        format!("http://127.0.0.1:{}", self.way)
    }

    pub(super) fn ca_file(&self) -> PathBuf {
        self.front.ca_file()
    }

    /// The environment that leads a program to it which goes by the system's certificates.
    pub(super) fn environment(&self) -> Vec<(&'static str, String)> {
        vec![("HTTPS_PROXY", self.proxy()), ("SSL_CERT_FILE", self.ca_file().display().to_string())]
    }
}
