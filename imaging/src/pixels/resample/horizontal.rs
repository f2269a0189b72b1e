//! A row to its new width, in integers: of one channel eight samples at once, of more two pixels at once.

use super::FRACTION;
use super::taps::{Taps, both, pair};
use crate::ImageError;
use crate::pixels::{reserved, zeroed_of};
use wide::{i16x8, i32x4};

type Eight = [i16; 8];

/// What one resized sample, or pixel, is made of.
#[derive(Clone, Copy, Debug)]
struct Window {
    /// The first sample of one channel; of more channels, the first pair of pixels.
    start: usize,
    /// Where its weights begin, and how many eights or pairs of them there are.
    weights: usize,
    count: usize,
}

#[derive(Debug)]
enum Weights {
    /// Of one channel.
    Eights(Vec<Eight>),
    Pairs(Vec<i32>),
}

/// Windows with weights as integers, and the row that they are laid over.
#[derive(Debug)]
pub(super) struct Horizontal {
    windows: Vec<Window>,
    weights: Weights,
    shift: u32,
    /// Samples one by one; of more channels than one, pairs of pixels, each channel's two side by side.
    row: Vec<i16>,
    channels: usize,
}

impl Horizontal {
    pub(super) fn new(taps: &Taps, width: u32, channels: usize) -> Result<Self, ImageError> {
        // What a sum is at most has 16 bits already, and the weights add up to less than 2 without their signs.
        let bits = taps.bits(14);
        let mut windows = reserved(taps.windows.len())?;
        let mut own: Vec<i32> = reserved(taps.longest() + 8)?;
        let mut eights: Vec<Eight> = Vec::new();
        let mut pairs: Vec<i32> = Vec::new();
        if channels == 1 {
            eights = reserved(taps.weights.len() / 8 + taps.windows.len())?;
        } else {
            pairs = reserved(taps.weights.len() / 2 + 2 * taps.windows.len())?;
        }
        for window in &taps.windows {
            taps.rounded(*window, bits, &mut own);
            if channels == 1 {
                own.resize(own.len().next_multiple_of(8), 0);
                let (own, _) = own.as_chunks::<8>();
                windows.push(Window {
                    start: window.start,
                    weights: eights.len(),
                    count: own.len(),
                });
                eights.extend(own.iter().map(|own| own.map(|weight| weight as i16)));
            } else {
                if window.start % 2 == 1 {
                    own.insert(0, 0);
                }
                own.resize(own.len().next_multiple_of(2), 0);
                let (own, _) = own.as_chunks::<2>();
                windows.push(Window {
                    start: window.start / 2,
                    weights: pairs.len(),
                    count: own.len(),
                });
                pairs.extend(own.iter().map(pair));
            }
        }
        // Eights of weights reach over the end, pairs at an odd width.
        let lanes = if channels == 1 { 1 } else { 4 };
        Ok(Self {
            windows,
            weights: if channels == 1 {
                Weights::Eights(eights)
            } else {
                Weights::Pairs(pairs)
            },
            shift: bits + FRACTION,
            row: zeroed_of((width as usize + 8) * lanes)?,
            channels,
        })
    }

    /// Brings sums, with [`FRACTION`] bits of fraction and with at least four numbers behind their end, to samples.
    pub(super) fn resize(&mut self, sums: &[i32], out: &mut [u8]) {
        match &self.weights {
            Weights::Eights(weights) => {
                narrow(sums, &mut self.row);
                one_channel(&self.windows, weights, &self.row, self.shift, out);
            }
            Weights::Pairs(weights) if self.channels == 3 => {
                pair_up::<3>(sums, &mut self.row);
                more_channels::<3>(&self.windows, weights, &self.row, self.shift, out);
            }
            Weights::Pairs(weights) => {
                pair_up::<4>(sums, &mut self.row);
                more_channels::<4>(&self.windows, weights, &self.row, self.shift, out);
            }
        }
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

fn one_channel(windows: &[Window], weights: &[Eight], row: &[i16], shift: u32, out: &mut [u8]) {
    let sum = |window: &Window| {
        let weights = weights
            .get(window.weights..window.weights + window.count)
            .unwrap_or_default();
        let (samples, _) = row.get(window.start..).unwrap_or_default().as_chunks::<8>();
        let mut sum = i32x4::ZERO;
        for (weights, samples) in weights.iter().zip(samples) {
            sum += i16x8::new(*weights).dot(i16x8::new(*samples));
        }
        sum
    };
    let (fours, rest) = windows.as_chunks::<4>();
    let (out, out_rest) = out.as_chunks_mut::<4>();
    for ([a, b, c, d], out) in fours.iter().zip(out) {
        let [a, b, c, d] = i32x4::transpose([sum(a), sum(b), sum(c), sum(d)]);
        *out = samples(a + b + c + d, shift);
    }
    for (window, out) in rest.iter().zip(out_rest) {
        let all: i32 = sum(window).to_array().iter().sum();
        [*out, ..] = samples(i32x4::splat(all), shift);
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
