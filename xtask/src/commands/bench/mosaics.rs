//! The pictures that are measured with: mosaics of photographs, which keep a photograph's entropy at any size.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use xtask::random;
use xtask::workspace::Workspace;

use super::partner::Partner;
use super::photos;

/// A picture to be made.
pub(super) struct Mosaic<'a> {
    /// Of the kind, which with the size names the file.
    pub(super) name: &'a str,
    pub(super) width: u32,
    pub(super) height: u32,
    /// sharp's name of the format, and its settings.
    pub(super) format: &'a str,
    pub(super) settings: &'a Value,
}

/// Pictures made by this run or an earlier one of the same photographs.
pub(super) struct Mosaics {
    photos: Vec<PathBuf>,
    folder: PathBuf,
}

impl Mosaics {
    pub(super) fn of(workspace: &Workspace, photos: &Path) -> Result<Self> {
        let photos = photos::list(photos)?;
        // What was made of these photographs in another way counts no more.
        let mut hash = Sha256::new_with_prefix(include_str!("../../../js/sharp.mjs"));
        for photo in &photos {
            hash.update(fs::read(photo).with_context(|| format!("reading {}", photo.display()))?);
        }
        let folder = workspace
            .target
            .join("kado/bench")
            .join(&random::to_hex(&hash.finalize())[..16]);
        fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
        Ok(Self { photos, folder })
    }

    /// The file; made if it is not there.
    pub(super) fn get(&self, mosaic: &Mosaic<'_>, sharp: &mut Partner) -> Result<PathBuf> {
        let Mosaic {
            name,
            width,
            height,
            format,
            settings,
        } = mosaic;
        let name = format!("{name}-{width}x{height}.{format}");
        let path = self.folder.join(&name);
        if !path.exists() {
            let unfinished = self.folder.join(format!("unfinished-{name}"));
            sharp.ask(&json!({
                "action": "mosaic", "files": self.photos, "width": width, "height": height,
                "format": format, "settings": settings, "output": unfinished,
            }))?;
            fs::rename(&unfinished, &path).with_context(|| format!("naming {}", path.display()))?;
        }
        Ok(path)
    }
}
