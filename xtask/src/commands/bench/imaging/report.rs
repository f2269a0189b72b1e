//! The table, and where it stands in the documents.

use std::fmt::Write as _;
use std::fs;

use anyhow::{Context, Result};
use xtask::workspace::Workspace;

use super::cases::Cases;
use super::measure::Measured;
use crate::commands::bench::document::{self, processor};
use crate::commands::bench::numbers::geometric_mean;

const CHART: &str = "docs/imaging-bench.svg";

/// What a number means nothing without.
pub(super) struct Circumstances {
    pub(super) common: document::Circumstances,
    pub(super) workerd: String,
}

impl Circumstances {
    /// How every section begins.
    pub(super) fn line(&self) -> String {
        let document::Circumstances {
            command,
            date,
            machine,
            sharp,
            ..
        } = &self.common;
        format!("`{command}`, {date}, {machine}. workerd {}, {sharp}", self.workerd)
    }
}

/// The processor, and which core of how many was used.
pub(super) fn machine(core: usize) -> String {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    format!("{}, core {core} of {cores}", processor())
}

/// The section in Markdown.
pub(super) fn section(measured: &[Measured], cases: &Cases, circumstances: &Circumstances) -> String {
    let mut text = format!(
        "![Time in parts of sharp's, case by case](imaging-bench.svg)\n\n\
         {}, the native engine built as `{}`; each on one thread,\n\
         all on the same core, in turns. Pictures are mosaics of photographs; times are medians in milliseconds, the Worker's\n\
         without what draining the same body takes. Memory is all linear memories and the file; `heavy` is what an isolate\n\
         leaves to the heavy lane.\n\n\
         | case | runs | input | Worker | native | sharp | Worker / sharp | native / sharp | memory | bytes, ours / sharp's |\n\
         |---|---:|---:|---:|---:|---:|---:|---:|---:|---:|\n",
        circumstances.line(),
        circumstances.common.profile,
    );
    for case in measured {
        let _infallible = writeln!(text, "{}", row(case));
    }
    text.push('\n');
    text.push_str(&means(measured, cases));
    text
}

fn row(measured: &Measured) -> String {
    let (worker, ratio, memory) = match &measured.worker {
        Some(worker) => (
            format!("{:.1}", worker.milliseconds),
            format!("{:.2}", worker.milliseconds / measured.sharp),
            format!("{} MiB", worker.memory_mib),
        ),
        None => ("heavy".to_owned(), String::new(), String::new()),
    };
    format!(
        "| {} | {} | {:.1} MB | {worker} | {:.1} | {:.1} | {ratio} | {:.2} | {memory} | {:.2} |",
        measured.case.name(),
        measured.case.size.runs,
        quotient(measured.input_bytes, 1_000_000),
        measured.native,
        measured.sharp,
        measured.native / measured.sharp,
        quotient(measured.our_bytes, measured.their_bytes),
    )
}

/// Geometric means beside their bars, of those that have a case, and the slowest case.
fn means(measured: &[Measured], cases: &Cases) -> String {
    let mut text = "| geometric mean | cases | Worker / sharp | bar | native / sharp | bar |\n\
                    |---|---:|---:|---:|---:|---:|\n"
        .to_owned();
    for mean in cases.means() {
        let covered = || measured.iter().filter(|measured| mean.covers(&measured.case));
        let worker: Vec<f64> = covered().filter_map(Measured::worker_ratio).collect();
        let native: Vec<f64> = covered().map(|case| case.native / case.sharp).collect();
        if native.is_empty() {
            continue;
        }
        let of_worker = match worker.as_slice() {
            [] => String::new(),
            ratios => format!("{:.2}", geometric_mean(ratios)),
        };
        let _infallible = writeln!(
            text,
            "| {} | {} | {of_worker} | {} | {:.2} | {} |",
            mean.name,
            native.len(),
            at_most(mean.worker),
            geometric_mean(&native),
            at_most(mean.native),
        );
    }
    let ratios = measured.iter().filter_map(|case| Some((case, case.worker_ratio()?)));
    if let Some((slowest, ratio)) = ratios.max_by(|(_, one), (_, other)| one.total_cmp(other)) {
        let bar = at_most(Some(cases.bars().case));
        let _infallible = writeln!(
            text,
            "| slowest: {} | 1 | {ratio:.2} | {bar} | {:.2} | |",
            slowest.case.name(),
            slowest.native / slowest.sharp,
        );
    }
    text
}

/// A bar as in the tables; empty where there is none.
pub(super) fn at_most(bar: Option<f64>) -> String {
    bar.map_or_else(String::new, |most| format!("<= {most:.2}"))
}

impl Measured {
    /// The Worker's time in parts of sharp's.
    pub(super) fn worker_ratio(&self) -> Option<f64> {
        self.worker.map(|worker| worker.milliseconds / self.sharp)
    }
}

#[expect(clippy::cast_precision_loss, reason = "sizes of files, for a person")]
pub(super) fn quotient(bytes: u64, by: u64) -> f64 {
    bytes as f64 / by as f64
}

/// Puts the chart beside the document.
pub(super) fn write_chart(workspace: &Workspace, chart: &str) -> Result<()> {
    fs::write(workspace.path(CHART), chart).with_context(|| format!("writing {CHART}"))
}

#[cfg(test)]
mod tests {
    use super::super::cases::tests::{case, committed};
    use super::super::measure::{Measured, OfWorker};
    use super::*;

    fn measured(source: &str, worker: Option<f64>, native: f64) -> Measured {
        Measured {
            case: case(source, 400, "jpeg"),
            input_bytes: 6_400_000,
            worker: worker.map(|milliseconds| OfWorker {
                milliseconds,
                memory_mib: 10,
            }),
            native,
            sharp: 100.0,
            our_bytes: 900,
            their_bytes: 1000,
        }
    }

    #[test]
    fn rows_have_ratios_and_means_their_bars() {
        let measured = [
            measured("jpeg", Some(50.0), 40.0),
            measured("jpeg", Some(200.0), 90.0),
            measured("png", None, 25.0),
        ];
        assert_eq!(
            row(&measured[0]),
            "| 12 MP jpeg -> 400 jpeg | 9 | 6.4 MB | 50.0 | 40.0 | 100.0 | 0.50 | 0.40 | 10 MiB | 0.90 |"
        );
        assert!(row(&measured[2]).contains("| heavy |"));
        let means = means(&measured, &committed());
        assert!(
            means.contains("| JPEG baseline | 2 | 1.00 | <= 0.80 | 0.60 |  |"),
            "{means}"
        );
        assert!(means.contains("| PNG | 1 |  | <= 1.20 | 0.25 |  |"), "{means}");
        assert!(means.contains("| all | 3 | 1.00 |  | 0.45 | <= 0.70 |"), "{means}");
        assert!(
            means.contains("| slowest: 12 MP jpeg -> 400 jpeg | 1 | 2.00 | <= 1.60 | 0.90 | |"),
            "{means}"
        );
        assert!(!means.contains("to WebP"), "{means}");
    }
}
