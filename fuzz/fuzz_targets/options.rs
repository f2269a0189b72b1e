//! Option strings: what is accepted has a normal form that means the same.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| kado_fuzz::options(data));
