//! Fuzzes the frame around what a server sends to a replica.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| aquifer_functions::fuzzing::psync(data));
