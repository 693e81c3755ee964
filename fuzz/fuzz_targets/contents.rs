//! Fuzzes streams of commands, as `redis-verify` reads them.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| aquifer_functions::fuzzing::contents(data));
