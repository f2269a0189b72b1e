//! A digest over everything that the bundle is made from, so that an unchanged Worker is not built again.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use sha2::{Digest as _, Sha256};

use super::Profile;
use crate::workspace::Workspace;
use crate::{invoke, random, tools};

/// Files and folders of the clone that the bundle depends on.
const SOURCES: [&str; 9] = [
    "edge",
    "edge/av1/.cargo/config.toml",
    "imaging",
    "shared",
    "xtask/src/edge_build",
    "Cargo.toml",
    "Cargo.lock",
    "package-lock.json",
    ".cargo/config.toml",
];
/// Output of former builds and what editors leave.
const SKIPPED: [&str; 4] = ["build", "target", "node_modules", ".git"];

/// Hexadecimal; changes with any source, the compiler, or the profile.
pub(super) fn digest(workspace: &Workspace, profile: Profile) -> Result<String> {
    let compiler = invoke::read(invoke::command("rustc").current_dir(&workspace.root).arg("-vV"))?;
    let mut hash = Sha256::new();
    hash.update(format!("{profile}\0{compiler}\0{}\0", tools::WORKER_BUILD));
    for source in SOURCES {
        add(&mut hash, &workspace.root, Path::new(source))?;
    }
    Ok(random::to_hex(&hash.finalize()))
}

/// Names and contents, in an order that does not depend on the file system.
fn add(hash: &mut Sha256, root: &Path, relative: &Path) -> Result<()> {
    let path = root.join(relative);
    let meta = fs::symlink_metadata(&path).with_context(|| format!("reading {}", path.display()))?;
    if meta.is_dir() {
        let listing = fs::read_dir(&path).with_context(|| format!("listing {}", path.display()))?;
        let mut names = listing
            .map(|entry| Ok(entry?.file_name()))
            .collect::<std::io::Result<Vec<_>>>()?;
        names.sort();
        for name in names {
            let hidden = name.as_encoded_bytes().starts_with(b".");
            if !hidden && !SKIPPED.iter().any(|skipped| name == *skipped) {
                add(hash, root, &relative.join(name))?;
            }
        }
    } else if meta.is_file() {
        let content = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
        hash.update(relative.as_os_str().as_encoded_bytes());
        hash.update([0]);
        hash.update(content.len().to_le_bytes());
        hash.update(content);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::temporary::TemporaryFolder;

    fn digest_of(folder: &TemporaryFolder) -> String {
        let mut hash = Sha256::new();
        add(&mut hash, folder.path(), Path::new("edge")).unwrap();
        random::to_hex(&hash.finalize())
    }

    #[test]
    fn a_changed_added_or_renamed_source_changes_the_digest() {
        let folder = TemporaryFolder::new("inputs").unwrap();
        let source = folder.path().join("edge/src");
        fs::create_dir_all(&source).unwrap();
        fs::write(source.join("lib.rs"), "one").unwrap();
        let mut seen = vec![digest_of(&folder)];
        fs::write(source.join("lib.rs"), "two").unwrap();
        seen.push(digest_of(&folder));
        fs::write(source.join("more.rs"), "").unwrap();
        seen.push(digest_of(&folder));
        fs::rename(source.join("more.rs"), source.join("other.rs")).unwrap();
        seen.push(digest_of(&folder));
        let all = seen.len();
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), all);
    }

    #[test]
    fn output_of_a_build_is_no_input() {
        let folder = TemporaryFolder::new("inputs").unwrap();
        fs::create_dir_all(folder.path().join("edge/build")).unwrap();
        let before = digest_of(&folder);
        fs::write(folder.path().join("edge/build/index.js"), "output").unwrap();
        fs::write(folder.path().join("edge/.swap"), "an editor's").unwrap();
        assert_eq!(digest_of(&folder), before);
    }
}
