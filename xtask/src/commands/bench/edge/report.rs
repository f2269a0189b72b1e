//! What was measured, as a table beside what must be.

use std::fmt::Write as _;

use anyhow::{Context, Result};
use xtask::invoke;

use super::super::document::processor;

/// Answers a second of the gateway, and of a Worker that does nothing else.
pub(super) struct Pair {
    pub(super) ours: f64,
    pub(super) theirs: f64,
}

#[derive(Default)]
pub(super) struct Report {
    pub(super) hits: Option<Pair>,
    pub(super) refusals: Option<Pair>,
    /// Microseconds.
    pub(super) warm_token: Option<f64>,
    pub(super) cold_token: Option<f64>,
    /// Bytes after so many requests.
    pub(super) memory: Option<([u64; 2], [u64; 2])>,
    /// Milliseconds alone and beside the pool, and how many pictures that made.
    pub(super) busy: Option<(f64, f64, usize)>,
    /// Seconds.
    pub(super) setting: Option<f64>,
    pub(super) purge: Option<f64>,
    pub(super) revoked: Option<f64>,
}

impl Report {
    /// The section of the document.
    pub(super) fn section(&self, command: &str) -> Result<String> {
        let date = invoke::read(invoke::command("date").args(["-u", "+%F"]))?;
        let cores = std::thread::available_parallelism()
            .context("counting the cores")?
            .get();
        let mut text = format!(
            "`{command}`, {}, {}, {cores} cores. The gateway's process and the Workers that it is compared with (`bench/bare.mjs`,\n\
             same headers, same log line, same cache service) have the last core to themselves, in turns of seconds; medians.\n\
             16 connections; every answer is checked, every picture compared byte for byte.\n\n\
             | measure | value | must |\n|---|---|---|\n",
            date.trim(),
            processor()
        );
        for (measure, value, must) in self.rows() {
            let _infallible = writeln!(text, "| {measure} | {value} | {must} |");
        }
        Ok(text)
    }

    fn rows(&self) -> Vec<(&'static str, String, &'static str)> {
        let pair = |pair: &Pair| {
            format!(
                "{:.0} / {:.0} answers/s = {:.2}",
                pair.ours,
                pair.theirs,
                pair.ours / pair.theirs
            )
        };
        let mut rows = Vec::new();
        let mut add = |measure, value: Option<String>, must| rows.extend(value.map(|value| (measure, value, must)));
        add(
            "cached hit, 10,000 addresses, limits on / `caches.default.match` alone",
            self.hits.as_ref().map(pair),
            ">= 0.80",
        );
        add(
            "refusal (429), 10,000 addresses / a constant answer",
            self.refusals.as_ref().map(pair),
            ">= 0.80",
        );
        add(
            "a token that is known, beyond a hit without one",
            self.warm_token.map(|us| format!("{us:.0} us")),
            "< 30 us",
        );
        add(
            "a token whose signature is checked, the same",
            self.cold_token.map(|us| format!("{us:.0} us")),
            "< 1000 us",
        );
        add(
            "99th percentile of hits, 4 paced clients: alone; beside a pool with 8 misses at once",
            self.busy.map(|(alone, beside, made)| {
                format!(
                    "{alone:.1} ms; {beside:.1} ms = {:.1} times ({made} answers from the pool)",
                    beside / alone
                )
            }),
            "<= 3 times",
        );
        add(
            "the gateway's linear memory",
            self.memory.map(|([few, many], [first, last])| {
                format!(
                    "{:.1} MiB after {first} mixed requests, {:.1} MiB after {last}",
                    mebibytes(few),
                    mebibytes(many)
                )
            }),
            "the same",
        );
        let seconds = |seconds: f64| format!("{seconds:.1} s");
        add(
            "a changed setting is seen, the slowest",
            self.setting.map(seconds),
            "< 5 s",
        );
        add("a purge is seen, the slowest", self.purge.map(seconds), "< 5 s");
        add(
            "a revoked token is seen, the slowest",
            self.revoked.map(seconds),
            "< 5 s",
        );
        rows
    }
}

#[expect(clippy::cast_precision_loss, reason = "a memory's size for a person")]
fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

#[cfg(test)]
mod tests {
    use super::{Pair, Report};

    #[test]
    fn rows_say_value_and_bar() {
        let report = Report {
            hits: Some(Pair {
                ours: 900.0,
                theirs: 1000.0,
            }),
            busy: Some((2.0, 5.0, 7)),
            ..Report::default()
        };
        let rows = report.rows();
        assert_eq!(rows[0].1, "900 / 1000 answers/s = 0.90");
        assert_eq!(rows[1].1, "2.0 ms; 5.0 ms = 2.5 times (7 answers from the pool)");
        assert_eq!(rows.len(), 2);
    }
}
