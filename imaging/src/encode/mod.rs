//! From pixels to a file.

mod avif;
mod gif;
mod jpeg;
mod palette;
mod png;
mod quantise;
mod webp;
mod webp_animation;
mod webp_chunks;

pub(crate) use avif::AUTOMATIC_PIXELS as AUTOMATIC_AVIF_PIXELS;
pub(crate) use gif::Animation as GifAnimation;
pub(crate) use jpeg::coefficient_bytes as jpeg_coefficient_bytes;
pub(crate) use jpeg::{Picture, encode as encode_jpeg};
pub(crate) use quantise::BYTES_PER_INDEX;
pub(crate) use webp_animation::Animation as WebpAnimation;

use crate::metadata::Metadata;
use crate::pixels::Raster;
use crate::{Codecs, Encoding, Format, ImageError};

/// Whether an encoding keeps half of chroma's resolution.
pub(crate) const fn halves_chroma(encoding: &Encoding) -> bool {
    match encoding.format {
        Format::Jpeg => jpeg::halves_chroma(encoding.quality),
        Format::WebP => true,
        _ => false,
    }
}

/// How much smaller a JPEG's chroma planes are, across and down.
pub(crate) const fn chroma_sampling(encoding: &Encoding) -> u32 {
    if halves_chroma(encoding) { 2 } else { 1 }
}

/// Encodes a finished picture. `cancel` is asked on the way where that is long and the encoder our own.
pub(crate) fn encode(
    raster: Raster,
    encoding: &Encoding,
    metadata: &Metadata,
    codecs: &dyn Codecs,
    cancel: &dyn Fn() -> bool,
) -> Result<Vec<u8>, ImageError> {
    match encoding.format {
        Format::Jpeg => jpeg::encode(Picture::Raster(&raster), encoding, metadata, cancel),
        Format::Png => png::encode(&raster, encoding, metadata),
        Format::WebP => webp::with_metadata(raster, encoding, metadata, codecs),
        Format::Gif => gif::still(raster),
        Format::Avif => avif::encode(raster, encoding, codecs),
        format => Err(ImageError::unsupported(format, "it is not written by this engine")),
    }
}
