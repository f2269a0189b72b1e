//! Rows to their new width, in integers: of one channel four rows at once, of more channels two pixels.

use super::FRACTION;
use super::taps::{Taps, both, pair};
use crate::ImageError;
use crate::pixels::{reserved, zeroed_of};
use wide::{i16x8, i32x4};

/// Rows of one channel that are resized together.
const ROWS: usize = 4;

/// What one resized sample, or pixel, is made of.
#[derive(Clone, Copy, Debug)]
struct Window {
    /// The first pair of samples, or of pixels.
    start: usize,
    /// Where its weights begin, and how many pairs of them there are.
    weights: usize,
    count: usize,
}

/// Windows with weights as integers, and the rows that they are laid over.
#[derive(Debug)]
pub(super) struct Horizontal {
    windows: Vec<Window>,
    weights: Vec<i32>,
    shift: u32,
    /// Of one channel, pairs of samples, those of the four rows side by side; of more channels, pairs of pixels, each
    /// channel's two side by side.
    row: Vec<i16>,
    channels: usize,
    /// Of one channel, rows that wait for others.
    waiting: [Vec<i16>; ROWS],
    count: usize,
}

impl Horizontal {
    pub(super) fn new(taps: &Taps, width: u32, channels: usize) -> Result<Self, ImageError> {
        // What a sum is at most has 16 bits already, and the weights add up to less than 2 without their signs.
        let bits = taps.bits(14);
        let mut windows = reserved(taps.windows.len())?;
        let mut own: Vec<i32> = reserved(taps.longest() + 2)?;
        let mut weights: Vec<i32> = reserved(taps.weights.len() / 2 + 2 * taps.windows.len())?;
        for window in &taps.windows {
            taps.rounded(*window, bits, &mut own);
            if window.start % 2 == 1 {
                own.insert(0, 0);
            }
            own.resize(own.len().next_multiple_of(2), 0);
            let (own, _) = own.as_chunks::<2>();
            windows.push(Window {
                start: window.start / 2,
                weights: weights.len(),
                count: own.len(),
            });
            weights.extend(own.iter().map(pair));
        }
        // Pairs reach over the end of an odd width.
        let width = width as usize + 8;
        let waiting = if channels == 1 { width } else { 0 };
        Ok(Self {
            windows,
            weights,
            shift: bits + FRACTION,
            row: zeroed_of(width * 4)?,
            channels,
            waiting: [
                zeroed_of(waiting)?,
                zeroed_of(waiting)?,
                zeroed_of(waiting)?,
                zeroed_of(waiting)?,
            ],
            count: 0,
        })
    }

    /// How many rows it takes to be worth a call of [`Self::resize`].
    pub(super) const fn rows(&self) -> usize {
        if self.channels == 1 { ROWS } else { 1 }
    }

    /// Takes a row of sums, with [`FRACTION`] bits of fraction and with at least four numbers behind their end. Says how many
    /// wait.
    pub(super) fn add(&mut self, sums: &[i32]) -> usize {
        match self.channels {
            1 => {
                if let Some(row) = self.waiting.get_mut(self.count) {
                    narrow(sums, row);
                }
            }
            3 => pair_up::<3>(sums, &mut self.row),
            _ => pair_up::<4>(sums, &mut self.row),
        }
        self.count += 1;
        self.count
    }

    /// Brings the rows that wait to samples.
    pub(super) fn resize(&mut self, out: &mut [u8]) {
        let weights = self.weights.as_slice();
        match self.channels {
            1 => {
                weave(&self.waiting, &mut self.row);
                one_channel(&self.windows, weights, &self.row, self.shift, out);
            }
            3 => more_channels::<3>(&self.windows, weights, &self.row, self.shift, out),
            _ => more_channels::<4>(&self.windows, weights, &self.row, self.shift, out),
        }
        self.count = 0;
    }
}

fn narrow(sums: &[i32], row: &mut [i16]) {
    for (to, from) in row.iter_mut().zip(sums) {
        *to = *from as i16;
    }
}

fn pair_up<const CHANNELS: usize>(sums: &[i32], row: &mut [i16]) {
    let low = i32x4::splat(0xffff);
    let (row, _) = row.as_chunks_mut::<8>();
    // The last pixel's four numbers need some behind it.
    let pixels = sums.windows(CHANNELS + 4).step_by(2 * CHANNELS);
    for (to, from) in row.iter_mut().zip(pixels) {
        let (Some(first), Some(second)) = (from.first_chunk(), from.last_chunk()) else {
            continue;
        };
        let pair: i32x4 = (i32x4::new(*first) & low) | (i32x4::new(*second) << 16u32);
        *to = bytemuck::cast(pair);
    }
}

/// Puts the pairs of four rows side by side.
fn weave([a, b, c, d]: &[Vec<i16>; ROWS], woven: &mut [i16]) {
    let fours = |row: &[i16; 8]| -> i32x4 { bytemuck::cast(*row) };
    let rows = a.as_chunks::<8>().0.iter().zip(b.as_chunks::<8>().0);
    let rows = rows.zip(c.as_chunks::<8>().0.iter().zip(d.as_chunks::<8>().0));
    for (((a, b), (c, d)), to) in rows.zip(woven.as_chunks_mut::<32>().0) {
        let pairs = i32x4::transpose([fours(a), fours(b), fours(c), fours(d)]);
        *to = bytemuck::cast(pairs);
    }
}

/// Four rows, one below the other; `out` may end before the last.
fn one_channel(windows: &[Window], weights: &[i32], woven: &[i16], shift: u32, out: &mut [u8]) {
    let (woven, _) = woven.as_chunks::<8>();
    let sum = |window: &Window| {
        let weights = weights
            .get(window.weights..window.weights + window.count)
            .unwrap_or_default();
        let mut sum = i32x4::ZERO;
        for (weights, rows) in weights.iter().zip(woven.get(window.start..).unwrap_or_default()) {
            sum += both(*weights).dot(i16x8::new(*rows));
        }
        sum
    };
    let mut out = out.chunks_exact_mut(windows.len().max(1));
    let mut rows: [&mut [u8]; ROWS] = core::array::from_fn(|_| out.next().unwrap_or_default());
    for (at, windows) in windows.chunks(4).enumerate() {
        let fours: [i32x4; 4] = core::array::from_fn(|index| windows.get(index).map_or(i32x4::ZERO, sum));
        for (row, sums) in rows.iter_mut().zip(i32x4::transpose(fours)) {
            let samples = samples(sums, shift);
            if let Some(to) = row.get_mut(4 * at..4 * at + windows.len()) {
                to.iter_mut().zip(samples).for_each(|(to, sample)| *to = sample);
            }
        }
    }
}

fn more_channels<const CHANNELS: usize>(windows: &[Window], weights: &[i32], row: &[i16], shift: u32, out: &mut [u8]) {
    let (row, _) = row.as_chunks::<8>();
    for (window, out) in windows.iter().zip(out.chunks_exact_mut(CHANNELS)) {
        let weights = weights
            .get(window.weights..window.weights + window.count)
            .unwrap_or_default();
        let pixels = row.get(window.start..).unwrap_or_default();
        let mut sum = i32x4::ZERO;
        for (weights, pixels) in weights.iter().zip(pixels) {
            sum += both(*weights).dot(i16x8::new(*pixels));
        }
        for (to, from) in out.iter_mut().zip(samples(sum, shift)) {
            *to = from;
        }
    }
}

#[inline(always)]
fn samples(sums: i32x4, shift: u32) -> [u8; 4] {
    let sums = (sums + i32x4::splat(1 << (shift - 1))) >> shift;
    sums.to_array().map(|sum| sum.clamp(0, 255) as u8)
}
