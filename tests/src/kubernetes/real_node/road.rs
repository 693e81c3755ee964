//! A way from a machine of its own to a server of this one.
//!
//! Takes an address and a port there, and leads to the same port of 127.0.0.1 here. Always holds: it listens on the machine's network alone, and ends
//! with the test's process.

use std::fs::File;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread;

use nix::sched::{CloneFlags, setns};

use super::machine::Machine;

/// Opens it.
///
/// # Panics
/// The port is taken there.
pub(super) fn open(machine: &Machine, address: &'static str, port: u16) {
    let network = File::open(machine.network()).expect("the machine runs");
    // A thread that has gone to another network never comes back from it.
    let listening = thread::spawn(move || {
        setns(network, CloneFlags::CLONE_NEWNET).expect("root may");
        TcpListener::bind((address, port))
    });
    let listener = listening.join().expect("no panic").expect("the port is free on the machine");
    thread::spawn(move || {
        for near in listener.incoming().flatten() {
            // Who finds nobody there is told so by the end of the connection.
            let Ok(far) = TcpStream::connect(("127.0.0.1", port)) else { continue };
            let (Ok(also_near), Ok(also_far)) = (near.try_clone(), far.try_clone()) else { continue };
            thread::spawn(move || carry(near, far));
            thread::spawn(move || carry(also_far, also_near));
        }
    });
}

fn carry(mut from: TcpStream, mut to: TcpStream) {
    // What fails here looks to both ends like a network that does.
    let carried = std::io::copy(&mut from, &mut to);
    let how = if carried.is_ok() { Shutdown::Write } else { Shutdown::Both };
    drop((to.shutdown(how), carried.is_err().then(|| from.shutdown(Shutdown::Both))));
}
