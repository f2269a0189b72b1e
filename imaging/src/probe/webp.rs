//! WebP: the first chunk, and in extended files the chunks for EXIF and frames.

use super::peek::{Peek, Stopped};
use super::{Exif, ImageInfo};
use crate::Format;

/// Chunks that are walked over.
pub(super) const MAX_CHUNKS: usize = 16_384;

pub(super) fn read(peek: &mut Peek<'_>) -> Result<ImageInfo, Stopped> {
    // Decoders of arithmetic codes read on past the end without noticing. Only the last padding byte may be missing.
    let end = 8 + u64::from(peek.le32(4)?);
    if !peek.is_partial() && end > peek.len() + 1 {
        return Err(peek.corrupt(peek.len(), "the file is shorter than its RIFF header says"));
    }
    match &peek.array::<4>(12)? {
        b"VP8 " => lossy(peek, 20),
        b"VP8L" => lossless(peek, 20),
        b"VP8X" => extended(peek),
        _ => Err(peek.corrupt(12, "the first chunk is not VP8, VP8L or VP8X")),
    }
}

fn lossy(peek: &mut Peek<'_>, offset: u64) -> Result<ImageInfo, Stopped> {
    let [tag, _, _, start @ ..] = peek.array::<6>(offset)?;
    if tag & 1 != 0 || start != [0x9d, 0x01, 0x2a] {
        return Err(peek.corrupt(offset, "the VP8 key frame has no start code"));
    }
    let (width, height) = (peek.le16(offset + 6)? & 0x3fff, peek.le16(offset + 8)? & 0x3fff);
    Ok(ImageInfo {
        samples_per_pixel_quarters: 6,
        decodable: true,
        ..ImageInfo::new(Format::WebP, u32::from(width), u32::from(height))
    })
}

fn lossless(peek: &mut Peek<'_>, offset: u64) -> Result<ImageInfo, Stopped> {
    if peek.u8(offset)? != 0x2f {
        return Err(peek.corrupt(offset, "the VP8L data has no signature"));
    }
    let bits = peek.le32(offset + 1)?;
    let alpha = bits >> 28 & 1 == 1;
    Ok(ImageInfo {
        alpha,
        components: 3 + u8::from(alpha),
        samples_per_pixel_quarters: 16,
        decodable: true,
        ..ImageInfo::new(Format::WebP, (bits & 0x3fff) + 1, (bits >> 14 & 0x3fff) + 1)
    })
}

fn extended(peek: &mut Peek<'_>) -> Result<ImageInfo, Stopped> {
    let flags = peek.u8(20)?;
    let side = |[a, b, c]: [u8; 3]| u32::from_le_bytes([a, b, c, 0]) + 1;
    let (width, height) = (side(peek.array(24)?), side(peek.array(27)?));
    let (animated, exif, alpha, profile) = (
        flags & 0x02 != 0,
        flags & 0x08 != 0,
        flags & 0x10 != 0,
        flags & 0x20 != 0,
    );
    // Where there is a profile, it is the first of the chunks that follow.
    let profile = profile && peek.array::<4>(30)? == *b"ICCP";
    let profile_bytes = if profile { u64::from(peek.le32(34)?) } else { 0 };
    let mut info = ImageInfo {
        alpha,
        components: 3 + u8::from(alpha),
        color_profile: profile,
        profile_bytes,
        // The worst that may follow: a lossless frame, unless a lossy one is found.
        samples_per_pixel_quarters: 16,
        frames: if animated { None } else { Some(1) },
        decodable: true,
        ..ImageInfo::new(Format::WebP, width, height)
    };
    if peek.is_partial() {
        return Ok(info);
    }
    let (mut frames, mut found) = (0, false);
    let mut offset = 30;
    for _ in 0..MAX_CHUNKS {
        if offset + 8 > peek.len() {
            break;
        }
        let name = peek.array::<4>(offset)?;
        let length = u64::from(peek.le32(offset + 4)?);
        match &name {
            b"ANMF" => frames += 1,
            b"VP8 " | b"VP8L" if !animated && !found => {
                found = true;
                if &name == b"VP8 " {
                    info.samples_per_pixel_quarters = 6;
                }
                if !exif {
                    break;
                }
            }
            b"EXIF" if length <= 64 * 1024 && offset + 8 + length <= peek.len() => {
                let data = peek.exactly(offset + 8, usize::try_from(length).unwrap_or(0))?;
                let exif = Exif::parse(data);
                info = info.with_exif(exif);
            }
            _ => {}
        }
        offset += 8 + length + (length & 1);
    }
    if animated {
        info.frames = Some(frames);
    }
    Ok(info)
}
