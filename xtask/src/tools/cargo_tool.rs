//! A program that comes from crates.io by `cargo install`, at a chosen version, into the tools folder.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::version::{self, Version};
use super::{source_copy, tools_dir};
use crate::workspace::{Workspace, cargo};
use crate::{invoke, progress};

/// A program, the crate that it comes from, and which versions of it will do.
#[derive(Debug, Clone)]
pub struct CargoTool {
    package: &'static str,
    program: &'static str,
    version: String,
    oldest: Option<String>,
    lock_file_first: bool,
    without_feature: Option<&'static str>,
    bare: bool,
}

impl CargoTool {
    /// Exactly this version.
    pub(super) fn exactly(package: &'static str, program: &'static str, version: &str) -> Self {
        Self {
            package,
            program,
            version: version.to_owned(),
            oldest: None,
            lock_file_first: false,
            without_feature: None,
            bare: false,
        }
    }

    /// `version` is installed where there is none from `oldest` on.
    pub(super) fn at_least(package: &'static str, program: &'static str, version: &str, oldest: &str) -> Self {
        Self {
            oldest: Some(oldest.to_owned()),
            ..Self::exactly(package, program, version)
        }
    }

    /// Installs by the crate's own lock file, and only without it when that fails.
    pub(super) fn lock_file_first(self) -> Self {
        Self {
            lock_file_first: true,
            ..self
        }
    }

    /// Installs without the crate's default features.
    pub(super) fn bare(self) -> Self {
        Self { bare: true, ..self }
    }

    /// Installs a copy of the crate whose manifest does not ask its dependencies for a feature.
    pub(super) fn without_feature(self, feature: &'static str) -> Self {
        Self {
            without_feature: Some(feature),
            ..self
        }
    }

    /// The path of the program: from the tools folder, or `PATH`, or installed now.
    ///
    /// # Errors
    /// When it is missing and cannot be installed.
    pub fn ensure(&self, workspace: &Workspace) -> Result<PathBuf> {
        let tools = tools_dir(workspace);
        let own = tools.join("bin").join(self.program);
        let on_path = invoke::find_on_path(self.program);
        for candidate in std::iter::once(own.clone()).chain(on_path) {
            if version_of(&candidate).is_some_and(|found| self.accepts(found)) {
                return Ok(candidate);
            }
        }
        progress::step(
            format_args!("Installing {} {} into {}", self.package, self.version, tools.display()),
            || self.install(workspace, &tools),
        )?;
        match version_of(&own) {
            Some(found) if self.accepts(found) => Ok(own),
            _ => bail!(
                "{} was installed, but {} does not answer with that version",
                self.package,
                own.display()
            ),
        }
    }

    fn accepts(&self, found: Version) -> bool {
        match &self.oldest {
            Some(oldest) => version::find(oldest).is_some_and(|oldest| found >= oldest),
            None => version::find(&self.version) == Some(found),
        }
    }

    fn install(&self, workspace: &Workspace, tools: &Path) -> Result<()> {
        if let Some(feature) = self.without_feature {
            let source = source_copy::without_feature(workspace, self.package, &self.version, feature)?;
            return self.cargo_install(workspace, tools, &[OsStr::new("--path"), source.as_os_str()]);
        }
        let version = format!("={}", self.version);
        let mut from_registry = vec![self.package, "--version", &version];
        if self.bare {
            from_registry.push("--no-default-features");
        }
        let from_registry: Vec<&OsStr> = from_registry.into_iter().map(OsStr::new).collect();
        let locked: Vec<&OsStr> = from_registry.iter().copied().chain([OsStr::new("--locked")]).collect();
        let (first, second) = match self.lock_file_first {
            true => (&locked, &from_registry),
            false => (&from_registry, &locked),
        };
        if let Err(error) = self.cargo_install(workspace, tools, first) {
            progress::detail(format_args!("{error:#}; trying again"));
            self.cargo_install(workspace, tools, second)
                .with_context(|| format!("installing {} {}", self.package, self.version))?;
        }
        Ok(())
    }

    fn cargo_install(&self, workspace: &Workspace, tools: &Path, what: &[&OsStr]) -> Result<()> {
        let mut install = invoke::command(cargo());
        install
            .current_dir(&workspace.root)
            .arg("install")
            .args(what)
            .args(["--bin", self.program, "--force", "--root"])
            .arg(tools)
            // One folder for all tools, so that what they share is compiled once.
            .env("CARGO_TARGET_DIR", workspace.target.join("tools-build"))
            // A tool that runs for a second is not worth minutes of optimisation.
            .env("CARGO_PROFILE_RELEASE_LTO", "off")
            .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1")
            .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16")
            .env("CARGO_PROFILE_RELEASE_DEBUG", "false")
            .env_remove("RUSTFLAGS");
        invoke::run(&mut install)
    }
}

fn version_of(program: &Path) -> Option<Version> {
    if !invoke::is_executable(program) {
        return None;
    }
    // A cargo subcommand takes its own name as its first argument when cargo calls it; `--version` works either way.
    let text = invoke::read(invoke::command(program).arg("--version")).ok()?;
    version::find(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exact_tool_accepts_no_other_version() {
        let tool = CargoTool::exactly("wasm-bindgen-cli", "wasm-bindgen", "0.2.130");
        assert!(tool.accepts((0, 2, 130)));
        assert!(!tool.accepts((0, 2, 129)));
        assert!(!tool.accepts((0, 2, 131)));
    }

    #[test]
    fn a_tool_with_an_oldest_version_accepts_newer_ones() {
        let tool = CargoTool::at_least("cargo-nextest", "cargo-nextest", "0.9.143", "0.9.0");
        assert!(tool.accepts((0, 9, 100)));
        assert!(tool.accepts((1, 0, 0)));
        assert!(!tool.accepts((0, 8, 999)));
    }

    #[test]
    fn a_program_that_is_not_there_has_no_version() {
        assert_eq!(version_of(Path::new("/nonexistent/kado-tool")), None);
    }
}
