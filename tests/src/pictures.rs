//! Pictures, good and bad, and what an answer's bytes are.

use anyhow::{Context, Result, bail};
use kado_imaging::samples::{self, JpegSample};

/// A photograph-like JPEG, 4:2:0.
#[must_use]
pub fn photo_jpeg(width: u16, height: u16) -> Vec<u8> {
    JpegSample::default().encode(width, height)
}

/// The same with an EXIF orientation, as a phone writes it.
#[must_use]
pub fn photo_jpeg_turned(width: u16, height: u16, orientation: u16) -> Vec<u8> {
    samples::with_orientation(&photo_jpeg(width, height), orientation)
}

/// A PNG with soft transparency.
#[must_use]
pub fn transparent_png(width: u32, height: u32) -> Vec<u8> {
    samples::png_rgba(width, height)
}

/// A PNG that claims a size and has nothing of it.
#[must_use]
pub fn png_header(width: u32, height: u32) -> Vec<u8> {
    samples::png_claiming(width, height)
}

/// A black interlaced PNG: a small file that has to be decoded whole.
#[must_use]
pub fn interlaced_png(width: u32, height: u32) -> Vec<u8> {
    samples::png_interlaced(width, height)
}

/// A JPEG that claims a size and has nothing of it.
#[must_use]
pub fn jpeg_header(width: u16, height: u16) -> Vec<u8> {
    samples::jpeg_claiming(width, height)
}

/// Width and height of a JPEG, PNG or WebP, read from its bytes by rules of this file's own: the engine under test does
/// not judge itself.
///
/// # Errors
/// When the bytes are none of the three.
pub fn size(bytes: &[u8]) -> Result<(u32, u32)> {
    let be16 = |at: usize| {
        bytes
            .get(at..at + 2)
            .map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1]))
    };
    let be32 = |at: usize| Some(be16(at)? << 16 | be16(at + 2)?);
    let le24 = |at: usize| {
        bytes
            .get(at..at + 3)
            .map(|part| u32::from(part[0]) | u32::from(part[1]) << 8 | u32::from(part[2]) << 16)
    };
    if bytes.starts_with(b"\x89PNG") {
        return be32(16).zip(be32(20)).context("a PNG without IHDR");
    }
    if bytes.starts_with(b"RIFF") {
        let found = match bytes.get(12..16) {
            Some(b"VP8X") => le24(24).zip(le24(27)).map(|(width, height)| (width + 1, height + 1)),
            Some(b"VP8 ") => le24(26)
                .zip(le24(28))
                .map(|(width, height)| (width & 0x3FFF, height & 0x3FFF)),
            Some(b"VP8L") => le24(21).zip(bytes.get(24)).map(|(low, high)| {
                let bits = low | u32::from(*high) << 24;
                ((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)
            }),
            _ => None,
        };
        return found.context("a WebP of no known kind");
    }
    if !bytes.starts_with(&[0xFF, 0xD8]) {
        bail!("neither JPEG, PNG nor WebP: {:02x?}", bytes.get(..bytes.len().min(8)));
    }
    let mut at = 2;
    loop {
        let marker = be16(at).context("a JPEG without frame header")?;
        if matches!(marker, 0xFFC0..=0xFFC2) {
            return be16(at + 7).zip(be16(at + 5)).context("a JPEG cut in its frame header");
        }
        at += 2 + be16(at + 2).context("a JPEG cut in a segment")? as usize;
    }
}

/// Whether a PNG has a pixel that is not opaque.
///
/// # Errors
/// When it is no PNG that can be read.
pub fn png_has_transparency(bytes: &[u8]) -> Result<bool> {
    let mut decoder = png::Decoder::new(std::io::Cursor::new(bytes));
    decoder.set_transformations(png::Transformations::normalize_to_color8() | png::Transformations::ALPHA);
    let mut reader = decoder.read_info()?;
    let mut pixels = vec![
        0;
        reader
            .output_buffer_size()
            .context("a PNG too large for this machine")?
    ];
    let frame = reader.next_frame(&mut pixels)?;
    let channels = frame.color_type.samples();
    Ok(channels % 2 == 0
        && pixels
            .chunks_exact(channels)
            .any(|pixel| pixel.last().is_some_and(|alpha| *alpha < 255)))
}
