//! Runs checks one after the other: all of them, whatever fails, each with its whole output in a log.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use xtask::{invoke, progress};

use super::outcome::{Ending, Row};

/// How much of a failed step's output is shown at once; the rest is in its log.
const SHOWN_LINES: usize = 60;

/// Whether a step's output is for the person at the terminal as it comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Output {
    /// Into the log; shown only when the step fails.
    Quiet,
    /// Into the log and onto standard error.
    Shown,
}

/// What a program wrote, and whether it ended well.
#[derive(Debug)]
pub(super) struct Finished {
    pub(super) succeeded: bool,
    pub(super) output: String,
}

/// The steps so far.
pub(super) struct Steps {
    rows: Vec<Row>,
    logs: PathBuf,
}

impl Steps {
    /// No steps yet; `logs` is emptied.
    pub(super) fn new(logs: PathBuf) -> Result<Self> {
        if logs.exists() {
            fs::remove_dir_all(&logs).with_context(|| format!("removing {}", logs.display()))?;
        }
        fs::create_dir_all(&logs).with_context(|| format!("creating {}", logs.display()))?;
        Ok(Self { rows: Vec::new(), logs })
    }

    pub(super) fn rows(&self) -> &[Row] {
        &self.rows
    }

    pub(super) fn logs(&self) -> &Path {
        &self.logs
    }

    pub(super) fn failures(&self) -> usize {
        self.rows
            .iter()
            .filter(|row| matches!(row.ending, Ending::Failed(_)))
            .count()
    }

    /// A step that is work of our own.
    pub(super) fn work<T>(&mut self, name: &str, work: impl FnOnce() -> Result<T>) -> Option<T> {
        let started = Instant::now();
        let result = progress::step(name, work);
        let ending = match &result {
            Ok(_) => Ending::Passed,
            Err(error) => {
                progress::detail(format_args!("{error:#}"));
                Ending::Failed(first_line(&format!("{error:#}")))
            }
        };
        self.add(name, started.elapsed(), ending);
        result.ok()
    }

    /// A step that is a program; gives what it wrote, in whatever way it ended.
    pub(super) fn program(&mut self, name: &str, command: &mut Command, output: Output) -> Option<Finished> {
        let log = self.logs.join(file_name(name));
        let mut finished = None;
        self.work(name, || {
            let ended = tee(command, &log, output)?;
            let succeeded = ended.succeeded;
            if !succeeded && output == Output::Quiet {
                progress::say(invoke::last_lines(&ended.output, SHOWN_LINES));
            }
            finished = Some(ended);
            if succeeded {
                Ok(())
            } else {
                bail!("see {}", log.display())
            }
        });
        finished
    }

    /// A step that this machine cannot run: a row in the table, and a failure where everything is required.
    pub(super) fn not_run(&mut self, name: &str, lacks: &str, required: bool) {
        progress::say(format_args!("not run: {name}: {lacks}"));
        let ending = if required {
            Ending::Failed(lacks.to_owned())
        } else {
            Ending::NotRun(lacks.to_owned())
        };
        self.add(name, Duration::ZERO, ending);
    }

    fn add(&mut self, name: &str, took: Duration, ending: Ending) {
        self.rows.push(Row {
            name: name.to_owned(),
            took,
            ending,
        });
    }
}

fn tee(command: &mut Command, log: &Path, output: Output) -> Result<Finished> {
    let (reader, writer) = std::io::pipe().context("opening a pipe")?;
    command
        .stdout(writer.try_clone().context("opening a pipe twice")?)
        .stderr(writer);
    let mut child = invoke::spawn(command)?;
    // Our own ends of the pipe must close, or it never ends.
    command
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null());
    let mut file = File::create(log).with_context(|| format!("creating {}", log.display()))?;
    let mut lines = BufReader::new(reader);
    let (mut line, mut text) = (Vec::new(), String::new());
    while lines
        .read_until(b'\n', &mut line)
        .context("reading a program's output")?
        > 0
    {
        file.write_all(&line)
            .with_context(|| format!("writing {}", log.display()))?;
        if output == Output::Shown {
            let _closed = std::io::stderr().write_all(&line);
        }
        text.push_str(&String::from_utf8_lossy(&line));
        line.clear();
    }
    let status = child.wait().context("waiting for a program")?;
    Ok(Finished {
        succeeded: status.success(),
        output: text,
    })
}

fn file_name(step: &str) -> String {
    let safe: String = step
        .chars()
        .map(|character| if character.is_alphanumeric() { character } else { '-' })
        .collect();
    format!("{safe}.log")
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use xtask::temporary::TemporaryFolder;

    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = invoke::command("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn a_failure_is_counted_and_the_next_step_still_runs() {
        let folder = TemporaryFolder::new("steps").unwrap();
        let mut steps = Steps::new(folder.path().join("logs")).unwrap();
        let first = steps
            .program(
                "first step",
                &mut shell("echo out; echo err >&2; exit 1"),
                Output::Quiet,
            )
            .unwrap();
        assert!(!first.succeeded && first.output.contains("out") && first.output.contains("err"));
        assert!(
            steps
                .program("second", &mut shell("exit 0"), Output::Quiet)
                .unwrap()
                .succeeded
        );
        assert_eq!(steps.failures(), 1);
        let log = fs::read_to_string(steps.logs().join("first-step.log")).unwrap();
        assert!(log.contains("out") && log.contains("err"));
    }

    #[test]
    fn what_is_missing_fails_only_where_everything_is_required() {
        let folder = TemporaryFolder::new("steps").unwrap();
        let mut steps = Steps::new(folder.path().join("logs")).unwrap();
        steps.not_run("browser", "no chromium", false);
        assert_eq!(steps.failures(), 0);
        steps.not_run("browser", "no chromium", true);
        assert_eq!(steps.failures(), 1);
    }
}
