//! `cargo xtask test`: what CI runs.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;

use anyhow::{Context, Result};
use clap::Args;
use xtask::edge_build::{self, Profile};
use xtask::postgres::Postgres;
use xtask::system::{Binaries, Options, System};
use xtask::temporary::TemporaryFolder;
use xtask::tools::{self, NodeModules};
use xtask::workspace::Workspace;
use xtask::{invoke, progress};

use super::check::{as_count, cargo_command, lints, nextest_command, unit_tests};
use super::miniflare::Miniflare;
use super::outcome::{self, Count};
use super::steps::{Output, Steps};
use super::{fuzz, sqlx};

/// Programs that some black-box tests need and that cannot be installed into the clone.
const EXTERNAL: [(&str, &[&str]); 3] = [
    ("redis-server", &["redis-server"]),
    ("chromium", &["chromium", "chromium-browser", "google-chrome"]),
    ("promtool", &["promtool"]),
];

/// Everything: what `check` does, documentation tests, a fixed run of the fuzz targets, the Worker built and its
/// deployment rehearsed, the metadata of SQL queries compared, and the black-box tests against a system that this
/// command starts.
///
/// Redis, Chromium and promtool are used where they are. With KADO_REQUIRE_ALL=1 their absence is a failure.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Skip lints, unit tests and rehearsals: only the black-box tests
    #[arg(long)]
    black_box: bool,
    /// Of the black-box tests, only those of the Worker under miniflare
    #[arg(long, requires = "black_box")]
    miniflare: bool,
    /// Cargo's profile for the system under test
    #[arg(long, default_value = "dev", value_name = "PROFILE")]
    profile: String,
    /// Passed on to the black-box suite's `cargo nextest run`
    #[arg(last = true, value_name = "NEXTEST ARGUMENTS")]
    nextest: Vec<String>,
}

pub(super) fn run(workspace: &Workspace, arguments: &Arguments) -> Result<ExitCode> {
    let started = Instant::now();
    tools::require_bare_machine()?;
    let required = std::env::var("KADO_REQUIRE_ALL").is_ok_and(|value| value == "1");
    let mut steps = Steps::new(workspace.target.join("kado/test"))?;
    let modules = tools::ensure_npm_packages(workspace)?;
    for (name, programs) in EXTERNAL {
        if !programs.iter().any(|program| invoke::find_on_path(program).is_some()) {
            steps.not_run(
                &format!("tests with {name}"),
                &format!("{name} is not installed"),
                required,
            );
        }
    }
    let mut count = Count::default();
    if !arguments.black_box {
        lints(workspace, &mut steps)?;
        count = count.and(beside_the_code(workspace, &modules, &mut steps)?);
        if invoke::find_on_path("c++").is_some() {
            steps.work("fuzz targets", || fuzz::fixed(workspace));
        } else {
            steps.not_run(
                "fuzz targets",
                "c++ is not installed, which builds the fuzzer",
                required,
            );
        }
    }
    let worker = steps.work("Worker", || edge_build::build(workspace, &modules, Profile::Release));
    if !arguments.black_box && worker.is_some() {
        rehearse_deployment(workspace, &modules, &mut steps)?;
    }
    let black_box = match worker {
        Some(_) => black_box(workspace, &modules, &mut steps, arguments)?,
        None => None,
    };
    progress::say(format_args!("\n{}", outcome::table(steps.rows())));
    progress::say(format_args!(
        "  all of it in {}; logs in {}\n",
        progress::seconds(started.elapsed()),
        steps.logs().display()
    ));
    conclude(&steps, count, black_box)
}

/// The last lines of all are for CI, which looks there for the counts.
fn conclude(steps: &Steps, count: Count, black_box: Option<(Count, String)>) -> Result<ExitCode> {
    let count = match black_box {
        Some((tests, line)) => {
            progress::say(line);
            count.and(tests)
        }
        None => count,
    };
    // A step that is no test run (a lint, a build) counts as one failure; one that is has counted its own.
    let failed = count.failed.max(as_count(steps.failures()));
    let mut out = std::io::stdout();
    std::io::Write::write_fmt(&mut out, format_args!("{} passed, {failed} failed\n", count.passed))
        .context("writing the result")?;
    Ok(if failed == 0 && count.passed > 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Unit, property and documentation tests, and what is generated from a live database.
fn beside_the_code(workspace: &Workspace, modules: &NodeModules, steps: &mut Steps) -> Result<Count> {
    let postgres = modules.postgres()?;
    steps.work("metadata of SQL queries", || sqlx::compare(workspace, &postgres));
    let database = steps.work("PostgreSQL for tests of SQL", || Postgres::temporary(&postgres));
    let url = database.as_ref().map(Postgres::url);
    let mut count = unit_tests(workspace, steps, url.as_deref(), Output::Shown)?;
    drop(database);
    let mut doc_tests = cargo_command(workspace, &["test", "--doc", "--workspace", "--no-fail-fast"]);
    if let Some(finished) = steps.program("documentation tests", &mut doc_tests, Output::Quiet) {
        count = count.and(Count::of_cargo_test(&finished.output));
    }
    Ok(count)
}

/// What would be uploaded to Cloudflare is put together, and nothing is sent.
fn rehearse_deployment(workspace: &Workspace, modules: &NodeModules, steps: &mut Steps) -> Result<()> {
    let node = tools::modern_node(modules)?;
    let wrangler = modules.program("wrangler/bin/wrangler.js")?;
    for (name, environment) in [("gateway", ""), ("transform", "transform")] {
        let output = workspace.target.join("kado/wrangler").join(name);
        let mut deploy = wrangler_command(workspace, &node, &wrangler);
        deploy
            .args(["deploy", "--dry-run", "--env", environment, "--outdir"])
            .arg(output);
        steps.program(&format!("rehearsed deployment, {name}"), &mut deploy, Output::Quiet);
    }
    Ok(())
}

fn wrangler_command(workspace: &Workspace, node: &Path, wrangler: &Path) -> Command {
    let mut command = invoke::command(node);
    command
        .current_dir(&workspace.root)
        .arg(wrangler)
        .env("WRANGLER_SEND_METRICS", "false")
        .env("WRANGLER_LOG_PATH", workspace.target.join("kado/wrangler/logs"))
        .env("CI", "1");
    command
}

/// Starts a system and runs the suite against it.
fn black_box(
    workspace: &Workspace,
    modules: &NodeModules,
    steps: &mut Steps,
    arguments: &Arguments,
) -> Result<Option<(Count, String)>> {
    let nextest = tools::cargo_nextest().ensure(workspace)?;
    let Some(binaries) = steps.work("programs of the system", || {
        Binaries::build(workspace, &arguments.profile)
    }) else {
        return Ok(None);
    };
    let folder = TemporaryFolder::new("test")?;
    let data = folder.path().join("data");
    let options = Options::throwaway(binaries.clone(), data.clone());
    let Some(system) = steps.work("system under test", || System::start(options)) else {
        keep_logs(&data.join("logs"), steps.logs());
        return Ok(None);
    };
    let suite = |steps: &Steps| {
        let mut suite = nextest_command(workspace, &nextest);
        suite
            .args(["--package", "kado-tests"])
            .args(&arguments.nextest)
            .env("KADO_RUN_FILE", &system.run_file().path)
            .env("KADO_TEST_LOGS", steps.logs());
        binaries.give_to(&mut suite);
        suite
    };
    let mut results = Vec::new();
    let mut succeeded = true;
    if !arguments.miniflare {
        let mut suite = suite(steps);
        let finished = steps.program("black-box tests", &mut suite, Output::Shown);
        succeeded &= finished.as_ref().is_some_and(|finished| finished.succeeded);
        results.extend(finished);
    }
    // A choice of tests is one of the suite against our own edge.
    if arguments.miniflare || arguments.nextest.is_empty() {
        let mut suite = suite(steps);
        let log = steps.logs().join("miniflare.log");
        let miniflare = steps.work("miniflare", || {
            Miniflare::start(workspace, modules, &system, &data, &log)
        });
        if let Some(miniflare) = &miniflare {
            miniflare.give_to(&mut suite);
            let finished = steps.program("black-box tests, miniflare", &mut suite, Output::Shown);
            succeeded &= finished.as_ref().is_some_and(|finished| finished.succeeded);
            results.extend(finished);
        }
    }
    steps.work("system stopped", || {
        system.stop();
        Ok(())
    });
    if !succeeded {
        keep_logs(&data.join("logs"), steps.logs());
    }
    // The summary that is shown last is that of the suite against our own edge.
    let counts = results
        .iter()
        .filter_map(|finished| Count::of_nextest(&finished.output));
    Ok(counts.reduce(|(one, line), (other, _)| (one.and(other), line)))
}

/// Logs of the system under test are looked at after a failure, so they outlive its folder.
fn keep_logs(from: &Path, to: &Path) {
    let to: PathBuf = to.join("system");
    let copied = std::fs::create_dir_all(&to).and_then(|()| {
        for entry in std::fs::read_dir(from)? {
            let entry = entry?;
            std::fs::copy(entry.path(), to.join(entry.file_name()))?;
        }
        Ok(())
    });
    match copied {
        Ok(()) => progress::say(format_args!("the system's logs are in {}", to.display())),
        Err(error) => progress::say(format_args!("the system's logs could not be kept: {error}")),
    }
}
