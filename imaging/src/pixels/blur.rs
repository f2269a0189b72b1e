//! Gaussian blur at a cost that does not grow with its radius, in integers.
//!
//! The kernel is a Gaussian at knots a third of sigma apart, with straight lines between them. Such a kernel has second
//! differences at its knots only, so a sum over it is a sum over the knots of the line's twofold running sum. Straight
//! lines between knots `h` apart are a convolution with a triangle of variance `(h * h - 1) / 6`, which the Gaussian at
//! the knots has less. Running sums wrap: the result is below 2^32, and modulo 2^32 it comes out exact.

use super::resample::{premultiply, unpremultiply};
use super::{Channels, Raster, reserved, zeroed};
use crate::ImageError;

/// Lines that are worked on together, so that a step down a column is not one cache line a byte.
const GROUP: usize = 32;

/// Where the kernel ends, in sigmas.
const REACH: f64 = 3.7;

/// More than any kernel reaches, in pixels.
const FARTHEST: usize = 600;

/// A bit less than 2^24, so that the sum over a line of 255 stays below 2^32 whatever the slopes were rounded to.
const SCALE: f64 = 16_000_000.0;

struct Kernel {
    /// Distance between knots.
    step: usize,
    /// Second difference in the middle.
    middle: u32,
    /// Second differences at the knots to both sides, the nearest first.
    knots: Vec<u32>,
    /// `2^54` through the sum of the weights, rounded.
    reciprocal: u64,
}

impl Kernel {
    fn new(sigma: f64) -> Self {
        let step = (sigma / 3.0).round().max(1.0);
        let variance = sigma * sigma - (step * step - 1.0) / 6.0;
        let count = (REACH * sigma / step).ceil().max(1.0) as u32;
        let height = |knot: u32| {
            let x = f64::from(knot) * step;
            libm::exp(-x * x / (2.0 * variance))
        };
        let sum: f64 = height(0) + 2.0 * (1..=count).map(height).sum::<f64>();
        let unit = SCALE / (sum * step);
        // From the far end, where the weight is 0, to the middle: whole slopes, each making up for the last one's rounding.
        let (mut weight, mut total, mut last_slope) = (0.0, 0.0, 0.0);
        let mut knots = Vec::new();
        for knot in (0..=count).rev() {
            let slope = ((unit * height(knot) - weight) / step).round().max(0.0);
            // Both sides, without the weight at this knot, which is part of the next stretch.
            total += 2.0 * (step * weight + slope * step * (step - 1.0) / 2.0);
            weight += slope * step;
            knots.push(slope - last_slope);
            last_slope = slope;
        }
        total += weight;
        knots.reverse();
        // What was pushed at a knot is the bend at the one beyond it.
        let wrapped = |bend: f64| bend as i64 as u32;
        Self {
            step: step as usize,
            middle: wrapped(-2.0 * last_slope),
            knots: knots.into_iter().map(wrapped).collect(),
            reciprocal: ((1u64 << 54) as f64 / total).round() as u64,
        }
    }

    /// Pixels that the kernel reaches to each side, and one more.
    fn reach(&self) -> usize {
        self.step * self.knots.len()
    }

    /// Blurs a line, whose ends are repeated.
    fn line(&self, line: &mut [u8], sums: &mut Vec<u32>, result: &mut Vec<u32>) {
        let reach = self.reach();
        let (Some(first), Some(last)) = (line.first().copied(), line.last().copied()) else {
            return;
        };
        let padding = |value: u8| core::iter::repeat_n(value, reach);
        sums.clear();
        let (mut sum, mut slope) = (0u32, 0u32);
        for value in padding(first).chain(line.iter().copied()).chain(padding(last)) {
            sums.push(sum);
            slope = slope.wrapping_add(u32::from(value));
            sum = sum.wrapping_add(slope);
        }
        result.clear();
        let from = |at: usize| sums.get(at..).unwrap_or_default();
        result.extend(
            from(reach)
                .iter()
                .take(line.len())
                .map(|sum| sum.wrapping_mul(self.middle)),
        );
        for (knot, bend) in (1..).zip(&self.knots) {
            let offset = knot * self.step;
            let pairs = from(reach - offset).iter().zip(from(reach + offset));
            for (value, (left, right)) in result.iter_mut().zip(pairs) {
                *value = value.wrapping_add(bend.wrapping_mul(left.wrapping_add(*right)));
            }
        }
        for (to, value) in line.iter_mut().zip(result.iter()) {
            let rounded = (u64::from(*value) * self.reciprocal + (1 << 53)) >> 54;
            *to = rounded.min(255) as u8;
        }
    }
}

/// Blurs a picture. `sigma` is in pixels, 0.5 to 125; beyond the edges lies what is at the edge.
///
/// Colours are taken premultiplied, so that the invisible ones have no say.
pub(crate) fn blur(raster: &mut Raster, sigma: f64, cancel: &dyn Fn() -> bool) -> Result<(), ImageError> {
    let has_alpha = raster.channels == Channels::Rgba;
    if has_alpha {
        premultiply(&mut raster.data);
    }
    let mut passes = Passes::new(Kernel::new(sigma), raster.width.max(raster.height) as usize, cancel)?;
    let channels = raster.channels.count();
    let stride = raster.stride();
    for row in raster.data.chunks_exact_mut(stride.max(1)) {
        passes.run(row, channels, 0..channels)?;
    }
    for start in (0..stride).step_by(GROUP) {
        passes.run(&mut raster.data, stride, start..stride.min(start + GROUP))?;
    }
    if has_alpha {
        unpremultiply(&mut raster.data);
    }
    Ok(())
}

/// Memory that [`blur`] takes beside the picture, in bytes.
pub(crate) fn blur_memory(longer_side: u64) -> u64 {
    longer_side * (GROUP as u64 + 8) + 8 * FARTHEST as u64
}

struct Passes<'a> {
    kernel: Kernel,
    lines: Vec<u8>,
    sums: Vec<u32>,
    result: Vec<u32>,
    cancel: &'a dyn Fn() -> bool,
}

impl<'a> Passes<'a> {
    fn new(kernel: Kernel, longest: usize, cancel: &'a dyn Fn() -> bool) -> Result<Self, ImageError> {
        Ok(Self {
            lines: zeroed(longest * GROUP)?,
            sums: reserved(longest + 2 * kernel.reach())?,
            result: reserved(longest)?,
            kernel,
            cancel,
        })
    }

    /// Blurs the lines that begin at `starts` and go on every `step` bytes.
    fn run(&mut self, data: &mut [u8], step: usize, starts: core::ops::Range<usize>) -> Result<(), ImageError> {
        if (self.cancel)() {
            return Err(ImageError::Cancelled);
        }
        let length = data.len() / step.max(1);
        for (at, samples) in data.chunks_exact(step.max(1)).enumerate() {
            let samples = samples.get(starts.clone()).unwrap_or_default();
            let slots = self.lines.iter_mut().skip(at).step_by(length);
            slots.zip(samples).for_each(|(slot, sample)| *slot = *sample);
        }
        for line in self.lines.chunks_exact_mut(length.max(1)).take(starts.len()) {
            self.kernel.line(line, &mut self.sums, &mut self.result);
        }
        for (at, samples) in data.chunks_exact_mut(step.max(1)).enumerate() {
            let samples = samples.get_mut(starts.clone()).unwrap_or_default();
            let blurred = self.lines.iter().skip(at).step_by(length);
            samples
                .iter_mut()
                .zip(blurred)
                .for_each(|(sample, value)| *sample = *value);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples;
    use proptest::prelude::*;

    /// A Gaussian in floating point, far beyond where it ends, with repeated edges: nothing of it is shared.
    fn reference(data: &[f64], (width, height): (usize, usize), channels: usize, sigma: f64) -> Vec<f64> {
        let reach = (6.0 * sigma).ceil() as isize;
        let weights: Vec<f64> = (-reach..=reach)
            .map(|x| (-((x * x) as f64) / (2.0 * sigma * sigma)).exp())
            .collect();
        let sum: f64 = weights.iter().sum();
        let pass = |data: &[f64], length: usize, index: &dyn Fn(usize, usize) -> usize, lines: usize| {
            let mut result = vec![0.0; data.len()];
            for line in 0..lines {
                for x in 0..length {
                    let tap = |(offset, weight): (isize, &f64)| {
                        let at = (x as isize + offset).clamp(0, length as isize - 1) as usize;
                        weight * data[index(line, at)]
                    };
                    result[index(line, x)] = (-reach..=reach).zip(&weights).map(tap).sum::<f64>() / sum;
                }
            }
            result
        };
        let rows = pass(
            data,
            width,
            &|line, x| (line / channels * width + x) * channels + line % channels,
            height * channels,
        );
        pass(&rows, height, &|line, y| y * width * channels + line, width * channels)
    }

    fn errors(raster: &Raster, sigma: f64) -> (f64, f64) {
        let floats: Vec<f64> = raster.data.iter().map(|value| f64::from(*value)).collect();
        let size = (raster.width as usize, raster.height as usize);
        let exact = reference(&floats, size, raster.channels.count(), sigma);
        let mut blurred = raster.clone();
        blur(&mut blurred, sigma, &|| false).unwrap();
        let differences = || blurred.data.iter().zip(&exact).map(|(a, b)| (f64::from(*a) - b).abs());
        (
            differences().fold(0.0, f64::max),
            differences().sum::<f64>() / exact.len() as f64,
        )
    }

    #[test]
    fn it_is_the_gaussian_within_one_level() {
        let (width, height) = (150u32, 90u32);
        let scene = Raster::from_data(width, height, Channels::Rgb, samples::scene(width, height)).unwrap();
        let edge = |index: u32| if index % width < 61 { 0 } else { 255 };
        let edge = Raster::from_data(width, height, Channels::Grey, (0..width * height).map(edge).collect()).unwrap();
        let noise = |index: u32| (index.wrapping_mul(2_654_435_761) >> 24) as u8;
        let noise = Raster::from_data(width, height, Channels::Grey, (0..width * height).map(noise).collect()).unwrap();
        for sigma in [0.5, 1.0, 1.5, 2.5, 4.0, 5.0, 7.3, 12.0, 25.0, 60.0, 125.0] {
            for (name, picture) in [("scene", &scene), ("edge", &edge), ("noise", &noise)] {
                let (most, mean) = errors(picture, sigma);
                assert!(most < 1.0 && mean < 0.35, "sigma {sigma}, {name}: {most:.2}, {mean:.2}");
            }
        }
    }

    #[test]
    fn every_sigma_has_a_kernel_that_fits_its_arithmetic() {
        for half in 10..=2_500u32 {
            let kernel = Kernel::new(f64::from(half) / 20.0);
            let sum = (1u64 << 54) / kernel.reciprocal;
            assert!(sum * 255 < 1 << 32, "{half}");
            assert!(kernel.reach() <= FARTHEST, "{half}: {}", kernel.reach());
            let bends = kernel.knots.iter().fold(0u32, |sum, bend| sum.wrapping_add(*bend));
            assert_eq!(bends.wrapping_mul(2).wrapping_add(kernel.middle), 0, "{half}");
        }
    }

    #[test]
    fn invisible_colours_do_not_bleed() {
        let mut raster = Raster::zeroed(40, 8, Channels::Rgba).unwrap();
        for (index, pixel) in raster.data.chunks_exact_mut(4).enumerate() {
            pixel.copy_from_slice(if index % 40 < 20 {
                &[255, 0, 0, 255]
            } else {
                &[0, 255, 0, 0]
            });
        }
        blur(&mut raster, 3.0, &|| false).unwrap();
        assert!(raster.data.chunks_exact(4).all(|pixel| pixel[1] == 0));
        assert!(raster.data[20 * 4 + 3].abs_diff(119) < 10);
    }

    #[test]
    fn known_pixels_come_out() {
        let mut raster = Raster::zeroed(5, 1, Channels::Grey).unwrap();
        raster.data[2] = 255;
        blur(&mut raster, 1.0, &|| false).unwrap();
        assert_eq!(raster.data, [14, 62, 102, 62, 14]);
    }

    proptest! {
        #[test]
        fn a_flat_picture_stays_as_it_is(width in 1u32..40, height in 1u32..40, value in any::<u8>(), sigma in 0.5f64..125.0) {
            let mut raster = Raster::zeroed(width, height, Channels::Rgb).unwrap();
            raster.data.fill(value);
            let flat = raster.clone();
            blur(&mut raster, sigma, &|| false).unwrap();
            prop_assert_eq!(raster, flat);
        }

        #[test]
        fn no_value_leaves_the_range_of_its_picture(data in proptest::collection::vec(20u8..230, 1..300), sigma in 0.5f64..40.0) {
            let mut raster = Raster::from_data(data.len() as u32, 1, Channels::Grey, data).unwrap();
            let (least, most) = (*raster.data.iter().min().unwrap(), *raster.data.iter().max().unwrap());
            blur(&mut raster, sigma, &|| false).unwrap();
            prop_assert!(raster.data.iter().all(|value| (least..=most).contains(value)));
        }
    }
}
