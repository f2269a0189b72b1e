//! A folder for unix sockets whose path is short: the kernel allows 108 bytes (104 on macOS), names included.

use std::fs;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use sha2::{Digest as _, Sha256};

use crate::{ownership, random};

/// Leaves room for the longest name that the edge gives a socket, within 100 bytes.
const LONGEST: usize = 60;

/// The folder; removed at the end.
#[derive(Debug)]
pub(super) struct Sockets {
    path: PathBuf,
}

impl Sockets {
    /// `run` in the data folder, or, where that is too long a path, a folder of the same purpose in `short`.
    /// Sockets of an earlier run are removed.
    pub(super) fn create(data: &Path, short: &Path) -> Result<Self> {
        let path = choose(data, short);
        if path.symlink_metadata().is_ok() {
            ownership::require(&path, 0o077)?;
            fs::remove_dir_all(&path).with_context(|| format!("removing {}", path.display()))?;
        }
        fs::DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .with_context(|| format!("creating {}", path.display()))?;
        if path.as_os_str().len() > LONGEST {
            bail!(
                "{} is too long a path for unix sockets: set TMPDIR to a shorter one",
                path.display()
            );
        }
        Ok(Self { path })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Sockets {
    fn drop(&mut self) {
        let _gone_already = fs::remove_dir_all(&self.path);
    }
}

fn choose(data: &Path, short: &Path) -> PathBuf {
    let near = data.join("run");
    if near.as_os_str().len() <= LONGEST {
        return near;
    }
    let digest = random::to_hex(&Sha256::digest(data.as_os_str().as_encoded_bytes()));
    short.join(format!("kado-{}", &digest[..12]))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::temporary::TemporaryFolder;

    #[test]
    fn a_deep_clone_gets_a_short_folder_elsewhere_and_always_the_same() {
        let deep = PathBuf::from(format!("/{}", "a/".repeat(60)));
        let chosen = choose(&deep, Path::new("/tmp"));
        assert!(chosen.starts_with("/tmp") && chosen.as_os_str().len() <= LONGEST);
        assert_eq!(chosen, choose(&deep, Path::new("/tmp")));
        assert_eq!(
            choose(Path::new("/w/.kado"), Path::new("/tmp")),
            Path::new("/w/.kado/run")
        );
    }

    #[test]
    fn stale_sockets_go_and_the_folder_is_private() {
        let folder = TemporaryFolder::new("s").unwrap();
        let stale = folder.path().join("run");
        fs::DirBuilder::new().mode(0o700).create(&stale).unwrap();
        fs::write(stale.join("stale.sock"), "").unwrap();
        let second = Sockets::create(folder.path(), folder.path()).unwrap();
        assert_eq!(fs::read_dir(second.path()).unwrap().count(), 0);
        assert_eq!(fs::metadata(second.path()).unwrap().permissions().mode() & 0o777, 0o700);
    }

    #[test]
    fn a_folder_that_others_may_enter_is_not_used() {
        let folder = TemporaryFolder::new("s").unwrap();
        let run = folder.path().join("run");
        fs::create_dir(&run).unwrap();
        fs::set_permissions(&run, fs::Permissions::from_mode(0o777)).unwrap();
        assert!(Sockets::create(folder.path(), folder.path()).is_err());
    }
}
