//! photon-rs in the same workerd, on what it survives.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use xtask::tools::{self, NodeModules};
use xtask::workspace::{Workspace, cargo};
use xtask::{invoke, progress};

use super::bench::Bench;
use super::cases::{Case, Cases};
use super::measure::{OfWorker, WarmUp, worker_round};
use super::report::Circumstances;
use super::worker::{Configuration, Worker};
use crate::commands::bench::numbers::{geometric_mean, median};

/// As our options have it.
const QUALITY: u8 = 80;
/// What cargo makes of `bench/photon`.
const MODULE: &str = "kado_bench_photon.wasm";
/// What `bench/photon.capnp` embeds of it.
const BOUND: &str = "kado_bench_photon_bg.wasm";

/// A case on both sides.
struct Against {
    case: Case,
    /// `None` where it is too large for an isolate.
    worker: Option<OfWorker>,
    /// `None` where it fails.
    photon: Option<OfWorker>,
}

impl Against {
    /// photon-rs's time in parts of ours.
    fn ratio(&self) -> Option<f64> {
        Some(self.photon?.milliseconds / self.worker?.milliseconds)
    }
}

pub(super) fn section(
    bench: &mut Bench,
    workspace: &Workspace,
    modules: &Path,
    cases: &Cases,
    filter: &str,
    circumstances: &Circumstances,
) -> Result<String> {
    let mut measured = Vec::new();
    for case in cases.photon(filter, bench.quick)? {
        measured.push(progress::step(format_args!("photon-rs: {}", case.name()), || {
            measure(bench, modules, case)
        })?);
    }
    let version = own(workspace).locked_version("photon-rs")?;
    Ok(text(&measured, &version, cases.bars().photon, circumstances))
}

/// The workspace that photon-rs is built in.
fn own(workspace: &Workspace) -> Workspace {
    Workspace {
        root: workspace.path("bench/photon"),
        target: workspace.target.join("photon"),
    }
}

/// The modules of its Worker, in the folder that this gives.
pub(super) fn build(workspace: &Workspace, modules: &NodeModules) -> Result<PathBuf> {
    tools::ensure_wasm_target(workspace)?;
    let bindgen = tools::wasm_bindgen(workspace)?.ensure(workspace)?;
    let wasm_opt = modules.wasm_opt()?;
    let Workspace { root, target } = own(workspace);
    let folder = target.join("worker");
    progress::step(
        "Building photon-rs's Worker, which takes minutes the first time",
        || {
            let mut compile = invoke::command(cargo());
            compile
                .current_dir(root)
                .args(["build", "--locked", "--release", "--target", "wasm32-unknown-unknown"])
                .arg("--target-dir")
                .arg(&target)
                // They would replace the flags of .cargo/config.toml, and with them SIMD.
                .env_remove("RUSTFLAGS")
                .env_remove("CARGO_ENCODED_RUSTFLAGS");
            invoke::run(&mut compile).context("compiling photon-rs")?;
            let mut bind = invoke::command(&bindgen);
            bind.args(["--target", "web", "--no-typescript", "--out-dir"])
                .arg(&folder)
                .arg(target.join("wasm32-unknown-unknown/release").join(MODULE));
            invoke::run(&mut bind)
                .context("making photon-rs's bindings: it takes wasm-bindgen of the version in Cargo.lock")?;
            let bound = folder.join(BOUND);
            let mut optimize = invoke::command(&wasm_opt);
            optimize
                .args([
                    "-O3",
                    "--enable-simd",
                    "--enable-bulk-memory",
                    "--enable-mutable-globals",
                ])
                .args(["--enable-nontrapping-float-to-int", "--enable-sign-ext"])
                .args(["--enable-reference-types", "--enable-multivalue"])
                .arg(&bound)
                .arg("-o")
                .arg(&bound);
            invoke::run(&mut optimize).context("optimising photon-rs")
        },
    )?;
    Ok(folder)
}

fn measure(bench: &mut Bench, modules: &Path, case: Case) -> Result<Against> {
    let picture = bench.picture(&case)?;
    let worker = Worker::start(&bench.kit, Configuration::Photon(modules))?;
    let options = case.options();
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    let mut against = Against {
        case,
        worker: None,
        photon: None,
    };
    let mut warm_up = WarmUp::default();
    // Ours is warmed up by itself: photon-rs's rounds are long.
    while !warm_up.is_over(0.0) {
        worker_round(&worker, &picture, &options)?;
    }
    for round in 0..=against.case.size.runs {
        let our_round = worker_round(&worker, &picture, &options)?;
        let Some(done) = worker.photon(&picture, against.case.width, QUALITY)? else {
            break;
        };
        let their_round = OfWorker {
            milliseconds: done.milliseconds - worker.drain(&picture)?,
            memory_mib: done.memory_mib,
        };
        (against.worker, against.photon) = (our_round, Some(their_round));
        if round > 0 {
            ours.extend(our_round.map(|round| round.milliseconds));
            theirs.push(their_round.milliseconds);
        }
    }
    if let Some(worker) = &mut against.worker {
        worker.milliseconds = median(&ours);
    }
    if let Some(photon) = &mut against.photon {
        photon.milliseconds = median(&theirs);
    }
    Ok(against)
}

fn text(measured: &[Against], version: &str, least: f64, circumstances: &Circumstances) -> String {
    let mut text = format!(
        "{}.\n\
         A Worker that decodes, resizes by Lanczos and encodes with photon-rs {version}, built as ours, in the same workerd; in\n\
         turns, medians in milliseconds, without what draining the same body takes. workerd by itself sets an isolate no\n\
         limit: what takes more than 128 MiB would not live on Cloudflare.\n\n\
         | case | runs | Worker | photon-rs | photon-rs / Worker | bar | memory | photon-rs's memory |\n\
         |---|---:|---:|---:|---:|---:|---:|---:|\n",
        circumstances.line(),
    );
    let milliseconds = |side: Option<OfWorker>, none: &str| {
        side.map_or_else(|| none.to_owned(), |side| format!("{:.1}", side.milliseconds))
    };
    let memory = |side: Option<OfWorker>| side.map_or_else(String::new, |side| format!("{} MiB", side.memory_mib));
    for against in measured {
        let ratio = against.ratio().map_or_else(String::new, |ratio| format!("{ratio:.1}"));
        let _infallible = writeln!(
            text,
            "| {} | {} | {} | {} | {ratio} | | {} | {} |",
            against.case.name(),
            against.case.size.runs,
            milliseconds(against.worker, "heavy"),
            milliseconds(against.photon, "fails"),
            memory(against.worker),
            memory(against.photon),
        );
    }
    let ratios: Vec<f64> = measured.iter().filter_map(Against::ratio).collect();
    if !ratios.is_empty() {
        let _infallible = writeln!(
            text,
            "| geometric mean | | | | {:.1} | >= {least:.0} | | |",
            geometric_mean(&ratios)
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::cases::tests::case;
    use super::*;

    #[test]
    fn what_fails_has_no_part_in_the_mean() {
        let side = |milliseconds| {
            Some(OfWorker {
                milliseconds,
                memory_mib: 9,
            })
        };
        let against = |photon| Against {
            case: case("jpeg", 400, "jpeg"),
            worker: side(10.0),
            photon,
        };
        assert_eq!(against(side(300.0)).ratio(), Some(30.0));
        assert_eq!(against(None).ratio(), None);
    }

    /// One wasm-bindgen program serves both.
    #[test]
    fn its_lock_file_has_the_workers_wasm_bindgen() {
        let ours = Workspace::locate().unwrap();
        let versions = [&ours, &own(&ours)].map(|workspace| workspace.locked_version("wasm-bindgen").unwrap());
        assert_eq!(
            versions[0], versions[1],
            "run `cargo update -p wasm-bindgen --precise` in bench/photon"
        );
    }
}
