//! The gateway's process on a core of its own, and everything else on the others.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, bail};
use xtask::invoke;
use xtask::system::RunFile;

/// Processes are where they belong for as long as this lives; then each may run anywhere again.
pub(super) struct Pinned {
    /// The core for what is measured.
    pub(super) core: usize,
    cores: usize,
    processes: Vec<u32>,
}

impl Pinned {
    pub(super) fn take(run: &RunFile) -> Result<Self> {
        if invoke::find_on_path("taskset").is_none() {
            bail!("this bench pins what it measures to one core by taskset (util-linux), which is not installed");
        }
        let cores = std::thread::available_parallelism()
            .context("counting the cores")?
            .get();
        if cores < 2 {
            bail!("this bench needs two cores: one for the gateway, one for those who ask");
        }
        let all = descendants(&run.pids.values().copied().collect::<Vec<_>>())?;
        let gateway: Vec<u32> = all.iter().copied().filter(|process| is_gateway(*process)).collect();
        if gateway.is_empty() {
            bail!("there is no process of the gateway");
        }
        let mut pinned = Self {
            core: cores - 1,
            cores,
            processes: all,
        };
        pinned.processes.push(std::process::id());
        for process in &pinned.processes {
            let list = if gateway.contains(process) {
                pinned.core.to_string()
            } else {
                format!("0-{}", cores - 2)
            };
            set(&list, *process)?;
        }
        Ok(pinned)
    }

    /// A program on the core for what is measured.
    pub(super) fn program(&self, program: &std::path::Path) -> Command {
        let mut command = invoke::command("taskset");
        command.args(["--cpu-list", &self.core.to_string()]).arg(program);
        command
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        for process in &self.processes {
            // One that has ended needs no core.
            let _ended = set(&format!("0-{}", self.cores - 1), *process);
        }
    }
}

fn set(list: &str, process: u32) -> Result<()> {
    invoke::read(invoke::command("taskset").args(["--all-tasks", "--cpu-list", "--pid", list, &process.to_string()]))?;
    Ok(())
}

/// The processes and all below them.
fn descendants(of: &[u32]) -> Result<Vec<u32>> {
    let mut parents = Vec::new();
    for entry in fs::read_dir("/proc").context("reading /proc")?.flatten() {
        let Some(process) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        // The name in brackets may hold anything; behind it come the state and the parent.
        let parent = stat
            .rsplit_once(") ")
            .and_then(|(_, rest)| rest.split(' ').nth(1)?.parse::<u32>().ok());
        parents.extend(parent.map(|parent| (process, parent)));
    }
    let mut all = of.to_vec();
    let mut next = 0;
    while let Some(process) = all.get(next).copied() {
        all.extend(
            parents
                .iter()
                .filter(|(_, parent)| *parent == process)
                .map(|(child, _)| *child),
        );
        next += 1;
    }
    Ok(all)
}

/// Whether a process is workerd with the gateway's configuration.
fn is_gateway(process: u32) -> bool {
    let arguments = fs::read(format!("/proc/{process}/cmdline")).unwrap_or_default();
    let mut words = arguments.split(|byte| *byte == 0);
    words.next().is_some_and(|program| program.ends_with(b"workerd")) && words.any(|word| word == b"gateway")
}
