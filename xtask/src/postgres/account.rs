//! PostgreSQL refuses to run as root. Started as root, it runs under an account that owns nothing else.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::invoke;

/// Accounts that exist for such a purpose, the most fitting first.
const CANDIDATES: [&str; 2] = ["postgres", "nobody"];

/// An unprivileged account of this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Account {
    uid: u32,
    gid: u32,
}

impl Account {
    /// The account to drop to; `None` when we are not root and PostgreSQL runs as we do.
    ///
    /// # Errors
    /// When we are root and the machine has no such account.
    pub fn for_postgres() -> Result<Option<Self>> {
        if !rustix::process::geteuid().is_root() {
            return Ok(None);
        }
        for name in CANDIDATES {
            if let (Some(uid), Some(gid)) = (id("-u", name), id("-g", name)) {
                return Ok(Some(Self { uid, gid }));
            }
        }
        bail!(
            "PostgreSQL does not run as root, and this machine has no account {} to run it as: \
             add one, run as another user, or set DATABASE_URL",
            CANDIDATES.join(" or ")
        )
    }

    /// Makes a command run under this account, without supplementary groups.
    pub fn run(self, command: &mut Command) {
        command.uid(self.uid).gid(self.gid);
    }

    /// Gives a file or folder, with all that is in it, to the account.
    ///
    /// # Errors
    /// When an owner cannot be changed.
    pub fn own(self, path: &Path) -> Result<()> {
        let meta = fs::symlink_metadata(path).with_context(|| format!("reading {}", path.display()))?;
        if meta.uid() != self.uid || meta.gid() != self.gid {
            std::os::unix::fs::lchown(path, Some(self.uid), Some(self.gid))
                .with_context(|| format!("giving {} to the account of PostgreSQL", path.display()))?;
        }
        if meta.is_dir() {
            for entry in fs::read_dir(path).with_context(|| format!("listing {}", path.display()))? {
                self.own(&entry?.path())?;
            }
        }
        Ok(())
    }

    /// Gives one folder to the account, not what is in it.
    ///
    /// # Errors
    /// When the owner cannot be changed.
    pub fn own_folder(self, path: &Path) -> Result<()> {
        chown(path, Some(self.uid), Some(self.gid))
            .with_context(|| format!("giving {} to the account of PostgreSQL", path.display()))
    }

    /// Whether the account can pass through every folder above `path`.
    #[must_use]
    pub fn reaches(self, path: &Path) -> bool {
        path.ancestors()
            .skip(1)
            .filter_map(|folder| fs::metadata(folder).ok())
            .all(|meta| {
                let (mode, owner, group) = (meta.mode(), meta.uid(), meta.gid());
                self.may_pass(mode, owner, group)
            })
    }

    fn may_pass(self, mode: u32, owner: u32, group: u32) -> bool {
        let bit = if owner == self.uid {
            0o100
        } else if group == self.gid {
            0o010
        } else {
            0o001
        };
        mode & bit != 0
    }
}

fn id(option: &str, name: &str) -> Option<u32> {
    invoke::read(invoke::command("id").args([option, name]))
        .ok()?
        .trim()
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACCOUNT: Account = Account { uid: 65534, gid: 65534 };

    #[test]
    fn the_most_specific_bit_decides_who_may_pass() {
        assert!(ACCOUNT.may_pass(0o755, 0, 0));
        assert!(!ACCOUNT.may_pass(0o700, 0, 0), "another's private folder");
        assert!(ACCOUNT.may_pass(0o700, 65534, 0), "its own private folder");
        assert!(
            !ACCOUNT.may_pass(0o707, 0, 65534),
            "its group is shut out although others are not"
        );
        assert!(ACCOUNT.may_pass(0o710, 0, 65534));
    }

    #[test]
    fn a_private_home_is_out_of_reach() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = crate::temporary::TemporaryFolder::new("reach").unwrap();
        let inner = folder.path().join("data");
        fs::create_dir(&inner).unwrap();
        let stranger = Account { uid: 61234, gid: 61234 };
        assert!(stranger.reaches(&inner));
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700)).unwrap();
        assert!(!stranger.reaches(&inner));
    }
}
