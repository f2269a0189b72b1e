//! GIF: the logical screen, and the frames where the whole file is there.

use super::ImageInfo;
use super::peek::{Peek, Stopped};
use crate::{Format, Limits};

pub(super) fn read(peek: &mut Peek<'_>, limits: &Limits) -> Result<ImageInfo, Stopped> {
    let (width, height) = (u32::from(peek.le16(6)?), u32::from(peek.le16(8)?));
    let packed = peek.u8(10)?;
    let info = ImageInfo {
        frames: None,
        decodable: true,
        samples_per_pixel_quarters: 4,
        ..ImageInfo::new(Format::Gif, width, height)
    };
    if peek.is_partial() {
        // Transparency is told by a block in front of each frame, so it may still come.
        return Ok(ImageInfo {
            auxiliary_bytes: u64::from(width) * u64::from(height),
            alpha: true,
            components: 4,
            ..info
        });
    }
    let mut walk = Walk {
        screen: (peek.le16(6)?, peek.le16(8)?),
        offset: 13 + color_table(packed),
        frames: 0,
        metadata: 0,
        largest: 0,
        alpha: false,
        interlaced: false,
    };
    // One more than allowed is enough to be refused.
    while walk.frames <= limits.frames && walk.step(peek)? {}
    Ok(ImageInfo {
        frames: Some(walk.frames),
        // A growing buffer is for a moment there twice, and twice as large as what it holds.
        auxiliary_bytes: 3 * walk.metadata + walk.largest,
        alpha: walk.alpha,
        components: 3 + u8::from(walk.alpha),
        progressive: walk.interlaced,
        ..info
    })
}

/// Bytes of the colour table that a packed field announces.
fn color_table(packed: u8) -> u64 {
    if packed & 0x80 == 0 { 0 } else { 3 << (1 + (packed & 7)) }
}

struct Walk {
    /// Width and height.
    screen: (u16, u16),
    offset: u64,
    frames: u32,
    /// Bytes of XMP and of colour profiles, which the decoder collects.
    metadata: u64,
    /// Pixels of the largest frame, which may be larger than the screen.
    largest: u64,
    alpha: bool,
    interlaced: bool,
}

impl Walk {
    /// Passes one block; false at the trailer or where the file ends. What is cut off is the decoder's to complain of.
    fn step(&mut self, peek: &mut Peek<'_>) -> Result<bool, Stopped> {
        let start = self.offset;
        let mut kept = false;
        match peek.up_to(start, 1)?.first().copied() {
            Some(0x21) => {
                if let [_, 0xf9, 4, packed] = peek.up_to(start, 4)? {
                    // A transparent colour, or a frame that leaves nothing or what was before it.
                    self.alpha |= packed & 1 == 1 || packed >> 2 & 7 >= 2;
                }
                if let [_, 0xff, 11, name @ ..] = peek.up_to(start, 14)? {
                    kept = matches!(name, b"XMP DataXMP" | b"ICCRGBG1012");
                }
                self.offset = start + 2;
            }
            Some(0x2c) => {
                let &[_, l0, l1, t0, t1, w0, w1, h0, h1, packed] = peek.up_to(start, 10)? else {
                    return Ok(false);
                };
                let place = [[l0, l1], [t0, t1], [w0, w1], [h0, h1]].map(u16::from_le_bytes);
                // What the first frame leaves free is transparent.
                self.alpha |= self.frames == 0 && place != [0, 0, self.screen.0, self.screen.1];
                self.frames += 1;
                self.largest = self.largest.max(u64::from(place[2]) * u64::from(place[3]));
                self.interlaced |= packed & 0x40 != 0;
                self.offset = start + 11 + color_table(packed);
            }
            _ => return Ok(false),
        }
        loop {
            let Some(length) = peek.up_to(self.offset, 1)?.first().copied() else {
                return Ok(false);
            };
            self.offset += 1 + u64::from(length);
            if kept {
                self.metadata += 1 + u64::from(length);
            }
            if length == 0 {
                return Ok(true);
            }
        }
    }
}
