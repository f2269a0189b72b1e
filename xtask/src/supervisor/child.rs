//! One process: started so that it cannot outlive us, signalled, and ended for certain.

use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use super::{Service, log_file};
use crate::{tether, wait};

/// Starts a service's process: own process group (Ctrl-C at the terminal is for us alone), output to its log, and an
/// end together with ours.
pub(super) fn spawn(service: &Service) -> Result<Child> {
    let mut command = (service.command)()?;
    let log = log_file::open(&service.log)?;
    let errors = log.try_clone().context("opening the log twice")?;
    command.stdin(Stdio::null()).stdout(log).stderr(errors).process_group(0);
    tether::tie(&mut command, service.stop_signal);
    command.spawn().with_context(|| format!("starting {}", service.name))
}

/// Sends a signal to one process.
pub(super) fn send(pid: u32, signal: Signal) -> Result<()> {
    let pid = i32::try_from(pid)
        .ok()
        .and_then(Pid::from_raw)
        .context("no such process number")?;
    kill_process(pid, signal)?;
    Ok(())
}

/// Ends a process: asks, waits, kills. What it had started itself in its group goes with it.
pub(super) fn end(child: &mut Child, signal: Signal, patience: Duration) -> String {
    let _already_gone = send(child.id(), signal);
    let status = wait::until(patience, || child.try_wait().ok().flatten());
    let how = match status {
        Some(status) => describe(status),
        None => {
            let _already_gone = child.kill();
            child.wait().map_or_else(|error| error.to_string(), describe)
        }
    };
    end_group(child);
    how
}

/// Kills what a process that has ended left of its group.
pub(super) fn end_group(child: &Child) {
    if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        let _nothing_left = kill_process_group(group, Signal::KILL);
    }
}

/// An exit status in words.
pub(super) fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "no status".to_owned(),
    }
}
