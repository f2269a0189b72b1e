//! One file per command.

mod bench;
mod build_edge;
mod check;
mod fresh;
mod fuzz;
mod miniflare;
mod outcome;
mod schemathesis;
mod sheet;
mod sqlx;
mod steps;
mod test;
mod tools;
mod up;

use std::process::ExitCode;

use anyhow::Result;
use clap::Subcommand;
use xtask::workspace::Workspace;

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Build everything and run it: PostgreSQL, origin, cache and edge, with a picture to look at
    Up(up::Arguments),
    /// Install what is missing: the WebAssembly target, cargo tools, npm packages
    Tools(tools::Arguments),
    /// Build the Worker's bundle into build/; nothing happens when nothing changed
    BuildEdge(build_edge::Arguments),
    /// For every commit: formatting, lints, licences, documentation, unit tests
    Check(check::Arguments),
    /// Everything that `check` does, the deployment checked, and the black-box tests
    Test(test::Arguments),
    /// Renew the committed metadata of SQL queries in .sqlx, or compare it
    Sqlx(sqlx::Arguments),
    /// Try random inputs on the transform engine
    Fuzz(fuzz::Arguments),
    /// Try the API by its own document
    Schemathesis(schemathesis::Arguments),
    /// Draw a photo through every option of the grammar
    Sheet(sheet::Arguments),
    /// Measure
    #[command(subcommand)]
    Bench(bench::Command),
}

pub(crate) fn run(command: Command) -> Result<ExitCode> {
    let workspace = Workspace::locate()?;
    match command {
        Command::Up(arguments) => up::run(&workspace, arguments),
        Command::Tools(arguments) => tools::run(&workspace, &arguments),
        Command::BuildEdge(arguments) => build_edge::run(&workspace, &arguments),
        Command::Check(arguments) => check::run(&workspace, &arguments),
        Command::Test(arguments) => test::run(&workspace, &arguments),
        Command::Sqlx(arguments) => sqlx::run(&workspace, &arguments),
        Command::Fuzz(arguments) => fuzz::run(&workspace, &arguments),
        Command::Schemathesis(arguments) => schemathesis::run(&workspace, &arguments),
        Command::Sheet(arguments) => sheet::run(&workspace, &arguments),
        Command::Bench(command) => bench::run(&workspace, command),
    }
}
