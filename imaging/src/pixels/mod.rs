//! Decoded pixels and what is done to them: resampling, turning, colours, padding.

mod blur;
mod compose;
mod effects;
mod filters;
mod planes;
mod resample;
mod saliency;
mod segment;
mod sink;
mod trim;
mod turn;

pub(crate) use blur::{blur, blur_memory};
pub(crate) use compose::{add_border, cover, flatten, pad};
pub(crate) use effects::apply as apply_effects;
pub(crate) use filters::filter;
pub(crate) use planes::{Model, Planes, limited_to_rgb};
pub(crate) use resample::{Scaler, premultiply, resample, unpremultiply};
pub(crate) use saliency::{entropic, salient, small};
pub(crate) use segment::remove_background;
pub(crate) use sink::{Fitting, Shape, Sink};
pub(crate) use trim::inside;
pub(crate) use turn::turn;

use crate::{ImageError, LimitKind};

/// Channels of a [`Raster`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Channels {
    Grey,
    Rgb,
    /// Straight alpha.
    Rgba,
}

impl Channels {
    pub(crate) const fn count(self) -> usize {
        match self {
            Self::Grey => 1,
            Self::Rgb => 3,
            Self::Rgba => 4,
        }
    }
}

/// Pixels of 8 bits a channel, rows from top to bottom without gaps.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Raster {
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) channels: Channels,
    /// Always `width * height * channels` bytes.
    pub(crate) data: Vec<u8>,
}

/// Memory that was not there although the plan allowed it: the host has less than the limits say.
fn exhausted(bytes: usize) -> ImageError {
    ImageError::TooLarge {
        what: LimitKind::Memory,
        limit: 0,
        value: bytes as u64,
    }
}

/// Zeroes; an error instead of an abort where there is no memory.
pub(crate) fn zeroed(bytes: usize) -> Result<Vec<u8>, ImageError> {
    zeroed_of(bytes)
}

/// Zeroes of any kind of number.
pub(crate) fn zeroed_of<T: Copy + Default>(count: usize) -> Result<Vec<T>, ImageError> {
    let mut data = Vec::new();
    data.try_reserve_exact(count)
        .map_err(|_| exhausted(count.saturating_mul(size_of::<T>())))?;
    data.resize(count, T::default());
    Ok(data)
}

/// Room for so many; an error instead of an abort where there is no memory.
pub(crate) fn reserved<T>(count: usize) -> Result<Vec<T>, ImageError> {
    let mut data = Vec::new();
    data.try_reserve_exact(count)
        .map_err(|_| exhausted(count.saturating_mul(size_of::<T>())))?;
    Ok(data)
}

impl Raster {
    /// A second one; an error instead of an abort where there is no memory.
    pub(crate) fn copy(&self) -> Result<Self, ImageError> {
        let mut data = zeroed(self.data.len())?;
        data.copy_from_slice(&self.data);
        Ok(Self { data, ..*self })
    }

    /// All zeroes.
    pub(crate) fn zeroed(width: u32, height: u32, channels: Channels) -> Result<Self, ImageError> {
        let bytes = u64::from(width) * u64::from(height) * channels.count() as u64;
        let data = zeroed(usize::try_from(bytes).map_err(|_| exhausted(usize::MAX))?)?;
        Ok(Self {
            width,
            height,
            channels,
            data,
        })
    }

    /// Wraps pixels; `None` where their number is wrong.
    #[cfg(test)]
    pub(crate) fn from_data(width: u32, height: u32, channels: Channels, data: Vec<u8>) -> Option<Self> {
        let bytes = u64::from(width) * u64::from(height) * channels.count() as u64;
        (data.len() as u64 == bytes).then_some(Self {
            width,
            height,
            channels,
            data,
        })
    }

    /// Bytes of a row.
    pub(crate) fn stride(&self) -> usize {
        self.width as usize * self.channels.count()
    }

    /// Grey as RGB; the rest as it is.
    pub(crate) fn colored(self) -> Result<Self, ImageError> {
        if self.channels != Channels::Grey {
            return Ok(self);
        }
        let mut colored = Self::zeroed(self.width, self.height, Channels::Rgb)?;
        for (rgb, grey) in colored.data.chunks_exact_mut(3).zip(&self.data) {
            rgb.fill(*grey);
        }
        Ok(colored)
    }

    /// With an alpha channel.
    pub(crate) fn with_alpha(self) -> Result<Self, ImageError> {
        if self.channels == Channels::Rgba {
            return Ok(self);
        }
        let mut rgba = Self::zeroed(self.width, self.height, Channels::Rgba)?;
        let count = self.channels.count();
        for (to, from) in rgba.data.chunks_exact_mut(4).zip(self.data.chunks_exact(count)) {
            match (to, from) {
                ([r, g, b, a], [grey]) => (*r, *g, *b, *a) = (*grey, *grey, *grey, 255),
                ([r, g, b, a], [red, green, blue]) => (*r, *g, *b, *a) = (*red, *green, *blue, 255),
                _ => {}
            }
        }
        Ok(rgba)
    }

    /// Without its alpha channel.
    pub(crate) fn opaque(mut self) -> Self {
        if self.channels == Channels::Rgba {
            let pixels = self.data.len() / 4;
            for pixel in 0..pixels {
                self.data.copy_within(pixel * 4..pixel * 4 + 3, pixel * 3);
            }
            self.data.truncate(pixels * 3);
            self.channels = Channels::Rgb;
        }
        self
    }
}
