//! How finely a picture is decoded.

use crate::{Encoding, Format, ImageInfo, Region};

/// Where decoded pixels are made this many times smaller, chroma that has been decoded half as finely still is finer than
/// the answer.
const HALF_CHROMA_SHRINK: f64 = 2.25;

/// How much smaller a JPEG can be decoded: 8, 4 or 2 where the whole shrink is at least that.
pub(super) fn decode_scale(info: &ImageInfo, region: Region, resized: (u32, u32)) -> u8 {
    // On a side of fewer than 16 pixels the scaled sizes are too coarse to tell the scales apart.
    if info.format != Format::Jpeg || info.width.min(info.height) < 16 {
        return 1;
    }
    let shrink = shrinks(region, resized);
    [8u8, 4, 2]
        .into_iter()
        .find(|scale| shrink >= f64::from(*scale))
        .unwrap_or(1)
}

/// Whether chroma is wanted as fine as the rest of what is decoded at this scale.
pub(super) fn full_chroma(encoding: &Encoding, scale: u8, region: Region, resized: (u32, u32)) -> bool {
    let left = shrinks(region, resized) / f64::from(scale);
    !crate::encode::halves_chroma(encoding) && left < HALF_CHROMA_SHRINK
}

/// How many pixels of the source become one, along the side where they are fewer.
pub(super) fn shrinks(region: Region, resized: (u32, u32)) -> f64 {
    // Sides are rounded to whole pixels: a shrink by 8 may have come out as a little less, by up to half a pixel.
    let along = |from: f64, to: u32| (from / (f64::from(to) - 0.5)).min(1.01 * from / f64::from(to));
    along(region.width, resized.0).min(along(region.height, resized.1))
}
