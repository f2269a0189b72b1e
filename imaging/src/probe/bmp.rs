//! BMP: the information header.

use super::ImageInfo;
use super::peek::{Peek, Stopped};
use crate::Format;

pub(super) fn read(peek: &mut Peek<'_>) -> Result<ImageInfo, Stopped> {
    let size = peek.le32(14)?;
    let (width, height, bits) = match size {
        12 => (u32::from(peek.le16(18)?), u32::from(peek.le16(20)?), peek.le16(24)?),
        16.. => {
            // A negative height is a picture from top to bottom.
            let (width, height) = (i32::from_le_bytes(peek.array(18)?), i32::from_le_bytes(peek.array(22)?));
            (u32::try_from(width).unwrap_or(0), height.unsigned_abs(), peek.le16(28)?)
        }
        _ => return Err(peek.corrupt(14, "the information header is too short")),
    };
    let alpha = bits == 32;
    Ok(ImageInfo {
        alpha,
        components: 3 + u8::from(alpha),
        ..ImageInfo::new(Format::Bmp, width, height)
    })
}
