//! Plans whose picture is only known once its pixels are: what they take at most, and what comes of them.

use super::scale::shrinks;
use super::{Memory, Rectangle, framed, lay_out, refuse};
use crate::options::{Fit, Gravity, Trim};
use crate::{ImageError, LimitKind, Limits, Plan};

impl Plan {
    /// The plan for a part of the upright picture, which was found in pixels decoded as this one says.
    ///
    /// # Errors
    /// [`ImageError::TooLarge`] where it would pass a limit that the whole picture does not.
    pub(crate) fn keeping(&self, kept: Rectangle, limits: &Limits) -> Result<Self, ImageError> {
        let mut plan = Self {
            decode_scale: self.decode_scale,
            full_chroma: self.full_chroma,
            encoding: self.encoding,
            ..lay_out(&self.info, &self.resolved, limits, kept, self.overlay.as_ref())?
        };
        plan.memory = Memory::estimate(&plan);
        plan.memory.peak = plan.memory.peak.max(self.memory.peak);
        refuse(LimitKind::Memory, plan.memory.peak, limits.memory_bytes)?;
        Ok(plan)
    }

    /// Whether a part of the picture is cut out that its pixels say.
    pub(crate) fn chooses(&self) -> bool {
        let (width, height) = self.resolved.size();
        let cuts = matches!(self.resolved.fit(), Fit::Cover | Fit::Crop | Fit::AspectCrop);
        cuts && width.is_some()
            && height.is_some()
            && matches!(self.resolved.options.gravity, Some(Gravity::Auto | Gravity::Entropy))
    }

    /// Whether anything of the plan waits for pixels.
    pub(crate) fn looks_at_pixels(&self) -> bool {
        self.resolved.options.trim == Some(Trim::Border) || self.chooses()
    }

    /// Whether the part of the picture that is kept is only known from its pixels, and may be any.
    pub(super) fn is_open(&self) -> bool {
        let options = &self.resolved.options;
        options.trim == Some(Trim::Border)
            || (self.chooses() && options.gravity == Some(Gravity::Auto) && !self.resolved.zoom().is_zero())
    }

    /// Where decoding would leave next to nothing to the resampling, decodes twice as finely, as sharp does, if there is
    /// memory for it: means of blocks are not what a filter makes of pixels.
    pub(super) fn decode_well(mut self, limits: &Limits) -> Self {
        let coarse = self.decode_scale;
        if coarse > 1 && shrinks(self.region, self.resized) < f64::from(coarse + 1) {
            self.decode_scale = coarse / 2;
            self.memory = Memory::estimate(&self);
            if self.memory.peak <= limits.memory_bytes {
                return self;
            }
            self.decode_scale = coarse;
        }
        self.memory = Memory::estimate(&self);
        self
    }

    /// Decodes at the finest scale that there is memory for: how much of the picture will be kept is not known yet.
    pub(super) fn decode_finely(mut self, limits: &Limits) -> Self {
        let coarsest = self.decode_scale;
        self.full_chroma = !crate::encode::halves_chroma(&self.encoding);
        for scale in [1, 2, 4, 8].into_iter().take_while(|scale| *scale <= coarsest) {
            self.decode_scale = scale;
            self.memory = Memory::estimate(&self.at_most());
            if self.memory.peak <= limits.memory_bytes {
                break;
            }
        }
        self
    }

    /// This plan for the largest answer that a part of its picture can have. Only an enlargement by one given side has no
    /// such bound; it is refused once the part is known.
    fn at_most(&self) -> Self {
        let turned = self.turn().size((self.kept.2, self.kept.3));
        let canvas = largest(turned, self.resolved.size(), self.resolved.fit(), self.canvas);
        let (width, height) = framed(canvas, self.border);
        Self {
            resized: self.orientation.size(canvas),
            canvas,
            width,
            height,
            ..self.clone()
        }
    }
}

/// The largest canvas that a part of a picture can come to on either side.
fn largest(whole: (u32, u32), size: (Option<u32>, Option<u32>), fit: Fit, placed: (u32, u32)) -> (u32, u32) {
    match (size, fit) {
        ((Some(width), Some(height)), Fit::ScaleDown | Fit::Crop | Fit::AspectCrop) => {
            (width.min(whole.0), height.min(whole.1))
        }
        ((Some(width), Some(height)), Fit::ScaleUp) => (width.max(whole.0), height.max(whole.1)),
        ((Some(width), Some(height)), _) => (width, height),
        ((width, height), Fit::ScaleDown | Fit::Crop | Fit::AspectCrop) => (
            width.unwrap_or(whole.0).min(whole.0),
            height.unwrap_or(whole.1).min(whole.1),
        ),
        _ => placed,
    }
}
