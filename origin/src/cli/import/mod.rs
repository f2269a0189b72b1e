//! `kado import`: what other systems have, taken over.

mod yuki;

use clap::Subcommand;
use std::process::ExitCode;

use super::CommandError;

/// Flags of `kado import`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    system: System,
}

#[derive(Debug, Subcommand)]
enum System {
    /// Users, settings, content and usage of Yuki Yaki Corner, the system before this one. Repeatable; what is here already stays as it is.
    Yuki(yuki::Args),
}

pub(crate) async fn run(args: Args) -> Result<ExitCode, CommandError> {
    match args.system {
        System::Yuki(args) => yuki::run(&args).await?,
    }
    Ok(ExitCode::SUCCESS)
}
