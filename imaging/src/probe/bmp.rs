//! BMP: the information header with its masks and its palette.

use super::ImageInfo;
use super::peek::{Peek, Stopped};
use crate::{Format, ImageError, Source};

/// How the pixels of a BMP are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BmpCoding {
    /// Palette indices of 1, 2, 4 or 8 bits.
    Indexed,
    /// Runs of indices of 4 or 8 bits.
    Runs,
    /// Blue, green, red.
    Bytes,
    /// Red, green, blue and alpha by masks over 16 or 32 bits.
    Masks([u32; 4]),
}

/// A BMP's header.
#[derive(Clone, Debug)]
pub(crate) struct BmpHeader {
    pub(crate) width: u32,
    pub(crate) height: u32,
    /// Whether the first stored row is the upper one.
    pub(crate) top_down: bool,
    pub(crate) bits: u16,
    /// `None` for what is not read.
    pub(crate) coding: Option<BmpCoding>,
    /// Red, green and blue.
    pub(crate) palette: Vec<[u8; 3]>,
    /// Offset of the pixels.
    pub(crate) pixels: u64,
}

impl BmpHeader {
    /// Whether there is an alpha channel; without a mask for it the fourth byte means nothing.
    pub(crate) fn alpha(&self) -> bool {
        matches!(self.coding, Some(BmpCoding::Masks([.., alpha])) if alpha != 0)
    }
}

/// The header of a whole file that has been probed.
pub(crate) fn bmp_header(source: &dyn Source) -> Result<BmpHeader, ImageError> {
    let mut peek = Peek::whole(&source);
    peek.set_format(Format::Bmp, u64::MAX);
    header(&mut peek, true).map_err(|stopped| match stopped {
        Stopped::Failed(error) => error,
        Stopped::NeedMore(_) => ImageError::NotAnImage,
    })
}

pub(super) fn read(peek: &mut Peek<'_>) -> Result<ImageInfo, Stopped> {
    let header = header(peek, false)?;
    let alpha = header.alpha();
    Ok(ImageInfo {
        alpha,
        components: 3 + u8::from(alpha),
        decodable: header.coding.is_some(),
        ..ImageInfo::new(Format::Bmp, header.width, header.height)
    })
}

fn header(peek: &mut Peek<'_>, with_palette: bool) -> Result<BmpHeader, Stopped> {
    let size = peek.le32(14)?;
    let (width, height, top_down, bits) = match size {
        12 => (
            u32::from(peek.le16(18)?),
            u32::from(peek.le16(20)?),
            false,
            peek.le16(24)?,
        ),
        16.. => {
            // A negative height is a picture from top to bottom.
            let (width, height) = (i32::from_le_bytes(peek.array(18)?), i32::from_le_bytes(peek.array(22)?));
            let width = u32::try_from(width).unwrap_or(0);
            (width, height.unsigned_abs(), height < 0, peek.le16(28)?)
        }
        _ => return Err(peek.corrupt(14, "the information header is too short")),
    };
    let compression = if size >= 20 { peek.le32(30)? } else { 0 };
    let coding = coding(peek, size, bits, compression)?;
    let palette = if with_palette && bits <= 8 {
        palette(peek, size, bits)?
    } else {
        Vec::new()
    };
    let pixels = u64::from(peek.le32(10)?);
    Ok(BmpHeader {
        width,
        height,
        top_down,
        bits,
        coding,
        palette,
        pixels,
    })
}

fn coding(peek: &mut Peek<'_>, size: u32, bits: u16, compression: u32) -> Result<Option<BmpCoding>, Stopped> {
    Ok(match (compression, bits) {
        (0, 1 | 2 | 4 | 8) => Some(BmpCoding::Indexed),
        (0, 16) => Some(BmpCoding::Masks([0x7c00, 0x03e0, 0x001f, 0])),
        (0, 24) => Some(BmpCoding::Bytes),
        (0, 32) => Some(BmpCoding::Masks([0x00ff_0000, 0xff00, 0xff, 0])),
        (1, 8) | (2, 4) => Some(BmpCoding::Runs),
        (3 | 6, 16 | 32) if size >= 40 => {
            // In the header, or right after a short one.
            let mut masks = [peek.le32(54)?, peek.le32(58)?, peek.le32(62)?, 0];
            if size >= 56 || compression == 6 {
                masks[3] = peek.le32(66)?;
            }
            Some(BmpCoding::Masks(masks))
        }
        _ => None,
    })
}

fn palette(peek: &mut Peek<'_>, size: u32, bits: u16) -> Result<Vec<[u8; 3]>, Stopped> {
    let all = 1u32 << bits.min(8);
    let used = if size >= 36 { peek.le32(46)? } else { 0 };
    let count = if used == 0 { all } else { used.min(all) };
    let entry = if size == 12 { 3 } else { 4 };
    let mut colors = Vec::new();
    let mut at = 14 + u64::from(size);
    for _ in 0..count {
        let [blue, green, red] = peek.array(at)?;
        colors.push([red, green, blue]);
        at += entry;
    }
    Ok(colors)
}
