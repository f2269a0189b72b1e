//! `cargo xtask tools`

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use xtask::progress;
use xtask::tools;
use xtask::workspace::Workspace;

/// Install what is missing into the clone: the Rust target for WebAssembly, wasm-bindgen, worker-build, cargo-nextest,
/// cargo-deny and the npm packages. What is there already is left alone.
///
/// Cargo tools go to KADO_TOOLS_DIR, or to `tools` in cargo's target folder.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Only what `cargo xtask up` needs
    #[arg(long)]
    for_up: bool,
}

pub(super) fn run(workspace: &Workspace, arguments: &Arguments) -> Result<ExitCode> {
    tools::require_bare_machine()?;
    tools::ensure_wasm_target(workspace)?;
    let modules = tools::ensure_npm_packages(workspace)?;
    let mut found = vec![
        tools::wasm_bindgen(workspace)?.ensure(workspace)?,
        tools::worker_build().ensure(workspace)?,
        modules.workerd()?,
        modules.esbuild()?,
        modules.wasm_opt()?,
        modules.postgres()?,
    ];
    if !arguments.for_up {
        found.push(tools::cargo_nextest().ensure(workspace)?);
        found.push(tools::cargo_deny().ensure(workspace)?);
        found.push(tools::modern_node(&modules)?);
    }
    for path in found {
        progress::detail(path.display());
    }
    Ok(ExitCode::SUCCESS)
}
