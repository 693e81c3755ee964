//! A proxy in front of an HTTP server that loses requests and answers, as a network does.
//!
//! Takes a server's port and a rule. Gives a port of its own. Always holds: each connection carries one request, which is
//! handed on whole and once, or not at all.

use std::io::{Read, Write};
use std::net::TcpStream;

use super::proxy;

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is answered.
    Passes,
    /// It does not arrive.
    IsLost,
    /// It arrives and is carried out; its answer is lost.
    AnswerIsLost,
    /// It does not arrive, and the connection stays open.
    Hangs,
    /// It does not arrive, and is answered with this status, such as 503.
    Answered(u16),
    /// It arrives without the last byte of its body, and is answered as if it were whole: a server that stores less than was sent.
    Shortened,
}

/// Opens the proxy; `rule` is asked with the method and the target of each request.
///
/// # Panics
/// There is no free port.
pub fn proxy(server: u16, rule: impl Fn(&str, &str) -> Fate + Send + Sync + 'static) -> u16 {
    proxy::open(move |client| carry(client, server, &rule))
}

/// Carries one request. What fails here looks to the client like the network that this stands for.
fn carry(mut client: TcpStream, server: u16, rule: &(dyn Fn(&str, &str) -> Fate + Send + Sync)) -> Option<()> {
    let request = request(&mut client)?;
    let line = String::from_utf8_lossy(&request[..request.iter().position(|byte| *byte == b'\r')?]).into_owned();
    let mut words = line.split(' ');
    let fate = rule(words.next()?, words.next()?);
    if fate == Fate::IsLost {
        return None;
    }
    if fate == Fate::Hangs {
        // Until the client gives up.
        let _ = client.read(&mut [0]);
        return None;
    }
    if let Fate::Answered(status) = fate {
        let answer = format!("HTTP/1.1 {status} No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        client.write_all(answer.as_bytes()).ok()?;
        return None;
    }
    let request = if fate == Fate::Shortened { shortened(request)? } else { request };
    let mut upstream = TcpStream::connect(("127.0.0.1", server)).ok()?;
    upstream.write_all(&request).ok()?;
    let mut answer = Vec::new();
    upstream.read_to_end(&mut answer).ok()?;
    if matches!(fate, Fate::Passes | Fate::Shortened) {
        client.write_all(&answer).ok()?;
    }
    Some(())
}

/// A request whose body has one byte less.
fn shortened(mut request: Vec<u8>) -> Option<Vec<u8>> {
    let head = request.windows(4).position(|end| end == b"\r\n\r\n")?;
    let length = request.len() - head - 4;
    let text = String::from_utf8(request[..head].to_vec()).ok()?;
    let is_length = |line: &&str| line.to_lowercase().starts_with("content-length:");
    let line = text.split("\r\n").find(is_length).filter(|_| length > 0)?;
    request.pop();
    let body = request.split_off(head);
    Some([text.replace(line, &format!("Content-Length: {}", length - 1)).into_bytes(), body].concat())
}

/// One request, head and body, which asks the server to close behind its answer.
fn request(client: &mut TcpStream) -> Option<Vec<u8>> {
    let (mut all, mut piece) = (Vec::new(), vec![0; 64 << 10]);
    let head = loop {
        match client.read(&mut piece).ok()? {
            0 => return None,
            count => all.extend_from_slice(&piece[..count]),
        }
        if let Some(at) = all.windows(4).position(|end| end == b"\r\n\r\n") {
            break at;
        }
    };
    let text = String::from_utf8_lossy(&all[..head]).to_lowercase();
    let length = text.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse::<usize>().ok());
    while all.len() < head + 4 + length.unwrap_or(0) {
        match client.read(&mut piece).ok()? {
            0 => return None,
            count => all.extend_from_slice(&piece[..count]),
        }
    }
    all.splice(head..head, b"\r\nConnection: close".iter().copied());
    Some(all)
}
