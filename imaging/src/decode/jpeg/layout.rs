//! How the components of a frame become planes at a scale.

use super::header::{Frame, Quantisation};
use super::idct::{Block, flat, transform};
use crate::ImageError;
use crate::dct::ZIGZAG;
use crate::pixels::{Channels, Shape, Sink, zeroed};

/// A component while it is decoded.
pub(super) struct Plane {
    /// Samples that a block becomes, across and down.
    pub(super) block: (usize, usize),
    /// Blocks with the padding to whole MCUs, across and down.
    pub(super) blocks: (usize, usize),
    /// Bytes of a row.
    pub(super) stride: usize,
    /// The rows of one MCU.
    samples: Vec<u8>,
    /// Its size without the padding of its blocks.
    size: (usize, usize),
    /// Rows that have been handed over.
    given: usize,
    /// The last coefficient, in zigzag order, that a block of this size needs.
    pub(super) last: u32,
    /// Where a coefficient goes, and what it is multiplied with; those that are not needed go beyond the block.
    targets: [(u8, f32); 64],
    dc_divisor: f32,
}

/// A block's coefficients, and one place for those that nobody needs.
pub(super) struct Coefficients {
    values: [f32; 65],
    dirty: bool,
}

impl Coefficients {
    pub(super) const fn new() -> Self {
        Self {
            values: [0.0; 65],
            dirty: false,
        }
    }
}

/// Samples that a block of a component becomes at 1 / `scale`, across and down.
///
/// A component that is stored at half the resolution is transformed to blocks of twice the size: at reduced scales its
/// coefficients hold what would otherwise have to be made up. `full_chroma` asks for that: an answer that stores chroma at
/// half the resolution has no use for it.
fn block_size(frame: &Frame, sampling: (u32, u32), scale: u32, full_chroma: bool) -> (u32, u32) {
    let base = (8 / scale).max(1);
    let largest = frame.largest_sampling();
    let most = if full_chroma { 8 } else { base };
    let side = |largest: u32, own: u32| {
        let mut size = base;
        while 2 * size <= most && (largest * base).is_multiple_of(2 * size * own) {
            size *= 2;
        }
        size
    };
    (side(largest.0, sampling.0), side(largest.1, sampling.1))
}

impl Plane {
    /// The planes of a frame.
    pub(super) fn all(frame: &Frame, scale: u32, full_chroma: bool) -> Result<Vec<Self>, ImageError> {
        let mcus = frame.mcus();
        let largest = frame.largest_sampling();
        let plane = |sampling: (u32, u32)| {
            let (width, height) = block_size(frame, sampling, scale, full_chroma);
            let blocks = ((mcus.0 * sampling.0) as usize, (mcus.1 * sampling.1) as usize);
            let stride = blocks.0 * width as usize;
            let needed = |at: u8| u32::from(at % 8) < width && u32::from(at / 8) < height;
            let last = ZIGZAG.iter().rposition(|at| needed(*at)).unwrap_or(0);
            Ok(Self {
                block: (width as usize, height as usize),
                blocks,
                stride,
                samples: zeroed(stride * (sampling.1 * height) as usize)?,
                size: (
                    (frame.width * sampling.0 * width).div_ceil(8 * largest.0) as usize,
                    (frame.height * sampling.1 * height).div_ceil(8 * largest.1) as usize,
                ),
                given: 0,
                last: last as u32,
                targets: ZIGZAG.map(|at| (if needed(at) { at } else { 64 }, 1.0)),
                dc_divisor: 1.0,
            })
        };
        frame
            .components
            .iter()
            .map(|component| plane(component.sampling))
            .collect()
    }

    /// Sets the divisors that the next blocks were quantised with.
    pub(super) fn quantise(&mut self, divisors: &Quantisation) {
        for ((_, factor), divisor) in self.targets.iter_mut().zip(divisors) {
            *factor = f32::from(*divisor);
        }
        self.dc_divisor = f32::from(divisors.first().copied().unwrap_or(1));
    }

    /// What the sink is told of it: its size, and its samples for a pixel.
    pub(super) fn shape(&self, sampling: (u32, u32), largest: (u32, u32), scale: u32) -> Shape {
        let base = (8 / scale).max(1);
        let per_pixel =
            |own: u32, block: usize, largest: u32| f64::from(own * block as u32) / f64::from(largest * base);
        Shape {
            size: (self.size.0 as u32, self.size.1 as u32),
            channels: Channels::Grey,
            per_pixel: (
                per_pixel(sampling.0, self.block.0, largest.0),
                per_pixel(sampling.1, self.block.1, largest.1),
            ),
            interpolated: scale == 1,
        }
    }

    /// Gives so many rows of blocks to the sink.
    pub(super) fn hand_over(&mut self, index: usize, blocks: usize, sink: &mut Sink<'_>) -> Result<(), ImageError> {
        let rows = (blocks * self.block.1).min(self.size.1 - self.given);
        for row in self.samples.chunks_exact(self.stride.max(1)).take(rows) {
            sink.push(index, row.get(..self.size.0).unwrap_or_default())?;
        }
        self.given += rows;
        Ok(())
    }

    /// Where a block of those rows begins.
    #[inline(always)]
    pub(super) const fn offset(&self, column: usize, row: usize) -> usize {
        row * self.block.1 * self.stride + column * self.block.0
    }

    /// A value of the block that is being read, `index` in zigzag order.
    #[inline(always)]
    pub(super) fn set(&self, block: &mut Coefficients, index: u32, value: i32) {
        let (at, factor) = self.targets.get(index as usize).copied().unwrap_or((64, 0.0));
        if let Some(to) = block.values.get_mut(usize::from(at)) {
            *to = value as f32 * factor;
        }
        block.dirty = true;
    }

    /// One sample for a block.
    #[inline(always)]
    pub(super) fn put_dc(&mut self, offset: usize, dc: i32) {
        if let Some(to) = self.samples.get_mut(offset) {
            *to = flat(dc as f32 * self.dc_divisor);
        }
    }

    /// Transforms a block whose values other than `dc` have been set, and clears it for the next one.
    #[inline(always)]
    pub(super) fn put(&mut self, offset: usize, dc: i32, block: &mut Coefficients) {
        let dc = dc as f32 * self.dc_divisor;
        let out = self.samples.get_mut(offset..).unwrap_or_default();
        if !block.dirty {
            let (width, height) = self.block;
            let sample = flat(dc);
            for row in out.chunks_mut(self.stride).take(height) {
                row.iter_mut().take(width).for_each(|to| *to = sample);
            }
            return;
        }
        if let Some((first, _)) = block.values.split_first_mut() {
            *first = dc;
        }
        if let Some(values) = block.values.first_chunk::<64>() {
            let values: &Block = values;
            transform(values, self.block, out, self.stride);
        }
        // What lies beyond is of no coefficient that is read.
        if let Some(used) = block.values.get_mut(..8 * self.block.1) {
            used.fill(0.0);
        }
        block.dirty = false;
    }
}
