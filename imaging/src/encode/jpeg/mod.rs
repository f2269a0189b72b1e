//! JPEG, baseline and progressive. Every file has Huffman tables of its own, and a baseline one has a single scan.
//!
//! ```text
//! pixels -> blocks: colour, transform, quantisation -> coefficients -> scans, each twice: to count, then to write
//! ```

mod blocks;
mod huffman;
mod scans;
mod trellis;
mod writer;

pub(crate) use self::blocks::Picture;
use self::blocks::{Component, Divisors};
use crate::metadata::Metadata;
use crate::{Encoding, ImageError};

/// Below, the tables of a progressive file's scans cost more than they save; above, they take too long.
const PROGRESSIVE_PIXELS: core::ops::RangeInclusive<u64> = 2_500..=9_000_000;

/// From this quality on, chroma is kept at full resolution.
const FULL_CHROMA_QUALITY: u8 = 90;

/// Whether a JPEG of so many pixels is written progressively.
pub(super) fn is_progressive(encoding: &Encoding, pixels: u64) -> bool {
    encoding.progressive && !encoding.is_fast() && PROGRESSIVE_PIXELS.contains(&pixels)
}

/// Whether a JPEG of this quality keeps half of chroma's resolution.
pub(super) const fn halves_chroma(quality: u8) -> bool {
    quality < FULL_CHROMA_QUALITY
}

/// Bytes that the coefficients of a picture take.
pub(crate) fn coefficient_bytes(encoding: &Encoding, (width, height): (u64, u64), grey: bool) -> u64 {
    let halved = !grey && halves_chroma(encoding.quality);
    let mcu = if halved { 16 } else { 8 };
    let area = width.next_multiple_of(mcu) * height.next_multiple_of(mcu);
    let samples = match (grey, halved) {
        (true, _) => area,
        (false, true) => area + area / 2,
        (false, false) => 3 * area,
    };
    // Two bytes each, and for a block of 64 three masks.
    2 * samples + 3 * samples / 8
}

pub(crate) fn encode(
    picture: Picture<'_>,
    encoding: &Encoding,
    metadata: &Metadata,
    cancel: &dyn Fn() -> bool,
) -> Result<Vec<u8>, ImageError> {
    let side =
        |side: u32| u16::try_from(side).map_err(|_| ImageError::Internal("a JPEG side over 65,535 was let through"));
    let (width, height) = (side(picture.size().0)?, side(picture.size().1)?);
    let halved = !picture.is_grey() && halves_chroma(encoding.quality);
    let small = encoding.is_small();
    let divisors = Divisors::of(encoding.quality, halves_chroma(encoding.quality), small);
    let mut components = blocks::components(picture, halved, &divisors, cancel)?;
    if small {
        let rates = scans::rates(&components);
        blocks::fill(&mut components, picture, &divisors, Some(&rates), cancel)?;
    }
    let progressive = is_progressive(encoding, u64::from(width) * u64::from(height));

    let mut bytes = vec![0xff, 0xd8];
    segment(&mut bytes, 0xe0, b"JFIF\0\x01\x01\0\0\x01\0\x01\0\0");
    if let Some(exif) = &metadata.exif {
        segment(&mut bytes, 0xe1, &[b"Exif\0\0", exif.as_slice()].concat());
    }
    if let Some(xmp) = &metadata.xmp {
        segment(
            &mut bytes,
            0xe1,
            &[b"http://ns.adobe.com/xap/1.0/\0", xmp.as_bytes()].concat(),
        );
    }
    for (number, divisors) in (0u8..).zip(divisors.iter().take(components.len().min(2))) {
        let mut table = vec![number];
        table.extend(divisors.in_zigzag());
        segment(&mut bytes, 0xdb, &table);
    }
    let marker = if progressive { 0xc2 } else { 0xc0 };
    segment(&mut bytes, marker, &frame(width, height, &components));
    if progressive && small {
        scans::smallest(&components, &mut bytes, cancel)?;
    } else if progressive {
        scans::progressive(&components, &mut bytes);
    } else {
        scans::baseline(&components, &mut bytes);
    }
    bytes.extend([0xff, 0xd9]);
    Ok(bytes)
}

fn frame(width: u16, height: u16, components: &[Component]) -> Vec<u8> {
    let mut frame = vec![8];
    frame.extend(height.to_be_bytes());
    frame.extend(width.to_be_bytes());
    frame.push(components.len() as u8);
    for (component, id) in components.iter().zip(1u8..) {
        let sampling = component.sampling as u8;
        frame.extend([id, sampling << 4 | sampling, u8::from(id > 1)]);
    }
    frame
}

/// A marker, and what belongs to it. Payloads are below 64 KiB: metadata is bounded where it is made.
fn segment(bytes: &mut Vec<u8>, marker: u8, payload: &[u8]) {
    let length = u16::try_from(payload.len() + 2).unwrap_or(u16::MAX);
    bytes.extend([0xff, marker]);
    bytes.extend(length.to_be_bytes());
    bytes.extend(payload);
}

#[cfg(test)]
mod tests;
