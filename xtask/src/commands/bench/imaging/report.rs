//! The table, and where it stands in the documents.

use std::fmt::Write as _;
use std::fs;

use anyhow::{Context, Result};
use xtask::workspace::Workspace;

use super::measure::Measured;
use crate::commands::bench::document::{self, processor};
use crate::commands::bench::numbers::geometric_mean;

const CHART: &str = "docs/imaging-bench.svg";

/// What a number means nothing without.
pub(super) struct Circumstances {
    pub(super) common: document::Circumstances,
    pub(super) workerd: String,
}

/// The processor, and which core of how many was used.
pub(super) fn machine(core: usize) -> String {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    format!("{}, core {core} of {cores}", processor())
}

/// The section in Markdown.
pub(super) fn section(measured: &[Measured], circumstances: &Circumstances) -> String {
    let Circumstances { common, workerd } = circumstances;
    let document::Circumstances {
        command,
        date,
        machine,
        sharp,
        profile,
    } = common;
    let mut text = format!(
        "`{command}`, {date}, {machine}. workerd {workerd}, {sharp}, the native engine built as `{profile}`; each on one thread,\n\
         all on the same core, in turns. Pictures are mosaics of photographs; times are medians in milliseconds, the Worker's\n\
         without what draining the same body takes. Memory is all linear memories and the file; `heavy` is what an isolate\n\
         leaves to the heavy lane.\n\n\
         | case | runs | input | Worker | native | sharp | Worker / sharp | native / sharp | memory | bytes, ours / sharp's |\n\
         |---|---:|---:|---:|---:|---:|---:|---:|---:|---:|\n"
    );
    for case in measured {
        let _infallible = writeln!(text, "{}", row(case));
    }
    text.push('\n');
    text.push_str(&means(measured));
    text
}

fn row(case: &Measured) -> String {
    let (worker, ratio, memory) = match &case.worker {
        Some(worker) => (
            format!("{:.1}", worker.milliseconds),
            format!("{:.2}", worker.milliseconds / case.sharp),
            format!("{} MiB", worker.memory_mib),
        ),
        None => ("heavy".to_owned(), String::new(), String::new()),
    };
    format!(
        "| {} | {} | {:.1} MB | {worker} | {:.1} | {:.1} | {ratio} | {:.2} | {memory} | {:.2} |",
        case.name,
        case.runs,
        quotient(case.input_bytes, 1_000_000),
        case.native,
        case.sharp,
        case.native / case.sharp,
        quotient(case.our_bytes, case.their_bytes),
    )
}

/// Geometric means, family by family in the order of the cases, and over all.
fn means(measured: &[Measured]) -> String {
    let mut families: Vec<&str> = Vec::new();
    for case in measured {
        if !families.contains(&case.family.as_str()) {
            families.push(&case.family);
        }
    }
    let mut text = "| geometric mean | Worker / sharp | native / sharp |\n|---|---:|---:|\n".to_owned();
    let mut line = |name: &str, family: Option<&str>| {
        let of_family = || {
            measured
                .iter()
                .filter(|case| family.is_none_or(|family| case.family == family))
        };
        let worker: Vec<f64> = of_family().filter_map(Measured::worker_ratio).collect();
        let native: Vec<f64> = of_family().map(|case| case.native / case.sharp).collect();
        let worker = if worker.is_empty() {
            String::new()
        } else {
            format!("{:.2}", geometric_mean(&worker))
        };
        let _infallible = writeln!(text, "| {name} | {worker} | {:.2} |", geometric_mean(&native));
    };
    for family in families {
        line(family, Some(family));
    }
    line("all", None);
    text
}

impl Measured {
    /// The Worker's time in parts of sharp's.
    pub(super) fn worker_ratio(&self) -> Option<f64> {
        self.worker.map(|worker| worker.milliseconds / self.sharp)
    }
}

#[expect(clippy::cast_precision_loss, reason = "sizes of files, for a person")]
fn quotient(bytes: u64, by: u64) -> f64 {
    bytes as f64 / by as f64
}

/// Puts section and chart into the documents.
pub(super) fn write(workspace: &Workspace, section: &str, chart: &str) -> Result<()> {
    let section = format!("![Time in parts of sharp's, case by case](imaging-bench.svg)\n\n{section}");
    document::write(workspace, "imaging", &section)?;
    fs::write(workspace.path(CHART), chart).with_context(|| format!("writing {CHART}"))
}

#[cfg(test)]
mod tests {
    use super::super::measure::{Measured, OfWorker};
    use super::*;

    fn case(family: &str, worker: Option<f64>, native: f64) -> Measured {
        Measured {
            name: format!("12 MP {family} -> 400 jpeg"),
            family: family.to_owned(),
            runs: 9,
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
    fn rows_have_ratios_and_families_their_means() {
        let measured = [
            case("a", Some(50.0), 40.0),
            case("a", Some(200.0), 90.0),
            case("b", None, 25.0),
        ];
        assert_eq!(
            row(&measured[0]),
            "| 12 MP a -> 400 jpeg | 9 | 6.4 MB | 50.0 | 40.0 | 100.0 | 0.50 | 0.40 | 10 MiB | 0.90 |"
        );
        assert!(row(&measured[2]).contains("| heavy |"));
        let means = means(&measured);
        assert!(means.contains("| a | 1.00 | 0.60 |"), "{means}");
        assert!(means.contains("| b |  | 0.25 |"), "{means}");
    }
}
