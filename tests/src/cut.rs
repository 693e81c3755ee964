//! A proxy in front of any server, over which only so much goes: as a line does that breaks whenever much is sent.
//!
//! Takes a server's port. Gives a port of its own. Always holds: from the moment on that the given number of bytes was sent, all
//! clients together, every connection breaks that sends more than a little, the old ones as well as new ones; what is small goes on.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::proxy;

/// What a connection may still send then.
const LITTLE: usize = 512 << 10;

/// Opens the proxy; it breaks after so many bytes.
///
/// # Panics
/// There is no free port.
pub fn cut_after(server: u16, bytes: usize) -> u16 {
    let sent = Arc::new(AtomicUsize::new(0));
    proxy::open(move |client| carry(client, server, &sent, bytes))
}

/// Carries one connection. What fails here looks to both ends like the network that this stands for.
fn carry(mut client: TcpStream, server: u16, sent: &AtomicUsize, most: usize) -> Option<()> {
    let mut upstream = TcpStream::connect(("127.0.0.1", server)).ok()?;
    let (mut from, mut to) = (upstream.try_clone().ok()?, client.try_clone().ok()?);
    std::thread::spawn(move || {
        _ = std::io::copy(&mut from, &mut to);
        to.shutdown(Shutdown::Both)
    });
    let (mut piece, mut late) = (vec![0; 64 << 10], 0);
    loop {
        let count = client.read(&mut piece).ok().filter(|count| *count > 0);
        let Some(count) = count else { return upstream.shutdown(Shutdown::Both).ok() };
        if sent.fetch_add(count, Ordering::SeqCst) >= most {
            late += count;
        }
        if late > LITTLE {
            _ = client.shutdown(Shutdown::Both);
            return upstream.shutdown(Shutdown::Both).ok();
        }
        upstream.write_all(&piece[..count]).ok()?;
    }
}
