//! From pixels to a file.

mod copyright;
mod jpeg;
mod palette;
mod png;
mod webp;

pub(crate) use jpeg::is_progressive;

use crate::pixels::Raster;
use crate::{Codecs, Encoding, Format, ImageError, ImageInfo};

/// Whether an encoding keeps half of chroma's resolution.
pub(crate) const fn halves_chroma(encoding: &Encoding) -> bool {
    match encoding.format {
        Format::Jpeg => jpeg::halves_chroma(encoding.quality),
        Format::WebP => true,
        _ => false,
    }
}

/// Encodes a finished picture.
pub(crate) fn encode(
    raster: Raster,
    encoding: &Encoding,
    info: &ImageInfo,
    codecs: &dyn Codecs,
) -> Result<Vec<u8>, ImageError> {
    match encoding.format {
        Format::Jpeg => jpeg::encode(&raster, encoding, info),
        Format::Png => png::encode(&raster, encoding),
        Format::WebP => webp::encode(raster, encoding, codecs),
        format => Err(ImageError::unsupported(format, "it is not written by this engine")),
    }
}
