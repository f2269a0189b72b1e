//! The Worker's bundle in `build/`: `entry.js` and the WebAssembly modules beside it.
//!
//! Three steps: worker-build makes the `edge` crate into `edge/build/index.js` and `index_bg.wasm`; cargo makes `edge/av1`
//! into the AV1 decoder; esbuild then bundles our own main module, which imports those and the codec modules from npm.

mod glue;
mod inputs;

use std::fmt::{self, Display};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::tools::{self, NodeModules};
use crate::workspace::{Workspace, cargo};
use crate::{invoke, progress};

/// The bundle's main module.
const ENTRY: &str = "entry.js";
/// The crate's module, in `edge/build` and in the bundle.
const ENGINE: &str = "index_bg.wasm";
/// Codec modules that are copied beside: their folder in `node_modules`, and their name.
const CODECS: [(&str, &str); 2] = [
    ("icodec/dist", "avif-enc.wasm"),
    ("@jsquash/webp/codec/enc", "webp_enc_simd.wasm"),
];
/// The glue of one of them, relative to `node_modules`, and where it is put once it fits Workers.
const AVIF_GLUE: (&str, &str) = ("icodec/dist/avif-enc.js", "edge/build/avif-enc.js");
/// The AV1 decoder, a module of our own.
const AV1: &str = "kado_edge_av1.wasm";
/// What the bundle was made from.
const STAMP: &str = ".inputs";

/// How the Worker is compiled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Profile {
    /// As deployed.
    Release,
    /// Quick to compile, with assertions, slow to run.
    Dev,
}

impl Display for Profile {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Release => "release",
            Self::Dev => "dev",
        })
    }
}

/// Builds the bundle unless it is made from the same inputs already; gives its folder.
///
/// # Errors
/// When a tool is missing and cannot be installed, or something does not build.
pub fn build(workspace: &Workspace, modules: &NodeModules, profile: Profile) -> Result<PathBuf> {
    let folder = workspace.path("build");
    let stamp = folder.join(STAMP);
    let inputs = inputs::digest(workspace, profile)?;
    if fs::read_to_string(&stamp).is_ok_and(|made_from| made_from == inputs) && is_complete(&folder) {
        return Ok(folder);
    }
    let tools = BuildTools::find(workspace, modules)?;
    progress::step(format_args!("Building the Worker ({profile})"), || {
        compile(workspace, &tools, profile)?;
        let av1 = compile_av1(workspace, &tools)?;
        // A bundle that was cut short must not pass for a whole one.
        let _not_there = fs::remove_file(&stamp);
        bundle(workspace, modules, &tools, &folder, profile)?;
        copy(&av1, &folder.join(AV1))?;
        if !is_complete(&folder) {
            bail!("the bundle in {} lacks a module", folder.display());
        }
        fs::write(&stamp, &inputs).with_context(|| format!("writing {}", stamp.display()))
    })?;
    Ok(folder)
}

/// The programs of a build. Each path has been looked at: worker-build answers a wrong one by fetching its own.
struct BuildTools {
    worker_build: PathBuf,
    wasm_bindgen: PathBuf,
    wasm_opt: PathBuf,
    esbuild: PathBuf,
}

impl BuildTools {
    fn find(workspace: &Workspace, modules: &NodeModules) -> Result<Self> {
        tools::ensure_wasm_target(workspace)?;
        Ok(Self {
            worker_build: tools::worker_build().ensure(workspace)?,
            wasm_bindgen: tools::wasm_bindgen(workspace)?.ensure(workspace)?,
            wasm_opt: modules.wasm_opt()?,
            esbuild: modules.esbuild()?,
        })
    }
}

fn compile(workspace: &Workspace, tools: &BuildTools, profile: Profile) -> Result<()> {
    let mut command: Command = invoke::command(&tools.worker_build);
    command
        .current_dir(workspace.path("edge"))
        .arg(format!("--{profile}"))
        .env("WASM_BINDGEN_BIN", &tools.wasm_bindgen)
        .env("WASM_OPT_BIN", &tools.wasm_opt)
        .env("ESBUILD_BIN", &tools.esbuild)
        // worker-build looks for `cargo` by PATH; the one that runs us comes first.
        .env("PATH", path_with(cargo().parent())?)
        // It would replace the flags of .cargo/config.toml, and with them SIMD.
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS");
    invoke::run(&mut command).context("compiling the Worker")
}

/// The decoder's module, always as deployed: without optimisation it is too slow to test anything with.
fn compile_av1(workspace: &Workspace, tools: &BuildTools) -> Result<PathBuf> {
    let target = workspace.target.join("av1");
    let mut command = invoke::command(cargo());
    command
        .current_dir(workspace.path("edge/av1"))
        .args(["build", "--locked", "--release", "--target", "wasm32-unknown-unknown"])
        .arg("--target-dir")
        .arg(&target)
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS");
    invoke::run(&mut command).context("compiling the AV1 decoder")?;
    let release = target.join("wasm32-unknown-unknown/release");
    let smaller = release.join("optimized.wasm");
    let mut optimize = invoke::command(&tools.wasm_opt);
    optimize
        .args([
            "-O3",
            "--enable-simd",
            "--enable-bulk-memory",
            "--enable-nontrapping-float-to-int",
        ])
        .args([
            "--enable-sign-ext",
            "--enable-mutable-globals",
            "--enable-reference-types",
            "--enable-multivalue",
        ])
        .arg(release.join(AV1))
        .arg("-o")
        .arg(&smaller);
    invoke::run(&mut optimize).context("optimising the AV1 decoder")?;
    Ok(smaller)
}

fn path_with(first: Option<&Path>) -> Result<std::ffi::OsString> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let first = first.filter(|folder| folder.is_absolute()).map(ToOwned::to_owned);
    std::env::join_paths(first.into_iter().chain(std::env::split_paths(&path))).context("putting PATH together")
}

fn bundle(
    workspace: &Workspace,
    modules: &NodeModules,
    tools: &BuildTools,
    folder: &Path,
    profile: Profile,
) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
    let (from, to) = (modules.folder().join(AVIF_GLUE.0), workspace.path(AVIF_GLUE.1));
    let glue = fs::read_to_string(&from).with_context(|| format!("reading {}", from.display()))?;
    let glue = glue::without_evaluation(&glue).with_context(|| format!("fitting {} to Workers", from.display()))?;
    fs::write(&to, glue).with_context(|| format!("writing {}", to.display()))?;
    let mut esbuild = invoke::command(&tools.esbuild);
    esbuild
        .current_dir(&workspace.root)
        .arg("edge/js/entry.mjs")
        .args([
            "--bundle",
            "--format=esm",
            "--target=es2022",
            "--platform=browser",
            "--log-level=warning",
        ])
        .args(["--external:*.wasm", "--external:cloudflare:*"])
        .arg(format!("--outfile={}", folder.join(ENTRY).display()));
    if profile == Profile::Release {
        esbuild.arg("--minify-syntax").arg("--minify-whitespace");
    }
    invoke::run(&mut esbuild).context("bundling the Worker's modules")?;
    copy(&workspace.path("edge/build").join(ENGINE), &folder.join(ENGINE))?;
    for (package, name) in CODECS {
        copy(&modules.folder().join(package).join(name), &folder.join(name))?;
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to).with_context(|| format!("copying {} to {}", from.display(), to.display()))?;
    Ok(())
}

fn is_complete(folder: &Path) -> bool {
    let names = [ENTRY, ENGINE, AV1].into_iter().chain(CODECS.map(|(_, name)| name));
    names
        .into_iter()
        .all(|name| fs::metadata(folder.join(name)).is_ok_and(|meta| meta.len() > 0))
}
