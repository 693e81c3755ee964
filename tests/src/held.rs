//! A way to a server on which what it answers can be held up, again and again.
//!
//! Takes a server's port. Gives a port of its own, which stays the same. Always holds: who is held up goes on when the value is dropped that holds it; no
//! other connection waits meanwhile.
//!
//! What is wrong with the rig panics: it is for tests alone.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use super::proxy;

/// How long it may take until somebody asks the server.
const PATIENCE: Duration = Duration::from_secs(90);

#[derive(Debug)]
struct Mark {
    left: usize,
    told: oneshot::Sender<()>,
    wait: Receiver<()>,
}

/// The way.
#[derive(Debug)]
pub struct Way {
    port: u16,
    mark: Arc<Mutex<Option<Mark>>>,
}

/// What holds it up, until it is dropped.
#[derive(Debug)]
pub struct Held {
    _go: Sender<()>,
    reached: oneshot::Receiver<()>,
}

impl Way {
    /// One to this port of 127.0.0.1. It is open until the test's process ends.
    ///
    /// # Panics
    /// There is no free port.
    pub fn to(server: u16) -> Self {
        let mark: Arc<Mutex<Option<Mark>>> = Arc::default();
        let shared = Arc::clone(&mark);
        let port = proxy::open(move |client| carry(client, server, &shared));
        Self { port, mark }
    }

    /// Where it begins.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Holds up the connection that brings what the server answers from now on to so many bytes.
    pub fn hold_after(&self, bytes: usize) -> Held {
        let ((go, wait), (told, reached)) = (channel(), oneshot::channel());
        *self.mark.lock().unwrap_or_else(PoisonError::into_inner) = Some(Mark { left: bytes, told, wait });
        Held { _go: go, reached }
    }
}

impl Held {
    /// Waits until a connection is held up.
    ///
    /// # Panics
    /// None is.
    pub async fn reached(&mut self) {
        let reached = tokio::time::timeout(PATIENCE, &mut self.reached).await;
        reached.expect("somebody asks the server").expect("the way is held by nothing else");
    }
}

/// Waits where these bytes are those that are waited for.
fn pass(mark: &Mutex<Option<Mark>>, bytes: usize) {
    let reached = {
        let mut mark = mark.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(mark) = mark.as_mut() {
            mark.left = mark.left.saturating_sub(bytes);
        }
        mark.take_if(|mark| mark.left == 0)
    };
    // Either may have nobody at its other end: it goes on then.
    if let Some(mark) = reached
        && mark.told.send(()).is_ok()
    {
        _ = mark.wait.recv();
    }
}

/// Carries one connection. What fails here looks to both ends like a network that does.
fn carry(mut client: TcpStream, server: u16, mark: &Mutex<Option<Mark>>) -> Option<()> {
    let mut upstream = TcpStream::connect(("127.0.0.1", server)).ok()?;
    let (mut from, mut to) = (client.try_clone().ok()?, upstream.try_clone().ok()?);
    std::thread::spawn(move || {
        _ = std::io::copy(&mut from, &mut to);
        to.shutdown(Shutdown::Both)
    });
    let mut piece = vec![0; 16 << 10];
    while let Ok(read @ 1..) = upstream.read(&mut piece) {
        pass(mark, read);
        if client.write_all(&piece[..read]).is_err() {
            break;
        }
    }
    _ = upstream.shutdown(Shutdown::Both);
    client.shutdown(Shutdown::Both).ok()
}
