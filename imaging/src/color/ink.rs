//! Inks to light through a profile of the press.

use super::{BATCH, Executor, options};
use crate::probe::{Declared, declared};
use crate::{ImageError, ImageInfo, Limits, Source};
use moxcms::{ColorProfile, DataColorSpace, Layout};

/// From four inks to sRGB.
pub(crate) struct Inks(Executor);

impl Inks {
    /// The conversion of a picture of four inks; `None` where it has no profile for them.
    ///
    /// # Errors
    /// [`ImageError::TooLarge`] for a profile over the limit, and errors of the source.
    pub(crate) fn of(source: &dyn Source, info: &ImageInfo, limits: &Limits) -> Result<Option<Self>, ImageError> {
        if !super::has_inks(info) {
            return Ok(None);
        }
        let profile = match declared(source, info, limits)? {
            Some(Declared::Icc(bytes)) => ColorProfile::new_from_slice(&bytes).ok(),
            _ => None,
        };
        Ok(profile.and_then(|profile| Self::from_profile(&profile)))
    }

    pub(super) fn from_profile(profile: &ColorProfile) -> Option<Self> {
        if profile.color_space != DataColorSpace::Cmyk {
            return None;
        }
        let transform = profile.create_transform_8bit(Layout::Rgba, &ColorProfile::new_srgb(), Layout::Rgb, options());
        transform.ok().map(Self)
    }

    /// Cyan, magenta, yellow and black become red, green and blue, in place. `light` says that the values are light left
    /// (255 is no ink) instead of ink (255 is all of it).
    pub(crate) fn to_rgb(&self, mut pixels: Vec<u8>, light: bool) -> Result<Vec<u8>, ImageError> {
        let count = pixels.len() / 4;
        let mut inks = [0; BATCH * 4];
        let mut rgb = [0; BATCH * 3];
        let mut done = 0;
        while done < count {
            let batch = (count - done).min(BATCH);
            let from = pixels.get(done * 4..(done + batch) * 4).unwrap_or_default();
            let (inks, rgb) = (
                inks.get_mut(..batch * 4).unwrap_or_default(),
                rgb.get_mut(..batch * 3).unwrap_or_default(),
            );
            for (ink, value) in inks.iter_mut().zip(from) {
                *ink = if light { 255 - *value } else { *value };
            }
            self.0
                .transform(inks, rgb)
                .map_err(|_| ImageError::Internal("the ink transform was given buffers of the wrong size"))?;
            if let Some(to) = pixels.get_mut(done * 3..(done + batch) * 3) {
                to.copy_from_slice(rgb);
            }
            done += batch;
        }
        pixels.truncate(count * 3);
        Ok(pixels)
    }
}
