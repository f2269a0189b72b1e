//! How long a Worker takes to start, and what it starts.

use std::fmt::Write as _;

use anyhow::{Context, Result, ensure};
use xtask::{picture, progress};

use super::bench::Bench;
use super::report::Circumstances;
use super::worker::{Configuration, FirstAnswer, Worker};
use crate::commands::bench::numbers::median;

/// How often everything is started.
const RUNS: usize = 5;
/// As little as can be asked for.
const OPTIONS: &str = "format=jpeg,width=32";
/// Jobs one after the other in one isolate: what each is, its options, and whether it is of the picture before it.
const JOBS: [(&str, &str, bool); 4] = [
    ("JPEG to JPEG", OPTIONS, false),
    ("JPEG to WebP", "format=webp,width=32", false),
    ("JPEG to AVIF", "format=avif,width=32", false),
    ("AVIF to JPEG", OPTIONS, true),
];

/// First answers.
#[derive(Default)]
struct Starts {
    /// Of a Worker that only reads.
    drain: Vec<FirstAnswer>,
    transform: Vec<FirstAnswer>,
    gateway: Vec<FirstAnswer>,
}

pub(super) fn section(bench: &Bench, most: f64, circumstances: &Circumstances) -> Result<String> {
    let small = picture::jpeg(64, 48)?;
    let starts = progress::step("Starting Workers", || start(bench, &small))?;
    let instances = progress::step("Counting modules", || count(bench, &small))?;
    Ok(text(&starts, &instances, most, circumstances))
}

fn start(bench: &Bench, small: &[u8]) -> Result<Starts> {
    let first_answer = |configuration, ask: &dyn Fn(&Worker) -> Result<()>| {
        let worker = Worker::spawn(&bench.kit, configuration)?;
        worker.first_answer(ask)
    };
    let mut starts = Starts::default();
    for _ in 0..RUNS {
        let drain = first_answer(Configuration::Drain, &|worker| worker.drain(small).map(drop))?;
        let transform = first_answer(Configuration::TransformAlone, &|worker| {
            worker
                .transform(small, OPTIONS)?
                .context("a small picture is heavy")
                .map(drop)
        })?;
        let gateway = first_answer(Configuration::Gateway, &Worker::liveness)?;
        starts.drain.push(drain);
        starts.transform.push(transform);
        starts.gateway.push(gateway);
    }
    Ok(starts)
}

/// Modules that are instantiated after each of the jobs.
fn count(bench: &Bench, small: &[u8]) -> Result<Vec<(&'static str, u32)>> {
    let worker = Worker::start(&bench.kit, Configuration::Counted)?;
    let mut instances = Vec::new();
    let mut last = Vec::new();
    for (name, options, is_of_the_last) in JOBS {
        let picture = if is_of_the_last { &last } else { small };
        let done = worker
            .transform(picture, options)?
            .context("a small picture is heavy")?;
        ensure!(!done.bytes.is_empty(), "{name}: the answer is empty");
        instances.push((name, done.instances.context("the Worker does not count")?));
        last = done.bytes;
    }
    Ok(instances)
}

fn text(starts: &Starts, instances: &[(&str, u32)], most: f64, circumstances: &Circumstances) -> String {
    let mut text = format!(
        "{}.\n\
         Milliseconds, medians of {RUNS} fresh processes: from the start of workerd to the first answer, what of that a\n\
         Worker takes beyond one that only reads (its modules are compiled and instantiated), and the first request alone.\n\n\
         | Worker | to the first answer | beyond one that only reads | first request | bar |\n|---|---:|---:|---:|---:|\n",
        circumstances.line(),
    );
    let since_start = |answers: &[FirstAnswer]| median_of(answers, |answer| answer.since_start);
    let drain = since_start(&starts.drain);
    for (name, answers, bar) in [
        ("one that only reads", &starts.drain, String::new()),
        (
            "transform role, a small picture",
            &starts.transform,
            format!("< {most:.0}"),
        ),
        ("gateway role, liveness", &starts.gateway, format!("< {most:.0}")),
    ] {
        let first = since_start(answers);
        let beyond = if bar.is_empty() {
            String::new()
        } else {
            format!("{:.0}", first - drain)
        };
        let asked = median_of(answers, |answer| answer.since_asked);
        let _infallible = writeln!(text, "| {name} | {first:.0} | {beyond} | {asked:.0} | {bar} |");
    }
    text.push_str(
        "\nWebAssembly modules that the isolate has instantiated after each of these jobs, one after the other: the engine is\n\
         one, each codec is one more.\n\n\
         | job | modules | bar |\n|---|---:|---:|\n",
    );
    for (expected, (name, instances)) in (1..).zip(instances) {
        let _infallible = writeln!(text, "| {name} | {instances} | {expected} |");
    }
    text
}

fn median_of(answers: &[FirstAnswer], time: impl Fn(&FirstAnswer) -> f64) -> f64 {
    median(&answers.iter().map(time).collect::<Vec<_>>())
}
