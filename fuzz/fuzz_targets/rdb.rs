//! Fuzzes RDB files, read in both forms and in pieces of any size.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| aquifer_functions::fuzzing::rdb(data));
