//! Ways between a machine of its own and this one.
//!
//! Takes an address and a port there, and leads from it to the same port of 127.0.0.1 here, or back. Always holds: it listens on one of the two
//! networks alone, and ends with the test's process.

use std::fs::File;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread;

use nix::sched::{CloneFlags, setns};

use super::machine::Machine;

/// Opens one from there to here.
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
    thread::spawn(move || lead(&listener, ("127.0.0.1", port)));
}

/// Opens one from here to there.
///
/// # Panics
/// The port is taken here.
pub(super) fn back(machine: &Machine, address: &'static str, port: u16) {
    let network = File::open(machine.network()).expect("the machine runs");
    let listener = TcpListener::bind(("127.0.0.1", port)).expect("the port is free here");
    thread::spawn(move || {
        setns(network, CloneFlags::CLONE_NEWNET).expect("root may");
        lead(&listener, (address, port));
    });
}

/// Carries what comes to an address on the network of the thread that this is.
fn lead(listener: &TcpListener, to: (&str, u16)) {
    for near in listener.incoming().flatten() {
        // Who finds nobody there is told so by the end of the connection.
        let Ok(far) = TcpStream::connect(to) else { continue };
        let (Ok(also_near), Ok(also_far)) = (near.try_clone(), far.try_clone()) else { continue };
        thread::spawn(move || carry(near, far));
        thread::spawn(move || carry(also_far, also_near));
    }
}

fn carry(mut from: TcpStream, mut to: TcpStream) {
    // What fails here looks to both ends like a network that does.
    let carried = std::io::copy(&mut from, &mut to);
    let how = if carried.is_ok() { Shutdown::Write } else { Shutdown::Both };
    drop((to.shutdown(how), carried.is_err().then(|| from.shutdown(Shutdown::Both))));
}
