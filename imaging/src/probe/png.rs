//! PNG: chunks up to the first image data.

use super::peek::{Peek, Stopped};
use super::{Exif, ImageInfo};
use crate::Format;

/// Chunks before the image data.
pub(super) const MAX_CHUNKS: usize = 4096;

pub(super) fn read(peek: &mut Peek<'_>) -> Result<ImageInfo, Stopped> {
    if peek.be32(8)? != 13 || peek.array::<4>(12)? != *b"IHDR" {
        return Err(peek.corrupt(8, "the first chunk is not IHDR"));
    }
    let (width, height) = (peek.be32(16)?, peek.be32(20)?);
    let [depth, color, compression, filter, interlace] = peek.array::<5>(24)?;
    let (components, depths): (u8, &[u8]) = match color {
        0 => (1, &[1, 2, 4, 8, 16]),
        2 => (3, &[8, 16]),
        3 => (3, &[1, 2, 4, 8]),
        4 => (2, &[8, 16]),
        6 => (4, &[8, 16]),
        _ => (0, &[]),
    };
    if !depths.contains(&depth) || compression != 0 || filter != 0 || interlace > 1 {
        return Err(peek.corrupt(24, "IHDR has values that PNG does not know"));
    }
    let mut info = ImageInfo {
        progressive: interlace == 1,
        components,
        bit_depth: depth,
        alpha: color >= 4,
        decodable: true,
        ..ImageInfo::new(Format::Png, width, height)
    };
    let mut offset = 33;
    for _ in 0..MAX_CHUNKS {
        peek.within_metadata(offset)?;
        let length = u64::from(peek.be32(offset)?);
        match &peek.array::<4>(offset + 4)? {
            b"IDAT" | b"IEND" => {
                info.components += u8::from(info.alpha && matches!(color, 0 | 2 | 3));
                info.samples_per_pixel_quarters = info.components * 4;
                return Ok(info);
            }
            b"tRNS" => info.alpha = true,
            // The still image is what is shown; its frames are no reason to refuse it.
            b"iCCP" => (info.color_profile, info.profile_bytes) = (true, length),
            b"eXIf" if length <= 64 * 1024 => {
                let data = peek.exactly(offset + 8, usize::try_from(length).unwrap_or(0))?;
                let exif = Exif::parse(data);
                info = info.with_exif(exif);
            }
            _ => {}
        }
        offset += 12 + length;
    }
    Err(peek.corrupt(offset, "there are too many chunks before the image data"))
}
