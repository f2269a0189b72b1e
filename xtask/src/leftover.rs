//! Processes of an earlier run that was killed: recognised by what they run, never by their number alone.

use std::time::Duration;

use anyhow::{Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::{invoke, wait};

/// How long a leftover process may take over an orderly end before it is killed.
const PATIENCE: Duration = Duration::from_secs(5);

/// Ends the process `pid` if its command line contains `mark`; says whether there was one.
///
/// # Errors
/// When it is ours and survives SIGKILL.
pub fn end(pid: i32, mark: &str, polite: Signal) -> Result<bool> {
    if !runs(pid, mark) {
        return Ok(false);
    }
    let Some(process) = Pid::from_raw(pid) else {
        return Ok(false);
    };
    for signal in [polite, Signal::KILL] {
        // It may end between the look and the signal; the wait below is what counts.
        let _already_gone = kill_process(process, signal);
        if wait::until(PATIENCE, || (!runs(pid, mark)).then_some(())).is_some() {
            return Ok(true);
        }
    }
    bail!("process {pid} of an earlier run does not end; end it by hand and start again")
}

/// Whether a process of this number runs with `mark` in its command line.
#[must_use]
pub fn runs(pid: i32, mark: &str) -> bool {
    command_line(pid).is_some_and(|line| line.contains(mark))
}

fn command_line(pid: i32) -> Option<String> {
    if pid <= 1 {
        return None;
    }
    let listed = invoke::collect(invoke::command("ps").args(["-ww", "-o", "stat=,command=", "-p", &pid.to_string()]));
    let line = String::from_utf8_lossy(&listed.ok()?.stdout).trim().to_owned();
    // A zombie has ended; only its parent has not looked yet.
    (!line.is_empty() && !line.starts_with('Z')).then_some(line)
}

/// The processes that descend from `pid`, with their command lines, nearest first.
#[must_use]
pub fn descendants(pid: i32) -> Vec<(i32, String)> {
    let listed =
        invoke::read(invoke::command("ps").args(["-ww", "-A", "-o", "pid=,ppid=,command="])).unwrap_or_default();
    let all: Vec<(i32, i32, &str)> = listed.lines().filter_map(parse).collect();
    let mut found: Vec<(i32, String)> = Vec::new();
    let mut parents = vec![pid];
    while let Some(parent) = parents.pop() {
        for (child, _, line) in all.iter().filter(|(_, of, _)| *of == parent) {
            found.push((*child, (*line).to_owned()));
            parents.push(*child);
        }
    }
    found
}

fn parse(line: &str) -> Option<(i32, i32, &str)> {
    let (pid, rest) = line.trim_start().split_once(' ')?;
    let (parent, command) = rest.trim_start().split_once(' ')?;
    Some((pid.parse().ok()?, parent.parse().ok()?, command.trim()))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn only_a_process_that_runs_what_we_started_is_ended() {
        let mut child = Command::new("sleep").arg("86391").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        assert!(
            !end(pid, "sleep 86392", Signal::TERM).unwrap(),
            "another command line is another process"
        );
        assert!(child.try_wait().unwrap().is_none());
        assert!(end(pid, "sleep 86391", Signal::TERM).unwrap());
        child.wait().unwrap();
        assert!(
            !end(pid, "sleep 86391", Signal::TERM).unwrap(),
            "a number that is free again is no process of ours"
        );
    }

    #[test]
    fn impossible_numbers_are_no_process() {
        assert!(!runs(0, ""));
        assert!(!runs(-1, ""));
        assert!(!runs(1, ""));
    }

    #[test]
    fn children_of_children_are_found() {
        let mut child = Command::new("sh").args(["-c", "sleep 86393; true"]).spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let found = wait::until(Duration::from_secs(10), || {
            descendants(pid)
                .into_iter()
                .find(|(_, line)| line.contains("sleep 86393"))
        });
        let (sleeping, _) = found.expect("the shell started it");
        assert!(end(sleeping, "sleep 86393", Signal::KILL).unwrap());
        child.wait().unwrap();
    }
}
