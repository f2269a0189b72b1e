//! JPEG through jpeg-encoder.

use super::copyright;
use crate::pixels::{Channels, Raster};
use crate::{CodecError, Encoding, ImageError, ImageInfo};
use jpeg_encoder::{ChromaSubsamplingMethod, ColorType, Encoder, SamplingFactor};

/// Below, the tables of a progressive file cost more than they save; above, its coefficients take too much memory.
const PROGRESSIVE_PIXELS: core::ops::RangeInclusive<u64> = 2_500..=9_000_000;

/// From this quality on, chroma is kept at full resolution.
const FULL_CHROMA_QUALITY: u8 = 90;

/// Whether a JPEG of so many pixels is written progressively.
pub(crate) fn is_progressive(encoding: &Encoding, pixels: u64) -> bool {
    encoding.progressive && !encoding.fast && PROGRESSIVE_PIXELS.contains(&pixels)
}

/// Whether a JPEG of this quality keeps half of chroma's resolution.
pub(super) const fn halves_chroma(quality: u8) -> bool {
    quality < FULL_CHROMA_QUALITY
}

pub(super) fn encode(raster: &Raster, encoding: &Encoding, info: &ImageInfo) -> Result<Vec<u8>, ImageError> {
    let side =
        |side: u32| u16::try_from(side).map_err(|_| ImageError::Internal("a JPEG side over 65,535 was let through"));
    let (width, height) = (side(raster.width)?, side(raster.height)?);
    let failed = |error: jpeg_encoder::EncodingError| CodecError::Failed(error.to_string());
    let mut bytes = Vec::new();
    let mut encoder = Encoder::new(&mut bytes, encoding.quality);
    encoder.set_sampling_factor(if halves_chroma(encoding.quality) {
        SamplingFactor::R_4_2_0
    } else {
        SamplingFactor::R_4_4_4
    });
    encoder.set_chroma_subsampling_method(ChromaSubsamplingMethod::Average);
    let pixels = u64::from(raster.width) * u64::from(raster.height);
    if is_progressive(encoding, pixels) {
        encoder.set_progressive(true);
        // Only here: with it a baseline file would be written in one scan per component, which some decoders garble.
        encoder.set_optimized_huffman_tables(true);
    }
    if encoding.copyright
        && let Some(segment) = copyright::exif(info)
    {
        encoder.add_app_segment(1, segment).map_err(failed)?;
    }
    let color = match raster.channels {
        Channels::Grey => ColorType::Luma,
        Channels::Rgb => ColorType::Rgb,
        Channels::Rgba => ColorType::Rgba,
    };
    encoder.encode(&raster.data, width, height, color).map_err(failed)?;
    Ok(bytes)
}
