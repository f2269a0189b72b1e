//! Where the repository and cargo's output are. Nothing here assumes `./target`: `CARGO_TARGET_DIR` moves it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use serde::Deserialize;

use crate::invoke;

/// The folders of one clone.
#[derive(Debug, Clone)]
pub struct Workspace {
    /// The folder with the workspace's `Cargo.toml`, absolute.
    pub root: PathBuf,
    /// Where cargo puts what it builds, absolute.
    pub target: PathBuf,
}

#[derive(Deserialize)]
struct Metadata {
    target_directory: PathBuf,
}

impl Workspace {
    /// Finds the clone from the folder of the running package or the current folder, upwards.
    ///
    /// Not from a path that was compiled in: with a shared `CARGO_TARGET_DIR` one binary may serve several clones.
    ///
    /// # Errors
    /// When neither lies within a clone, or `cargo metadata` fails.
    pub fn locate() -> Result<Self> {
        let start = match std::env::var_os("CARGO_MANIFEST_DIR") {
            Some(folder) => PathBuf::from(folder),
            None => std::env::current_dir().context("reading the current folder")?,
        };
        let root = start
            .ancestors()
            .find(|folder| folder.join("xtask/Cargo.toml").is_file() && folder.join("Cargo.lock").is_file())
            .ok_or_else(|| anyhow!("{} is not within a clone of Kado", start.display()))?
            .to_owned();
        let mut metadata = invoke::command(cargo());
        metadata
            .current_dir(&root)
            .args(["metadata", "--no-deps", "--format-version=1", "--offline"]);
        let metadata: Metadata =
            serde_json::from_str(&invoke::read(&mut metadata)?).context("reading cargo's metadata")?;
        Ok(Self {
            root,
            target: metadata.target_directory,
        })
    }

    /// A path within the clone.
    #[must_use]
    pub fn path(&self, relative: impl AsRef<Path>) -> PathBuf {
        self.root.join(relative)
    }

    /// The version of a crate in Cargo.lock.
    ///
    /// # Errors
    /// When the file cannot be read, or has no such crate or several versions of it.
    pub fn locked_version(&self, name: &str) -> Result<String> {
        let lock = fs::read_to_string(self.path("Cargo.lock")).context("reading Cargo.lock")?;
        match locked_versions(&lock, name).as_slice() {
            [one] => Ok((*one).to_owned()),
            [] => bail!("Cargo.lock has no `{name}`"),
            several => bail!("Cargo.lock has several versions of `{name}`: {}", several.join(", ")),
        }
    }
}

/// The cargo that runs us, so that a toolchain chosen as `cargo +x` stays chosen.
#[must_use]
pub fn cargo() -> PathBuf {
    std::env::var_os("CARGO").map_or_else(|| PathBuf::from("cargo"), PathBuf::from)
}

fn locked_versions<'lock>(lock: &'lock str, name: &str) -> Vec<&'lock str> {
    let wanted = format!("name = \"{name}\"");
    let lines: Vec<&str> = lock.lines().collect();
    lines
        .windows(2)
        .filter(|pair| pair[0] == wanted)
        .filter_map(|pair| pair[1].strip_prefix("version = \"")?.strip_suffix('"'))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCK: &str = "[[package]]\nname = \"wasm-bindgen\"\nversion = \"0.2.130\"\n\n\
        [[package]]\nname = \"syn\"\nversion = \"1.0.0\"\n\n[[package]]\nname = \"syn\"\nversion = \"2.0.0\"\n";

    #[test]
    fn a_locked_version_is_found_by_the_whole_name() {
        assert_eq!(locked_versions(LOCK, "wasm-bindgen"), ["0.2.130"]);
        assert!(locked_versions(LOCK, "wasm").is_empty());
    }

    #[test]
    fn several_versions_are_all_seen() {
        assert_eq!(locked_versions(LOCK, "syn"), ["1.0.0", "2.0.0"]);
    }
}
