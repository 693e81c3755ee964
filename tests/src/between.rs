//! A way to a Redis server that changes what the server sends to a replica.
//!
//! Takes a server's port and a rule. Gives a port of its own. Always holds: everything is handed on as it is until the
//! server says `FULLRESYNC`; what it sends from there on is collected whole, and the rule says what comes instead.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;

use super::proxy;

/// What a server sends to a replica, from `FULLRESYNC` on.
#[derive(Debug, Clone, Default)]
pub struct Sent {
    /// `+FULLRESYNC …` with its line end.
    pub line: Vec<u8>,
    /// `$EOF:…` or `$LENGTH` with its line end.
    pub announced: Vec<u8>,
    /// The RDB.
    pub rdb: Vec<u8>,
    /// The mark behind it, where there is one.
    pub mark: Vec<u8>,
}

impl Sent {
    /// All of it.
    pub fn bytes(&self) -> Vec<u8> {
        [&self.line[..], &self.announced, &self.rdb, &self.mark].concat()
    }
}

/// What the rule makes of it.
#[derive(Debug, Clone)]
pub struct Told {
    /// What the client gets, in pieces as they are sent.
    pub pieces: Vec<Vec<u8>>,
    /// The connection stays open behind it until the client closes it.
    pub stays_open: bool,
}

impl Told {
    /// These bytes, and then the connection ends.
    pub fn then_closed(bytes: Vec<u8>) -> Self {
        Self { pieces: vec![bytes], stays_open: false }
    }

    /// These bytes, and then nothing more comes.
    pub fn then_silent(bytes: Vec<u8>) -> Self {
        Self { pieces: vec![bytes], stays_open: true }
    }
}

/// Opens the way.
///
/// # Panics
/// There is no free port.
pub fn between(server: u16, rule: impl Fn(Sent) -> Told + Send + Sync + 'static) -> u16 {
    proxy::open(move |client| carry(client, server, &rule))
}

/// Carries one connection. What fails here looks to the client like the network that this stands for.
fn carry(mut client: TcpStream, server: u16, rule: &(dyn Fn(Sent) -> Told + Send + Sync)) -> Option<()> {
    let mut upstream = TcpStream::connect(("127.0.0.1", server)).ok()?;
    client.set_nodelay(true).ok()?;
    let (mut asking, mut asked) = (client.try_clone().ok()?, upstream.try_clone().ok()?);
    let going = thread::spawn(move || {
        // Whichever end closes first, the other one is to know.
        drop(std::io::copy(&mut asking, &mut asked));
        drop(asked.shutdown(std::net::Shutdown::Both));
    });
    let mut piece = vec![0; 64 << 10];
    let told = loop {
        let count = match upstream.read(&mut piece) {
            Ok(0) | Err(_) => {
                drop(client.shutdown(std::net::Shutdown::Both));
                return None;
            }
            Ok(count) => count,
        };
        match piece[..count].windows(12).position(|part| part == b"+FULLRESYNC ") {
            Some(at) => {
                client.write_all(&piece[..at]).ok()?;
                break rule(collect(piece[at..count].to_vec(), &mut upstream)?);
            }
            None => client.write_all(&piece[..count]).ok()?,
        }
    };
    for piece in &told.pieces {
        client.write_all(piece).ok()?;
    }
    if told.stays_open {
        // Until the client closes it: the server may have closed its side long ago.
        drop(going.join());
    }
    drop(client.shutdown(std::net::Shutdown::Both));
    Some(())
}

/// Reads all that a server sends to a replica.
fn collect(begun: Vec<u8>, upstream: &mut TcpStream) -> Option<Sent> {
    let mut all = begun;
    let mut piece = vec![0; 64 << 10];
    let mut more = |all: &mut Vec<u8>| match upstream.read(&mut piece) {
        Ok(0) | Err(_) => None,
        Ok(count) => {
            all.extend_from_slice(&piece[..count]);
            Some(())
        }
    };
    let line = loop {
        if let Some(end) = all.iter().position(|byte| *byte == b'\n') {
            break all.drain(..=end).collect();
        }
        more(&mut all)?;
    };
    let announced: Vec<u8> = loop {
        let signs = all.iter().take_while(|byte| **byte == b'\n').count();
        all.drain(..signs);
        if let Some(end) = all.iter().position(|byte| *byte == b'\n') {
            break all.drain(..=end).collect();
        }
        more(&mut all)?;
    };
    let text = String::from_utf8_lossy(&announced).trim().to_owned();
    if let Some(mark) = text.strip_prefix("$EOF:") {
        while !all.ends_with(mark.as_bytes()) {
            more(&mut all)?;
        }
        let mark = all.split_off(all.len() - mark.len());
        return Some(Sent { line, announced, rdb: all, mark });
    }
    let length: usize = text.strip_prefix('$')?.parse().ok()?;
    while all.len() < length {
        more(&mut all)?;
    }
    all.truncate(length);
    Some(Sent { line, announced, rdb: all, mark: Vec::new() })
}
