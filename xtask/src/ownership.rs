//! Folders with names that others could foresee, in places that everybody may write to.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use anyhow::{Context, Result, bail};

/// Refuses a path that is not a real folder of ours, or that others have any of the `forbidden` mode bits on.
///
/// # Errors
/// When it is not, with the path, or cannot be looked at.
pub fn require(path: &Path, forbidden: u32) -> Result<()> {
    let meta = path
        .symlink_metadata()
        .with_context(|| format!("reading {}", path.display()))?;
    let ours = meta.is_dir()
        && meta.uid() == rustix::process::geteuid().as_raw()
        && meta.permissions().mode() & forbidden == 0;
    if !ours {
        bail!(
            "{} is there already and is not a folder of ours: remove it and start again",
            path.display()
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::temporary::TemporaryFolder;

    #[test]
    fn a_link_or_an_open_folder_is_not_ours() {
        let folder = TemporaryFolder::new("own").unwrap();
        let (real, link) = (folder.path().join("real"), folder.path().join("link"));
        fs::create_dir(&real).unwrap();
        fs::set_permissions(&real, fs::Permissions::from_mode(0o755)).unwrap();
        symlink(&real, &link).unwrap();
        require(&real, 0o022).unwrap();
        assert!(require(&real, 0o077).is_err());
        assert!(require(&link, 0o022).is_err());
        assert!(require(&folder.path().join("missing"), 0).is_err());
    }
}
