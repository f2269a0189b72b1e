//! What stands before a PNG's rows: how its samples are to be read.

use super::super::Failure;
use super::chunks::{Chunks, DATA, END};
use crate::pixels::Channels;

/// How samples become channels of 8 bits.
pub(super) struct Header {
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) interlaced: bool,
    depth: u8,
    color: Color,
}

enum Color {
    Grey {
        /// The sample that is transparent.
        transparent: Option<u16>,
    },
    Rgb {
        transparent: Option<[u16; 3]>,
    },
    Palette {
        colors: Box<[[u8; 4]; 256]>,
        translucent: bool,
    },
    GreyAlpha,
    Rgba,
}

impl Header {
    /// Reads chunks up to the first one of the picture's data.
    pub(super) fn read(chunks: &mut Chunks<'_, '_>) -> Result<Self, Failure> {
        let damage = |what: &str| Failure::Damage(what.to_owned());
        if chunks.next()?.0 != *b"IHDR" {
            return Err(damage("the first chunk is not IHDR"));
        }
        let (data, sound) = chunks.whole(13)?;
        if !sound {
            return Err(chunks.damaged("has another check sum than it says"));
        }
        let &[
            w0,
            w1,
            w2,
            w3,
            h0,
            h1,
            h2,
            h3,
            depth,
            kind,
            compression,
            filter,
            interlace,
        ] = data.as_slice()
        else {
            return Err(chunks.damaged("is shorter than its kind is"));
        };
        let color = match (kind, depth) {
            (0, 1 | 2 | 4 | 8 | 16) => Color::Grey { transparent: None },
            (2, 8 | 16) => Color::Rgb { transparent: None },
            // An index without a colour is black.
            (3, 1 | 2 | 4 | 8) => Color::Palette {
                colors: Box::new([[0, 0, 0, 255]; 256]),
                translucent: false,
            },
            (4, 8 | 16) => Color::GreyAlpha,
            (6, 8 | 16) => Color::Rgba,
            _ => return Err(damage("IHDR has values that PNG does not know")),
        };
        if (compression, filter) != (0, 0) || interlace > 1 {
            return Err(damage("IHDR has values that PNG does not know"));
        }
        let mut header = Self {
            width: u32::from_be_bytes([w0, w1, w2, w3]),
            height: u32::from_be_bytes([h0, h1, h2, h3]),
            interlaced: interlace == 1,
            depth,
            color,
        };
        let mut has_colors = false;
        loop {
            let (name, length) = chunks.next()?;
            match name {
                DATA => break,
                END => return Err(damage("there is no picture before the end")),
                _ if name == *b"PLTE" => {
                    let (data, sound) = chunks.whole(256 * 3)?;
                    if !sound {
                        return Err(chunks.damaged("has another check sum than it says"));
                    }
                    if data.is_empty() || data.len() % 3 != 0 || has_colors {
                        return Err(chunks.damaged("is no palette, or a second one"));
                    }
                    has_colors = true;
                    header.set_palette(&data);
                }
                // What is not needed to show the picture may be damaged: it counts as absent.
                _ if name == *b"tRNS" && length <= 256 => {
                    let (data, sound) = chunks.whole(256)?;
                    if sound {
                        header.set_transparency(&data);
                    }
                }
                [first, ..] if first.is_ascii_uppercase() => {
                    return Err(chunks.damaged("is needed to show the picture, and unknown"));
                }
                _ => chunks.pass_over()?,
            }
        }
        if matches!(header.color, Color::Palette { .. }) && !has_colors {
            return Err(damage("the palette is missing"));
        }
        Ok(header)
    }

    fn set_palette(&mut self, data: &[u8]) {
        if let Color::Palette { colors, .. } = &mut self.color {
            for (to, [red, green, blue]) in colors.iter_mut().zip(data.as_chunks().0) {
                *to = [*red, *green, *blue, 255];
            }
        }
    }

    fn set_transparency(&mut self, data: &[u8]) {
        match (&mut self.color, data) {
            (Color::Grey { transparent }, [high, low]) => *transparent = Some(u16::from_be_bytes([*high, *low])),
            (Color::Rgb { transparent }, [r0, r1, g0, g1, b0, b1]) => {
                let samples = [[r0, r1], [g0, g1], [b0, b1]];
                *transparent = Some(samples.map(|[high, low]| u16::from_be_bytes([*high, *low])));
            }
            (Color::Palette { colors, translucent }, alphas) => {
                *translucent = true;
                for ([.., to], alpha) in colors.iter_mut().zip(alphas) {
                    *to = *alpha;
                }
            }
            _ => {}
        }
    }

    pub(super) const fn channels(&self) -> Channels {
        match self.color {
            Color::Grey { transparent: None } => Channels::Grey,
            Color::Rgb { transparent: None } | Color::Palette { translucent: false, .. } => Channels::Rgb,
            _ => Channels::Rgba,
        }
    }

    const fn samples(&self) -> usize {
        match self.color {
            Color::Grey { .. } | Color::Palette { .. } => 1,
            Color::GreyAlpha => 2,
            Color::Rgb { .. } => 3,
            Color::Rgba => 4,
        }
    }

    /// Bytes of a pixel; of fewer than 8 bits, one.
    pub(super) fn pixel_bytes(&self) -> usize {
        (self.samples() * usize::from(self.depth) / 8).max(1)
    }

    /// Bytes of a row of this many pixels.
    pub(super) fn row_bytes(&self, width: u32) -> usize {
        (width as usize * self.samples() * usize::from(self.depth)).div_ceil(8)
    }

    /// Whether a row is as a raster has it.
    pub(super) const fn is_ready(&self) -> bool {
        self.depth == 8
            && matches!(
                self.color,
                Color::Grey { transparent: None } | Color::Rgb { transparent: None } | Color::Rgba
            )
    }

    /// Puts a row's pixels, which are `from`, into `to`.
    pub(super) fn convert<'a>(&self, from: &[u8], to: impl Iterator<Item = &'a mut [u8]>) {
        match &self.color {
            Color::Palette { colors, .. } => {
                for (pixel, index) in to.zip(Small::new(from, self.depth)) {
                    let color = colors.get(usize::from(index)).copied().unwrap_or_default();
                    pixel.iter_mut().zip(color).for_each(|(to, from)| *to = from);
                }
            }
            Color::Grey { transparent } if self.depth < 8 => {
                // All bits set are white.
                let white = 255 / ((1u16 << self.depth) - 1) as u8;
                for (pixel, sample) in to.zip(Small::new(from, self.depth)) {
                    put_grey(pixel, sample * white, opaque(*transparent != Some(sample.into())));
                }
            }
            color => {
                let bytes = self.pixel_bytes();
                for (pixel, from) in to.zip(from.chunks_exact(bytes)) {
                    if self.depth == 16 {
                        let (pairs, _) = from.as_chunks::<2>();
                        put(color, pixel, pairs, |pair| u16::from_be_bytes(*pair), narrow);
                    } else {
                        put(color, pixel, from, |byte| u16::from(*byte), |sample| sample as u8);
                    }
                }
            }
        }
    }
}

/// `v / 257`, rounded: the nearest of 8 bits.
fn narrow(sample: u16) -> u8 {
    ((u32::from(sample) * 255 + 32_767) / 65_535) as u8
}

const fn opaque(is: bool) -> u8 {
    if is { 255 } else { 0 }
}

fn put_grey(pixel: &mut [u8], grey: u8, alpha: u8) {
    pixel
        .iter_mut()
        .zip([grey, grey, grey, alpha])
        .for_each(|(to, from)| *to = from);
}

/// Puts a pixel of whole samples.
fn put<T>(color: &Color, pixel: &mut [u8], from: &[T], read: impl Fn(&T) -> u16, narrow: impl Fn(u16) -> u8) {
    match (color, from) {
        (Color::Grey { transparent }, [grey]) => {
            let grey = read(grey);
            put_grey(pixel, narrow(grey), opaque(*transparent != Some(grey)));
        }
        (Color::GreyAlpha, [grey, alpha]) => put_grey(pixel, narrow(read(grey)), narrow(read(alpha))),
        (Color::Rgb { transparent }, [red, green, blue]) => {
            let samples = [read(red), read(green), read(blue)];
            let alpha = opaque(*transparent != Some(samples));
            let channels = samples.map(narrow).into_iter().chain([alpha]);
            pixel.iter_mut().zip(channels).for_each(|(to, from)| *to = from);
        }
        (_, from) => pixel
            .iter_mut()
            .zip(from)
            .for_each(|(to, from)| *to = narrow(read(from))),
    }
}

/// Samples of up to 8 bits, from the highest bits of each byte on.
struct Small<'a> {
    bytes: core::slice::Iter<'a, u8>,
    depth: u32,
    byte: u8,
    left: u32,
}

impl<'a> Small<'a> {
    fn new(bytes: &'a [u8], depth: u8) -> Self {
        Self {
            bytes: bytes.iter(),
            depth: depth.into(),
            byte: 0,
            left: 0,
        }
    }
}

impl Iterator for Small<'_> {
    type Item = u8;

    fn next(&mut self) -> Option<u8> {
        if self.left == 0 {
            self.byte = *self.bytes.next()?;
            self.left = 8;
        }
        self.left -= self.depth;
        Some((self.byte >> self.left) & (0xff >> (8 - self.depth)))
    }
}
