//! PNG. Pictures of few colours get a palette, which loses nothing; with a quality all do.
//!
//! The file around the pixels is written by the png crate, and so are the pixels where a search for what comes twice is worth
//! its time; filtered rows in which nothing does are deflated here.

mod deflate;
mod filter;
mod huffman;
mod recurrence;

use self::deflate::Deflate;
use self::filter::Filters;
use super::palette;
use super::quantise::{colors, quantised};
use crate::metadata::Metadata;
use crate::options::Compression as Effort;
use crate::pixels::{Channels, Raster};
use crate::{CodecError, Encoding, ImageError};
use png::{BitDepth, ColorType, Compression, DeflateCompression, Encoder, Filter, Info};

/// zlib's level for filtered colours in which something comes twice: up to level 6 a picture loses half a per cent of its
/// bytes, and takes a quarter longer.
const LEVEL: u8 = 4;
/// zlib's level where bytes count more than time.
const MOST: u8 = 9;
/// Bytes of a chunk of pixels at least, but for the last.
const CHUNK: usize = 64 << 10;

pub(super) fn encode(raster: &Raster, encoding: &Encoding, metadata: &Metadata) -> Result<Vec<u8>, ImageError> {
    let indexed = match palette::exact(raster) {
        None if encoding.quality_given => Some(quantised(raster, colors(encoding.quality), encoding.is_fast())?),
        exact => exact,
    };
    let Some(indexed) = indexed else {
        return colors_of(raster, encoding, metadata);
    };
    let depth = match indexed.colors.len() {
        ..=2 => BitDepth::One,
        3..=4 => BitDepth::Two,
        5..=16 => BitDepth::Four,
        _ => BitDepth::Eight,
    };
    let mut bytes = Vec::new();
    let mut encoder = encoder(&mut bytes, raster, metadata)?;
    encoder.set_compression(match encoding.compression {
        Some(Effort::Fast) => Compression::Fast,
        None => Compression::Balanced,
        Some(Effort::Small) => Compression::High,
    });
    encoder.set_color(ColorType::Indexed);
    encoder.set_depth(depth);
    let colors = indexed.colors.iter().flat_map(|[r, g, b, _]| [*r, *g, *b]);
    encoder.set_palette(colors.collect::<Vec<u8>>());
    let alphas = indexed.colors.iter().map(|color| color[3]);
    let alphas: Vec<u8> = alphas.take_while(|alpha| *alpha != 255).collect();
    if !alphas.is_empty() {
        encoder.set_trns(alphas);
    }
    // Differences of indices mean nothing.
    encoder.set_filter(Filter::NoFilter);
    let mut writer = encoder.write_header().map_err(failed)?;
    writer
        .write_image_data(&pack(&indexed.indices, raster.width as usize, depth as usize))
        .map_err(failed)?;
    writer.finish().map_err(failed)?;
    Ok(bytes)
}

/// The picture with each pixel's own colour.
fn colors_of(raster: &Raster, encoding: &Encoding, metadata: &Metadata) -> Result<Vec<u8>, ImageError> {
    match encoding.compression {
        Some(Effort::Fast) => literal(raster, metadata, false),
        None if recurrence::is_worth_a_search(raster) => searched(raster, metadata, LEVEL),
        None => literal(raster, metadata, true),
        Some(Effort::Small) => {
            let searched = searched(raster, metadata, MOST)?;
            let literal = literal(raster, metadata, true)?;
            Ok(if literal.len() < searched.len() {
                literal
            } else {
                searched
            })
        }
    }
}

/// Rows by the best filter for each, and zlib's search for what comes twice.
fn searched(raster: &Raster, metadata: &Metadata, level: u8) -> Result<Vec<u8>, ImageError> {
    let mut bytes = Vec::new();
    let mut encoder = encoder(&mut bytes, raster, metadata)?;
    encoder.set_filter(Filter::Adaptive);
    encoder.set_deflate_compression(DeflateCompression::Level(level));
    let mut writer = encoder.write_header().map_err(failed)?;
    writer.write_image_data(&raster.data).map_err(failed)?;
    writer.finish().map_err(failed)?;
    Ok(bytes)
}

/// Rows by the best filter for each, or by one for all, without a search.
fn literal(raster: &Raster, metadata: &Metadata, choose: bool) -> Result<Vec<u8>, ImageError> {
    let mut bytes = Vec::new();
    let mut writer = encoder(&mut bytes, raster, metadata)?.write_header().map_err(failed)?;
    let (size, length) = (raster.channels.count(), raster.stride());
    let (mut filters, mut stream) = (Filters::new(size, length), Deflate::new());
    let (mut above, mut filtered) = (None, Vec::with_capacity(length + 1));
    for row in raster.data.chunks_exact(length) {
        filtered.clear();
        if choose {
            filters.smallest(above, row, &mut filtered);
        } else {
            filters.left(row, &mut filtered);
        }
        above = Some(row);
        stream.push(&filtered);
        if let Some(chunk) = stream.take(CHUNK) {
            writer.write_chunk(png::chunk::IDAT, &chunk).map_err(failed)?;
        }
    }
    writer.write_chunk(png::chunk::IDAT, &stream.finish()).map_err(failed)?;
    writer.finish().map_err(failed)?;
    Ok(bytes)
}

/// What stands in front of the pixels.
fn encoder<'a>(
    bytes: &'a mut Vec<u8>,
    raster: &Raster,
    metadata: &Metadata,
) -> Result<Encoder<'static, &'a mut Vec<u8>>, ImageError> {
    let mut info = Info::with_size(raster.width, raster.height);
    info.exif_metadata = metadata.exif.clone().map(Into::into);
    let mut encoder = Encoder::with_info(bytes, info).map_err(failed)?;
    if let Some(xmp) = &metadata.xmp {
        encoder
            .add_itxt_chunk("XML:com.adobe.xmp".to_owned(), xmp.clone())
            .map_err(failed)?;
    }
    encoder.set_color(match raster.channels {
        Channels::Grey => ColorType::Grayscale,
        Channels::Rgb => ColorType::Rgb,
        Channels::Rgba => ColorType::Rgba,
    });
    encoder.set_depth(BitDepth::Eight);
    Ok(encoder)
}

#[expect(clippy::needless_pass_by_value, reason = "it is what `map_err` gives")]
fn failed(error: png::EncodingError) -> ImageError {
    CodecError::Failed(error.to_string()).into()
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
    use super::*;
    use crate::options::Compression as Effort;
    use crate::{Format, samples};

    fn encoding(compression: Option<Effort>) -> Encoding {
        Encoding {
            format: Format::Png,
            quality: 85,
            quality_given: false,
            progressive: false,
            compression,
            metadata: crate::options::Metadata::None,
            max_bytes: None,
        }
    }

    fn raster(channels: Channels, width: u32, height: u32, of: impl Fn(u32, u32) -> [u8; 4]) -> Raster {
        let count = channels.count();
        let pixels = (0..height).flat_map(|y| (0..width).map(move |x| (x, y)));
        let data = pixels.flat_map(|(x, y)| of(x, y).into_iter().take(count).collect::<Vec<u8>>());
        Raster::from_data(width, height, channels, data.collect()).unwrap()
    }

    fn decoded(bytes: &[u8]) -> Vec<u8> {
        let mut reader = png::Decoder::new(std::io::Cursor::new(bytes)).read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        reader.next_frame(&mut pixels).unwrap();
        pixels
    }

    #[test]
    fn every_effort_and_layout_keeps_every_pixel() {
        let scene = samples::scene_rgba(211, 97);
        for channels in [Channels::Grey, Channels::Rgb, Channels::Rgba] {
            let of = |x: u32, y: u32| {
                let at = ((y * 211 + x) * 4) as usize;
                let [r, g, b] = [scene[at], scene[at + 1], scene[at + 2]];
                [r.wrapping_add((x * y) as u8), g, b, (x + y) as u8]
            };
            let raster = raster(channels, 211, 97, of);
            for compression in [None, Some(Effort::Fast), Some(Effort::Small)] {
                // Past the palette that a grey picture would get.
                let bytes = colors_of(&raster, &encoding(compression), &Metadata::default()).unwrap();
                assert!(decoded(&bytes) == raster.data, "{channels:?} {compression:?}");
            }
        }
        let dot = raster(Channels::Rgba, 1, 1, |_, _| [1, 2, 3, 4]);
        for bytes in [
            literal(&dot, &Metadata::default(), true),
            searched(&dot, &Metadata::default(), MOST),
        ] {
            assert!(decoded(&bytes.unwrap()) == dot.data);
        }
    }

    #[test]
    fn what_repeats_itself_is_searched_and_small_is_the_smaller_of_both() {
        let grain = |x: u32, y: u32| {
            (x.wrapping_mul(0x9E37_79B9) ^ y.wrapping_mul(0x85EB_CA6B)).wrapping_mul(0x2C1B_3C6D) >> 24
        };
        let tiles = raster(Channels::Rgb, 400, 300, |x, y| {
            let [r, g, b] = [0, 7, 13].map(|more| grain(x % 40 + more, y % 40) as u8);
            [r, g, b, 0]
        });
        let noise = raster(Channels::Rgb, 400, 300, |x, y| {
            let [r, g, b] = [0, 7, 13].map(|more| (grain(x + more, y) / 8) as u8);
            [r, g, b, 0]
        });
        let none = Metadata::default();
        for (raster, is_searched) in [(&tiles, true), (&noise, false)] {
            let [literal, searched] = [
                literal(raster, &none, true).unwrap(),
                searched(raster, &none, LEVEL).unwrap(),
            ];
            let balanced = encode(raster, &encoding(None), &none).unwrap();
            assert!(balanced == if is_searched { searched } else { literal.clone() });
            let small = encode(raster, &encoding(Some(Effort::Small)), &none).unwrap();
            assert!(small.len() <= literal.len().min(balanced.len()));
        }
    }

    #[test]
    fn rows_begin_at_whole_bytes() {
        assert_eq!(pack(&[1, 0, 1, 1, 1, 1], 3, 1), [0b1010_0000, 0b1110_0000]);
        assert_eq!(pack(&[1, 2, 3], 3, 4), [0x12, 0x30]);
    }
}
