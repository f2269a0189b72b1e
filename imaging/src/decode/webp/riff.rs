//! The chunks of a file, as far as a still picture needs them.

use super::bytes_at;
use crate::{Format, ImageError, Source};
use core::ops::Range;

/// What a file holds.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// A frame of VP8, and the alpha that stood before it.
    Lossy {
        frame: Range<u64>,
        alpha: Option<Range<u64>>,
    },
    /// A lossless picture, or an animation.
    Other,
}

/// Chunks that are walked over.
const MAX_CHUNKS: usize = 16_384;

/// Finds the picture.
pub(super) fn content(source: &dyn Source) -> Result<Content, ImageError> {
    let mut offset = 12;
    let mut alpha = None;
    for _ in 0..MAX_CHUNKS {
        let [a, b, c, d, length @ ..] = bytes_at::<8>(source, offset)?;
        let start = offset + 8;
        let length = u64::from(u32::from_le_bytes(length));
        let range = start..start + length;
        let is_whole = || {
            if range.end <= source.len() {
                return Ok(());
            }
            Err(ImageError::corrupt(
                Format::WebP,
                source.len(),
                "the file ends too early",
            ))
        };
        match &[a, b, c, d] {
            b"VP8 " => {
                is_whole()?;
                return Ok(Content::Lossy { frame: range, alpha });
            }
            b"VP8L" => return Ok(Content::Other),
            b"VP8X" if bytes_at::<1>(source, start)?[0] & 0x02 != 0 => return Ok(Content::Other),
            b"ALPH" => {
                is_whole()?;
                alpha = Some(range);
            }
            _ => {}
        }
        offset = start + length + (length & 1);
    }
    Err(ImageError::corrupt(
        Format::WebP,
        offset,
        "there are too many chunks before the picture",
    ))
}
