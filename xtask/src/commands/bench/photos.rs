//! The photographs that large pictures are made of.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// PNG and JPEG files of a folder, absolute, by name.
pub(super) fn list(photos: &Path) -> Result<Vec<PathBuf>> {
    let listing = fs::read_dir(photos).with_context(|| format!("listing {}", photos.display()))?;
    let paths = listing
        .map(|entry| Ok(entry?.path()))
        .collect::<std::io::Result<Vec<_>>>()?;
    let is_picture = |path: &PathBuf| {
        let extension = path
            .extension()
            .map(|extension| extension.to_string_lossy().to_ascii_lowercase());
        matches!(extension.as_deref(), Some("png" | "jpg" | "jpeg"))
    };
    let mut files: Vec<PathBuf> = paths.into_iter().filter(is_picture).collect();
    files.sort();
    if files.is_empty() {
        bail!("{} has no PNG or JPEG files", photos.display());
    }
    files
        .iter()
        .map(|path| {
            path.canonicalize()
                .with_context(|| format!("finding {}", path.display()))
        })
        .collect()
}
