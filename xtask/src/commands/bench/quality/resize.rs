//! The same resize on both sides, by score.

use anyhow::Result;
use serde_json::{Value, json};

use super::studio::{Studio, WIDTHS};

/// A kind of source, and settings of sharp's that make it.
fn sources() -> [(&'static str, Value); 2] {
    [
        ("png", json!({ "compressionLevel": 1 })),
        ("jpeg", json!({ "quality": 88, "chromaSubsampling": "4:2:0" })),
    ]
}

/// A format, our options for it, and the settings of sharp's that mean the same. Our 80 is libwebp's 80, too.
fn outputs() -> [(&'static str, &'static str, Value); 3] {
    [
        (
            "jpeg",
            "format=jpeg,quality=80",
            json!({ "quality": 80, "chromaSubsampling": "4:2:0", "progressive": true }),
        ),
        ("png", "format=png", json!({ "compressionLevel": 1 })),
        ("webp", "format=webp,quality=80", json!({ "quality": 80, "effort": 4 })),
    ]
}

/// The scores of all mosaics.
pub(super) struct Resized {
    pub(super) name: String,
    pub(super) ours: Vec<f64>,
    pub(super) theirs: Vec<f64>,
}

pub(super) fn measure(studio: &mut Studio) -> Result<Vec<Resized>> {
    let mut all = Vec::new();
    for (source, settings) in sources() {
        let mosaics = studio.mosaics(source, &settings)?;
        for width in WIDTHS {
            let pictures = mosaics
                .iter()
                .map(|file| studio.reference(file, width))
                .collect::<Result<Vec<_>>>()?;
            for (format, options, settings) in outputs() {
                let mut resized = Resized {
                    name: format!("{source} -> {width} {format}"),
                    ours: Vec::new(),
                    theirs: Vec::new(),
                };
                for picture in &pictures {
                    resized.ours.push(studio.ours(picture, options)?.score);
                    resized.theirs.push(studio.theirs(picture, format, &settings)?.score);
                }
                all.push(resized);
            }
        }
    }
    Ok(all)
}
