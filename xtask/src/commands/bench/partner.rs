//! A process that is asked line by line, in JSON: sharp (`xtask/js/sharp.mjs`), or the native engine.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, anyhow, bail};
use serde_json::Value;
use xtask::invoke;
use xtask::workspace::Workspace;

/// The yardstick: Node with sharp.
pub(super) fn sharp(workspace: &Workspace) -> Command {
    let mut command = invoke::command("node");
    command.current_dir(&workspace.root).arg("xtask/js/sharp.mjs");
    command
}

/// A running process.
pub(super) struct Partner {
    child: Child,
    questions: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Partner {
    pub(super) fn start(command: &mut Command) -> Result<Self> {
        let mut child = invoke::spawn(command.stdin(Stdio::piped()).stdout(Stdio::piped()))?;
        let questions = child.stdin.take();
        let answers = BufReader::new(
            child
                .stdout
                .take()
                .ok_or_else(|| anyhow!("the process has no standard output"))?,
        );
        Ok(Self {
            child,
            questions,
            answers,
        })
    }

    /// Asks and waits for the answer, which is one JSON object.
    pub(super) fn ask(&mut self, question: &Value) -> Result<Value> {
        let input = self
            .questions
            .as_mut()
            .ok_or_else(|| anyhow!("the process has no standard input"))?;
        writeln!(input, "{question}").context("asking")?;
        let mut line = String::new();
        if self.answers.read_line(&mut line).context("reading the answer")? == 0 {
            bail!("the process ended without an answer; its message is above");
        }
        let answer: Value = serde_json::from_str(&line).with_context(|| format!("reading the answer {line}"))?;
        match answer.get("error") {
            Some(error) => bail!("the other side failed: {error}"),
            None => Ok(answer),
        }
    }
}

impl Drop for Partner {
    fn drop(&mut self) {
        // The end of its input is the end of its loop.
        drop(self.questions.take());
        let _status = self.child.wait();
    }
}
