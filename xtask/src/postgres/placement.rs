//! Where the binaries and the data lie, when the account that runs PostgreSQL cannot enter the clone.
//!
//! A clone in root's private home is the common case. Opening that home to everybody is not ours to do, so the
//! binaries are copied, and the data kept, in `/var/tmp`.

use std::fs;
use std::os::unix::fs::{DirBuilderExt as _, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use sha2::{Digest as _, Sha256};

use super::account::Account;
use crate::{ownership, random};

/// Where copies go: a place that every account can enter and that survives a restart of the machine.
const ELSEWHERE: &str = "/var/tmp";

/// The folders that a cluster really uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    /// The folder with PostgreSQL's `bin`, `lib` and `share`.
    pub binaries: PathBuf,
    /// The data folder.
    pub data: PathBuf,
}

impl Placement {
    /// The wanted folders themselves, or replacements that `account` can reach; copies the binaries if it must.
    ///
    /// # Errors
    /// When the copy fails.
    pub fn choose(binaries: &Path, data: &Path, account: Option<Account>) -> Result<Self> {
        let mut chosen = Self {
            binaries: binaries.to_owned(),
            data: data.to_owned(),
        };
        let Some(account) = account else { return Ok(chosen) };
        if !account.reaches(&binaries.join("bin/postgres")) {
            chosen.binaries = replacement("postgres", &binaries.join(version_mark(binaries)));
            copy_once(binaries, &chosen.binaries)?;
        }
        if !account.reaches(data) {
            let folder = replacement("data", data);
            create(&folder)?;
            ownership::require(&folder, 0o022)?;
            chosen.data = folder.join("pg");
            link(data, &chosen.data)?;
        }
        Ok(chosen)
    }
}

/// Leaves a link where the data was wanted. Whoever deletes the wanted folder, and the link with it, means the data.
fn link(wanted: &Path, real: &Path) -> Result<()> {
    if fs::read_link(wanted).is_ok_and(|target| target == real) {
        return Ok(());
    }
    if real.exists() {
        fs::remove_dir_all(real)
            .with_context(|| format!("removing the data of a deleted clone, {}", real.display()))?;
    }
    symlink(real, wanted).with_context(|| format!("linking {} to {}", wanted.display(), real.display()))
}

/// The same path always has the same replacement.
fn replacement(kind: &str, path: &Path) -> PathBuf {
    let digest = random::to_hex(&Sha256::digest(path.as_os_str().as_encoded_bytes()));
    Path::new(ELSEWHERE).join(format!("kado-{kind}-{}", &digest[..16]))
}

/// Changes when the package is replaced by another version.
fn version_mark(binaries: &Path) -> String {
    fs::read_to_string(binaries.join("../package.json")).map_or_else(
        |_| "unversioned".to_owned(),
        |text| random::to_hex(&Sha256::digest(text)),
    )
}

/// Copies into a folder beside and renames it, so that a copy that was cut short is never taken for a whole one.
fn copy_once(from: &Path, to: &Path) -> Result<()> {
    if to.exists() {
        return ownership::require(to, 0o022);
    }
    let partial = to.with_extension(random::hex(4)?);
    copy(from, &partial)
        .with_context(|| format!("copying PostgreSQL from {} to {}", from.display(), partial.display()))?;
    if fs::rename(&partial, to).is_err() {
        // Another clone's start was faster; its copy is as good.
        fs::remove_dir_all(&partial).with_context(|| format!("removing {}", partial.display()))?;
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    create(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (kind, target) = (entry.file_type()?, to.join(entry.file_name()));
        if kind.is_dir() {
            copy(&entry.path(), &target)?;
        } else if kind.is_symlink() {
            symlink(fs::read_link(entry.path())?, target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

fn create(folder: &Path) -> Result<()> {
    fs::DirBuilder::new()
        .mode(0o755)
        .recursive(true)
        .create(folder)
        .with_context(|| format!("creating {}", folder.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::temporary::TemporaryFolder;

    #[test]
    fn without_another_account_everything_stays() {
        let (binaries, data) = (Path::new("/clone/native"), Path::new("/clone/.kado/pg"));
        let chosen = Placement::choose(binaries, data, None).unwrap();
        assert_eq!(
            chosen,
            Placement {
                binaries: binaries.to_owned(),
                data: data.to_owned()
            }
        );
    }

    #[test]
    fn replacements_differ_by_clone_and_stay_the_same() {
        assert_eq!(
            replacement("data", Path::new("/a")),
            replacement("data", Path::new("/a"))
        );
        assert_ne!(
            replacement("data", Path::new("/a")),
            replacement("data", Path::new("/b"))
        );
    }

    #[test]
    fn data_goes_with_the_link_that_was_deleted() {
        let folder = TemporaryFolder::new("link").unwrap();
        let (wanted, real) = (folder.path().join("pg"), folder.path().join("elsewhere"));
        link(&wanted, &real).unwrap();
        fs::create_dir(&real).unwrap();
        link(&wanted, &real).unwrap();
        assert!(real.exists(), "with its link the data stays");
        fs::remove_file(&wanted).unwrap();
        link(&wanted, &real).unwrap();
        assert!(!real.exists(), "without it the data is of a clone that is gone");
    }

    #[test]
    fn a_copy_is_whole_and_made_once() {
        let folder = TemporaryFolder::new("copy").unwrap();
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        fs::create_dir_all(from.join("bin")).unwrap();
        fs::create_dir_all(from.join("lib")).unwrap();
        fs::write(from.join("bin/postgres"), "one").unwrap();
        symlink("libpq.so.5.15", from.join("lib/libpq.so.5")).unwrap();
        copy_once(&from, &to).unwrap();
        fs::write(from.join("bin/postgres"), "two").unwrap();
        copy_once(&from, &to).unwrap();
        assert_eq!(fs::read_to_string(to.join("bin/postgres")).unwrap(), "one");
        assert_eq!(
            fs::read_link(to.join("lib/libpq.so.5")).unwrap(),
            Path::new("libpq.so.5.15")
        );
    }
}
