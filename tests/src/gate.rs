//! A way to a server that does something in the middle of what goes through it.
//!
//! Takes a server's port, a direction, and how many bytes go through before it happens. Gives a port of its own. Always
//! holds: it happens once, whatever the number of connections, while the connection that reached the mark is held up.
//!
//! What is wrong with the rig panics: it is for tests alone.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Which bytes count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Those that the server is sent.
    ToServer,
    /// Those that it answers.
    FromServer,
}

type Deed = Box<dyn FnOnce() + Send>;

struct Gate {
    counts: Direction,
    mark: usize,
    passed: AtomicUsize,
    deed: Mutex<Option<Deed>>,
}

/// Opens a way to a port; gives the port where it begins.
pub fn gate(port: u16, counts: Direction, mark: usize, deed: impl FnOnce() + Send + 'static) -> u16 {
    let gate = Gate { counts, mark, passed: AtomicUsize::new(0), deed: Mutex::new(Some(Box::new(deed))) };
    let (gate, listener) = (Arc::new(gate), TcpListener::bind("127.0.0.1:0").expect("a free port"));
    let here = listener.local_addr().expect("a port").port();
    std::thread::spawn(move || {
        for near in listener.incoming().map_while(Result::ok) {
            let Ok(far) = TcpStream::connect(("127.0.0.1", port)) else { continue };
            for (from, to, direction) in [
                (near.try_clone(), far.try_clone(), Direction::ToServer),
                (far.try_clone(), near.try_clone(), Direction::FromServer),
            ] {
                let (gate, from, to) = (Arc::clone(&gate), from.expect("a socket"), to.expect("a socket"));
                std::thread::spawn(move || gate.pass(from, to, direction));
            }
        }
    });
    here
}

impl Gate {
    fn pass(&self, mut from: TcpStream, mut to: TcpStream, direction: Direction) {
        let mut buffer = vec![0; 16 << 10];
        while let Ok(read @ 1..) = from.read(&mut buffer) {
            if direction == self.counts && self.passed.fetch_add(read, Ordering::Relaxed) + read >= self.mark {
                // Taken first, so that the others are not held up meanwhile.
                let deed = self.deed.lock().unwrap_or_else(PoisonError::into_inner).take();
                if let Some(deed) = deed {
                    deed();
                }
            }
            if to.write_all(&buffer[..read]).is_err() {
                break;
            }
        }
        // The other side may have ended already.
        drop((from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both)));
    }
}
