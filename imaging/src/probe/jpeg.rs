//! JPEG: marker segments up to the first scan.

use super::peek::{Peek, Stopped};
use super::{Exif, ImageInfo};
use crate::Format;

/// Segments before the first scan. Real files have a few dozen; thousands are an attack on our patience.
pub(super) const MAX_SEGMENTS: usize = 4096;

pub(super) fn read(peek: &mut Peek<'_>) -> Result<ImageInfo, Stopped> {
    let mut offset = 2;
    let mut info: Option<ImageInfo> = None;
    let mut exif = Exif::default();
    let mut profile_bytes = 0;
    let mut inverted_cmyk = false;
    for _ in 0..MAX_SEGMENTS {
        peek.within_metadata(offset)?;
        let marker = next_marker(peek, &mut offset)?;
        match marker {
            // Start of scan: all that matters has been seen.
            0xda => {
                let Some(info) = info else {
                    return Err(peek.corrupt(offset, "a scan comes before the frame header"));
                };
                return Ok(ImageInfo {
                    color_profile: profile_bytes > 0,
                    profile_bytes,
                    inverted_cmyk,
                    ..info
                }
                .with_exif(exif));
            }
            0xd9 => return Err(peek.corrupt(offset, "the file ends before its frame header")),
            // Restart markers and TEM stand alone.
            0xd0..=0xd7 | 0x01 => continue,
            _ => {}
        }
        let length = u64::from(peek.be16(offset)?);
        if length < 2 {
            return Err(peek.corrupt(offset, "a segment is shorter than its own length field"));
        }
        let (body, size) = (offset + 2, length - 2);
        match marker {
            0xe1 if exif.is_empty() && starts_with(peek, body, size, b"Exif\0\0")? => {
                let data = peek.exactly(body + 6, usize::try_from(size - 6).unwrap_or(0))?;
                exif = Exif::parse(data);
            }
            0xe2 if starts_with(peek, body, size, b"ICC_PROFILE\0")? => profile_bytes += size.saturating_sub(14),
            0xee if starts_with(peek, body, size, b"Adobe")? => inverted_cmyk = true,
            0xc0..=0xc3 | 0xc5..=0xc7 | 0xc9..=0xcb | 0xcd..=0xcf => {
                if info.is_some() {
                    return Err(peek.corrupt(offset, "there are two frame headers"));
                }
                info = Some(frame(peek, body, size, marker)?);
            }
            _ => {}
        }
        offset += length;
    }
    Err(peek.corrupt(offset, "there are too many segments before the first scan"))
}

/// A segment with a body.
pub(super) struct Segment {
    pub(super) marker: u8,
    /// Where the body starts.
    pub(super) body: u64,
    /// Bytes of the body.
    pub(super) size: u64,
}

/// The segments before the first scan, from the one at `offset` on; `offset` is moved behind each that is given.
pub(super) fn next_segment(peek: &mut Peek<'_>, offset: &mut u64) -> Result<Option<Segment>, Stopped> {
    loop {
        peek.within_metadata(*offset)?;
        let marker = next_marker(peek, offset)?;
        match marker {
            0xda | 0xd9 => return Ok(None),
            // Restart markers and TEM stand alone.
            0xd0..=0xd7 | 0x01 => {}
            _ => {
                let length = u64::from(peek.be16(*offset)?).max(2);
                let body = *offset + 2;
                *offset += length;
                return Ok(Some(Segment {
                    marker,
                    body,
                    size: length - 2,
                }));
            }
        }
    }
}

/// Passes fill bytes, and the bytes that some cameras leave between segments.
fn next_marker(peek: &mut Peek<'_>, offset: &mut u64) -> Result<u8, Stopped> {
    loop {
        while peek.u8(*offset)? != 0xff {
            *offset += 1;
            peek.within_metadata(*offset)?;
        }
        while peek.u8(*offset)? == 0xff {
            *offset += 1;
            peek.within_metadata(*offset)?;
        }
        *offset += 1;
        match peek.u8(*offset - 1)? {
            0x00 => {}
            marker => return Ok(marker),
        }
    }
}

pub(super) fn starts_with(peek: &mut Peek<'_>, body: u64, size: u64, magic: &[u8]) -> Result<bool, Stopped> {
    Ok(size >= magic.len() as u64 && peek.exactly(body, magic.len())? == magic)
}

fn frame(peek: &mut Peek<'_>, body: u64, size: u64, marker: u8) -> Result<ImageInfo, Stopped> {
    let precision = peek.u8(body)?;
    let (height, width) = (u32::from(peek.be16(body + 1)?), u32::from(peek.be16(body + 3)?));
    let components = peek.u8(body + 5)?;
    if size < 6 + 3 * u64::from(components) || components == 0 {
        return Err(peek.corrupt(body, "the frame header is too short for its components"));
    }
    let mut samples = 0u32;
    let mut largest = 1u32;
    for index in 0..u64::from(components) {
        let sampling = peek.u8(body + 7 + 3 * index)?;
        let (horizontal, vertical) = (u32::from(sampling >> 4), u32::from(sampling & 0xf));
        if !(1..=4).contains(&horizontal) || !(1..=4).contains(&vertical) {
            return Err(peek.corrupt(body, "a sampling factor is not 1 to 4"));
        }
        samples += horizontal * vertical;
        largest = largest.max(horizontal * vertical);
    }
    let arithmetic = marker >= 0xc9;
    let hierarchical = matches!(marker, 0xc5..=0xc7 | 0xcd..=0xcf);
    let lossless = marker == 0xc3;
    Ok(ImageInfo {
        progressive: matches!(marker, 0xc2 | 0xc6 | 0xca | 0xce),
        components,
        bit_depth: precision,
        samples_per_pixel_quarters: u8::try_from((samples * 4).div_ceil(largest)).unwrap_or(u8::MAX).max(4),
        decodable: !arithmetic && !hierarchical && !lossless && precision == 8 && matches!(components, 1 | 3 | 4),
        ..ImageInfo::new(Format::Jpeg, width, height)
    })
}
