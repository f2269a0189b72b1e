//! A copy of a published crate's source with one line of its manifest taken out.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};

use crate::invoke;
use crate::workspace::{Workspace, cargo};

/// The folder of a copy of `package` whose manifest does not name `feature`.
pub(super) fn without_feature(workspace: &Workspace, package: &str, version: &str, feature: &str) -> Result<PathBuf> {
    let folder = workspace.target.join("kado/source").join(package);
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("removing {}", folder.display()))?;
    }
    let source = fetch(&folder.join("fetch"), package, version)?;
    let copy = folder.join("copy");
    copy_sources(&source, &copy).with_context(|| format!("copying {}", source.display()))?;
    let manifest = copy.join("Cargo.toml");
    let text = fs::read_to_string(&manifest).with_context(|| format!("reading {}", manifest.display()))?;
    let changed = remove_feature(&text, feature).with_context(|| format!("changing {}", manifest.display()))?;
    fs::write(&manifest, changed).with_context(|| format!("writing {}", manifest.display()))?;
    Ok(copy)
}

/// Lets cargo fetch a crate as a dependency of an empty package, and tell where it has put it.
fn fetch(folder: &Path, package: &str, version: &str) -> Result<PathBuf> {
    fs::create_dir_all(folder.join("src")).with_context(|| format!("creating {}", folder.display()))?;
    let manifest = format!(
        "[package]\nname = \"fetch\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n[workspace]\n\n\
         [dependencies]\n{package} = \"={version}\"\n"
    );
    fs::write(folder.join("Cargo.toml"), manifest)
        .and_then(|()| fs::write(folder.join("src/lib.rs"), ""))
        .with_context(|| format!("writing a package in {}", folder.display()))?;
    let mut fetch = invoke::command(cargo());
    fetch.current_dir(folder).args(["fetch", "--quiet"]);
    invoke::read(&mut fetch)?;
    // `cargo metadata` leaves out packages without a library, so the folder that cargo has unpacked is looked up.
    let registries = cargo_home()?.join("registry/src");
    let found = fs::read_dir(&registries).with_context(|| format!("reading {}", registries.display()))?;
    found
        .filter_map(|registry| Some(registry.ok()?.path().join(format!("{package}-{version}"))))
        .find(|source| source.join("Cargo.toml").exists())
        .ok_or_else(|| anyhow!("cargo fetched no {package} {version} into {}", registries.display()))
}

/// Where cargo keeps what it fetches.
fn cargo_home() -> Result<PathBuf> {
    let home = std::env::var_os("CARGO_HOME")
        .filter(|home| !home.is_empty())
        .map(PathBuf::from);
    home.or_else(|| std::env::home_dir().map(|home| home.join(".cargo")))
        .context("neither CARGO_HOME nor a home folder is known")
}

fn copy_sources(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_sources(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// Published manifests have one feature a line.
fn remove_feature(manifest: &str, feature: &str) -> Result<String> {
    let line = format!("\"{feature}\",");
    if manifest.lines().filter(|candidate| candidate.trim() == line).count() != 1 {
        bail!("it does not name the feature {feature} exactly once");
    }
    let kept: Vec<&str> = manifest.lines().filter(|candidate| candidate.trim() != line).collect();
    // Cargo must not take the copy for a member of the workspace that it lies in.
    Ok(format!("{}\n\n[workspace]\n", kept.join("\n")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: &str = "[dependencies.ureq]\nfeatures = [\n    \"gzip\",\n    \"native-tls\",\n]\n";

    #[test]
    fn one_feature_goes_and_the_others_stay() {
        let changed = remove_feature(MANIFEST, "native-tls").unwrap();
        assert!(changed.contains("\"gzip\"") && !changed.contains("native-tls") && changed.contains("[workspace]"));
    }

    #[test]
    fn a_manifest_without_it_is_an_error() {
        assert!(remove_feature(MANIFEST, "rustls").is_err());
        assert!(remove_feature(&MANIFEST.repeat(2), "native-tls").is_err());
    }
}
