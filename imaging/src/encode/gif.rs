//! GIF: pixels that show or do not, a palette for each frame, exact where it can be.

use super::palette;
use crate::animation::Patch;
use crate::pixels::{Channels, Raster};
use crate::{CodecError, ImageError};
use color_quant::NeuQuant;
use gif::{DisposalMethod, Encoder, Frame, Repeat};
use std::borrow::Cow;

fn failed(error: &gif::EncodingError) -> ImageError {
    CodecError::Failed(error.to_string()).into()
}

fn side(side: u32) -> Result<u16, ImageError> {
    u16::try_from(side).map_err(|_| ImageError::Internal("a GIF side over 65,535 was let through"))
}

/// A picture that does not move.
pub(super) fn still(raster: Raster) -> Result<Vec<u8>, ImageError> {
    let (width, height) = (side(raster.width)?, side(raster.height)?);
    let mut encoder = Encoder::new(Vec::new(), width, height, &[]).map_err(|error| failed(&error))?;
    let patch = Patch {
        left: 0,
        top: 0,
        width: raster.width,
        height: raster.height,
    };
    let frame = frame(raster.colored()?, patch)?;
    encoder.write_frame(&frame).map_err(|error| failed(&error))?;
    encoder
        .into_inner()
        .map_err(|error| CodecError::Failed(error.to_string()).into())
}

/// An animation that is written frame by frame.
pub(crate) struct Animation {
    encoder: Option<Encoder<Vec<u8>>>,
    size: (u32, u32),
    repeat: Repeat,
    /// Time that the frames so far should have taken, in milliseconds, and that they do, in hundredths of a second.
    asked: u64,
    given: u64,
}

impl Animation {
    pub(crate) fn new(size: (u32, u32), plays: u16) -> Self {
        Self {
            encoder: None,
            size,
            repeat: match plays {
                0 => Repeat::Infinite,
                plays => Repeat::Finite(plays - 1),
            },
            asked: 0,
            given: 0,
        }
    }

    pub(crate) fn add(&mut self, raster: Raster, patch: Patch, milliseconds: u32) -> Result<(), ImageError> {
        let redrawn = raster.channels == Channels::Rgba;
        let mut frame = frame(raster, patch)?;
        self.asked += u64::from(milliseconds);
        let until = (self.asked + 5) / 10;
        frame.delay = u16::try_from(until.saturating_sub(self.given)).unwrap_or(u16::MAX);
        self.given += u64::from(frame.delay);
        if redrawn {
            frame.dispose = DisposalMethod::Background;
        }
        let encoder = match &mut self.encoder {
            Some(encoder) => encoder,
            none => {
                let (width, height) = (side(self.size.0)?, side(self.size.1)?);
                let mut encoder = Encoder::new(Vec::new(), width, height, &[]).map_err(|error| failed(&error))?;
                encoder.set_repeat(self.repeat).map_err(|error| failed(&error))?;
                none.insert(encoder)
            }
        };
        encoder.write_frame(&frame).map_err(|error| failed(&error))
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.encoder
            .as_ref()
            .map_or(0, |encoder| encoder.get_ref().len() as u64)
    }

    pub(crate) fn finish(self) -> Result<Vec<u8>, ImageError> {
        let Some(encoder) = self.encoder else {
            return Err(ImageError::Internal("a GIF without frames was finished"));
        };
        encoder
            .into_inner()
            .map_err(|error| CodecError::Failed(error.to_string()).into())
    }
}

/// From this alpha on a pixel shows.
const SHOWS: u8 = 128;

fn frame(mut solid: Raster, patch: Patch) -> Result<Frame<'static>, ImageError> {
    if solid.channels == Channels::Rgba {
        for pixel in solid.data.chunks_exact_mut(4) {
            if let [.., alpha] = pixel
                && *alpha >= SHOWS
            {
                *alpha = 255;
            } else {
                pixel.fill(0);
            }
        }
    }
    let (colors, indices) = match palette::exact(&solid) {
        Some(exact) => (exact.colors, exact.indices),
        None => quantised(&solid)?,
    };
    let transparent = colors.iter().position(|color| color[3] == 0);
    Ok(Frame {
        left: side(patch.left)?,
        top: side(patch.top)?,
        width: side(patch.width)?,
        height: side(patch.height)?,
        palette: Some(colors.iter().flat_map(|[r, g, b, _]| [*r, *g, *b]).collect()),
        transparent: transparent.and_then(|index| u8::try_from(index).ok()),
        buffer: Cow::Owned(indices),
        ..Frame::default()
    })
}

/// Thresholds of an ordered dither, in sixteenths. It stands still where a picture does, unlike a diffused error.
const BAYER: [[i32; 4]; 4] = [[0, 8, 2, 10], [12, 4, 14, 6], [3, 11, 1, 9], [15, 7, 13, 5]];

/// How far the dither moves a value at most: half of the usual distance between 255 colours.
const DITHER: i32 = 5;

/// Pixels that the palette is made from; more of them change it no more.
const SAMPLED: usize = 60_000;

/// One in so many of those trains the network: with all of them a small frame takes 20 ms, and looks the same.
const EVERY: i32 = 10;

/// A palette of 255 colours, and one for what does not show.
fn quantised(raster: &Raster) -> Result<(Vec<[u8; 4]>, Vec<u8>), ImageError> {
    let count = raster.channels.count();
    let shown = |pixel: &[u8]| match *pixel {
        [r, g, b] => Some([r, g, b, 255]),
        [r, g, b, alpha] if alpha >= SHOWS => Some([r, g, b, 255]),
        _ => None,
    };
    let pixels = raster.data.len() / count;
    let step = (pixels / SAMPLED).max(1);
    let mut samples = Vec::new();
    for color in raster.data.chunks_exact(count).step_by(step).filter_map(shown) {
        samples.extend(color);
    }
    let network = NeuQuant::new(EVERY, 255, &samples);
    let mut colors = vec![[0; 4]];
    colors.extend(
        network
            .color_map_rgb()
            .chunks_exact(3)
            .filter_map(|color| match *color {
                [r, g, b] => Some([r, g, b, 255]),
                _ => None,
            }),
    );
    // The nearest colour of each cell of 6 bits a channel, looked up once.
    let mut nearest = vec![0u8; 1 << 18];
    let mut indices = Vec::new();
    indices
        .try_reserve_exact(pixels)
        .map_err(|_| ImageError::Internal("there is no memory for a frame's indices"))?;
    let width = raster.width.max(1) as usize;
    for (at, pixel) in raster.data.chunks_exact(count).enumerate() {
        let Some([r, g, b, _]) = shown(pixel) else {
            indices.push(0);
            continue;
        };
        let threshold = BAYER
            .get(at / width % 4)
            .and_then(|row| row.get(at % width % 4))
            .copied()
            .unwrap_or(8);
        let shift = (2 * threshold - 15) * DITHER / 16;
        let moved = [r, g, b].map(|value| (i32::from(value) + shift).clamp(0, 255) as u8);
        let [r, g, b] = moved.map(|value| usize::from(value >> 2));
        let Some(cell) = nearest.get_mut(r << 12 | g << 6 | b) else {
            continue;
        };
        if *cell == 0 {
            let [r, g, b] = moved;
            *cell = u8::try_from(network.index_of(&[r, g, b, 255]) + 1).unwrap_or(u8::MAX);
        }
        indices.push(*cell);
    }
    Ok((colors, indices))
}
