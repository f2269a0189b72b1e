//! The command alone, as a process: for the tests, and for trying it without building the service.

use clap::Parser;
use std::process::ExitCode;

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    args: kado_image::Args,
}

fn main() -> ExitCode {
    match kado_image::run(&Cli::parse().args) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("kado: {error}");
            ExitCode::from(if error.is_usage() { 64 } else { 70 })
        }
    }
}
