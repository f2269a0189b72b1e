//! WebP through the caller's libwebp.

use super::webp_chunks::{ALPHA, EXIF, XMP, chunk, extended, finished, picture};
use crate::codecs::along;
use crate::metadata::Metadata;
use crate::options::Compression;
use crate::pixels::Raster;
use crate::{CodecError, Codecs, Encoding, ImageError, WebpSettings};

pub(super) fn encode(raster: Raster, encoding: &Encoding, codecs: &dyn Codecs) -> Result<Vec<u8>, ImageError> {
    let settings = settings(encoding);
    let rgba = raster.with_alpha()?;
    Ok(codecs.webp(&rgba.data, rgba.width, rgba.height, &settings)?)
}

/// The same with metadata, for which the file has to be an extended one.
pub(super) fn with_metadata(
    raster: Raster,
    encoding: &Encoding,
    metadata: &Metadata,
    codecs: &dyn Codecs,
) -> Result<Vec<u8>, ImageError> {
    let size = (raster.width, raster.height);
    let still = encode(raster, encoding, codecs)?;
    if metadata.is_empty() {
        return Ok(still);
    }
    let picture =
        picture(&still).ok_or_else(|| CodecError::Failed("libwebp's answer is not a WebP file".to_owned()))?;
    let flag = |is: bool, bit: u8| if is { bit } else { 0 };
    let flags = flag(picture.starts_with(b"ALPH"), ALPHA)
        | flag(metadata.exif.is_some(), EXIF)
        | flag(metadata.xmp.is_some(), XMP);
    let mut file = extended(size, flags);
    file.extend(picture);
    if let Some(exif) = &metadata.exif {
        chunk(&mut file, b"EXIF", &[exif]);
    }
    if let Some(xmp) = &metadata.xmp {
        chunk(&mut file, b"XMP ", &[xmp.as_bytes()]);
    }
    Ok(finished(file))
}

fn settings(encoding: &Encoding) -> WebpSettings {
    WebpSettings {
        quality: f32::from(along(&QUALITY, encoding.quality)),
        method: match encoding.compression {
            Some(Compression::Fast) => 2,
            None => 4,
            Some(Compression::Small) => 6,
        },
        ..WebpSettings::default()
    }
}

/// Quality as the options mean it (JPEG's scale), and libwebp's number that looks alike.
///
/// Between the points, which are those of equal SSIMULACRA2 in the mean of photographs, it is a straight line. At 90 JPEG
/// begins to keep chroma whole, which WebP never does.
const QUALITY: [(u8, u8); 9] = [
    (1, 1),
    (30, 31),
    (50, 50),
    (65, 65),
    (80, 80),
    (89, 88),
    (90, 93),
    (95, 98),
    (100, 100),
];

#[cfg(test)]
mod tests {
    use super::{QUALITY, along};

    #[test]
    fn quality_rises_and_passes_its_points() {
        for (quality, webp) in QUALITY {
            assert_eq!(along(&QUALITY, quality), webp);
        }
        let all: Vec<u8> = (1..=100).map(|quality| along(&QUALITY, quality)).collect();
        assert!(all.is_sorted());
    }
}
