//! The programs and files that a system is made of.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use crate::tools::{self, NodeModules};
use crate::workspace::Workspace;
use crate::{cargo, edge_build, progress};

/// Where each lies.
#[derive(Debug, Clone)]
pub struct Binaries {
    /// The `kado` program.
    pub kado: PathBuf,
    /// workerd's native program.
    pub workerd: PathBuf,
    /// The folder with `entry.js` and the WebAssembly modules.
    pub worker: PathBuf,
    /// The folder with PostgreSQL's `bin`, `lib` and `share`.
    pub postgres: PathBuf,
}

impl Binaries {
    /// Builds what is out of date and finds the rest. With nothing to do it takes about a second.
    ///
    /// # Errors
    /// When something does not build, or a tool is missing and cannot be installed.
    pub fn build(workspace: &Workspace, profile: &str) -> Result<Self> {
        let modules = tools::ensure_npm_packages(workspace)?;
        let worker = edge_build::build(workspace, &modules, edge_build::Profile::Release)?;
        let kado = progress::step(format_args!("Building kado ({profile})"), || {
            cargo::build_program(workspace, "kado-origin", "kado", profile)
        })?;
        Self::with(kado, worker, &modules)
    }

    /// The same from programs that were built before.
    ///
    /// # Errors
    /// When an npm package for this platform is missing.
    pub fn with(kado: PathBuf, worker: PathBuf, modules: &NodeModules) -> Result<Self> {
        Ok(Self {
            kado,
            worker,
            workerd: modules.workerd()?,
            postgres: modules.postgres()?,
        })
    }
}

/// The variables by which one process tells another where the programs lie, so that it need not build them again.
const VARIABLES: [&str; 4] = ["KADO_BIN", "KADO_WORKERD", "KADO_WORKER_DIR", "KADO_POSTGRES"];

impl Binaries {
    /// The programs that [`Binaries::give_to`] named; `None` unless all of them are.
    #[must_use]
    pub fn from_environment() -> Option<Self> {
        let [kado, workerd, worker, postgres] = VARIABLES.map(|name| std::env::var_os(name).map(PathBuf::from));
        Some(Self {
            kado: kado?,
            workerd: workerd?,
            worker: worker?,
            postgres: postgres?,
        })
    }

    /// Names the programs in another process's environment.
    pub fn give_to(&self, command: &mut Command) {
        let paths = [&self.kado, &self.workerd, &self.worker, &self.postgres];
        command.envs(VARIABLES.iter().zip(paths));
    }
}
