//! A row to its new width: in floating point, in a fixed order.

use super::taps::{Taps, Window};
use crate::ImageError;
use crate::pixels::reserved;
use wide::f32x4;

/// Numbers that are read beyond the end of a row.
pub(super) const BEYOND: usize = 4;

/// Windows with weights as single floats; where a sample is a number, in fours.
#[derive(Debug)]
pub(super) struct Horizontal {
    windows: Vec<Window>,
    weights: Vec<f32>,
    channels: usize,
}

impl Horizontal {
    pub(super) fn new(taps: &Taps, channels: usize) -> Result<Self, ImageError> {
        let whole = if channels == 1 { 4 } else { 1 };
        let mut windows = reserved(taps.windows.len())?;
        let mut weights = reserved(taps.weights.len() + whole * taps.windows.len())?;
        for window in &taps.windows {
            let begin = weights.len();
            weights.extend(taps.of(*window).iter().map(|weight| *weight as f32));
            weights.resize(begin + window.count.next_multiple_of(whole), 0.0);
            windows.push(Window {
                weights: begin,
                count: weights.len() - begin,
                ..*window
            });
        }
        Ok(Self {
            windows,
            weights,
            channels,
        })
    }

    /// The row's new samples.
    pub(super) fn resize(&self, row: &[f32], out: &mut [u8]) {
        match self.channels {
            1 => self.resize_1(row, out),
            3 => self.resize_3(row, out),
            _ => self.resize_4(row, out),
        }
    }

    fn weights(&self, window: &Window) -> &[f32] {
        self.weights
            .get(window.weights..window.weights + window.count)
            .unwrap_or_default()
    }

    fn resize_1(&self, row: &[f32], out: &mut [u8]) {
        let sums = |window: &Window| {
            let (weights, _) = self.weights(window).as_chunks::<4>();
            let (samples, _) = row.get(window.start..).unwrap_or_default().as_chunks::<4>();
            let mut sum = f32x4::ZERO;
            for (weights, samples) in weights.iter().zip(samples) {
                sum += f32x4::new(*weights) * f32x4::new(*samples);
            }
            sum
        };
        let (fours, rest) = self.windows.as_chunks::<4>();
        let (out, out_rest) = out.as_chunks_mut::<4>();
        for (windows, out) in fours.iter().zip(out) {
            let [a, b, c, d] = f32x4::transpose([
                sums(&windows[0]),
                sums(&windows[1]),
                sums(&windows[2]),
                sums(&windows[3]),
            ]);
            *out = samples((a + b) + (c + d));
        }
        for (window, out) in rest.iter().zip(out_rest) {
            let [a, b, c, d] = sums(window).to_array();
            [*out, ..] = samples(f32x4::splat((a + b) + (c + d)));
        }
    }

    fn resize_3(&self, row: &[f32], out: &mut [u8]) {
        let (out, _) = out.as_chunks_mut::<3>();
        for (window, out) in self.windows.iter().zip(out) {
            let samples_of = row.get(3 * window.start..).unwrap_or_default();
            let mut sum = f32x4::ZERO;
            for (weight, pixel) in self.weights(window).iter().zip(samples_of.windows(4).step_by(3)) {
                if let Some(pixel) = pixel.first_chunk() {
                    sum += f32x4::splat(*weight) * f32x4::new(*pixel);
                }
            }
            [out[0], out[1], out[2], _] = samples(sum);
        }
    }

    fn resize_4(&self, row: &[f32], out: &mut [u8]) {
        let (out, _) = out.as_chunks_mut::<4>();
        let (pixels, _) = row.as_chunks::<4>();
        for (window, out) in self.windows.iter().zip(out) {
            let pixels = pixels.get(window.start..).unwrap_or_default();
            let mut sum = f32x4::ZERO;
            for (weight, pixel) in self.weights(window).iter().zip(pixels) {
                sum += f32x4::splat(*weight) * f32x4::new(*pixel);
            }
            *out = samples(sum);
        }
    }
}

/// What is added to have a rounded sample in the lowest bits, above what has no room for fractions.
const MAGIC: f32 = 8_388_608.0;

#[inline(always)]
fn samples(sums: f32x4) -> [u8; 4] {
    let inside = sums.fast_max(f32x4::ZERO).fast_min(f32x4::splat(255.0));
    (inside + f32x4::splat(MAGIC))
        .to_array()
        .map(|value| value.to_bits() as u8)
}
