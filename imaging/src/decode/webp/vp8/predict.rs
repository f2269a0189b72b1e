//! Prediction of samples from those above and to the left (RFC 6386, section 12), before any filter.

use super::modes::Mode;
use super::transform::{Tile, add};
use crate::ImageError;
use crate::pixels::zeroed;

/// Samples of a block, rows of four.
type Block = [[u8; 4]; 4];

/// What stands for samples above the picture, and to the left of it.
const ABOVE: u8 = 127;
const LEFT: u8 = 129;

/// Samples beside a square of `N` samples a side.
pub(super) struct Beside<const N: usize> {
    above: [u8; N],
    left: [u8; N],
    /// Above and to the left.
    corner: u8,
    /// Whether there is a picture above, and to the left.
    inside: (bool, bool),
}

/// The samples that the next macroblocks of a plane are predicted from.
pub(super) struct Surroundings<const N: usize> {
    /// The last row above, and four samples on its right.
    above: Vec<u8>,
    left: [u8; N],
    corner: u8,
}

impl<const N: usize> Surroundings<N> {
    pub(super) fn new(macroblocks: usize) -> Result<Self, ImageError> {
        let mut above = zeroed(N * macroblocks + 4)?;
        above.fill(ABOVE);
        Ok(Self {
            above,
            left: [LEFT; N],
            corner: ABOVE,
        })
    }

    pub(super) const fn begin_row(&mut self, is_first: bool) {
        self.left = [LEFT; N];
        self.corner = if is_first { ABOVE } else { LEFT };
    }

    /// What lies beside the macroblock of a column.
    #[inline(always)]
    pub(super) fn of(&self, column: usize, inside: (bool, bool)) -> Beside<N> {
        let above = self.above.get(N * column..).and_then(<[u8]>::first_chunk);
        Beside {
            above: above.copied().unwrap_or([ABOVE; N]),
            left: self.left,
            corner: self.corner,
            inside,
        }
    }

    /// The first samples above the next macroblock.
    #[inline(always)]
    pub(super) fn above_right(&self, column: usize) -> [u8; 4] {
        let above = self.above.get(N * (column + 1)..).and_then(<[u8]>::first_chunk);
        above.copied().unwrap_or([ABOVE; 4])
    }

    /// Keeps what the macroblocks to the right and below are predicted from.
    #[inline(always)]
    pub(super) fn follow(&mut self, column: usize, samples: &[[u8; N]; N]) {
        let (Some(last), Some((above, right))) = (
            samples.last(),
            self.above.get_mut(N * column..).and_then(<[u8]>::split_first_chunk_mut),
        ) else {
            return;
        };
        let mut end = |row: &[u8; N]| row.last().copied().unwrap_or(0);
        self.corner = end(above);
        self.left = samples.each_ref().map(&mut end);
        *above = *last;
        // Beyond the right edge, its last sample is repeated.
        if let Ok(beyond) = <&mut [u8; 4]>::try_from(right) {
            *beyond = [end(last); 4];
        }
    }
}

/// Predicts a whole macroblock's samples of luminance or of a colour difference.
#[inline(always)]
pub(super) fn square<const N: usize>(mode: Mode, beside: &Beside<N>) -> [[u8; N]; N] {
    let Beside {
        above, left, corner, ..
    } = beside;
    match mode {
        Mode::Vertical => [*above; N],
        Mode::Horizontal => left.map(|sample| [sample; N]),
        Mode::TrueMotion => left.map(|left| true_motion(above, left, *corner)),
        _ => [[mean(beside); N]; N],
    }
}

#[inline(always)]
fn true_motion<const N: usize>(above: &[u8; N], left: u8, corner: u8) -> [u8; N] {
    let difference = i16::from(left) - i16::from(corner);
    above.map(|above| (i16::from(above) + difference).clamp(0, 255) as u8)
}

/// Of the samples that there are.
#[inline(always)]
fn mean<const N: usize>(beside: &Beside<N>) -> u8 {
    let sum = |samples: &[u8; N]| samples.iter().copied().map(u32::from).sum::<u32>();
    let mean = |sum: u32, count: u32| ((sum + count / 2) / count) as u8;
    match beside.inside {
        (true, true) => mean(sum(&beside.above) + sum(&beside.left), 2 * N as u32),
        (true, false) => mean(sum(&beside.above), N as u32),
        (false, true) => mean(sum(&beside.left), N as u32),
        (false, false) => 128,
    }
}

/// Predicts the blocks of luminance one by one, and adds to each what is coded before the next one is predicted.
#[inline(always)]
#[expect(
    clippy::indexing_slicing,
    reason = "the indices are below the arrays' length, which is known"
)]
pub(super) fn blocks<'a>(
    modes: &[[Mode; 4]; 4],
    beside: &Beside<16>,
    above_right: [u8; 4],
    residual: impl Iterator<Item = Option<&'a Tile>>,
) -> [[u8; 16]; 16] {
    let mut samples = [[0; 16]; 16];
    let mut above = [above_right; 5];
    above.as_flattened_mut()[..16].copy_from_slice(&beside.above);
    let mut first_corner = beside.corner;
    let rows = samples.as_chunks_mut::<4>().0.iter_mut();
    let lefts = beside.left.as_chunks::<4>().0;
    for (((rows, modes), left), tile) in rows.zip(modes).zip(lefts).zip(residual) {
        let (mut left, mut corner) = (*left, first_corner);
        first_corner = left[3];
        for x in 0..4 {
            let [a, b, c, d] = above[x];
            let [e, f, g, h] = above[x + 1];
            let mut block = block(modes[x], left, corner, [a, b, c, d, e, f, g, h]);
            if let Some(tile) = tile {
                let mut residual = [[0; 4]; 4];
                for (to, from) in residual.iter_mut().zip(tile) {
                    *to = from.as_chunks::<4>().0[x];
                }
                block = sum(block, residual);
            }
            for (row, samples) in rows.iter_mut().zip(block) {
                row.as_chunks_mut::<4>().0[x] = samples;
            }
            left = block.map(|row| row[3]);
            corner = d;
            above[x] = block[3];
        }
    }
    samples
}

/// A block with what was coded of it.
#[inline(always)]
fn sum(block: Block, residual: [[i16; 4]; 4]) -> Block {
    let (mut samples, mut values) = ([0; 16], [0; 16]);
    samples.copy_from_slice(block.as_flattened());
    values.copy_from_slice(residual.as_flattened());
    add(&mut samples, &values);
    let mut sum = block;
    sum.as_flattened_mut().copy_from_slice(&samples);
    sum
}

/// Predicts a block of 4 x 4 samples from the four to its left, the corner, and eight above, four of which lie to the right.
#[inline(never)]
fn block(mode: Mode, left: [u8; 4], corner: u8, above: [u8; 8]) -> Block {
    let ([i, j, k, l], [a, b, c, d, e, f, g, h]) = (left, above);
    let nearest = [a, b, c, d];
    // Around the corner, from the lowest sample on the left to the last one above, both ends twice.
    let edge = [l, l, k, j, i, corner, a, b, c, d, e, f, g, h, h];
    match mode {
        Mode::Dc => {
            let sum = left.iter().chain(&nearest).copied().map(u16::from).sum::<u16>();
            [[((sum + 4) >> 3) as u8; 4]; 4]
        }
        Mode::TrueMotion => left.map(|left| true_motion(&nearest, left, corner)),
        Mode::Vertical => {
            let [_, _, _, _, _, t5, t6, t7, t8, ..] = means_of_three(edge);
            [[t5, t6, t7, t8]; 4]
        }
        Mode::Horizontal => {
            let [t0, t1, t2, t3, ..] = means_of_three(edge);
            [[t3; 4], [t2; 4], [t1; 4], [t0; 4]]
        }
        Mode::RightDown => {
            let [_, t1, t2, t3, t4, t5, t6, t7, ..] = means_of_three(edge);
            [[t4, t5, t6, t7], [t3, t4, t5, t6], [t2, t3, t4, t5], [t1, t2, t3, t4]]
        }
        Mode::LeftDown => {
            let [_, _, _, _, _, _, t6, t7, t8, t9, t10, t11, t12] = means_of_three(edge);
            [
                [t6, t7, t8, t9],
                [t7, t8, t9, t10],
                [t8, t9, t10, t11],
                [t9, t10, t11, t12],
            ]
        }
        Mode::VerticalRight => {
            let [_, _, t2, t3, t4, t5, t6, t7, ..] = means_of_three(edge);
            let [_, _, _, _, m4, m5, m6, m7, ..] = means_of_two(edge);
            [[m4, m5, m6, m7], [t4, t5, t6, t7], [t3, m4, m5, m6], [t2, t4, t5, t6]]
        }
        Mode::VerticalLeft => {
            let [_, _, _, _, _, _, t6, t7, t8, t9, t10, t11, _] = means_of_three(edge);
            let [_, _, _, _, _, m5, m6, m7, m8, ..] = means_of_two(edge);
            [[m5, m6, m7, m8], [t6, t7, t8, t9], [m6, m7, m8, t10], [t7, t8, t9, t11]]
        }
        Mode::HorizontalDown => {
            let [_, t1, t2, t3, t4, t5, t6, ..] = means_of_three(edge);
            let [m0, m1, m2, m3, ..] = means_of_two(edge);
            [[m3, t4, t5, t6], [m2, t3, m3, t4], [m1, t2, m2, t3], [m0, t1, m1, t2]]
        }
        Mode::HorizontalUp => {
            let [t0, t1, t2, ..] = means_of_three(edge);
            let [m0, m1, m2, ..] = means_of_two(edge);
            [[m2, t2, m1, t1], [m1, t1, m0, t0], [m0, t0, l, l], [l; 4]]
        }
    }
}

/// Of each sample, counted twice, and its neighbours; rounded.
#[inline(always)]
fn means_of_three(edge: [u8; 15]) -> [u8; 13] {
    let mut means = [0; 13];
    for (mean, window) in means.iter_mut().zip(edge.array_windows()) {
        let [before, at, after] = window.map(u16::from);
        *mean = ((before + 2 * at + after + 2) >> 2) as u8;
    }
    means
}

/// Of each sample and the next one, rounded; the first is left out, being there twice.
#[inline(always)]
fn means_of_two(edge: [u8; 15]) -> [u8; 13] {
    let mut means = [0; 13];
    for (mean, window) in means.iter_mut().zip(edge.array_windows().skip(1)) {
        let [at, next] = window.map(u16::from);
        *mean = ((at + next + 1) >> 1) as u8;
    }
    means
}
