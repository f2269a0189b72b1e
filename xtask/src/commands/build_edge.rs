//! `cargo xtask build-edge`

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use xtask::edge_build::{self, Profile};
use xtask::workspace::Workspace;
use xtask::{progress, tools};

/// Build the Worker's bundle into build/: entry.js, index_bg.wasm and the codec modules.
///
/// wrangler.toml names this as its build command. Nothing happens when no source, no lock file and no compiler changed.
#[derive(Args)]
pub(crate) struct Arguments {
    /// How the Worker is compiled
    #[arg(long, value_enum, default_value_t = Profile::Release)]
    profile: Profile,
}

pub(super) fn run(workspace: &Workspace, arguments: &Arguments) -> Result<ExitCode> {
    tools::require_bare_machine()?;
    let modules = tools::ensure_npm_packages(workspace)?;
    let folder = edge_build::build(workspace, &modules, arguments.profile)?;
    progress::detail(format_args!("the bundle is in {}", folder.display()));
    Ok(ExitCode::SUCCESS)
}
