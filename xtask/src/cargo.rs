//! Building programs of the workspace and learning from cargo where they lie.

use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Result, anyhow, bail};
use serde::Deserialize;

use crate::invoke;
use crate::workspace::{Workspace, cargo};

/// One line of `--message-format=json`; only artifacts with a program matter here.
#[derive(Deserialize)]
struct Message {
    executable: Option<PathBuf>,
    target: Option<Target>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
}

/// Builds one program of the workspace and gives the path of the file. Compiler output goes to standard error.
///
/// # Errors
/// When it does not compile, or cargo names no such program.
pub fn build_program(workspace: &Workspace, package: &str, program: &str, profile: &str) -> Result<PathBuf> {
    build(workspace, package, "--bin", program, profile)
}

/// The same for an example of a package.
///
/// # Errors
/// When it does not compile, or cargo names no such program.
pub fn build_example(workspace: &Workspace, package: &str, program: &str, profile: &str) -> Result<PathBuf> {
    build(workspace, package, "--example", program, profile)
}

fn build(workspace: &Workspace, package: &str, kind: &str, program: &str, profile: &str) -> Result<PathBuf> {
    let mut build = invoke::command(cargo());
    build
        .current_dir(&workspace.root)
        .args(["build", "--package", package, kind, program, "--profile", profile])
        .arg("--message-format=json-render-diagnostics")
        .stderr(Stdio::inherit());
    let output = invoke::collect(&mut build)?;
    if !output.status.success() {
        bail!("`{program}` does not build: cargo's messages are above");
    }
    executable(&String::from_utf8_lossy(&output.stdout), program)
        .ok_or_else(|| anyhow!("cargo built no program `{program}` in `{package}`"))
}

fn executable(messages: &str, program: &str) -> Option<PathBuf> {
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Message>(line).ok())
        .filter(|message| message.target.as_ref().is_some_and(|target| target.name == program))
        .find_map(|message| message.executable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_is_taken_from_cargos_messages() {
        let messages = concat!(
            r#"{"reason":"compiler-artifact","target":{"name":"kado_shared"},"executable":null}"#,
            "\n",
            r#"{"reason":"compiler-artifact","target":{"name":"kado"},"executable":"/elsewhere/debug/kado"}"#,
            "\n",
            r#"{"reason":"build-finished","success":true}"#,
        );
        assert_eq!(
            executable(messages, "kado"),
            Some(PathBuf::from("/elsewhere/debug/kado"))
        );
        assert_eq!(executable(messages, "other"), None);
    }
}
