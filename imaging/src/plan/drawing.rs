//! What is drawn over the picture: how large it may be, and what the stored picture among it takes.

use super::{Memory, lay_out};
use crate::options::{Color, Draw, Extent, Fit, Height, ImageOptions, OutputFormat, Overlay, Switch, Width};
use crate::{Format, FormatChoice, ImageError, ImageInfo, Limits, Plan, Resolved};

/// Share of the picture's height that a line of text has where nothing is said about its size.
const TEXT: f64 = 0.05;

/// Lines of text are so much higher than its letters, the room around them included.
const LINE: f64 = 1.5;

/// One overlay.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Drawing {
    pub(crate) draw: Draw,
    /// The largest that it may become, in pixels of the answer.
    pub(crate) room: (u32, u32),
    /// How the stored picture is brought to its size, once its header is known.
    pub(crate) picture: Option<Box<Plan>>,
}

impl Drawing {
    /// Bytes of it at its size.
    pub(super) fn bytes(&self) -> u64 {
        let area = |(width, height): (u32, u32)| u64::from(width) * u64::from(height) * 4;
        match (&self.picture, self.text_height()) {
            (Some(plan), _) => area(plan.canvas),
            (None, Some(height)) => area((self.room.0, height)),
            (None, None) => area(self.room),
        }
    }

    /// Height of a text whose size is the picture's to say.
    fn text_height(&self) -> Option<u32> {
        let (Overlay::Text(text), None, None) = (&self.draw.overlay, self.draw.width, self.draw.height) else {
            return None;
        };
        let lines = text.lines().count() as f64;
        let height = (self.line().unwrap_or_default() * (lines * LINE + 1.0)).ceil();
        Some((height as u32).clamp(1, self.room.1))
    }

    /// Height of the letters, in pixels of the answer; `None` where the box says it.
    pub(crate) fn line(&self) -> Option<f64> {
        let free = self.draw.width.is_none() && self.draw.height.is_none();
        free.then(|| f64::from(self.room.1) * TEXT)
    }

    /// Bytes that its making takes beside its source and its result.
    pub(super) fn working_bytes(&self) -> u64 {
        // The glyphs of a text, as paths.
        const GLYPHS: u64 = 1024 * 1024;
        self.picture.as_ref().map_or(GLYPHS, |plan| {
            let Memory {
                profile,
                decode,
                resample,
                ..
            } = plan.memory;
            // What its plan calls the answer is one more copy here, turned or padded.
            profile + decode.max(resample) + self.bytes()
        })
    }

    pub(super) fn source_bytes(&self) -> u64 {
        self.picture.as_ref().map_or(0, |plan| plan.info.bytes)
    }
}

/// Everything that is drawn, the first one lowest.
pub(super) fn drawings(
    resolved: &Resolved,
    canvas: (u32, u32),
    overlay: Option<&ImageInfo>,
    limits: &Limits,
) -> Result<Vec<Drawing>, ImageError> {
    let draws = resolved.options.draw.iter().chain(&resolved.branding);
    draws
        .map(|draw| drawing(draw, resolved, canvas, overlay, limits))
        .collect()
}

fn drawing(
    draw: &Draw,
    resolved: &Resolved,
    canvas: (u32, u32),
    overlay: Option<&ImageInfo>,
    limits: &Limits,
) -> Result<Drawing, ImageError> {
    let pixels = |extent: Extent, side: u32| match extent {
        Extent::Pixels(pixels) => resolved.dpr().scale(pixels).max(1),
        Extent::Fraction(part) => part.scale(side).max(1),
    };
    let width = draw.width.map(|width| pixels(width, canvas.0));
    let height = draw.height.map(|height| pixels(height, canvas.1));
    let picture = match (&draw.overlay, overlay) {
        (Overlay::Picture(_), Some(info)) => {
            // Without a size it is as large as it is, but not larger than what it is drawn on.
            let size = if width.is_none() && height.is_none() {
                (Some(canvas.0), Some(canvas.1), Fit::ScaleDown)
            } else {
                (width, height, draw.fit)
            };
            let plan = picture(info, size, limits).map_err(|error| ImageError::Overlay(Box::new(error)))?;
            Some(Box::new(plan))
        }
        _ => None,
    };
    Ok(Drawing {
        draw: draw.clone(),
        room: (width.unwrap_or(canvas.0), height.unwrap_or(canvas.1)),
        picture,
    })
}

/// The plan of a stored picture, which is that of any other but for its end: it keeps its alpha and is not encoded.
fn picture(
    info: &ImageInfo,
    (width, height, fit): (Option<u32>, Option<u32>, Fit),
    limits: &Limits,
) -> Result<Plan, ImageError> {
    info.check(limits)?;
    super::readable(info)?;
    let options = ImageOptions {
        anim: Some(Switch(false)),
        background: (fit == Fit::Pad).then_some(Color::TRANSPARENT),
        fit: Some(fit),
        width: width.map(Width::Pixels),
        height: height.map(Height::of),
        ..ImageOptions::default()
    };
    let resolved = Resolved {
        options,
        format: FormatChoice::Given(OutputFormat::Png),
        branding: None,
        quality_factor: None,
    };
    let (upright_width, upright_height) = info.upright_size();
    let plan = lay_out(info, &resolved, limits, (0, 0, upright_width, upright_height), None)?;
    let memory = Memory::estimate(&plan);
    Ok(Plan { memory, ..plan })
}

impl Plan {
    /// The stored picture that has to be brought for [`crate::transform()`], and its header before, to
    /// [`Self::with_overlay`].
    #[must_use]
    pub fn overlay(&self) -> Option<&str> {
        if matches!(self.encoding.format, Format::Json | Format::Svg) {
            return None;
        }
        self.drawings.iter().find_map(|drawing| match &drawing.draw.overlay {
            Overlay::Picture(id) => Some(id.as_str()),
            Overlay::Text(_) => None,
        })
    }

    /// The plan once the header of [`Self::overlay`] is known.
    ///
    /// # Errors
    /// As [`crate::plan()`], in [`ImageError::Overlay`] where the overlay itself is refused.
    pub fn with_overlay(&self, overlay: &ImageInfo, limits: &Limits) -> Result<Self, ImageError> {
        lay_out(&self.info, &self.resolved, limits, self.kept, Some(overlay))?.measured(limits)
    }
}
