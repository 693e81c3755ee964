//! What proxies share: a port, and a thread for each connection to it.

use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

/// Opens a port and has each of its connections carried. It ends with the test's process.
///
/// # Panics
/// There is no free port.
pub fn open(carry: impl Fn(TcpStream) -> Option<()> + Send + Sync + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    let carry = Arc::new(carry);
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let carry = Arc::clone(&carry);
            thread::spawn(move || carry(client));
        }
    });
    port
}
