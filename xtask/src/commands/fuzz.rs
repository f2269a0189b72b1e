//! `cargo xtask fuzz`

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::Args;
use xtask::temporary::TemporaryFolder;
use xtask::workspace::{self, Workspace};
use xtask::{cargo, invoke, progress};

/// What the compiler adds for the fuzzer: counters for edges, and what is compared with what.
const INSTRUMENTS: [&str; 6] = [
    "--cfg=fuzzing",
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
];

const HOST: &str = "x86_64-unknown-linux-gnu";

/// What libFuzzer may hold before it calls it a leak, in MiB.
const MEMORY: u32 = 2048;

/// Try random inputs on the option parser, each decoder and the whole engine, for a time each.
///
/// Starts from fuzz/corpus and pictures drawn in code. An input that panics, hangs or takes more memory than was planned
/// ends the run; it is written to target/fuzz/artifacts. The same folder works with cargo-fuzz.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Which targets; all without one
    targets: Vec<String>,
    /// Seconds for each
    #[arg(long, default_value_t = 60)]
    seconds: u32,
    /// Add what reaches new code to fuzz/corpus, as few and as small files as do
    #[arg(long)]
    keep: bool,
}

/// What became of a target.
pub(super) struct Tried {
    pub(super) target: String,
    pub(super) runs: u64,
}

pub(super) fn run(workspace: &Workspace, arguments: &Arguments) -> Result<ExitCode> {
    let tried = all(workspace, &arguments.targets, arguments.seconds, arguments.keep)?;
    for Tried { target, runs } in tried {
        progress::say(format_args!("{target:<10} {runs:>10} inputs, none failed"));
    }
    Ok(ExitCode::SUCCESS)
}

/// Builds the targets and lets each run.
pub(super) fn all(workspace: &Workspace, wanted: &[String], seconds: u32, keep: bool) -> Result<Vec<Tried>> {
    let fuzz = workspace.root.join("fuzz");
    let built = workspace.target.join("fuzz");
    let known = targets(&fuzz)?;
    if let Some(unknown) = wanted.iter().find(|target| !known.contains(target)) {
        bail!("there is no target {unknown}; there are {}", known.join(", "));
    }
    build(&fuzz, &built)?;
    let draw = cargo::build_example(workspace, "kado-imaging", "fuzz_seeds", "dev")?;
    let programs = built.join(HOST).join("release");
    let scratch = TemporaryFolder::new("fuzz")?;
    invoke::run(invoke::command(draw).arg(scratch.path().join("seeds")))?;
    let artifacts = built.join("artifacts");
    let mut tried = Vec::new();
    for target in known
        .into_iter()
        .filter(|target| wanted.is_empty() || wanted.contains(target))
    {
        progress::say(format_args!(":: {target}, {seconds} s"));
        let new = scratch.path().join("new").join(&target);
        let corpus = fuzz.join("corpus").join(&target);
        let seeds = scratch.path().join("seeds").join(&target);
        let failed = artifacts.join(&target);
        for folder in [&new, &corpus, &seeds, &failed] {
            std::fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
        }
        let mut fuzzer = invoke::command(programs.join(&target));
        fuzzer
            .args([&new, &corpus, &seeds])
            .arg(format!("-max_total_time={seconds}"))
            .arg(format!("-rss_limit_mb={MEMORY}"))
            .arg("-timeout=60")
            .arg("-print_final_stats=1")
            .arg(format!("-artifact_prefix={}/", failed.display()));
        let output = invoke::collect(&mut fuzzer)?;
        let said = String::from_utf8_lossy(&output.stderr);
        if !output.status.success() {
            let tail = invoke::last_lines(&said, 40);
            bail!("{target} failed; the input is in {}\n{tail}", failed.display());
        }
        let runs = said
            .lines()
            .find_map(|line| line.strip_prefix("stat::number_of_executed_units:"))
            .and_then(|number| number.trim().parse().ok())
            .context("the fuzzer does not say how much it tried")?;
        if keep {
            let mut merge = invoke::command(programs.join(&target));
            invoke::run(merge.arg("-merge=1").args([&corpus, &new, &seeds]))?;
        }
        tried.push(Tried { target, runs });
    }
    Ok(tried)
}

fn targets(fuzz: &Path) -> Result<Vec<String>> {
    let folder = fuzz.join("fuzz_targets");
    let mut names = Vec::new();
    for entry in std::fs::read_dir(&folder).with_context(|| format!("reading {}", folder.display()))? {
        let path = entry?.path();
        if let Some(name) = path.file_stem() {
            names.push(name.to_string_lossy().into_owned());
        }
    }
    names.sort();
    Ok(names)
}

/// With a target of its own, so that build scripts and macros stay without instruments.
fn build(fuzz: &Path, built: &Path) -> Result<()> {
    let mut command = invoke::command(workspace::cargo());
    command
        .current_dir(fuzz)
        .env("CARGO_ENCODED_RUSTFLAGS", INSTRUMENTS.join("\u{1f}"))
        .env("CARGO_TARGET_DIR", built)
        .args(["build", "--release", "--locked", "--target", HOST]);
    progress::step("Building the fuzz targets", || invoke::run(&mut command))
}
