//! What was measured, as a table beside what must be.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Context, Result};
use xtask::invoke;

use super::super::document::processor;
use super::super::load::Outcome;
use super::{SESSIONS_PER_SECOND, median, percentile};

/// Milliseconds of another route, alone and beside a flood, and how long that took.
pub(super) type Flood = ([Vec<f64>; 2], Duration);

/// All in milliseconds.
pub(super) struct Report {
    pub(super) sessions: Outcome,
    /// Share of them that the origin answered within 10 ms.
    pub(super) within: f64,
    /// Of unknown addresses, wrong passwords, and a locked address.
    pub(super) logins: [Vec<f64>; 3],
    pub(super) flood: Flood,
    /// Share of the other route that the origin answered within 50 ms beside the flood.
    pub(super) within_beside: f64,
}

impl Report {
    /// The section of the document.
    pub(super) fn section(&self, command: &str) -> Result<String> {
        let date = invoke::read(invoke::command("date").args(["-u", "+%F"]))?;
        let cores = std::thread::available_parallelism()
            .context("counting the cores")?
            .get();
        let mut text = format!(
            "`{command}`, {}, {}, {cores} cores, which the edge, the origin, PostgreSQL and the clients share. All through the edge,\n\
             as clients ask; every answer is checked.\n\n| measure | value | must |\n|---|---|---|\n",
            date.trim(),
            processor()
        );
        for (measure, value, must) in self.rows() {
            let _infallible = writeln!(text, "| {measure} | {value} | {must} |");
        }
        Ok(text)
    }

    fn rows(&self) -> Vec<(String, String, &'static str)> {
        let both =
            |milliseconds: &[f64]| format!("{:.1}; {:.1} ms", median(milliseconds), percentile(milliseconds, 99.0));
        let medians = self.logins.each_ref().map(|kind| median(kind));
        let (least, most) = medians.iter().fold((f64::INFINITY, 0.0_f64), |(least, most), median| {
            (least.min(*median), most.max(*median))
        });
        let ([alone, beside], took) = &self.flood;
        vec![
            (
                format!(
                    "a session checked in the database, `GET /api/auth/me` {SESSIONS_PER_SECOND} times a second: median; 99th percentile"
                ),
                format!(
                    "{}, {:.0} answers/s",
                    both(&self.sessions.milliseconds),
                    self.sessions.rate
                ),
                "99th < 10 ms",
            ),
            (
                "the origin's own part of it, by its histogram: answered within 10 ms".to_owned(),
                format!("{:.2} %", 100.0 * self.within),
                ">= 99 %",
            ),
            (
                format!(
                    "refused logins in turns, {} each, medians: unknown address; wrong password; locked",
                    self.logins[0].len()
                ),
                format!(
                    "{:.1}; {:.1}; {:.1} ms, {:.1} % apart",
                    medians[0],
                    medians[1],
                    medians[2],
                    100.0 * (most / least - 1.0)
                ),
                "within 5 %",
            ),
            (
                "`GET /api/auth/me` from 4 paced clients, median; 99th percentile: alone".to_owned(),
                both(alone),
                "",
            ),
            (
                format!(
                    "the same while 200 try to sign in at once, which takes {:.1} s",
                    took.as_secs_f64()
                ),
                both(beside),
                "99th < 50 ms",
            ),
            (
                "the origin's own part of it, by its histogram: answered within 50 ms".to_owned(),
                format!("{:.2} %", 100.0 * self.within_beside),
                ">= 99 %",
            ),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_say_how_far_apart_medians_are() {
        let report = Report {
            sessions: Outcome {
                milliseconds: vec![1.0, 2.0, 3.0],
                rate: 499.6,
            },
            within: 0.9912,
            logins: [vec![100.0], vec![104.0], vec![102.0]],
            flood: ([vec![2.0], vec![30.0]], Duration::from_secs(4)),
            within_beside: 1.0,
        };
        let rows = report.rows();
        assert!(rows[0].1.ends_with("500 answers/s"), "{rows:?}");
        assert_eq!(rows[1].1, "99.12 %");
        assert_eq!(rows[2].1, "100.0; 104.0; 102.0 ms, 4.0 % apart");
        assert!(
            rows[4].0.ends_with("takes 4.0 s") && rows[4].1.starts_with("30.0"),
            "{rows:?}"
        );
    }
}
