//! `cargo xtask bench imaging`

mod cases;
mod chart;
mod measure;
mod report;
mod sources;
mod worker;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};
use clap::Args;
use xtask::edge_build::{self, Profile};
use xtask::temporary::TemporaryFolder;
use xtask::tools::{self, NodeModules};
use xtask::workspace::Workspace;
use xtask::{cargo, invoke, progress};

use super::document;
use super::partner::{Partner, sharp};
use cases::Cases;
use measure::{Measured, Sides, measure};
use report::Circumstances;
use sources::Pictures;
use worker::Worker;

/// The transform engine, in real workerd and natively on one thread, against sharp on one thread: all on one core, in
/// turns, at equal settings (bench/cases.toml). A whole run writes docs/imaging-bench.svg and its section of
/// docs/PERFORMANCE.md.
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

pub(super) fn run(workspace: &Workspace, arguments: &Arguments) -> Result<ExitCode> {
    let cases = Cases::read(workspace)?.list(&arguments.cases, arguments.quick);
    if cases.is_empty() {
        bail!("no case of bench/cases.toml has `{}` in its name", arguments.cases);
    }
    tools::require_bare_machine()?;
    let modules = tools::ensure_npm_packages(workspace)?;
    let bundle = edge_build::build(workspace, &modules, Profile::Release)?;
    let engine = progress::step(
        format_args!("Building the native engine ({})", arguments.profile),
        || cargo::build_example(workspace, "kado-image", "kado-image-bench", &arguments.profile),
    )?;
    let core = Core::choose(arguments.core)?;
    let mut sides = Sides {
        native: Partner::start(&mut core.pin(&engine))?,
        sharp: Partner::start(&mut core.pin_command(&sharp(workspace)))?,
        folder: TemporaryFolder::new("bench")?,
    };
    let pictures = Pictures::of(workspace, &arguments.photos)?;
    let mut measured: Vec<Measured> = Vec::new();
    for case in &cases {
        measured.push(progress::step(case.name(), || {
            let file = pictures.get(&case.source, &case.size, &mut sides.sharp)?;
            let worker = start_worker(&core, &modules, &bundle)?;
            measure(case, &file, &worker, &mut sides)
        })?);
    }
    let circumstances = circumstances(workspace, arguments, &core, &mut sides.sharp)?;
    let section = report::section(&measured, &circumstances);
    document::print(&section)?;
    let whole = arguments.cases.is_empty() && !arguments.quick;
    if whole || arguments.write {
        report::write(workspace, &section, &chart::svg(&measured))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn start_worker(core: &Core, modules: &NodeModules, bundle: &Path) -> Result<Worker> {
    Worker::start(core.pin(&modules.workerd()?), bundle)
}

/// The core that all sides share, one after the other.
struct Core(usize);

impl Core {
    fn choose(wanted: Option<usize>) -> Result<Self> {
        if invoke::find_on_path("taskset").is_none() {
            bail!("this bench pins what it measures to one core by taskset (util-linux), which is not installed");
        }
        let cores = std::thread::available_parallelism()
            .context("counting the cores")?
            .get();
        Ok(Self(wanted.unwrap_or(cores - 1)))
    }

    fn pin(&self, program: &Path) -> Command {
        self.pin_command(&Command::new(program))
    }

    fn pin_command(&self, command: &Command) -> Command {
        let mut pinned = invoke::command("taskset");
        pinned.args(["--cpu-list", &self.0.to_string()]);
        pinned.arg(command.get_program()).args(command.get_args());
        if let Some(folder) = command.get_current_dir() {
            pinned.current_dir(folder);
        }
        pinned
    }
}

fn circumstances(
    workspace: &Workspace,
    arguments: &Arguments,
    core: &Core,
    sharp: &mut Partner,
) -> Result<Circumstances> {
    let mut command = "cargo xtask bench imaging --photos FOLDER".to_owned();
    if !arguments.cases.is_empty() {
        command += &format!(" --cases '{}'", arguments.cases);
    }
    if arguments.quick {
        command += " --quick";
    }
    Ok(Circumstances {
        common: document::Circumstances::now(command, report::machine(core.0), sharp, &arguments.profile)?,
        workerd: workerd_version(workspace)?,
    })
}

fn workerd_version(workspace: &Workspace) -> Result<String> {
    let text = std::fs::read_to_string(workspace.path("package.json")).context("reading package.json")?;
    let package: serde_json::Value = serde_json::from_str(&text).context("reading package.json")?;
    Ok(package["devDependencies"]["workerd"].as_str().unwrap_or("?").to_owned())
}
