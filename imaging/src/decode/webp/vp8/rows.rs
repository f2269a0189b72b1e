//! Rows of one plane while they are being made: those of a row of macroblocks, and the last ones above, which the filter
//! over the edge between the two still changes.

use super::loop_filter::Lanes;
use crate::ImageError;
use crate::pixels::zeroed;

/// Rows above that the filter reads; it changes three of them.
const DELAY: usize = 4;

pub(super) struct Plane {
    samples: Vec<u8>,
    /// Bytes of a row: those of whole macroblocks.
    stride: usize,
    /// Rows of a macroblock.
    height: usize,
}

impl Plane {
    /// A plane of `macroblocks` squares of so many samples a side.
    pub(super) fn new(macroblocks: usize, side: usize) -> Result<Self, ImageError> {
        let stride = macroblocks * side;
        Ok(Self {
            samples: zeroed(stride * (DELAY + side))?,
            stride,
            height: side,
        })
    }

    /// Bytes that a plane takes.
    pub(super) const fn bytes(macroblocks: u64, side: u64) -> u64 {
        macroblocks * side * (DELAY as u64 + side)
    }

    #[inline(always)]
    fn offset(&self, x: usize, y: isize) -> usize {
        (DELAY.wrapping_add_signed(y)) * self.stride + x
    }

    /// Rows of a rectangle; `y` counts from the first row of the macroblocks.
    #[inline(always)]
    pub(super) fn load<const W: usize, const H: usize>(&self, x: usize, y: isize) -> [[u8; W]; H] {
        let mut rows = [[0; W]; H];
        // Not in chunks, whose number would be found by a division.
        let mut from = self.samples.get(self.offset(x, y)..).unwrap_or_default();
        for row in &mut rows {
            if let Some(from) = from.first_chunk() {
                *row = *from;
            }
            from = from.get(self.stride..).unwrap_or_default();
        }
        rows
    }

    #[inline(always)]
    pub(super) fn store<const W: usize, const H: usize>(&mut self, x: usize, y: isize, rows: &[[u8; W]; H]) {
        let offset = self.offset(x, y);
        let mut to = self.samples.get_mut(offset..).unwrap_or_default();
        for row in rows {
            if let Some(to) = to.first_chunk_mut() {
                *to = *row;
            }
            to = to.get_mut(self.stride..).unwrap_or_default();
        }
    }

    /// Sixteen rows of eight samples, two in each array.
    #[inline(always)]
    pub(super) fn load_halves(&self, x: usize) -> [Lanes; 8] {
        let rows = self.load::<8, 16>(x, 0);
        let mut joined = [[0; 16]; 8];
        joined.as_flattened_mut().copy_from_slice(rows.as_flattened());
        joined
    }

    #[inline(always)]
    pub(super) fn store_halves(&mut self, x: usize, joined: &[Lanes; 8]) {
        let mut rows = [[0; 8]; 16];
        rows.as_flattened_mut().copy_from_slice(joined.as_flattened());
        self.store(x, 0, &rows);
    }

    /// The rows that nothing changes any more once a row of macroblocks has been filtered, and their numbers in the picture.
    pub(super) fn finished(&self, row: usize, is_last: bool) -> impl Iterator<Item = (usize, &[u8])> {
        let delayed = if is_last { 0 } else { DELAY };
        // Above the first row of macroblocks there is nothing.
        let from = if row == 0 { DELAY } else { 0 };
        let rows = self
            .samples
            .chunks_exact(self.stride.max(1))
            .take(DELAY + self.height - delayed);
        rows.enumerate()
            .skip(from)
            .map(move |(index, samples)| (row * self.height + index - DELAY, samples))
    }

    /// Makes room for the next row of macroblocks.
    pub(super) fn advance(&mut self) {
        self.samples.copy_within(self.height * self.stride.., 0);
    }
}
