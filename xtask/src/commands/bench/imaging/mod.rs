//! `cargo xtask bench imaging`

mod avif;
mod bench;
mod cases;
mod chart;
mod kit;
mod measure;
mod memory;
mod photon;
mod report;
mod start;
mod worker;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use xtask::edge_build::{self, Profile};
use xtask::temporary::TemporaryFolder;
use xtask::tools;
use xtask::workspace::Workspace;
use xtask::{cargo, progress};

use super::document;
use super::mosaics::Mosaics;
use super::partner::{Partner, sharp};
use bench::Bench;
use cases::Cases;
use kit::{Core, Kit};
use measure::{Sides, measure};
use report::Circumstances;
use worker::{Configuration, Worker};

/// The transform engine, in real workerd and natively on one thread, against sharp on one thread: all on one core, in
/// turns, at equal settings (bench/cases.toml). A whole run writes its sections of docs/PERFORMANCE.md, and
/// docs/imaging-bench.svg.
///
/// The Worker is given the picture in a request's body; what a request takes that only drains the same body is
/// subtracted. What is too large for an isolate is said to be the heavy lane's.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Make the pictures of photographs in this folder (PNG or JPEG), as mosaics
    #[arg(long, value_name = "FOLDER")]
    photos: PathBuf,
    /// Only cases whose name contains this, as in `12 MP jpeg -> 400 webp`; writes no documents
    #[arg(
        long,
        value_name = "FILTER",
        default_value = "",
        hide_default_value = true,
        allow_hyphen_values = true
    )]
    cases: String,
    /// Only these measurements, with commas; by default all but photon, and with `--cases` only times
    #[arg(long, value_name = "WHICH", value_delimiter = ',')]
    only: Vec<Part>,
    /// Against photon-rs as well, whose Worker takes minutes to build
    #[arg(long)]
    photon: bool,
    /// Only the smallest size, three times; writes no documents
    #[arg(long)]
    quick: bool,
    /// Write the documents all the same
    #[arg(long)]
    write: bool,
    /// Cargo's profile for the native engine
    #[arg(long, default_value = "native", value_name = "PROFILE")]
    profile: String,
    /// The core that everything measured runs on; by default the last one
    #[arg(long, value_name = "NUMBER")]
    core: Option<usize>,
}

/// A measurement, with a section of the document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Every case of the table, in the Worker, natively and in sharp
    Times,
    /// To AVIF, against the effort of sharp's that gives no more bytes at the same score
    Avif,
    /// Against photon-rs in the same workerd
    Photon,
    /// Linear memories, and processes' memory
    Memory,
    /// A Worker's start, and which modules it instantiates
    Start,
}

impl Part {
    /// As `--only` has it.
    const fn name(self) -> &'static str {
        match self {
            Self::Times => "times",
            other => other.section(),
        }
    }

    /// Its markers in the document.
    const fn section(self) -> &'static str {
        match self {
            Self::Times => "imaging",
            Self::Avif => "avif",
            Self::Photon => "photon",
            Self::Memory => "memory",
            Self::Start => "start",
        }
    }
}

impl Arguments {
    /// What is to be measured.
    fn parts(&self) -> Vec<Part> {
        let wanted = |part: &Part| match (self.only.as_slice(), part) {
            (_, Part::Photon) if self.photon => true,
            ([], Part::Photon) => false,
            ([], Part::Times) => true,
            ([], _) => self.cases.is_empty(),
            (only, part) => only.contains(part),
        };
        Part::value_variants().iter().copied().filter(wanted).collect()
    }

    /// Whether documents are written: of a part of the cases they are only if that is said.
    fn writes(&self) -> bool {
        self.write || (self.cases.is_empty() && !self.quick)
    }
}

pub(super) fn run(workspace: &Workspace, arguments: &Arguments) -> Result<ExitCode> {
    let cases = Cases::read(workspace)?;
    tools::require_bare_machine()?;
    let modules = tools::ensure_npm_packages(workspace)?;
    let core = Core::choose(arguments.core)?;
    let mut bench = Bench {
        sharp: Partner::start(&mut core.pin_command(&sharp(workspace)))?,
        kit: Kit {
            core,
            workerd: modules.workerd()?,
            bundle: edge_build::build(workspace, &modules, Profile::Release)?,
        },
        mosaics: Mosaics::of(workspace, &arguments.photos)?,
        quick: arguments.quick,
    };
    for part in arguments.parts() {
        let circumstances = circumstances(workspace, arguments, part, &mut bench)?;
        let section = match part {
            Part::Times => times(workspace, arguments, &mut bench, &cases, &circumstances)?,
            Part::Avif => avif::section(workspace, arguments, &mut bench, &cases, &circumstances)?,
            Part::Photon => {
                let modules = photon::build(workspace, &modules)?;
                photon::section(
                    &mut bench,
                    workspace,
                    &modules,
                    &cases,
                    &arguments.cases,
                    &circumstances,
                )?
            }
            Part::Memory => memory::section(&mut bench, &cases, &arguments.cases, &circumstances)?,
            Part::Start => start::section(&bench, cases.bars().start, &circumstances)?,
        };
        document::print(&section)?;
        // Each as soon as it is there: what fails later does not take it away.
        if arguments.writes() {
            document::write(workspace, part.section(), &section)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn times(
    workspace: &Workspace,
    arguments: &Arguments,
    bench: &mut Bench,
    cases: &Cases,
    circumstances: &Circumstances,
) -> Result<String> {
    let list = cases.list(&arguments.cases, arguments.quick);
    if list.is_empty() {
        bail!("no case of bench/cases.toml has `{}` in its name", arguments.cases);
    }
    let engine = progress::step(
        format_args!("Building the native engine ({})", arguments.profile),
        || cargo::build_example(workspace, "kado-image", "kado-image-bench", &arguments.profile),
    )?;
    let folder = TemporaryFolder::new("bench")?;
    let mut native = Partner::start(&mut bench.kit.core.pin(&engine))?;
    let mut measured = Vec::new();
    for case in &list {
        measured.push(progress::step(case.name(), || {
            let file = bench.file(case)?;
            let worker = Worker::start(&bench.kit, Configuration::Transform)?;
            let mut sides = Sides {
                native: &mut native,
                sharp: &mut bench.sharp,
                folder: folder.path(),
            };
            measure(case, &file, &worker, &mut sides)
        })?);
    }
    if arguments.writes() {
        report::write_chart(workspace, &chart::svg(&measured))?;
    }
    Ok(report::section(&measured, cases, circumstances))
}

fn circumstances(workspace: &Workspace, arguments: &Arguments, part: Part, bench: &mut Bench) -> Result<Circumstances> {
    let mut command = "cargo xtask bench imaging --photos FOLDER".to_owned();
    if !arguments.cases.is_empty() {
        command += &format!(" --cases '{}'", arguments.cases);
    }
    if !arguments.only.is_empty() || part == Part::Photon {
        command += &format!(" --only {}", part.name());
    }
    if arguments.quick {
        command += " --quick";
    }
    Ok(Circumstances {
        common: document::Circumstances::now(
            command,
            report::machine(bench.kit.core.0),
            &mut bench.sharp,
            &arguments.profile,
        )?,
        workerd: workerd_version(workspace)?,
    })
}

fn workerd_version(workspace: &Workspace) -> Result<String> {
    let text = std::fs::read_to_string(workspace.path("package.json")).context("reading package.json")?;
    let package: serde_json::Value = serde_json::from_str(&text).context("reading package.json")?;
    Ok(package["devDependencies"]["workerd"].as_str().unwrap_or("?").to_owned())
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(clap::Parser)]
    struct Cli {
        #[command(flatten)]
        arguments: Arguments,
    }

    fn parts(line: &str) -> Vec<Part> {
        let words = ["bench", "--photos", "folder"]
            .into_iter()
            .chain(line.split_whitespace());
        Cli::parse_from(words).arguments.parts()
    }

    #[test]
    fn photon_is_measured_only_if_that_is_said() {
        assert!(!parts("").contains(&Part::Photon));
        assert_eq!(parts("--photon").len(), Part::value_variants().len());
        assert_eq!(parts("--only photon"), [Part::Photon]);
        assert_eq!(parts("--only start,memory"), [Part::Memory, Part::Start]);
    }

    #[test]
    fn a_filter_is_for_times_unless_something_else_is_said() {
        assert_eq!(parts("--cases webp"), [Part::Times]);
        assert_eq!(parts("--cases webp --only memory"), [Part::Memory]);
    }
}
