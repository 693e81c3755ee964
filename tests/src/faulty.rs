//! A way to a server that breaks as networks do: cuts, resets, silence, a slow line, a long way, or no way at all.
//!
//! Takes a server's port, and for each connection what becomes of it, by its number from 0. Gives a port of its own. Always
//! holds: what is passed on is passed on unchanged; a connection that is cut is cut for both ends.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::gate::Direction;
use super::proxy;

/// What becomes of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// It is refused at once.
    Refused,
    /// Both ends are closed once so many bytes went in a direction.
    Cut(Direction, usize),
    /// Once so many bytes went in a direction, nothing more goes in either, and it stays open.
    Silent(Direction, usize),
    /// For so long no more bytes a second go to the server.
    Slow(u64, Duration),
    /// What is sent arrives so much later, in both directions.
    Late(Duration),
}

/// Opens the way.
///
/// # Panics
/// There is no free port.
pub fn faulty(server: u16, fault: impl Fn(usize) -> Fault + Send + Sync + 'static) -> u16 {
    let number = AtomicUsize::new(0);
    proxy::open(move |client| carry(client, server, fault(number.fetch_add(1, Ordering::SeqCst))))
}

/// Carries one connection. What fails here looks to the client like the network that this stands for.
fn carry(client: TcpStream, server: u16, fault: Fault) -> Option<()> {
    if fault == Fault::Refused {
        return None;
    }
    let server = TcpStream::connect(("127.0.0.1", server)).ok()?;
    for end in [&client, &server] {
        end.set_nodelay(true).ok()?;
    }
    let begun = Instant::now();
    let silent = Arc::new(AtomicUsize::new(0));
    let (back_from, back_to) = (server.try_clone().ok()?, client.try_clone().ok()?);
    let of_back = Arc::clone(&silent);
    let back = thread::spawn(move || pass(back_from, back_to, Direction::FromServer, fault, begun, &of_back));
    pass(client, server, Direction::ToServer, fault, begun, &silent);
    back.join().ok()
}

fn pass(
    mut from: TcpStream,
    mut to: TcpStream,
    direction: Direction,
    fault: Fault,
    begun: Instant,
    silent: &AtomicUsize,
) {
    let (mut buffer, mut passed) = (vec![0; 16 << 10], 0);
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        passed += read;
        match fault {
            Fault::Cut(counts, after) if counts == direction && passed >= after => break,
            Fault::Silent(counts, after) if counts == direction && passed >= after => {
                silent.store(1, Ordering::SeqCst);
            }
            Fault::Slow(rate, during) if direction == Direction::ToServer && begun.elapsed() < during => {
                thread::sleep(Duration::from_secs_f64(read as f64 / rate as f64).min(during));
            }
            Fault::Late(by) => thread::sleep(by),
            _ => {}
        }
        if silent.load(Ordering::SeqCst) == 1 {
            // Taken and not passed on, until the client gives up.
            continue;
        }
        if to.write_all(&buffer[..read]).is_err() {
            break;
        }
    }
    // The other side may have ended already.
    drop((from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both)));
}
