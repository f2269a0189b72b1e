//! PNG through the png crate. Pictures of few colours get a palette, which loses nothing; with a quality all do.

use super::palette;
use super::quantise::{colors, quantised};
use crate::metadata::Metadata;
use crate::options::Compression as Effort;
use crate::pixels::{Channels, Raster};
use crate::{CodecError, Encoding, ImageError};
use png::{BitDepth, ColorType, Compression, DeflateCompression, Encoder, Filter, Info};

/// zlib's level for filtered colours. In those of photographs there is next to nothing to be found twice: up to level 6 a
/// picture loses half a per cent of its bytes, and takes a quarter longer.
const LEVEL: u8 = 4;

pub(super) fn encode(raster: &Raster, encoding: &Encoding, metadata: &Metadata) -> Result<Vec<u8>, ImageError> {
    let indexed = match palette::exact(raster) {
        None if encoding.quality_given => Some(quantised(raster, colors(encoding.quality), encoding.is_fast())?),
        exact => exact,
    };
    let mut bytes = Vec::new();
    let failed = |error: png::EncodingError| CodecError::Failed(error.to_string());
    let mut info = Info::with_size(raster.width, raster.height);
    info.exif_metadata = metadata.exif.as_deref().map(Into::into);
    let mut encoder = Encoder::with_info(&mut bytes, info).map_err(failed)?;
    if let Some(xmp) = &metadata.xmp {
        encoder
            .add_itxt_chunk("XML:com.adobe.xmp".to_owned(), xmp.clone())
            .map_err(failed)?;
    }
    encoder.set_compression(match encoding.compression {
        Some(Effort::Fast) => Compression::Fast,
        None => Compression::Balanced,
        Some(Effort::Small) => Compression::High,
    });
    let packed;
    let data = match &indexed {
        Some(indexed) => {
            let depth = match indexed.colors.len() {
                ..=2 => BitDepth::One,
                3..=4 => BitDepth::Two,
                5..=16 => BitDepth::Four,
                _ => BitDepth::Eight,
            };
            encoder.set_color(ColorType::Indexed);
            encoder.set_depth(depth);
            encoder.set_palette(
                indexed
                    .colors
                    .iter()
                    .flat_map(|[r, g, b, _]| [*r, *g, *b])
                    .collect::<Vec<u8>>(),
            );
            let alphas: Vec<u8> = indexed
                .colors
                .iter()
                .map(|color| color[3])
                .take_while(|alpha| *alpha != 255)
                .collect();
            if !alphas.is_empty() {
                encoder.set_trns(alphas);
            }
            // Differences of indices mean nothing.
            encoder.set_filter(Filter::NoFilter);
            packed = pack(&indexed.indices, raster.width as usize, depth as usize);
            packed.as_slice()
        }
        None => {
            encoder.set_color(match raster.channels {
                Channels::Grey => ColorType::Grayscale,
                Channels::Rgb => ColorType::Rgb,
                Channels::Rgba => ColorType::Rgba,
            });
            encoder.set_depth(BitDepth::Eight);
            encoder.set_filter(if encoding.is_fast() {
                Filter::Sub
            } else {
                Filter::Adaptive
            });
            if encoding.compression.is_none() {
                encoder.set_deflate_compression(DeflateCompression::Level(LEVEL));
            }
            raster.data.as_slice()
        }
    };
    let mut writer = encoder.write_header().map_err(failed)?;
    writer.write_image_data(data).map_err(failed)?;
    writer.finish().map_err(failed)?;
    Ok(bytes)
}

/// Indices of fewer than 8 bits, the first in the highest bits, rows filled up to whole bytes.
fn pack(indices: &[u8], width: usize, bits: usize) -> Vec<u8> {
    if bits == 8 {
        return indices.to_vec();
    }
    let per_byte = 8 / bits;
    let byte = |group: &[u8]| (0..per_byte).fold(0, |byte, at| byte << bits | group.get(at).copied().unwrap_or(0));
    indices
        .chunks_exact(width.max(1))
        .flat_map(|row| row.chunks(per_byte).map(byte))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::pack;

    #[test]
    fn rows_begin_at_whole_bytes() {
        assert_eq!(pack(&[1, 0, 1, 1, 1, 1], 3, 1), [0b1010_0000, 0b1110_0000]);
        assert_eq!(pack(&[1, 2, 3], 3, 4), [0x12, 0x30]);
    }
}
