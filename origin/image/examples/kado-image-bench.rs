//! The native engine on one thread, asked line by line: `{"file": .., "options": ..}` is answered with the milliseconds
//! that the transform of the file in memory took. The other end is `cargo xtask bench imaging`.

use kado_imaging::{Limits, NativeCodecs, Resolved, process};
use serde_json::{Value, json};
use std::{
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
    let started = Instant::now();
    let output = process(&source, &options, &LIMITS, &NativeCodecs, &|| false)?;
    let milliseconds = started.elapsed().as_secs_f64() * 1000.0;
    if let Ok(path) = text("output") {
        fs::write(path, &output.bytes)?;
    }
    Ok(json!({ "milliseconds": milliseconds, "bytes": output.bytes.len() }))
}
