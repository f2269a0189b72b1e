//! Changes of colour on the resized picture: sharpen, gamma, brightness, contrast, saturation, in this order.
//!
//! Transcendental functions come from `libm`, so that every lane computes the same bits.

use super::{Channels, Raster};
use crate::options::Decimal;
use crate::{Effects, ImageError};

/// Applies what is asked for after the blur. Alpha is never changed.
pub(crate) fn apply(raster: Raster, effects: &Effects) -> Result<Raster, ImageError> {
    if effects.is_none() {
        return Ok(raster);
    }
    let mut raster = raster;
    if let Some(amount) = effects.sharpen {
        sharpen(&mut raster, amount.to_f64() as f32)?;
    }
    if let Some(gamma) = effects.gamma {
        let exponent = 1.0 / gamma.to_f64();
        map(&mut raster, |value| 255.0 * libm::pow(value / 255.0, exponent));
    }
    if let Some(factor) = effects.brightness {
        raster = modulate(raster, factor, Decimal::ONE)?;
    }
    if let Some(factor) = effects.contrast {
        let factor = factor.to_f64();
        map(&mut raster, |value| factor * value + 128.0 * (1.0 - factor));
    }
    if let Some(factor) = effects.saturation {
        raster = modulate(raster, Decimal::ONE, factor)?;
    }
    Ok(raster)
}

fn quantize(value: f64) -> u8 {
    // `as` saturates.
    (value + 0.5) as u8
}

/// The same function of every colour value, through a table.
fn map(raster: &mut Raster, function: impl Fn(f64) -> f64) {
    let table: Vec<u8> = (0..=255u8).map(|value| quantize(function(f64::from(value)))).collect();
    let look_up = |value: &mut u8| *value = table.get(usize::from(*value)).copied().unwrap_or(*value);
    match raster.channels {
        Channels::Grey | Channels::Rgb => raster.data.iter_mut().for_each(look_up),
        Channels::Rgba => raster
            .data
            .chunks_exact_mut(4)
            .for_each(|pixel| pixel.iter_mut().take(3).for_each(look_up)),
    }
}

/// Unsharp mask of sigma 1: `v + amount * (v - gaussian(v))`, seven taps, edges repeated.
///
/// Colours are taken premultiplied, so that the invisible ones have no say.
fn sharpen(raster: &mut Raster, amount: f32) -> Result<(), ImageError> {
    // exp(-x^2 / 2) for x = -3..3, normalised.
    const KERNEL: [f32; 7] = [
        0.004_433_048,
        0.054_005_582,
        0.242_036_23,
        0.399_050_28,
        0.242_036_23,
        0.054_005_582,
        0.004_433_048,
    ];
    let channels = raster.channels.count();
    let has_alpha = raster.channels == Channels::Rgba;
    if has_alpha {
        super::resample::premultiply(&mut raster.data);
    }
    let (stride, rows) = (raster.stride(), raster.height as usize);
    let original = raster.clone_rows(0..rows)?;
    let row_at = |y: isize| {
        let start = y.clamp(0, rows as isize - 1) as usize * stride;
        original.get(start..start + stride).unwrap_or_default()
    };
    let mut column = vec![0f32; stride];
    for (y, row) in raster.data.chunks_exact_mut(stride.max(1)).enumerate() {
        column.fill(0.0);
        for (tap, weight) in (-3isize..).zip(KERNEL) {
            for (sum, value) in column.iter_mut().zip(row_at(y as isize + tap)) {
                *sum += weight * f32::from(*value);
            }
        }
        let last = (stride / channels) as isize - 1;
        for (x, pixel) in row.chunks_exact_mut(channels).enumerate() {
            let colors = channels.min(3);
            let ceiling = if has_alpha {
                pixel.get(3).copied().unwrap_or(255)
            } else {
                255
            };
            for (channel, value) in pixel.iter_mut().take(colors).enumerate() {
                let mut blurred = 0.0;
                for (tap, weight) in (-3isize..).zip(KERNEL) {
                    let at = (x as isize + tap).clamp(0, last) as usize * channels + channel;
                    blurred += weight * column.get(at).copied().unwrap_or(0.0);
                }
                let sharp = f32::from(*value) + amount * (f32::from(*value) - blurred);
                *value = ((sharp + 0.5) as u8).min(ceiling);
            }
        }
    }
    if has_alpha {
        super::resample::unpremultiply(&mut raster.data);
    }
    Ok(())
}

impl Raster {
    fn clone_rows(&self, rows: core::ops::Range<usize>) -> Result<Vec<u8>, ImageError> {
        let stride = self.stride();
        let from = self
            .data
            .get(rows.start * stride..rows.end * stride)
            .unwrap_or_default();
        let mut copy = super::zeroed(from.len())?;
        copy.copy_from_slice(from);
        Ok(copy)
    }
}

/// `L * brightness` and `C * saturation` in CIE LCh (D65), as sharp's `modulate` has it.
fn modulate(raster: Raster, brightness: Decimal, saturation: Decimal) -> Result<Raster, ImageError> {
    let mut raster = if saturation == Decimal::ONE {
        raster
    } else {
        raster.colored()?
    };
    let (brightness, saturation) = (brightness.to_f64() as f32, saturation.to_f64() as f32);
    let space = Lab::new();
    let pixel_size = raster.channels.count();
    // Neighbours are often alike.
    let mut last = ([0u8; 3], space.modulate([0; 3], brightness, saturation));
    for pixel in raster.data.chunks_exact_mut(pixel_size) {
        match pixel {
            [grey] => {
                let color = [*grey; 3];
                if last.0 != color {
                    last = (color, space.modulate(color, brightness, saturation));
                }
                *grey = last.1[1];
            }
            [r, g, b, ..] => {
                let color = [*r, *g, *b];
                if last.0 != color {
                    last = (color, space.modulate(color, brightness, saturation));
                }
                [*r, *g, *b] = last.1;
            }
            _ => {}
        }
    }
    Ok(raster)
}

/// sRGB to CIE L*a*b* and back.
struct Lab {
    /// Linear light of each sRGB value.
    linear: Vec<f32>,
}

/// White of D65, as the sum of the matrix's rows.
const WHITE: [f32; 3] = [0.950_456, 1.0, 1.088_754];

impl Lab {
    fn new() -> Self {
        let linear = |value: u8| {
            let value = f32::from(value) / 255.0;
            if value <= 0.040_45 {
                value / 12.92
            } else {
                libm::powf((value + 0.055) / 1.055, 2.4)
            }
        };
        Self {
            linear: (0..=255).map(linear).collect(),
        }
    }

    fn modulate(&self, rgb: [u8; 3], brightness: f32, saturation: f32) -> [u8; 3] {
        let [r, g, b] = rgb.map(|value| self.linear.get(usize::from(value)).copied().unwrap_or(0.0));
        let x = 0.412_453 * r + 0.357_580 * g + 0.180_423 * b;
        let y = 0.212_671 * r + 0.715_160 * g + 0.072_169 * b;
        let z = 0.019_334 * r + 0.119_193 * g + 0.950_227 * b;
        let curve = |t: f32| {
            if t > 0.008_856 {
                libm::cbrtf(t)
            } else {
                7.787 * t + 16.0 / 116.0
            }
        };
        let [white_x, white_y, white_z] = WHITE;
        let (fx, fy, fz) = (curve(x / white_x), curve(y / white_y), curve(z / white_z));
        let lightness = (116.0 * fy - 16.0) * brightness;
        let (a, b) = (500.0 * (fx - fy) * saturation, 200.0 * (fy - fz) * saturation);
        let fy = (lightness + 16.0) / 116.0;
        let inverse = |t: f32| {
            if t > 0.206_893 {
                t * t * t
            } else {
                (t - 16.0 / 116.0) / 7.787
            }
        };
        let (x, y, z) = (
            inverse(fy + a / 500.0) * white_x,
            inverse(fy) * white_y,
            inverse(fy - b / 200.0) * white_z,
        );
        let encode = |linear: f32| {
            let value = if linear <= 0.003_130_8 {
                12.92 * linear
            } else {
                1.055 * libm::powf(linear, 1.0 / 2.4) - 0.055
            };
            (255.0 * value + 0.5) as u8
        };
        [
            encode(3.240_479 * x - 1.537_15 * y - 0.498_535 * z),
            encode(-0.969_256 * x + 1.875_992 * y + 0.041_556 * z),
            encode(0.055_648 * x - 0.204_043 * y + 1.057_311 * z),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::{Brightness, Contrast, Gamma, ImageOptions, Saturation, Sharpen};

    fn effects(options: &str) -> Effects {
        let options = ImageOptions::parse(options).unwrap();
        Effects {
            blur: None,
            sharpen: options.sharpen.map(Sharpen::get),
            gamma: options.gamma.map(Gamma::get),
            brightness: options.brightness.map(Brightness::get),
            contrast: options.contrast.map(Contrast::get),
            saturation: options.saturation.map(Saturation::get),
            filter: None,
        }
    }

    fn one(rgb: [u8; 3], options: &str) -> Vec<u8> {
        apply(
            Raster::from_data(1, 1, Channels::Rgb, rgb.to_vec()).unwrap(),
            &effects(options),
        )
        .unwrap()
        .data
    }

    #[test]
    fn identity_in_lab_is_identity_in_rgb() {
        let space = Lab::new();
        for r in (0..=255u8).step_by(5) {
            for g in (0..=255u8).step_by(5) {
                for b in (0..=255u8).step_by(5) {
                    let back = space.modulate([r, g, b], 1.0, 1.0);
                    assert!(
                        back.iter().zip([r, g, b]).all(|(a, b)| a.abs_diff(b) <= 1),
                        "{r} {g} {b}: {back:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn saturation_zero_is_grey_and_keeps_lightness() {
        let grey = one([200, 50, 80], "saturation=0");
        assert!(
            grey[0].abs_diff(grey[1]) <= 1 && grey[1].abs_diff(grey[2]) <= 1,
            "{grey:?}"
        );
        // L* of that red is 44.6, which is grey 106.
        assert!(grey[1].abs_diff(106) <= 2, "{grey:?}");
    }

    #[test]
    fn contrast_and_gamma_follow_their_formulas() {
        assert_eq!(one([0, 128, 200], "contrast=1.5"), [0, 128, 236]);
        assert_eq!(one([64, 128, 255], "gamma=2"), [128, 181, 255]);
        assert_eq!(one([64, 128, 255], "gamma=0.5"), [16, 64, 255]);
    }

    #[test]
    fn brightness_scales_lightness() {
        // Grey 119 is L* 50; half of it is L* 25, grey 59.
        assert!(
            one([119; 3], "brightness=0.5")
                .iter()
                .all(|value| value.abs_diff(59) <= 1)
        );
        assert_eq!(one([255; 3], "brightness=2"), [255; 3]);
    }

    #[test]
    fn sharpening_raises_edges_and_leaves_plains() {
        let mut raster = Raster::zeroed(16, 8, Channels::Grey).unwrap();
        for (index, value) in raster.data.iter_mut().enumerate() {
            *value = if index % 16 < 8 { 100 } else { 150 };
        }
        let sharp = apply(raster, &effects("sharpen=1")).unwrap();
        let row = &sharp.data[..16];
        assert_eq!((row[0], row[15]), (100, 150));
        assert!(row[7] < 95 && row[8] > 155, "{row:?}");
    }

    #[test]
    fn alpha_is_never_changed() {
        let raster = Raster::from_data(2, 1, Channels::Rgba, vec![10, 200, 30, 128, 90, 90, 90, 0]).unwrap();
        let changed = apply(
            raster,
            &effects("sharpen=3,gamma=2,brightness=1.2,contrast=1.4,saturation=0.2"),
        )
        .unwrap();
        assert_eq!((changed.data[3], changed.data[7]), (128, 0));
    }
}
