//! Components as a decoder has them, and their way to pixels.

use super::{Channels, Raster};
use crate::ImageError;
use crate::color::Inks;

/// What components mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Model {
    /// One plane of grey, RGB or RGBA.
    Pixels,
    /// Three planes.
    Rgb,
    /// As JFIF defines it: BT.601, full range.
    YCbCr,
    /// As video has it: BT.601, luminance from 16 to 235 and chroma from 16 to 240.
    LimitedYCbCr,
    /// Ink; inverted where full ink is stored as 0.
    Cmyk { inverted: bool },
    /// Ink whose first three components are stored as `YCbCr`.
    Ycck { inverted: bool },
}

impl Model {
    /// Whether there are luminance and chroma, in that order.
    pub(crate) const fn has_chroma(self) -> bool {
        matches!(self, Self::YCbCr | Self::LimitedYCbCr)
    }
}

/// A picture as its decoder's components, all at their final sizes.
#[derive(Clone, Debug)]
pub(crate) struct Planes {
    pub(crate) model: Model,
    pub(crate) planes: Vec<Raster>,
    /// Chroma has a size of its own.
    pub(crate) apart: bool,
    /// The press that the inks are for.
    pub(crate) inks: Option<Inks>,
}

impl Planes {
    /// Luminance and chroma of full range, where they were to stay apart.
    pub(crate) fn apart(self) -> Result<[Raster; 3], Self> {
        if !self.apart {
            return Err(self);
        }
        let model = self.model;
        let mut planes = <[Raster; 3]>::try_from(self.planes).map_err(|planes| Self { planes, ..self })?;
        if model == Model::LimitedYCbCr {
            let [luma, chroma @ ..] = &mut planes;
            stretch(luma, 16, 219, 0);
            chroma.iter_mut().for_each(|plane| stretch(plane, 128, 224, 128));
        }
        Ok(planes)
    }

    /// Grey, RGB or RGBA.
    ///
    /// The conversion is linear, so it may as well come after the filter, on fewer pixels.
    pub(crate) fn join(self) -> Result<Raster, ImageError> {
        let mut planes = self.planes.into_iter();
        let mut next = || planes.next().ok_or(ImageError::Internal("a component is missing"));
        let first = next()?;
        if self.model == Model::Pixels {
            return Ok(first);
        }
        let mut raster = Raster::zeroed(first.width, first.height, Channels::Rgb)?;
        let components = [first.data, next()?.data, next()?.data];
        match self.model {
            Model::Pixels | Model::Rgb => interleave(&mut raster.data, &components, |rgb| rgb),
            Model::YCbCr => interleave(&mut raster.data, &components, to_rgb),
            Model::LimitedYCbCr => interleave(&mut raster.data, &components, limited_to_rgb),
            Model::Cmyk { inverted } => {
                interleave(&mut raster.data, &components, |ink| ink.map(|ink| light(ink, inverted)));
                print(&mut raster.data, next()?.data, inverted, self.inks.as_ref())?;
            }
            Model::Ycck { inverted } => {
                // What converts to RGB is the light that the stored inks leave.
                interleave(&mut raster.data, &components, |ycc| {
                    to_rgb(ycc).map(|ink| light(255 - ink, inverted))
                });
                print(&mut raster.data, next()?.data, inverted, self.inks.as_ref())?;
            }
        }
        Ok(raster)
    }
}

#[inline(always)]
fn interleave(pixels: &mut [u8], [a, b, c]: &[Vec<u8>; 3], convert: impl Fn([u8; 3]) -> [u8; 3]) {
    for (((pixel, a), b), c) in pixels.chunks_exact_mut(3).zip(a).zip(b).zip(c) {
        pixel.copy_from_slice(&convert([*a, *b, *c]));
    }
}

const fn light(stored: u8, inverted: bool) -> u8 {
    if inverted { stored } else { 255 - stored }
}

/// What is seen of the light that coloured inks leave, with the black one.
fn print(pixels: &mut [u8], mut black: Vec<u8>, inverted: bool, inks: Option<&Inks>) -> Result<(), ImageError> {
    for black in &mut black {
        *black = light(*black, inverted);
    }
    if let Some(inks) = inks {
        return inks.print(pixels, &black);
    }
    // Without a profile the inks are ideal.
    for (pixel, left) in pixels.chunks_exact_mut(3).zip(black) {
        for channel in pixel {
            *channel = ((u32::from(*channel) * u32::from(left) + 127) / 255) as u8;
        }
    }
    Ok(())
}

#[inline(always)]
fn to_rgb([y, cb, cr]: [u8; 3]) -> [u8; 3] {
    const HALF: i32 = 1 << 15;
    let y = (i32::from(y) << 16) + HALF;
    let (cb, cr) = (i32::from(cb) - 128, i32::from(cr) - 128);
    // 1.402, 0.344136, 0.714136 and 1.772 with 16 bits of fraction.
    [y + 91_881 * cr, y - 22_554 * cb - 46_802 * cr, y + 116_130 * cb].map(|value| (value >> 16).clamp(0, 255) as u8)
}

/// As libwebp converts, in its fixed point: each product keeps 6 bits of fraction.
#[inline(always)]
pub(crate) fn limited_to_rgb([y, cb, cr]: [u8; 3]) -> [u8; 3] {
    let times = |value: u8, factor: i32| (i32::from(value) * factor) >> 8;
    // 255 / 219, and for chroma 1.596, 0.391, 0.813 and 2.018, with 14 bits of fraction; the rest moves the zeroes.
    let luma = times(y, 19_077);
    [
        luma + times(cr, 26_149) - 14_234,
        luma - times(cb, 6_419) - times(cr, 13_320) + 8_708,
        luma + times(cb, 33_050) - 17_685,
    ]
    .map(|value| (value >> 6).clamp(0, 255) as u8)
}

/// Makes a limited range a full one: what lies around `zero` in steps of which 255 are `range`, around `full_zero`.
fn stretch(plane: &mut Raster, zero: i32, range: i32, full_zero: i32) {
    for sample in &mut plane.data {
        let steps = 255 * (i32::from(*sample) - zero);
        // Rounded to the nearest, up at the middle.
        let stretched = (2 * steps + range).div_euclid(2 * range) + full_zero;
        *sample = stretched.clamp(0, 255) as u8;
    }
}
