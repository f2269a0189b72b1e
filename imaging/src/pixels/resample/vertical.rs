//! Rows to one row: eight products at once, in integers, so that every lane adds up the same.

use super::taps::Taps;
use crate::ImageError;
use crate::pixels::{reserved, zeroed_of};
use wide::{f32x4, i16x8, i32x4, u8x16};

/// Samples that are computed at once.
pub(super) const BLOCK: usize = 16;

pub(super) type Block = [u8; BLOCK];

/// What a weight may be at most before its share of the rounding is added.
const MOST: f64 = 32_000.0;

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
    weights: Vec<[i16; 2]>,
    /// What a sum is multiplied with to be a sample again.
    unit: f32,
}

impl Vertical {
    pub(super) fn new(taps: &Taps) -> Result<Self, ImageError> {
        // As fine as 16 bits allow for the largest weight, and 31 for the sum of 8-bit samples: Lanczos3's weights add up
        // to less than 2 without their signs, where the line's end cuts them too.
        let largest = taps.weights.iter().fold(0.0f64, |most, weight| most.max(weight.abs()));
        let mut bits = 21;
        while bits > 0 && largest * f64::from(1 << bits) > MOST {
            bits -= 1;
        }
        let one = 1i32 << bits;
        let mut windows = reserved(taps.windows.len())?;
        let mut weights: Vec<[i16; 2]> = reserved(taps.weights.len() / 2 + taps.windows.len())?;
        let mut own: Vec<i32> = reserved(taps.longest() + 1)?;
        for window in &taps.windows {
            own.clear();
            own.extend(
                taps.of(*window)
                    .iter()
                    .map(|weight| libm::rint(weight * f64::from(one)) as i32),
            );
            // What rounding took or gave goes to the largest, so that plain areas stay as they are.
            let rest = one - own.iter().sum::<i32>();
            if let Some(most) = own.iter_mut().max_by_key(|weight| weight.abs()) {
                *most += rest;
            }
            if own.len() % 2 == 1 {
                own.push(0);
            }
            windows.push(Window {
                start: window.start,
                count: window.count,
                pairs: weights.len(),
            });
            let narrow = |weight: i32| weight.clamp(i16::MIN.into(), i16::MAX.into()) as i16;
            let (pairs, _) = own.as_chunks::<2>();
            weights.extend(pairs.iter().map(|pair| pair.map(narrow)));
        }
        Ok(Self {
            windows,
            weights,
            unit: 1.0 / one as f32,
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
    pub(super) fn add_up(&self, index: usize, ring: &Ring, steps: &mut Vec<Step>, out: &mut [f32]) {
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
        let unit = f32x4::splat(self.unit);
        let (out, _) = out.as_chunks_mut::<BLOCK>();
        for (at, out) in out.iter_mut().enumerate() {
            let mut sums = [i32x4::ZERO; 4];
            for step in steps.iter() {
                let [a, b] = step.rows.map(|start| u8x16::new(ring.block(start + at)));
                let [first, second] = step.weights;
                let weights = i16x8::new([first, second, first, second, first, second, first, second]);
                let (low, high) = (u8x16::unpack_low(a, b), u8x16::unpack_high(a, b));
                let pairs = [
                    i16x8::from_u8x16_low(low),
                    i16x8::from_u8x16_high(low),
                    i16x8::from_u8x16_low(high),
                    i16x8::from_u8x16_high(high),
                ];
                for (sum, pair) in sums.iter_mut().zip(pairs) {
                    *sum += pair.dot(weights);
                }
            }
            let (out, _) = out.as_chunks_mut::<4>();
            for (out, sum) in out.iter_mut().zip(sums) {
                *out = (sum.round_float() * unit).to_array();
            }
        }
    }
}

/// Two rows and their weights.
#[derive(Debug)]
pub(super) struct Step {
    /// Where they begin in the ring, in blocks.
    rows: [usize; 2],
    weights: [i16; 2],
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

/// A row of sums, with room for the kernels to read beyond its end.
pub(super) fn sums(samples: usize, beyond: usize) -> Result<Vec<f32>, ImageError> {
    zeroed_of(samples.next_multiple_of(BLOCK) + beyond)
}
