//! Which samples of a line make each sample of its resized version, and with what weight.

use crate::ImageError;
use crate::pixels::reserved;
use bytemuck::cast;
use core::f64::consts::PI;
use wide::{i16x8, i32x4};

/// Samples on either side of the centre that Lanczos3 sees, in samples of the coarser line.
const SUPPORT: f64 = 3.0;

/// Weights below this are what rounding leaves of the kernel's zeroes.
const NOTHING: f64 = 1e-9;

/// What a weight of 16 bits may be before its share of the rounding is added.
const LARGEST: f64 = 32_000.0;

/// The samples that one resized sample is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Window {
    /// The first of them.
    pub(super) start: usize,
    /// Where their weights begin in [`Taps::weights`].
    pub(super) weights: usize,
    pub(super) count: usize,
}

/// The windows of a line.
#[derive(Debug)]
pub(super) struct Taps {
    pub(super) windows: Vec<Window>,
    /// Of each window they add up to 1.
    pub(super) weights: Vec<f64>,
}

impl Taps {
    /// For `length` samples from `start` on of a line of `full`, to `to` samples. Samples beside the part are seen too.
    pub(super) fn new(full: u32, start: f64, length: f64, to: u32) -> Result<Self, ImageError> {
        let scale = length / f64::from(to);
        let stretch = scale.max(1.0);
        let reach = SUPPORT * stretch;
        let most = (2.0 * reach).ceil() as usize + 2;
        let mut windows = reserved(to as usize)?;
        let mut weights: Vec<f64> = reserved((to as usize).saturating_mul(most.min(full as usize)))?;
        for index in 0..to {
            let centre = start + (f64::from(index) + 0.5) * scale;
            let first = (centre - reach).floor().clamp(0.0, f64::from(full - 1)) as usize;
            let end = (centre + reach).ceil().clamp(1.0, f64::from(full)) as usize;
            let begin = weights.len();
            let weight = |at: usize| lanczos3((at as f64 + 0.5 - centre) / stretch);
            weights.extend((first..end.max(first + 1)).map(weight));
            let own = weights.get_mut(begin..).unwrap_or_default();
            let sum: f64 = own.iter().sum();
            own.iter_mut().for_each(|weight| *weight /= sum);
            let silent = |weight: &&f64| weight.abs() < NOTHING;
            let before = own.iter().take_while(silent).count();
            let after = own.iter().rev().take_while(silent).count();
            let count = own.len().saturating_sub(before + after);
            weights.truncate(begin + before + count);
            windows.push(Window {
                start: first + before,
                weights: begin + before,
                count,
            });
        }
        Ok(Self { windows, weights })
    }

    /// For a line of half as many samples as its picture has: those of the picture are interpolated linearly, three parts
    /// of the nearest and one of the next, as decoders do, and then resampled. Both in one step.
    pub(super) fn interpolated(full: u32, start: f64, length: f64, to: u32) -> Result<Self, ImageError> {
        let fine = Self::new(2 * full, 2.0 * start, 2.0 * length, to)?;
        let last = full as usize - 1;
        let mut windows = reserved(fine.windows.len())?;
        let mut weights: Vec<f64> = reserved(fine.weights.len() / 2 + 2 * fine.windows.len())?;
        for window in fine.windows.iter().copied() {
            let first = window.start.saturating_sub(1) / 2;
            let end = ((window.start + window.count) / 2).min(last) + 1;
            let begin = weights.len();
            weights.resize(begin + end - first, 0.0);
            let own = weights.get_mut(begin..).unwrap_or_default();
            let mut add = |at: usize, weight: f64| {
                if let Some(sum) = own.get_mut(at - first) {
                    *sum += weight;
                }
            };
            for (at, weight) in (window.start..).zip(fine.of(window)) {
                let near = at / 2;
                let next = if at.is_multiple_of(2) {
                    near.saturating_sub(1)
                } else {
                    (near + 1).min(last)
                };
                add(near, 0.75 * weight);
                add(next, 0.25 * weight);
            }
            windows.push(Window {
                start: first,
                weights: begin,
                count: end - first,
            });
        }
        Ok(Self { windows, weights })
    }

    /// The weights of a window.
    pub(super) fn of(&self, window: Window) -> &[f64] {
        self.weights
            .get(window.weights..window.weights + window.count)
            .unwrap_or_default()
    }

    /// The most samples that a window has.
    pub(super) fn longest(&self) -> usize {
        self.windows.iter().map(|window| window.count).max().unwrap_or(0)
    }

    /// Bits of the fraction that integers of 16 bits have room for, at most so many.
    pub(super) fn bits(&self, most: u32) -> u32 {
        let largest = self.weights.iter().fold(0.0f64, |most, weight| most.max(weight.abs()));
        let fits = |bits: &u32| largest * f64::from(1u32 << bits) <= LARGEST;
        (0..=most).rev().find(fits).unwrap_or(0)
    }

    /// A window's weights as integers, which add up to exactly one: plain areas stay as they are.
    pub(super) fn rounded(&self, window: Window, bits: u32, to: &mut Vec<i32>) {
        let one = 1i32 << bits;
        to.clear();
        let rounded = |weight: &f64| libm::rint(weight * f64::from(one)) as i32;
        to.extend(self.of(window).iter().map(rounded));
        let rest = one - to.iter().sum::<i32>();
        if let Some(most) = to.iter_mut().max_by_key(|weight| weight.abs()) {
            *most += rest;
        }
    }

    /// Whether every sample is one of the line's own, one after the other.
    pub(super) fn only_moves(&self) -> bool {
        let first = self.windows.first().map_or(0, |window| window.start);
        (first..)
            .zip(&self.windows)
            .all(|(at, window)| window.count == 1 && window.start == at)
    }
}

/// Two weights of 16 bits in one number, the first one in the lower half.
pub(super) const fn pair([a, b]: &[i32; 2]) -> i32 {
    (*a & 0xffff) | *b << 16
}

/// Two weights, again and again.
#[inline(always)]
pub(super) fn both(pair: i32) -> i16x8 {
    cast(i32x4::splat(pair))
}

/// The kernel: sinc, windowed by its own central lobe three times as wide.
fn lanczos3(x: f64) -> f64 {
    if x == 0.0 {
        return 1.0;
    }
    if x.abs() >= SUPPORT {
        return 0.0;
    }
    let sinc = |x: f64| libm::sin(PI * x) / (PI * x);
    sinc(x) * sinc(x / SUPPORT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_add_up_to_one_and_stay_inside() {
        for (full, start, length, to) in [
            (1u32, 0.0, 1.0, 1u32),
            (1, 0.0, 1.0, 50),
            (100, 0.0, 100.0, 7),
            (100, 33.3, 0.5, 9),
            (12_000, 0.0, 12_000.0, 1),
            (12_000, 11_999.5, 0.5, 3),
        ] {
            let taps = Taps::new(full, start, length, to).unwrap();
            assert_eq!(taps.windows.len(), to as usize);
            for window in &taps.windows {
                assert!(
                    window.count > 0 && window.start + window.count <= full as usize,
                    "{window:?}"
                );
                assert!((taps.of(*window).iter().sum::<f64>() - 1.0).abs() < 1e-6);
            }
        }
    }

    #[test]
    fn a_cut_at_whole_samples_only_moves() {
        assert!(Taps::new(100, 7.0, 20.0, 20).unwrap().only_moves());
        assert!(!Taps::new(100, 7.5, 20.0, 20).unwrap().only_moves());
        assert!(!Taps::new(100, 0.0, 100.0, 50).unwrap().only_moves());
    }

    #[test]
    fn interpolating_and_resampling_in_one_step_is_both() {
        for (full, start, length, to) in [
            (50u32, 0.0, 50.0, 100u32),
            (50, 0.0, 50.0, 50),
            (50, 3.3, 41.0, 31),
            (50, 49.5, 0.5, 3),
            (1, 0.0, 1.0, 2),
            (1, 0.0, 0.5, 1),
        ] {
            let value = |at: usize| ((at * 7919) % 256) as f64;
            let last = full as usize - 1;
            let between = |at: usize| {
                let next = if at.is_multiple_of(2) {
                    (at / 2).saturating_sub(1)
                } else {
                    (at / 2 + 1).min(last)
                };
                0.75 * value(at / 2) + 0.25 * value(next)
            };
            let sum = |taps: &Taps, window: Window, of: &dyn Fn(usize) -> f64| {
                let terms = (window.start..).zip(taps.of(window));
                terms.map(|(at, weight)| of(at) * weight).sum::<f64>()
            };
            let one = Taps::interpolated(full, start, length, to).unwrap();
            let fine = Taps::new(2 * full, 2.0 * start, 2.0 * length, to).unwrap();
            for (window, two) in one.windows.iter().zip(&fine.windows) {
                assert!(window.count > 0 && window.start + window.count <= full as usize);
                let (found, right) = (sum(&one, *window, &value), sum(&fine, *two, &between));
                assert!((found - right).abs() < 1e-9, "{full} {start} {to}: {found} {right}");
            }
            assert!(!one.only_moves() || full == 1);
        }
    }

    #[test]
    fn windows_lie_where_the_samples_do() {
        // Halving: the centre of the first sample lies between the first two, and the kernel reaches 6 to each side.
        let taps = Taps::new(100, 0.0, 100.0, 50).unwrap();
        assert_eq!((taps.windows[25].start, taps.windows[25].count), (45, 12));
        let weights = taps.of(taps.windows[25]);
        for (a, b) in weights.iter().zip(weights.iter().rev()) {
            assert!((a - b).abs() < 1e-12);
        }
    }
}
