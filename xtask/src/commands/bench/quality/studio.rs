//! The processes that make and compare pictures, and the pictures that they begin with.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use xtask::temporary::TemporaryFolder;
use xtask::workspace::Workspace;
use xtask::{cargo, invoke, progress};

use crate::commands::bench::document::{Circumstances, processor};
use crate::commands::bench::partner::{Partner, sharp};
use crate::commands::bench::photos;

/// Cargo's, where no other is asked for.
pub(super) const DEFAULT_PROFILE: &str = "native";

/// Widths that are asked for.
pub(super) const WIDTHS: [u32; 2] = [400, 1200];

/// Of the mosaics.
const MOSAIC: (u32, u32) = (2400, 1600);

/// Each has most of the photographs, in another order.
const MOSAICS: usize = 3;

/// A picture in a file, and what answers that are made of it are compared with.
pub(super) struct Picture {
    pub(super) file: PathBuf,
    pub(super) reference: PathBuf,
    pub(super) size: (u32, u32),
}

/// An answer.
#[derive(Clone, Copy)]
pub(super) struct Scored {
    pub(super) bytes: f64,
    pub(super) score: f64,
}

pub(super) struct Studio {
    pub(super) engine: Partner,
    pub(super) sharp: Partner,
    judge: Partner,
    folder: TemporaryFolder,
    photos: Vec<PathBuf>,
    profile: String,
}

impl Studio {
    pub(super) fn open(workspace: &Workspace, folder: &Path, only: Option<usize>, profile: &str) -> Result<Self> {
        let build = |program| cargo::build_example(workspace, "kado-image", program, profile);
        let [engine, judge] = progress::step("Building the engine and the score", || {
            Ok([build("kado-image-bench")?, build("kado-image-score")?])
        })?;
        let mut photos = photos::list(folder)?;
        photos.truncate(only.unwrap_or(usize::MAX));
        Ok(Self {
            engine: Partner::start(&mut invoke::command(engine))?,
            sharp: Partner::start(&mut sharp(workspace))?,
            judge: Partner::start(&mut invoke::command(judge))?,
            folder: TemporaryFolder::new("bench")?,
            photos,
            profile: profile.to_owned(),
        })
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Mosaics that begin with other photographs each.
    pub(super) fn mosaics(&mut self, format: &str, settings: &Value) -> Result<Vec<PathBuf>> {
        (0..self.photos.len().min(MOSAICS))
            .map(|first| {
                let output = self.path(&format!("mosaic-{first}.{format}"));
                self.sharp.ask(&json!({
                    "action": "mosaic", "files": self.photos, "first": first, "width": MOSAIC.0, "height": MOSAIC.1,
                    "format": format, "settings": settings, "output": output,
                }))?;
                Ok(output)
            })
            .collect()
    }

    /// A source with the reference for a width.
    pub(super) fn reference(&mut self, file: &Path, width: u32) -> Result<Picture> {
        let (from, pixels) = self.pixels(file)?;
        // As both sides round.
        let height = (u64::from(from.1) * u64::from(width) + u64::from(from.0) / 2) / u64::from(from.0);
        let size = (width, u32::try_from(height).context("a height")?);
        let reference = file.with_extension(format!("{width}.reference"));
        self.judge.ask(&json!({
            "reference": reference, "rounded": reference.with_extension("rounded"), "source": pixels,
            "from": [from.0, from.1], "to": [size.0, size.1],
        }))?;
        Ok(Picture {
            file: file.to_owned(),
            reference,
            size,
        })
    }

    /// Pictures of the sizes that answers have, to be encoded as they are: the photographs at the smaller width, mosaics at
    /// the larger one. The reference of each is itself.
    pub(super) fn finished(&mut self) -> Result<Vec<Picture>> {
        let mosaics = self.mosaics("png", &json!({ "compressionLevel": 1 }))?;
        let copies: Vec<PathBuf> = (0..self.photos.len())
            .map(|index| self.path(&format!("photo-{index}.png")))
            .collect();
        for (photo, copy) in self.photos.clone().iter().zip(&copies) {
            std::fs::copy(photo, copy).with_context(|| format!("copying {}", photo.display()))?;
        }
        let mut pictures = Vec::new();
        for (files, width) in [copies, mosaics].into_iter().zip(WIDTHS) {
            for file in files {
                let Picture { reference, size, .. } = self.reference(&file, width)?;
                let png = reference.with_extension("png");
                let rounded = reference.with_extension("rounded");
                self.sharp.ask(&json!({
                    "action": "png", "file": rounded, "width": size.0, "height": size.1, "output": png,
                }))?;
                pictures.push(self.reference(&png, width)?);
            }
        }
        Ok(pictures)
    }

    fn pixels(&mut self, file: &Path) -> Result<((u32, u32), PathBuf)> {
        let output = self.path("pixels");
        let answer = self
            .sharp
            .ask(&json!({ "action": "pixels", "file": file, "output": output }))?;
        let side = |name: &str| {
            let side = answer[name].as_u64().and_then(|side| u32::try_from(side).ok());
            side.context("an answer without its size")
        };
        Ok(((side("width")?, side("height")?), output))
    }

    pub(super) fn ours(&mut self, picture: &Picture, options: &str) -> Result<Scored> {
        let output = self.path("answer");
        let options = format!("{options},width={}", picture.size.0);
        self.engine
            .ask(&json!({ "file": picture.file, "options": options, "output": output }))?;
        self.scored(&output, picture)
    }

    pub(super) fn theirs(&mut self, picture: &Picture, format: &str, settings: &Value) -> Result<Scored> {
        let output = self.path("answer");
        self.sharp.ask(&json!({
            "action": "transform", "file": picture.file, "width": picture.size.0, "format": format,
            "settings": settings, "output": output,
        }))?;
        self.scored(&output, picture)
    }

    /// The Worker's AVIF: libaom's, at the settings that the engine gives it, or at another quality than it would.
    pub(super) fn libaom(&mut self, picture: &Picture, quality: u8, number: Option<u8>) -> Result<Scored> {
        let output = self.path("answer");
        let mut settings = self.avif_settings(picture, quality)?;
        if let Some(number) = number {
            settings["quality"] = json!(number);
        }
        self.sharp
            .ask(&json!({ "action": "libaom", "file": picture.file, "settings": settings, "output": output }))?;
        self.scored(&output, picture)
    }

    pub(super) fn avif_settings(&mut self, picture: &Picture, quality: u8) -> Result<Value> {
        let options = format!("format=avif,quality={quality}");
        let answer = self
            .engine
            .ask(&json!({ "file": picture.file, "options": options, "record": true }))?;
        Ok(answer["settings"].clone())
    }

    fn scored(&mut self, answer: &Path, picture: &Picture) -> Result<Scored> {
        let bytes = std::fs::metadata(answer).context("looking at an answer")?.len();
        let (size, pixels) = self.pixels(answer)?;
        anyhow::ensure!(size == picture.size, "{size:?} of {:?} were asked for", picture.size);
        let answer = self
            .judge
            .ask(&json!({ "score": pixels, "reference": picture.reference, "size": [size.0, size.1] }))?;
        Ok(Scored {
            #[expect(clippy::cast_precision_loss, reason = "sizes of files, for a ratio")]
            bytes: bytes as f64,
            score: answer["score"].as_f64().context("an answer without its score")?,
        })
    }

    pub(super) fn circumstances(&mut self, fit: bool) -> Result<Circumstances> {
        let mut command = "cargo xtask bench quality --photos FOLDER".to_owned();
        if fit {
            command += " --fit";
        }
        if self.profile != DEFAULT_PROFILE {
            command += &format!(" --profile {}", self.profile);
        }
        Circumstances::now(command, processor(), &mut self.sharp, &self.profile)
    }
}
