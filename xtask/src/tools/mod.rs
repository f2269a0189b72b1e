//! Finding the programs that a build needs, and installing those that are missing into the clone's own folders.

mod bare_machine;
mod cargo_tool;
mod node;
mod npm;
mod python_tool;
mod source_copy;
mod symlinks;
mod version;

use std::path::PathBuf;

use anyhow::Result;

pub use bare_machine::require as require_bare_machine;
pub use cargo_tool::CargoTool;
pub use node::modern_node;
pub use npm::{NodeModules, ensure as ensure_npm_packages};
pub use python_tool::PythonTool;

use crate::workspace::Workspace;

/// worker-build is pinned: its output's shape and its override variables changed between minor versions.
pub(crate) const WORKER_BUILD: &str = "0.8.7";
/// cargo-deny is pinned so that a new lint of its own never fails a build that nobody changed.
const CARGO_DENY: &str = "0.20.2";
/// What is installed where the machine has no cargo-nextest at all.
const CARGO_NEXTEST: &str = "0.9.143";

/// The folder that installed tools live in, with a `bin` inside: `KADO_TOOLS_DIR`, or within cargo's target folder.
#[must_use]
pub fn tools_dir(workspace: &Workspace) -> PathBuf {
    std::env::var_os("KADO_TOOLS_DIR").map_or_else(|| workspace.target.join("tools"), PathBuf::from)
}

/// The wasm-bindgen program, of exactly the version that Cargo.lock has of the crate: the two refuse to work apart.
///
/// # Errors
/// When Cargo.lock has no single version of the crate.
pub fn wasm_bindgen(workspace: &Workspace) -> Result<CargoTool> {
    let version = workspace.locked_version("wasm-bindgen")?;
    // Its own lock file names a pre-release that was yanked, so `--locked` is the second try. Its default features are
    // what its test runner fetches browsers' drivers with.
    Ok(CargoTool::exactly("wasm-bindgen-cli", "wasm-bindgen", &version).bare())
}

/// The program that turns the `edge` crate into a Worker's modules.
///
/// It asks for its downloads' TLS by `native-tls`, and so for OpenSSL's headers, which a machine need not have. We give
/// it everything that it would fetch.
#[must_use]
pub fn worker_build() -> CargoTool {
    CargoTool::exactly("worker-build", "worker-build", WORKER_BUILD).without_feature("native-tls")
}

/// The program that checks licences, bans and sources of dependencies.
#[must_use]
pub fn cargo_deny() -> CargoTool {
    CargoTool::exactly("cargo-deny", "cargo-deny", CARGO_DENY).lock_file_first()
}

/// The test runner; any 0.9 on the machine will do.
#[must_use]
pub fn cargo_nextest() -> CargoTool {
    CargoTool::at_least("cargo-nextest", "cargo-nextest", CARGO_NEXTEST, "0.9.0").lock_file_first()
}

/// What tries the API by its document; pinned, because its checks grow from version to version.
#[must_use]
pub const fn schemathesis() -> PythonTool {
    PythonTool::exactly("schemathesis", "4.32.5")
}

/// Adds the WebAssembly target to the toolchain if it is missing.
///
/// # Errors
/// When rustup is missing or cannot add it.
pub fn ensure_wasm_target(workspace: &Workspace) -> Result<()> {
    bare_machine::ensure_wasm_target(workspace)
}
