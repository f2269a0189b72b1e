//! A program that comes from PyPI, at a chosen version, into an environment of its own in the tools folder.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use super::tools_dir;
use crate::workspace::Workspace;
use crate::{invoke, progress};

/// A program and the version of its package, which has its name.
#[derive(Debug, Clone, Copy)]
pub struct PythonTool {
    name: &'static str,
    version: &'static str,
}

impl PythonTool {
    /// Exactly this version.
    pub(super) const fn exactly(name: &'static str, version: &'static str) -> Self {
        Self { name, version }
    }

    /// The path of the program, installed now where it is missing.
    ///
    /// # Errors
    /// When it is missing and cannot be installed.
    pub fn ensure(&self, workspace: &Workspace) -> Result<PathBuf> {
        // The version is in the folder's name: another one is another environment, and a cut installation has no program.
        let folder = tools_dir(workspace)
            .join("python")
            .join(format!("{}-{}", self.name, self.version));
        let program = folder.join("bin").join(self.name);
        if invoke::is_executable(&program) {
            return Ok(program);
        }
        let python = invoke::find_on_path("python3").context("python3 is not installed")?;
        let package = format!("{}=={}", self.name, self.version);
        progress::step(format_args!("Installing {package} into {}", folder.display()), || {
            invoke::run(invoke::command(&python).args(["-m", "venv"]).arg(&folder))
                .context("making an environment: is the module venv installed?")?;
            invoke::run(invoke::command(folder.join("bin/python")).args([
                "-m",
                "pip",
                "install",
                "--quiet",
                "--disable-pip-version-check",
                &package,
            ]))
        })?;
        if invoke::is_executable(&program) {
            Ok(program)
        } else {
            bail!("{package} was installed, but has no program {}", program.display())
        }
    }
}
