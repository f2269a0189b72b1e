//! What a machine must bring: rustup, a C compiler, Node. Each has a sentence for the person who lacks it.

use anyhow::{Context, Result, bail};

use super::version;
use crate::workspace::Workspace;
use crate::{invoke, progress};

const WASM_TARGET: &str = "wasm32-unknown-unknown";
/// The oldest Node that npm packages of the build run on.
const OLDEST_NODE: u64 = 20;

/// Checks for everything that cannot be installed into the clone, and names all that is missing at once.
///
/// # Errors
/// When anything is missing, with how to get each.
pub fn require() -> Result<()> {
    let mut missing = Vec::new();
    if !["cc", "gcc", "clang"]
        .iter()
        .any(|compiler| invoke::find_on_path(compiler).is_some())
    {
        missing.push(
            "a C compiler: `apt-get install build-essential`, `dnf install gcc`, or `xcode-select --install`"
                .to_owned(),
        );
    }
    match invoke::read(invoke::command("node").arg("--version"))
        .ok()
        .and_then(|text| version::find(&text))
    {
        None => missing.push(format!(
            "Node {OLDEST_NODE} or newer with npm: from nodejs.org or your package manager"
        )),
        Some((major, minor, patch)) if major < OLDEST_NODE => {
            missing.push(format!(
                "Node {OLDEST_NODE} or newer: this machine's is {major}.{minor}.{patch}"
            ));
        }
        Some(_) if invoke::find_on_path("npm").is_none() => {
            missing.push("npm: it comes with Node from nodejs.org; on Debian `apt-get install npm`".to_owned());
        }
        Some(_) => {}
    }
    if missing.is_empty() {
        return Ok(());
    }
    bail!(
        "this machine lacks\n  - {}\nInstall that and run the command again.",
        missing.join("\n  - ")
    );
}

/// Adds the WebAssembly target by rustup unless the toolchain has it.
pub(super) fn ensure_wasm_target(workspace: &Workspace) -> Result<()> {
    let sysroot = invoke::read(
        invoke::command("rustc")
            .current_dir(&workspace.root)
            .args(["--print", "sysroot"]),
    )
    .context("asking rustc where it lives; install rustup from rustup.rs if it is missing")?;
    let library = std::path::Path::new(sysroot.trim())
        .join("lib/rustlib")
        .join(WASM_TARGET)
        .join("lib");
    if library.is_dir() {
        return Ok(());
    }
    if invoke::find_on_path("rustup").is_none() {
        bail!(
            "this Rust toolchain has no {WASM_TARGET} target and there is no rustup to add it: \
             install rustup from rustup.rs, or your distribution's package of that target's standard library"
        );
    }
    progress::step(format_args!("Adding Rust's {WASM_TARGET} target"), || {
        invoke::run(
            invoke::command("rustup")
                .current_dir(&workspace.root)
                .args(["target", "add", WASM_TARGET]),
        )
    })
}
