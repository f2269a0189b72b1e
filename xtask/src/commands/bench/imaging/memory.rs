//! What an isolate takes, as the Worker says, and what its process takes, as the operating system says.

use std::fmt::Write as _;
use std::fs;

use anyhow::{Context, Result, anyhow};
use xtask::{picture, progress};

use super::bench::Bench;
use super::cases::{Case, Cases, MemoryBar};
use super::report::{Circumstances, quotient};
use super::worker::{Configuration, Worker};

const MIB: u64 = 1 << 20;
/// Requests at the same time whose processes are looked at.
const CROWDS: [usize; 2] = [1, 4];

/// A job's memory.
struct Taken {
    case: Case,
    bar: MemoryBar,
    file_bytes: u64,
    /// `None` where it is too large for an isolate.
    memory_mib: Option<u64>,
}

/// What processes took beside what they had taken before.
struct Growth {
    requests: usize,
    /// In all processes.
    before_bytes: u64,
    peak_bytes: u64,
}

pub(super) fn section(bench: &mut Bench, cases: &Cases, filter: &str, circumstances: &Circumstances) -> Result<String> {
    let mut taken = Vec::new();
    let mut crowds = Vec::new();
    for (case, bar) in cases.memory(filter)? {
        taken.push(progress::step(format_args!("Memory: {}", case.name()), || {
            take(bench, &case, bar)
        })?);
        // The first picture is the one that several are asked for of at the same time.
        if crowds.is_empty() {
            for requests in CROWDS {
                crowds.push(progress::step(
                    format_args!("Processes: {requests} x {}", case.name()),
                    || grow(bench, &case, requests),
                )?);
            }
        }
    }
    Ok(text(&taken, &crowds, circumstances))
}

fn take(bench: &mut Bench, case: &Case, bar: MemoryBar) -> Result<Taken> {
    let picture = bench.picture(case)?;
    let worker = Worker::start(&bench.kit, Configuration::TransformAlone)?;
    let done = worker.transform(&picture, &case.options())?;
    Ok(Taken {
        case: case.clone(),
        bar,
        file_bytes: picture.len() as u64,
        memory_mib: done.map(|done| done.memory_mib),
    })
}

/// A process for each request, as `kado edge` runs them.
fn grow(bench: &mut Bench, case: &Case, requests: usize) -> Result<Growth> {
    let picture = bench.picture(case)?;
    let small = picture::jpeg(64, 48)?;
    let options = case.options();
    let mut workers = Vec::new();
    let mut before_bytes = 0;
    for _ in 0..requests {
        let worker = Worker::start(&bench.kit, Configuration::TransformAlone)?;
        worker.transform(&small, "format=jpeg,width=32")?;
        before_bytes += resident(&worker, "VmRSS:")?;
        workers.push(worker);
    }
    std::thread::scope(|scope| {
        let asked: Vec<_> = workers
            .iter()
            .map(|worker| scope.spawn(|| worker.transform(&picture, &options)))
            .collect();
        asked.into_iter().try_for_each(|asked| {
            let done = asked.join().map_err(|_| anyhow!("a request's thread panicked"))??;
            done.map(drop).context("the picture is the heavy lane's")
        })
    })?;
    let peaks = workers.iter().map(|worker| resident(worker, "VmHWM:"));
    Ok(Growth {
        requests,
        before_bytes,
        peak_bytes: peaks.sum::<Result<u64>>()?,
    })
}

/// A line of what the operating system says of a process's memory.
fn resident(worker: &Worker, line: &str) -> Result<u64> {
    let path = format!("/proc/{}/status", worker.process_id());
    let status = fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
    kibibytes(&status, line)
        .map(|kibibytes| kibibytes * 1024)
        .with_context(|| format!("{path} has no line {line}"))
}

fn kibibytes(status: &str, line: &str) -> Option<u64> {
    let rest = status.lines().find_map(|found| found.strip_prefix(line))?;
    rest.trim().strip_suffix("kB")?.trim().parse().ok()
}

fn text(taken: &[Taken], crowds: &[Growth], circumstances: &Circumstances) -> String {
    let mut text = format!(
        "{}.\n\
         Peak of all linear memories and the whole file, in an isolate that has seen nothing else. The file is counted as\n\
         a whole, although what has been read of it is let go.\n\n\
         | case | file | memory | bar |\n|---|---:|---:|---:|\n",
        circumstances.line(),
    );
    for taken in taken {
        let memory = taken
            .memory_mib
            .map_or_else(|| "heavy".to_owned(), |memory| format!("{memory} MiB"));
        let _infallible = writeln!(
            text,
            "| {} | {:.1} MiB | {memory} | {} |",
            taken.case.name(),
            quotient(taken.file_bytes, MIB),
            bar(taken.bar, taken.file_bytes),
        );
    }
    if let (Some(first), false) = (taken.first(), crowds.is_empty()) {
        let _infallible = write!(
            text,
            "\nResident memory of workerd's processes for {}, one process for each request at the same time; before: after a\n\
             first small picture.\n\n\
             | requests | before | peak | growth |\n|---:|---:|---:|---:|\n",
            first.case.name(),
        );
    }
    for crowd in crowds {
        let _infallible = writeln!(
            text,
            "| {} | {:.0} MiB | {:.0} MiB | {:.0} MiB |",
            crowd.requests,
            quotient(crowd.before_bytes, MIB),
            quotient(crowd.peak_bytes, MIB),
            quotient(crowd.peak_bytes.saturating_sub(crowd.before_bytes), MIB),
        );
    }
    text
}

fn bar(bar: MemoryBar, file_bytes: u64) -> String {
    match bar {
        MemoryBar::Beside(most) => {
            let whole = file_bytes + u64::from(most) * MIB;
            format!("file + {most}: <= {:.1} MiB", quotient(whole, MIB))
        }
        MemoryBar::Total(most) => format!("<= {most} MiB"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_beside_the_file_says_both_together() {
        assert_eq!(bar(MemoryBar::Beside(12), 3 * MIB / 2), "file + 12: <= 13.5 MiB");
        assert_eq!(bar(MemoryBar::Total(80), 3 * MIB), "<= 80 MiB");
    }

    #[test]
    fn the_line_of_a_process_is_read() {
        let status = "Name:\tworkerd\nVmHWM:\t  204800 kB\nVmRSS:\t  102400 kB\n";
        assert_eq!(kibibytes(status, "VmRSS:"), Some(102_400));
        assert_eq!(kibibytes(status, "VmSwap:"), None);
    }
}
