//! What Workers are started with: workerd, the bundle, and the core that everything measured runs on.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use xtask::invoke;

pub(super) struct Kit {
    pub(super) core: Core,
    pub(super) workerd: PathBuf,
    /// Our Worker's modules.
    pub(super) bundle: PathBuf,
}

/// The core that all sides share, one after the other.
pub(super) struct Core(pub(super) usize);

impl Core {
    pub(super) fn choose(wanted: Option<usize>) -> Result<Self> {
        if invoke::find_on_path("taskset").is_none() {
            bail!("this bench pins what it measures to one core by taskset (util-linux), which is not installed");
        }
        let cores = std::thread::available_parallelism()
            .context("counting the cores")?
            .get();
        Ok(Self(wanted.unwrap_or(cores - 1)))
    }

    pub(super) fn pin(&self, program: &Path) -> Command {
        self.pin_command(&Command::new(program))
    }

    pub(super) fn pin_command(&self, command: &Command) -> Command {
        let mut pinned = invoke::command("taskset");
        pinned.args(["--cpu-list", &self.0.to_string()]);
        pinned.arg(command.get_program()).args(command.get_args());
        if let Some(folder) = command.get_current_dir() {
            pinned.current_dir(folder);
        }
        pinned
    }
}
