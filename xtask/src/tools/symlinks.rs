//! npm packages cannot hold symbolic links. The PostgreSQL package lists its own in a file, for an install script
//! that is not run here; without them its libraries are not found.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::symlink;
use std::path::{Component, Path};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

#[derive(Deserialize)]
struct Link {
    /// What the link points at, relative to the package.
    source: String,
    /// The link itself, relative to the package.
    target: String,
}

/// Creates the links that `native/pg-symlinks.json` of a package lists. Links that are there already stay.
pub(super) fn hydrate(package: &Path) -> Result<()> {
    let list = package.join("native/pg-symlinks.json");
    let text = match fs::read_to_string(&list) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).with_context(|| format!("reading {}", list.display())),
    };
    let links: Vec<Link> = serde_json::from_str(&text).with_context(|| format!("reading {}", list.display()))?;
    for link in links {
        let (source, target) = (Path::new(&link.source), Path::new(&link.target));
        // Only plain names within one folder occur; anything else would be a package to look at before use.
        if source.parent() != target.parent() || !stays_within(source) || !stays_within(target) {
            bail!(
                "{} lists an odd link: {} -> {}",
                list.display(),
                link.target,
                link.source
            );
        }
        let Some(name) = source.file_name() else {
            bail!("{} lists a link to nothing", list.display())
        };
        match symlink(name, package.join(target)) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => {
                return Err(error).with_context(|| format!("linking {}", package.join(target).display()));
            }
            _ => {}
        }
    }
    Ok(())
}

fn stays_within(path: &Path) -> bool {
    path.components()
        .all(|component| matches!(component, Component::Normal(_)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::temporary::TemporaryFolder;

    fn package(list: &str) -> TemporaryFolder {
        let folder = TemporaryFolder::new("symlinks").unwrap();
        fs::create_dir_all(folder.path().join("native/lib")).unwrap();
        fs::write(folder.path().join("native/lib/libpq.so.5.15"), "library").unwrap();
        fs::write(folder.path().join("native/pg-symlinks.json"), list).unwrap();
        folder
    }

    #[test]
    fn listed_links_are_made_and_making_them_twice_is_fine() {
        let folder = package(r#"[{"source":"native/lib/libpq.so.5.15","target":"native/lib/libpq.so.5"}]"#);
        hydrate(folder.path()).unwrap();
        hydrate(folder.path()).unwrap();
        assert_eq!(
            fs::read_to_string(folder.path().join("native/lib/libpq.so.5")).unwrap(),
            "library"
        );
    }

    #[test]
    fn a_link_out_of_the_package_is_refused() {
        let folder = package(r#"[{"source":"../../etc/passwd","target":"../../etc/kado"}]"#);
        assert!(format!("{:#}", hydrate(folder.path()).unwrap_err()).contains("odd link"));
    }

    #[test]
    fn a_package_without_a_list_needs_nothing() {
        let folder = TemporaryFolder::new("symlinks").unwrap();
        hydrate(folder.path()).unwrap();
    }
}
