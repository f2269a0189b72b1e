//! Rows to one row: eight products at once, in integers, so that every lane adds up the same.

use super::taps::{Taps, both, pair};
use super::{BLOCK, FRACTION};
use crate::ImageError;
use crate::pixels::reserved;
use bytemuck::cast;
use wide::{i16x8, i32x4, u8x16};

pub(super) type Block = [u8; BLOCK];

/// What is added up for a resized row.
#[derive(Clone, Copy, Debug)]
struct Window {
    start: usize,
    count: usize,
    /// Where its pairs begin in [`Vertical::weights`].
    pairs: usize,
}

/// Windows with weights as integers, two by two.
#[derive(Debug)]
pub(super) struct Vertical {
    windows: Vec<Window>,
    weights: Vec<i32>,
    /// Bits of the weights' fractions beyond those that a sum keeps.
    shift: u32,
}

impl Vertical {
    pub(super) fn new(taps: &Taps) -> Result<Self, ImageError> {
        // As fine as 16 bits allow for the largest weight, and 31 for the sum of 8-bit samples: Lanczos3's weights add up
        // to less than 2 without their signs, where the line's end cuts them too.
        let bits = taps.bits(21).max(FRACTION);
        let mut windows = reserved(taps.windows.len())?;
        let mut weights = reserved(taps.weights.len() / 2 + taps.windows.len())?;
        let mut own: Vec<i32> = reserved(taps.longest() + 1)?;
        for window in &taps.windows {
            taps.rounded(*window, bits, &mut own);
            if own.len() % 2 == 1 {
                own.push(0);
            }
            windows.push(Window {
                start: window.start,
                count: window.count,
                pairs: weights.len(),
            });
            weights.extend(own.as_chunks::<2>().0.iter().map(pair));
        }
        Ok(Self {
            windows,
            weights,
            shift: bits - FRACTION,
        })
    }

    /// The rows that a resized row is made of: the first, and the one behind the last. `None` behind the last resized row.
    pub(super) fn rows(&self, index: usize) -> Option<(usize, usize)> {
        let window = self.windows.get(index)?;
        Some((window.start, window.start + window.count))
    }

    /// The most rows that a resized row is made of.
    pub(super) fn most_rows(&self) -> usize {
        self.windows.iter().map(|window| window.count).max().unwrap_or(0)
    }

    /// Adds up a resized row.
    pub(super) fn add_up(&self, index: usize, ring: &Ring, steps: &mut Vec<Step>, out: &mut [i32]) {
        let Some(window) = self.windows.get(index) else {
            return;
        };
        let pairs = window.count.div_ceil(2);
        let weights = self.weights.get(window.pairs..window.pairs + pairs).unwrap_or_default();
        steps.clear();
        steps.extend((window.start..).step_by(2).zip(weights).map(|(row, weights)| Step {
            rows: [ring.start(row), ring.start(row + 1)],
            weights: *weights,
        }));
        let half = i32x4::splat((1 << self.shift) / 2);
        let (out, _) = out.as_chunks_mut::<BLOCK>();
        for (at, out) in out.iter_mut().enumerate() {
            let mut sums = [half; 4];
            for step in steps.iter() {
                let [a, b] = step.rows.map(|start| u8x16::new(ring.block(start + at)));
                let weights = both(step.weights);
                let (low, high) = (u8x16::unpack_low(a, b), u8x16::unpack_high(a, b));
                // Widened with zeroes, as little-endian numbers of 16 bits are.
                let pairs = [
                    u8x16::unpack_low(low, u8x16::ZERO),
                    u8x16::unpack_high(low, u8x16::ZERO),
                    u8x16::unpack_low(high, u8x16::ZERO),
                    u8x16::unpack_high(high, u8x16::ZERO),
                ];
                for (sum, pair) in sums.iter_mut().zip(pairs) {
                    *sum += cast::<u8x16, i16x8>(pair).dot(weights);
                }
            }
            let (out, _) = out.as_chunks_mut::<4>();
            for (out, sum) in out.iter_mut().zip(sums) {
                *out = (sum >> self.shift).to_array();
            }
        }
    }
}

/// Two rows and their weights.
#[derive(Debug)]
pub(super) struct Step {
    /// Where they begin in the ring, in blocks.
    rows: [usize; 2],
    weights: i32,
}

/// The last rows that were given.
#[derive(Debug)]
pub(super) struct Ring {
    blocks: Vec<Block>,
    /// Blocks of a row.
    across: usize,
    rows: usize,
}

impl Ring {
    /// One row more than is looked at, for windows of an odd number of rows, whose last weight stands alone.
    pub(super) fn new(rows: usize, samples: usize) -> Result<Self, ImageError> {
        let (rows, across) = (rows + 1, samples.div_ceil(BLOCK));
        let mut blocks: Vec<Block> = reserved(rows * across)?;
        blocks.resize(rows * across, [0; BLOCK]);
        Ok(Self { blocks, across, rows })
    }

    /// Where a row begins, in blocks.
    const fn start(&self, row: usize) -> usize {
        (row % self.rows) * self.across
    }

    #[inline(always)]
    fn block(&self, at: usize) -> Block {
        self.blocks.get(at).copied().unwrap_or([0; BLOCK])
    }

    /// Where a row goes.
    pub(super) fn row_mut(&mut self, row: usize) -> &mut [u8] {
        let start = self.start(row);
        self.blocks
            .get_mut(start..start + self.across)
            .unwrap_or_default()
            .as_flattened_mut()
    }
}
