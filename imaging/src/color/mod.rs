//! Colours as files declare them, converted to sRGB.
//!
//! Conversion comes after the resample, on as many pixels as the answer has. Between RGB spaces that gives what converting
//! first would, but for edges between saturated colours, whose mixtures differ by a few levels. Inks become light as their
//! planes are joined, because everything behind works on light.
//!
//! A profile that cannot be read, or that is for another kind of pixels than the file's, is ignored: the pixels count as
//! sRGB. The code is scalar and without `unsafe`, so every lane computes the same.

mod cicp;
mod ink;

pub(crate) use ink::Inks;

use crate::pixels::{Channels, Raster};
use crate::probe::{Declared, declared};
use crate::{Format, ImageError, ImageInfo, Limits, Source};
use moxcms::{
    Chromaticity, ColorPrimaries, ColorProfile, DataColorSpace, Layout, RenderingIntent, ToneReprCurve,
    Transform8BitExecutor, TransformOptions, XyY, curve_from_gamma,
};
use std::sync::Arc;

type Executor = Arc<Transform8BitExecutor>;

/// From a picture's own colours to sRGB.
pub(crate) enum Conversion {
    /// What a value of grey becomes.
    Grey(Box<[u8; 256]>),
    Rgb {
        opaque: Executor,
        alpha: Executor,
    },
}

/// Pixels that are converted at once, through a buffer on the stack.
const BATCH: usize = 512;

/// The exponent of encoding that is sRGB's by agreement, in 1/100,000.
const SRGB_GAMMA: core::ops::RangeInclusive<u32> = 45_000..=46_000;

impl Conversion {
    /// The conversion that a picture needs; `None` where it is sRGB, or is to be taken for it.
    ///
    /// # Errors
    /// [`ImageError::TooLarge`] for a profile over the limit, and errors of the source.
    pub(crate) fn of(source: &dyn Source, info: &ImageInfo, limits: &Limits) -> Result<Option<Self>, ImageError> {
        if has_inks(info) {
            return Ok(None);
        }
        let profile = match declared(source, info, limits)? {
            None => None,
            Some(Declared::Icc(bytes)) => ColorProfile::new_from_slice(&bytes).ok(),
            Some(Declared::Png { gamma, chromaticities }) => png_profile(gamma, chromaticities, is_grey(info)),
            Some(Declared::Cicp { primaries, transfer }) => cicp::profile(primaries, transfer, is_grey(info)),
        };
        Ok(profile.and_then(|profile| Self::from_profile(&profile, is_grey(info))))
    }

    fn from_profile(profile: &ColorProfile, grey: bool) -> Option<Self> {
        let srgb = ColorProfile::new_srgb();
        match (profile.color_space, grey) {
            (DataColorSpace::Gray, true) => {
                let transform = profile
                    .create_transform_8bit(Layout::Gray, &srgb, Layout::Rgb, options())
                    .ok()?;
                let from: [u8; 256] = core::array::from_fn(|value| value as u8);
                let mut to = [0; 768];
                transform.transform(&from, &mut to).ok()?;
                let mut table = Box::new([0; 256]);
                for (slot, rgb) in table.iter_mut().zip(to.chunks_exact(3)) {
                    *slot = rgb.get(1).copied()?;
                }
                let moves = table.iter().zip(&from).any(|(a, b)| a.abs_diff(*b) > 1);
                moves.then_some(Self::Grey(table))
            }
            (DataColorSpace::Rgb, false) => {
                let transform = |layout| profile.create_transform_8bit(layout, &srgb, layout, options()).ok();
                let (opaque, alpha) = (transform(Layout::Rgb)?, transform(Layout::Rgba)?);
                moves(&opaque)?.then_some(Self::Rgb { opaque, alpha })
            }
            _ => None,
        }
    }

    /// Converts in place; alpha stays.
    pub(crate) fn apply(&self, raster: &mut Raster) -> Result<(), ImageError> {
        let count = raster.channels.count();
        match (self, raster.channels) {
            (Self::Grey(table), Channels::Grey | Channels::Rgb) => {
                for value in &mut raster.data {
                    *value = look_up(table, *value);
                }
            }
            (Self::Grey(table), Channels::Rgba) => {
                for pixel in raster.data.chunks_exact_mut(4) {
                    for value in pixel.iter_mut().take(3) {
                        *value = look_up(table, *value);
                    }
                }
            }
            (Self::Rgb { opaque, .. }, Channels::Rgb) => batches(opaque, &mut raster.data, count)?,
            (Self::Rgb { alpha, .. }, Channels::Rgba) => batches(alpha, &mut raster.data, count)?,
            (Self::Rgb { .. }, Channels::Grey) => {}
        }
        Ok(())
    }
}

fn look_up(table: &[u8; 256], value: u8) -> u8 {
    table.get(usize::from(value)).copied().unwrap_or(value)
}

fn batches(transform: &Executor, data: &mut [u8], count: usize) -> Result<(), ImageError> {
    let mut buffer = [0; BATCH * 4];
    for batch in data.chunks_mut(BATCH * count) {
        let from = buffer.get_mut(..batch.len()).unwrap_or_default();
        from.copy_from_slice(batch);
        transform
            .transform(from, batch)
            .map_err(|_| ImageError::Internal("the colour transform was given buffers of the wrong size"))?;
    }
    Ok(())
}

/// Whether any colour of a grid moves by more than what rounding may do; sRGB under another name moves none.
fn moves(transform: &Executor) -> Option<bool> {
    let steps = || (0..=255u8).step_by(51);
    let grid: Vec<u8> = steps()
        .flat_map(|r| steps().flat_map(move |g| steps().flat_map(move |b| [r, g, b])))
        .collect();
    let mut moved = vec![0; grid.len()];
    transform.transform(&grid, &mut moved).ok()?;
    Some(grid.iter().zip(&moved).any(|(a, b)| a.abs_diff(*b) > 1))
}

/// The perceptual intent, as other image services take it.
fn options() -> TransformOptions {
    TransformOptions {
        rendering_intent: RenderingIntent::Perceptual,
        ..TransformOptions::default()
    }
}

fn has_inks(info: &ImageInfo) -> bool {
    info.format == Format::Jpeg && info.components == 4
}

/// A palette counts as three channels.
fn is_grey(info: &ImageInfo) -> bool {
    info.components.saturating_sub(u8::from(info.alpha)) == 1
}

/// A profile of gAMA and cHRM, each taken as sRGB's where it is missing; `None` for numbers that no display has.
fn png_profile(gamma: Option<u32>, chromaticities: Option<[u32; 8]>, grey: bool) -> Option<ColorProfile> {
    let srgb = ColorProfile::new_srgb();
    let curve = match gamma {
        Some(gamma) if SRGB_GAMMA.contains(&gamma) => srgb.red_trc.clone()?,
        Some(gamma @ 10_000..=1_000_000) => curve_from_gamma(100_000.0 / gamma as f32),
        Some(_) => return None,
        None => srgb.red_trc.clone()?,
    };
    if grey {
        return Some(grey_profile(curve));
    }
    let mut profile = srgb;
    // Without it the transfer function would be taken from there.
    profile.cicp = None;
    profile.red_trc = Some(curve.clone());
    profile.green_trc = Some(curve.clone());
    profile.blue_trc = Some(curve);
    if let Some(values) = chromaticities {
        if values.iter().any(|value| *value > 100_000) {
            return None;
        }
        let [wx, wy, rx, ry, gx, gy, bx, by] = values.map(|value| value as f32 / 100_000.0);
        if wy < 0.01 {
            return None;
        }
        let point = |x, y| Chromaticity { x, y };
        let white = XyY {
            x: f64::from(wx),
            y: f64::from(wy),
            yb: 1.0,
        };
        profile.update_rgb_colorimetry(
            white,
            ColorPrimaries {
                red: point(rx, ry),
                green: point(gx, gy),
                blue: point(bx, by),
            },
        );
    }
    Some(profile)
}

fn grey_profile(curve: ToneReprCurve) -> ColorProfile {
    let mut profile = ColorProfile::new_gray_with_gamma(2.2);
    profile.gray_trc = Some(curve);
    profile
}

#[cfg(test)]
mod tests;
