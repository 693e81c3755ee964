//! A way to a Redis server that tells something else than the server said.
//!
//! Takes a server's port and a rule, which sees each piece that the server sends. Gives a port of its own. Always holds: what the
//! client says is handed on as it is.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;

use super::proxy;

/// What the client gets instead of a piece.
#[derive(Debug, Clone)]
pub enum Lie {
    /// These bytes.
    Once(Vec<u8>),
    /// The first bytes, and the others behind them until the client closes the connection.
    Endless(Vec<u8>, Vec<u8>),
}

/// Opens the way.
///
/// # Panics
/// There is no free port.
pub fn lying(server: u16, rule: impl Fn(Vec<u8>) -> Lie + Send + Sync + 'static) -> u16 {
    proxy::open(move |client| carry(client, server, &rule))
}

/// Carries one connection. What fails here looks to the client like the network that this stands for.
fn carry(mut client: TcpStream, server: u16, rule: &(dyn Fn(Vec<u8>) -> Lie + Send + Sync)) -> Option<()> {
    let mut upstream = TcpStream::connect(("127.0.0.1", server)).ok()?;
    client.set_nodelay(true).ok()?;
    let (mut asking, mut asked) = (client.try_clone().ok()?, upstream.try_clone().ok()?);
    let going = thread::spawn(move || {
        // Whichever end closes first, the other one is to know.
        drop(std::io::copy(&mut asking, &mut asked));
        drop(asked.shutdown(Shutdown::Both));
    });
    let mut piece = vec![0; 64 << 10];
    while let Ok(count @ 1..) = upstream.read(&mut piece) {
        let told = match rule(piece[..count].to_vec()) {
            Lie::Once(bytes) => client.write_all(&bytes),
            Lie::Endless(first, again) => {
                let mut told = client.write_all(&first);
                while told.is_ok() {
                    told = client.write_all(&again);
                }
                told
            }
        };
        if told.is_err() {
            break;
        }
    }
    drop(client.shutdown(Shutdown::Both));
    drop(upstream.shutdown(Shutdown::Both));
    going.join().ok()
}
