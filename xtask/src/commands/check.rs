//! `cargo xtask check`, and the part of `cargo xtask test` that is the same.

use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::Result;
use clap::Args;
use xtask::tools;
use xtask::workspace::{Workspace, cargo};
use xtask::{invoke, progress};

use super::outcome::{self, Count};
use super::steps::{Output, Steps};

/// The crates that the Worker is made of, with the features that it takes them with.
const WASM_CRATES: [(&str, &[&str]); 3] = [
    ("kado-edge", &[]),
    ("kado-imaging", &["--no-default-features"]),
    ("kado-shared", &[]),
];

/// What to run before every commit: formatting, lints for the native and the WebAssembly target, licences and bans of
/// dependencies, documentation, and the unit tests. Under 90 seconds when everything is built already.
///
/// With TEST_DATABASE_URL set, tests of SQL run against it; `cargo xtask test` brings a database of its own.
#[derive(Args)]
pub(crate) struct Arguments {}

pub(super) fn run(workspace: &Workspace, _arguments: &Arguments) -> Result<ExitCode> {
    tools::require_bare_machine()?;
    let mut steps = Steps::new(workspace.target.join("kado/check"))?;
    // PostgreSQL is among them, which tests of this command's own start.
    tools::ensure_npm_packages(workspace)?;
    lints(workspace, &mut steps)?;
    let count = unit_tests(workspace, &mut steps, None, Output::Quiet)?;
    progress::say(format_args!("\n{}", outcome::table(steps.rows())));
    progress::say(format_args!(
        "{} passed, {} failed",
        count.passed,
        count.failed.max(as_count(steps.failures()))
    ));
    Ok(if steps.failures() == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

pub(super) fn as_count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

/// Formatting, lints, dependencies, documentation.
pub(super) fn lints(workspace: &Workspace, steps: &mut Steps) -> Result<()> {
    tools::ensure_wasm_target(workspace)?;
    let deny = tools::cargo_deny().ensure(workspace)?;
    let cargo = |arguments: &[&str]| cargo_command(workspace, arguments);
    // Of every platform, those of a new machine included: what looks at dependencies afterwards has no network.
    steps.program("lock files", &mut cargo(&["fetch", "--locked"]), Output::Quiet);
    steps.program("formatting", &mut cargo(&["fmt", "--all", "--check"]), Output::Quiet);
    let native = ["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"];
    steps.program("clippy, native", &mut cargo(&native), Output::Quiet);
    for (name, features) in WASM_CRATES {
        let mut clippy = cargo(&["clippy", "--package", name, "--target", "wasm32-unknown-unknown"]);
        clippy.args(features).args(["--", "-D", "warnings"]);
        steps.program(&format!("clippy, wasm, {name}"), &mut clippy, Output::Quiet);
    }
    steps.program("dependencies", &mut deny_command(workspace, deny), Output::Quiet);
    let mut documentation = cargo(&["doc", "--workspace", "--no-deps", "--document-private-items"]);
    documentation.env("RUSTDOCFLAGS", "-D warnings");
    steps.program("documentation", &mut documentation, Output::Quiet);
    Ok(())
}

/// The tests beside the code, of every crate but the black-box suite.
pub(super) fn unit_tests(
    workspace: &Workspace,
    steps: &mut Steps,
    database_url: Option<&str>,
    output: Output,
) -> Result<Count> {
    let nextest = tools::cargo_nextest().ensure(workspace)?;
    let mut command = nextest_command(workspace, &nextest);
    command.args(["--workspace", "--exclude", "kado-tests", "--no-tests=warn"]);
    if let Some(url) = database_url {
        command.env("TEST_DATABASE_URL", url);
    }
    let finished = steps.program("unit tests", &mut command, output);
    let counted = finished.and_then(|finished| Count::of_nextest(&finished.output));
    Ok(counted
        .map(|(count, line)| {
            progress::detail(line);
            count
        })
        .unwrap_or_default())
}

/// `cargo nextest run`, going on after a failure.
pub(super) fn nextest_command(workspace: &Workspace, nextest: &PathBuf) -> Command {
    let mut command = invoke::command(nextest);
    command.current_dir(&workspace.root).args([
        "nextest",
        "run",
        "--no-fail-fast",
        "--status-level=slow",
        "--hide-progress-bar",
    ]);
    command
}

pub(super) fn cargo_command(workspace: &Workspace, arguments: &[&str]) -> Command {
    let mut command = invoke::command(cargo());
    command.current_dir(&workspace.root).args(arguments);
    command
}

/// The parts of cargo-deny that need no network: what comes from where, under which licence.
fn deny_command(workspace: &Workspace, deny: PathBuf) -> Command {
    let mut command = invoke::command(deny);
    command.current_dir(&workspace.root).args([
        "--offline",
        "--workspace",
        "check",
        "--hide-inclusion-graph",
        "bans",
        "licenses",
        "sources",
    ]);
    command
}
