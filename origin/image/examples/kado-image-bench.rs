//! The native engine on one thread, asked line by line: `{"file": .., "options": ..}` is answered with the milliseconds
//! that the transform of the file in memory took. With `"record": true` AVIF is not encoded, and the answer has the settings
//! that libaom would be given. The other end are `cargo xtask bench imaging` and `quality`.

use kado_imaging::{AvifSettings, CodecError, Codecs, Limits, NativeCodecs, Resolved, WebpSettings, process};
use serde_json::{Value, json};
use std::{
    cell::Cell,
    error::Error,
    fs,
    io::{self, BufRead, Write},
    time::Instant,
};

/// What is measured is how long it takes, not what a request may ask for.
const LIMITS: Limits = Limits {
    source_bytes: u64::MAX,
    memory_bytes: u64::MAX,
    ..Limits::HEAVY
};

/// Writes down what an encoder would be told.
#[derive(Default)]
struct Recorder(Cell<Option<AvifSettings>>);

impl Codecs for Recorder {
    fn webp(&self, _: &[u8], _: u32, _: u32, _: &WebpSettings) -> Result<Vec<u8>, CodecError> {
        Err(CodecError::Missing("webp"))
    }

    fn avif(&self, _: &[u8], _: u32, _: u32, settings: &AvifSettings) -> Result<Vec<u8>, CodecError> {
        self.0.set(Some(*settings));
        Ok(Vec::new())
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    for line in io::stdin().lock().lines() {
        let answer = answer(&line?).unwrap_or_else(|error| json!({ "error": error.to_string() }));
        writeln!(io::stdout(), "{answer}")?;
    }
    Ok(())
}

fn answer(question: &str) -> Result<Value, Box<dyn Error>> {
    let question: Value = serde_json::from_str(question)?;
    let text = |name: &str| question.get(name).and_then(Value::as_str).ok_or("a field is missing");
    let source = fs::read(text("file")?)?;
    let options = Resolved::parse(text("options")?).map_err(|errors| format!("{errors:?}"))?;
    if question.get("record").and_then(Value::as_bool) == Some(true) {
        let recorder = Recorder::default();
        process(&source, &options, &LIMITS, &recorder, &|| false)?;
        return Ok(json!({ "settings": recorder.0.get() }));
    }
    let started = Instant::now();
    let output = process(&source, &options, &LIMITS, &NativeCodecs, &|| false)?;
    let milliseconds = started.elapsed().as_secs_f64() * 1000.0;
    if let Ok(path) = text("output") {
        fs::write(path, &output.bytes)?;
    }
    Ok(json!({ "milliseconds": milliseconds, "bytes": output.bytes.len() }))
}
