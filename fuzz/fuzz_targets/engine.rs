//! Any options, up to a line's end, and any file behind it.
#![no_main]

use libfuzzer_sys::{Corpus, fuzz_target};

fuzz_target!(|data: &[u8]| -> Corpus { kado_fuzz::engine(data) });
