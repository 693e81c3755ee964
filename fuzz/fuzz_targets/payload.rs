//! Fuzzes payloads of `DUMP`, taken apart.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| aquifer_functions::fuzzing::payload(data));
