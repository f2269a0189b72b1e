//! What every measurement has at hand.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

use super::cases::Case;
use super::kit::Kit;
use crate::commands::bench::mosaics::{Mosaic, Mosaics};
use crate::commands::bench::partner::Partner;

pub(super) struct Bench {
    pub(super) kit: Kit,
    pub(super) sharp: Partner,
    pub(super) mosaics: Mosaics,
    /// Whether only the smallest pictures are wanted.
    pub(super) quick: bool,
}

impl Bench {
    /// The file of a case's source.
    pub(super) fn file(&mut self, case: &Case) -> Result<PathBuf> {
        let mosaic = Mosaic {
            name: &case.source.name,
            width: case.size.width,
            height: case.size.height,
            format: &case.source.format,
            settings: &case.source.settings,
        };
        self.mosaics.get(&mosaic, &mut self.sharp)
    }

    /// What is in it.
    pub(super) fn picture(&mut self, case: &Case) -> Result<Vec<u8>> {
        let file = self.file(case)?;
        fs::read(&file).with_context(|| format!("reading {}", file.display()))
    }
}
