//! Inks to light through a profile of the press.

use super::{BATCH, Executor, options};
use crate::probe::{Declared, declared};
use crate::{ImageError, ImageInfo, Limits, Source};
use moxcms::{ColorProfile, DataColorSpace, Layout};

/// From four inks to sRGB.
#[derive(Clone)]
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

    /// The light that three inks leave becomes red, green and blue, with the light that the black ink leaves.
    pub(crate) fn print(&self, light: &mut [u8], black: &[u8]) -> Result<(), ImageError> {
        let mut inks = [0; BATCH * 4];
        for (light, black) in light.chunks_mut(BATCH * 3).zip(black.chunks(BATCH)) {
            for ((inks, light), black) in inks.chunks_exact_mut(4).zip(light.chunks_exact(3)).zip(black) {
                for (ink, light) in inks.iter_mut().zip(light.iter().chain([black])) {
                    *ink = 255 - *light;
                }
            }
            let inks = inks.get(..black.len() * 4).unwrap_or_default();
            self.0
                .transform(inks, light)
                .map_err(|_| ImageError::Internal("the ink transform was given buffers of the wrong size"))?;
        }
        Ok(())
    }
}

impl core::fmt::Debug for Inks {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        formatter.debug_struct("Inks").finish_non_exhaustive()
    }
}
