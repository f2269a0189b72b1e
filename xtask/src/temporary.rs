//! Folders that go away with the value that stands for them.

use std::fs;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::random;

/// A new folder in the system's temporary folder, removed on drop. Its path is short enough for unix sockets.
#[derive(Debug)]
pub struct TemporaryFolder {
    path: PathBuf,
}

impl TemporaryFolder {
    /// Creates a folder that others may enter but not list, since PostgreSQL may run under another account.
    ///
    /// # Errors
    /// When it cannot be created.
    pub fn new(purpose: &str) -> Result<Self> {
        let path = std::env::temp_dir().join(format!("kado-{purpose}-{}", random::hex(4)?));
        fs::DirBuilder::new()
            .mode(0o711)
            .create(&path)
            .with_context(|| format!("creating {}", path.display()))?;
        Ok(Self { path })
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Leaves the folder where it is and gives its path.
    #[must_use]
    pub fn keep(mut self) -> PathBuf {
        std::mem::take(&mut self.path)
    }
}

impl Drop for TemporaryFolder {
    fn drop(&mut self) {
        if !self.path.as_os_str().is_empty() {
            let _gone_already = fs::remove_dir_all(&self.path);
        }
    }
}
