//! The yardstick as a process that is asked line by line (`xtask/js/sharp.mjs`).

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use anyhow::{Context, Result, anyhow, bail};
use serde_json::Value;
use xtask::invoke;
use xtask::workspace::Workspace;

/// A running Node with sharp.
pub(super) struct Sharp {
    child: Child,
    questions: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Sharp {
    pub(super) fn start(workspace: &Workspace) -> Result<Self> {
        let mut command = invoke::command("node");
        command
            .current_dir(&workspace.root)
            .arg("xtask/js/sharp.mjs")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = invoke::spawn(&mut command)?;
        let questions = child.stdin.take();
        let answers = BufReader::new(
            child
                .stdout
                .take()
                .ok_or_else(|| anyhow!("Node has no standard output"))?,
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
            .ok_or_else(|| anyhow!("Node has no standard input"))?;
        writeln!(input, "{question}").context("asking sharp")?;
        let mut line = String::new();
        if self.answers.read_line(&mut line).context("reading sharp's answer")? == 0 {
            bail!("sharp ended without an answer; its message is above");
        }
        let answer: Value = serde_json::from_str(&line).with_context(|| format!("reading sharp's answer {line}"))?;
        match answer.get("error") {
            Some(error) => bail!("sharp failed: {error}"),
            None => Ok(answer),
        }
    }
}

impl Drop for Sharp {
    fn drop(&mut self) {
        // The end of its input is the end of its loop.
        drop(self.questions.take());
        let _status = self.child.wait();
    }
}
