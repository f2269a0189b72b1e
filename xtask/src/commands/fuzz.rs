//! `cargo xtask fuzz`

use std::collections::HashSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

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

/// What libFuzzer may hold before it calls it a leak, in MiB.
const MEMORY: u32 = 2048;

/// Bytes of a target's corpus in the repository, so that all of them stay below 1 MB.
const MOST_KEPT: u64 = 90_000;

/// Files of a target's corpus, of which each is tried in every test run.
const MOST_FILES: usize = 200;

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
    /// Put what reaches new code into fuzz/corpus: as few and as small files as do, up to 200 and 90 kB a target
    #[arg(long)]
    keep: bool,
    /// The same as `cargo xtask test` does: a fixed number of inputs from a fixed start, however long that takes
    #[arg(long, conflicts_with_all = ["seconds", "keep"])]
    fixed: bool,
    /// Try this one file again, on the one target that is named
    #[arg(long, value_name = "FILE", conflicts_with_all = ["seconds", "keep", "fixed"])]
    input: Option<PathBuf>,
}

/// How much a target tries.
#[derive(Clone, Copy)]
enum Amount {
    Seconds(u32),
    /// So many inputs as [`fixed_runs`] says, made from a fixed start: the same ones each time, but for the order in which
    /// hash tables are walked.
    Fixed,
}

/// What the random numbers of a fixed run start from.
const START: u32 = 1;

/// Inputs of a fixed run, which takes some seconds.
fn fixed_runs(target: &str) -> u32 {
    match target {
        "options" => 40_000,
        "avif" | "svg" => 500,
        _ => 2_000,
    }
}

/// What became of a target.
pub(super) struct Tried {
    pub(super) target: String,
    pub(super) runs: u64,
}

pub(super) fn run(workspace: &Workspace, arguments: &Arguments) -> Result<ExitCode> {
    let targets = Targets::build(workspace)?;
    if let Some(input) = &arguments.input {
        let [target] = arguments.targets.as_slice() else {
            bail!("--input goes with one target");
        };
        invoke::run(targets.program(target)?.arg(input))?;
        progress::say(format_args!("{target} took {}", input.display()));
        return Ok(ExitCode::SUCCESS);
    }
    let amount = if arguments.fixed {
        Amount::Fixed
    } else {
        Amount::Seconds(arguments.seconds)
    };
    for Tried { target, runs } in targets.run(workspace, &arguments.targets, amount, arguments.keep)? {
        progress::say(format_args!("{target:<10} {runs:>10} inputs, none failed"));
    }
    Ok(ExitCode::SUCCESS)
}

/// A fixed run of every target.
pub(super) fn fixed(workspace: &Workspace) -> Result<()> {
    let tried = Targets::build(workspace)?.run(workspace, &[], Amount::Fixed, false)?;
    let runs: u64 = tried.iter().map(|tried| tried.runs).sum();
    progress::detail(format_args!("{runs} inputs, none failed"));
    Ok(())
}

/// Targets that are built.
struct Targets {
    names: Vec<String>,
    /// fuzz/ in the repository.
    sources: PathBuf,
    /// What cargo builds them into, with inputs that failed.
    built: PathBuf,
    programs: PathBuf,
}

impl Targets {
    fn build(workspace: &Workspace) -> Result<Self> {
        let sources = workspace.root.join("fuzz");
        let built = workspace.target.join("fuzz");
        let host = host()?;
        build(&sources, &built, &host)?;
        Ok(Self {
            names: targets(&sources)?,
            programs: built.join(host).join("release"),
            sources,
            built,
        })
    }

    fn program(&self, target: &String) -> Result<Command> {
        if !self.names.contains(target) {
            bail!("there is no target {target}; there are {}", self.names.join(", "));
        }
        let mut program = invoke::command(self.programs.join(target));
        program.arg(format!("-rss_limit_mb={MEMORY}")).arg("-timeout=60");
        Ok(program)
    }

    /// Lets each target run from the corpus and from pictures drawn in code.
    fn run(&self, workspace: &Workspace, wanted: &[String], amount: Amount, keep: bool) -> Result<Vec<Tried>> {
        for target in wanted {
            self.program(target)?;
        }
        let draw = cargo::build_example(workspace, "kado-imaging", "fuzz_seeds", "dev")?;
        let scratch = TemporaryFolder::new("fuzz")?;
        let drawn = scratch.path().join("seeds");
        invoke::run(invoke::command(draw).arg(&drawn))?;
        let mut tried = Vec::new();
        for target in self
            .names
            .iter()
            .filter(|name| wanted.is_empty() || wanted.contains(name))
        {
            let new = scratch.path().join("new").join(target);
            let corpus = self.sources.join("corpus").join(target);
            let seeds = drawn.join(target);
            for folder in [&new, &corpus, &seeds] {
                std::fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
            }
            let runs = self.try_one(target, amount, [&new, &corpus, &seeds])?;
            if keep {
                self.keep(target, &seeds, [&corpus, &new])?;
            }
            tried.push(Tried {
                target: target.clone(),
                runs,
            });
        }
        Ok(tried)
    }

    /// Makes the corpus of what reaches code that neither the seeds nor smaller inputs reach, as far as there is room.
    fn keep(&self, target: &String, seeds: &Path, [corpus, new]: [&Path; 2]) -> Result<()> {
        let drawn: HashSet<OsString> = files(seeds)?.into_iter().map(|file| file.name).collect();
        // The fuzzer adds to the first folder what it lacks.
        invoke::run(self.program(target)?.arg("-merge=1").args([seeds, corpus, new]))?;
        let mut reaching = files(seeds)?;
        reaching.retain(|file| !drawn.contains(&file.name));
        let kept = smallest(reaching, MOST_FILES, MOST_KEPT);
        let chosen = corpus.with_extension("chosen");
        std::fs::create_dir_all(&chosen).with_context(|| format!("creating {}", chosen.display()))?;
        for File { name, .. } in &kept {
            let from = seeds.join(name);
            std::fs::copy(&from, chosen.join(name)).with_context(|| format!("copying {}", from.display()))?;
        }
        std::fs::remove_dir_all(corpus).with_context(|| format!("removing {}", corpus.display()))?;
        std::fs::rename(&chosen, corpus).with_context(|| format!("renaming {}", chosen.display()))?;
        let bytes: u64 = kept.iter().map(|file| file.bytes).sum();
        progress::say(format_args!("{target}: {} files of {bytes} bytes are kept", kept.len()));
        Ok(())
    }

    /// How many inputs it tried. New ones go into the first folder, and all are tried first.
    fn try_one(&self, target: &String, amount: Amount, inputs: [&Path; 3]) -> Result<u64> {
        let artifacts = self.built.join("artifacts").join(target);
        std::fs::create_dir_all(&artifacts).with_context(|| format!("creating {}", artifacts.display()))?;
        let mut fuzzer = self.program(target)?;
        fuzzer
            .args(inputs)
            .arg("-print_final_stats=1")
            .arg(format!("-artifact_prefix={}/", artifacts.display()));
        match amount {
            Amount::Seconds(seconds) => {
                progress::say(format_args!(":: {target}, {seconds} s"));
                fuzzer.arg(format!("-max_total_time={seconds}"));
            }
            Amount::Fixed => {
                let runs = fixed_runs(target);
                progress::say(format_args!(":: {target}, {runs} inputs"));
                fuzzer.args([format!("-runs={runs}"), format!("-seed={START}")]);
            }
        }
        let output = invoke::collect(&mut fuzzer)?;
        let said = String::from_utf8_lossy(&output.stderr);
        if !output.status.success() {
            let tail = invoke::last_lines(&said, 40);
            let Some(input) = failed_input(&said) else {
                bail!("{target} failed without an input of its own\n{tail}");
            };
            let reason = reason(&said);
            bail!("{target} failed; repeat it with `cargo xtask fuzz {target} --input {input}`\n{tail}\n{reason}");
        }
        said.lines()
            .find_map(|line| line.strip_prefix("stat::number_of_executed_units:"))
            .and_then(|number| number.trim().parse().ok())
            .context("the fuzzer does not say how much it tried")
    }
}

/// A file in a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
struct File {
    name: OsString,
    bytes: u64,
}

fn files(folder: &Path) -> Result<Vec<File>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))? {
        let entry = entry?;
        files.push(File {
            name: entry.file_name(),
            bytes: entry.metadata()?.len(),
        });
    }
    Ok(files)
}

/// The smallest ones that have at most so many bytes together. Of more than so many files every n-th counts, by size.
fn smallest(mut files: Vec<File>, count: usize, most: u64) -> Vec<File> {
    files.sort_by(|a, b| (a.bytes, &a.name).cmp(&(b.bytes, &b.name)));
    let step = files.len().div_ceil(count).max(1);
    let mut total = 0;
    files
        .into_iter()
        .step_by(step)
        .take_while(|file| {
            total += file.bytes;
            total <= most
        })
        .collect()
}

/// The file that the fuzzer wrote the input into that failed.
fn failed_input(said: &str) -> Option<&str> {
    said.lines()
        .find_map(|line| line.split_once("Test unit written to "))
        .map(|(_, path)| path.trim())
}

/// Where it panicked, and what it said: that stands far above the end.
fn reason(said: &str) -> String {
    let mut lines = said.lines().skip_while(|line| !line.contains("panicked at"));
    [lines.next(), lines.next()]
        .into_iter()
        .flatten()
        .collect::<Vec<_>>()
        .join("\n")
}

/// The machine's own target, which is named so that build scripts and macros stay without instruments.
fn host() -> Result<String> {
    let said = invoke::read(invoke::command("rustc").arg("-vV"))?;
    let host = said.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc does not say what it runs on")?.to_owned())
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

fn build(fuzz: &Path, built: &Path, host: &str) -> Result<()> {
    let mut command = invoke::command(workspace::cargo());
    command
        .current_dir(fuzz)
        .env("CARGO_ENCODED_RUSTFLAGS", INSTRUMENTS.join("\u{1f}"))
        .env("CARGO_TARGET_DIR", built)
        .args(["build", "--release", "--locked", "--target", host]);
    progress::step("Building the fuzz targets", || invoke::run(&mut command))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_failed_input_is_found_in_what_the_fuzzer_says() {
        let said = "INFO: Seed: 1\nthread 'main' panicked at a.rs:1:2:\nattempt to add\n==1== ERROR: libFuzzer: deadly signal\nartifact_prefix='/a/'; Test unit written to /a/crash-12\nBase64: AA==\n";
        assert_eq!(failed_input(said), Some("/a/crash-12"));
        assert_eq!(reason(said), "thread 'main' panicked at a.rs:1:2:\nattempt to add");
        assert_eq!(failed_input("Segmentation fault"), None);
    }

    #[test]
    fn a_corpus_has_the_smallest_files_and_no_more_than_its_room() {
        let file = |name: &str, bytes| File {
            name: name.into(),
            bytes,
        };
        let all = vec![file("c", 50), file("b", 20), file("a", 20), file("d", 11)];
        assert_eq!(
            smallest(all.clone(), 4, 51),
            [file("d", 11), file("a", 20), file("b", 20)]
        );
        assert_eq!(smallest(all.clone(), 4, 50), [file("d", 11), file("a", 20)]);
        assert_eq!(smallest(all.clone(), 4, 101).len(), 4);
        assert_eq!(smallest(all, 2, 101), [file("d", 11), file("b", 20)]);
    }
}
