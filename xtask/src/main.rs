//! `cargo xtask`: every command of a developer, from a bare clone to a running, tested system.

mod commands;

use std::process::ExitCode;

use clap::Parser;

use xtask::progress;

/// Every developer command of Kado.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: commands::Command,
}

fn main() -> ExitCode {
    match commands::run(Cli::parse().command) {
        Ok(code) => code,
        Err(error) => {
            progress::say(format_args!("{} {error:#}", progress::paint("1;31", "error:")));
            ExitCode::FAILURE
        }
    }
}
