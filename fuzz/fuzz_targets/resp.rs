//! Fuzzes streams of RESP commands, and the heads of replies.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| aquifer_functions::fuzzing::resp(data));
