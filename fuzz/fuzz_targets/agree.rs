//! Fuzzes streams of commands, verified and restored: both have to take the same ones.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| aquifer_functions::fuzzing::agree(data));
