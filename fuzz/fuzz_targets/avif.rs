//! Files of one format, and one of a few sets of options that the first byte names.
#![no_main]

use kado_imaging::Format;
use libfuzzer_sys::{Corpus, fuzz_target};

fuzz_target!(|data: &[u8]| -> Corpus { kado_fuzz::decoder(Format::Avif, data) });
