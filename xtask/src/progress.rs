//! What a waiting person sees: one line when a step begins, one when it ends, with its time.

use std::fmt::Display;
use std::io::{IsTerminal, Write, stderr};
use std::time::{Duration, Instant};

use anyhow::Result;

/// Runs one step, with a line on standard error before and after it.
///
/// # Errors
/// Whatever the step fails with; the failure has its own closing line.
pub fn step<T>(label: impl Display, work: impl FnOnce() -> Result<T>) -> Result<T> {
    say(format_args!("{} {label}", paint("1;34", "::")));
    let started = Instant::now();
    let result = work();
    let took = seconds(started.elapsed());
    match &result {
        Ok(_) => say(format_args!("   {} {took}", paint("32", "done in"))),
        Err(_) => say(format_args!("   {} {took}", paint("31", "failed after"))),
    }
    result
}

/// One line on standard error. A closed standard error is no reason to stop.
pub fn say(line: impl Display) {
    let _ignored = writeln!(stderr(), "{line}");
}

/// A line that belongs to the step before it.
pub fn detail(line: impl Display) {
    say(format_args!("   {line}"));
}

/// A duration as people read it: `0.42 s`, `75 s`.
#[must_use]
pub fn seconds(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    if seconds < 10.0 {
        format!("{seconds:.2} s")
    } else {
        format!("{seconds:.0} s")
    }
}

/// `text` in a terminal's colour, or plain where standard error is no terminal.
#[must_use]
pub fn paint(code: &str, text: &str) -> String {
    if stderr().is_terminal() {
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    } else {
        text.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_short_to_read() {
        assert_eq!(seconds(Duration::from_millis(421)), "0.42 s");
        assert_eq!(seconds(Duration::from_secs(75)), "75 s");
    }
}
