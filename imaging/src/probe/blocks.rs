//! Metadata blocks as they stand in a file, none of them looked into. Read apart from the pixels, before them.

use super::isobmff;
use super::jpeg::{MAX_SEGMENTS, Segment, next_segment, starts_with};
use super::peek::{Peek, Stopped};
use super::png::MAX_CHUNKS;
use crate::{Format, ImageError, Limits, Source};
use miniz_oxide::inflate::decompress_to_vec_zlib_with_limit;

/// Bytes of one block; larger ones count as absent.
const MOST_BYTES: u64 = 128 * 1024;

/// What was found; the first of each kind. Empty where there is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Blocks {
    /// EXIF from its TIFF header on.
    pub(crate) exif: Vec<u8>,
    /// XMP.
    pub(crate) xmp: Vec<u8>,
    /// Photoshop's resources.
    pub(crate) iptc: Vec<u8>,
}

/// Reads the metadata of a picture that was probed.
///
/// # Errors
/// Errors of the source; what is damaged is absent.
pub(crate) fn metadata_blocks(source: &dyn Source, format: Format, limits: &Limits) -> Result<Blocks, ImageError> {
    let mut peek = Peek::whole(&source);
    peek.set_format(format, limits.metadata_bytes);
    let mut blocks = Blocks::default();
    let read = match format {
        Format::Jpeg => jpeg(&mut peek, &mut blocks),
        Format::Png => png(&mut peek, &mut blocks),
        Format::WebP => webp(&mut peek, &mut blocks),
        Format::Avif => isobmff::metadata(&mut peek, MOST_BYTES).map(|found| (blocks.exif, blocks.xmp) = found),
        _ => Ok(()),
    };
    match read {
        Err(Stopped::Failed(error @ ImageError::Source(_))) => Err(error),
        _ => Ok(blocks),
    }
}

/// Keeps the first block of a kind.
fn keep(peek: &mut Peek<'_>, block: &mut Vec<u8>, at: u64, size: u64) -> Result<(), Stopped> {
    if block.is_empty() && size <= MOST_BYTES {
        *block = peek.exactly(at, usize::try_from(size).unwrap_or(0))?.to_vec();
    }
    Ok(())
}

fn jpeg(peek: &mut Peek<'_>, blocks: &mut Blocks) -> Result<(), Stopped> {
    const EXIF: &[u8] = b"Exif\0\0";
    const XMP: &[u8] = b"http://ns.adobe.com/xap/1.0/\0";
    const PHOTOSHOP: &[u8] = b"Photoshop 3.0\0";
    let mut offset = 2;
    for _ in 0..MAX_SEGMENTS {
        let Some(Segment { marker, body, size }) = next_segment(peek, &mut offset)? else {
            break;
        };
        for (wanted, name, block) in [
            (0xe1, EXIF, &mut blocks.exif),
            (0xe1, XMP, &mut blocks.xmp),
            (0xed, PHOTOSHOP, &mut blocks.iptc),
        ] {
            if marker == wanted && starts_with(peek, body, size, name)? {
                let skipped = name.len() as u64;
                keep(peek, block, body + skipped, size - skipped)?;
            }
        }
    }
    Ok(())
}

fn png(peek: &mut Peek<'_>, blocks: &mut Blocks) -> Result<(), Stopped> {
    let mut offset = 33;
    for _ in 0..MAX_CHUNKS {
        peek.within_metadata(offset)?;
        let length = u64::from(peek.be32(offset)?);
        match &peek.array::<4>(offset + 4)? {
            b"IDAT" | b"IEND" => break,
            b"eXIf" => keep(peek, &mut blocks.exif, offset + 8, length)?,
            b"iTXt" if blocks.xmp.is_empty() => {
                let mut text = Vec::new();
                keep(peek, &mut text, offset + 8, length)?;
                blocks.xmp = international_text(&text).unwrap_or_default();
            }
            _ => {}
        }
        offset += 12 + length;
    }
    Ok(())
}

/// The text of an `iTXt` chunk that holds XMP: keyword, whether and how it is compressed, language, the keyword again.
fn international_text(chunk: &[u8]) -> Option<Vec<u8>> {
    let rest = chunk.strip_prefix(b"XML:com.adobe.xmp\0")?;
    let ([compressed, _], rest) = rest.split_first_chunk::<2>()?;
    let mut parts = rest.splitn(3, |byte| *byte == 0);
    let text = parts.nth(2)?;
    if *compressed == 0 {
        return Some(text.to_vec());
    }
    decompress_to_vec_zlib_with_limit(text, MOST_BYTES as usize).ok()
}

fn webp(peek: &mut Peek<'_>, blocks: &mut Blocks) -> Result<(), Stopped> {
    let mut offset = 12;
    for _ in 0..super::webp::MAX_CHUNKS {
        if offset + 8 > peek.len() {
            break;
        }
        let length = u64::from(peek.le32(offset + 4)?);
        match &peek.array::<4>(offset)? {
            b"EXIF" => {
                keep(peek, &mut blocks.exif, offset + 8, length)?;
                // Some writers leave JPEG's frame around it.
                if blocks.exif.starts_with(b"Exif\0\0") {
                    blocks.exif.drain(..6);
                }
            }
            b"XMP " => keep(peek, &mut blocks.xmp, offset + 8, length)?,
            _ => {}
        }
        offset += 8 + length + (length & 1);
    }
    Ok(())
}
