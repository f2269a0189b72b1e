//! `draw` and `branding`: pictures and texts over the picture.

mod text;

use crate::color::Conversion;
use crate::decode::{Job, decode};
use crate::options::{Draw, Gravity, Overlay, Repeat};
use crate::pixels::{Raster, cover};
use crate::plan::Drawing;
use crate::transform::{fitting, render, stop_if};
use crate::{ImageError, Source};
use std::cell::OnceCell;

/// The overlays of one job. An animation has the same ones on every frame, so they are made once.
#[derive(Default)]
pub(crate) struct Overlays<'a> {
    /// The stored picture that the plan names.
    source: Option<&'a dyn Source>,
    made: OnceCell<Vec<Made>>,
}

/// An overlay at its size; `None` where there is nothing to see.
type Made = Option<Raster>;

impl<'a> Overlays<'a> {
    pub(crate) fn new(source: Option<&'a dyn Source>) -> Self {
        Self {
            source,
            made: OnceCell::new(),
        }
    }

    fn made(&self, job: &Job<'_>) -> Result<&[Made], ImageError> {
        if let Some(made) = self.made.get() {
            return Ok(made);
        }
        let make = |drawing: &Drawing| match &drawing.draw.overlay {
            Overlay::Text(text) => text::render(text, drawing),
            Overlay::Picture(_) => self.picture(job, drawing).map(Some),
        };
        let made = job.plan.drawings.iter().map(make).collect::<Result<_, _>>()?;
        Ok(self.made.get_or_init(|| made))
    }

    /// A stored picture by the way that any picture goes, up to where it would be encoded.
    fn picture(&self, job: &Job<'_>, drawing: &Drawing) -> Result<Raster, ImageError> {
        let (Some(source), Some(plan)) = (self.source, &drawing.picture) else {
            return Err(ImageError::Internal("the picture to draw was not brought"));
        };
        let job = &Job {
            source,
            plan,
            limits: job.limits,
            codecs: job.codecs,
            cancel: job.cancel,
            observe: &|_| (),
            overlays: &Overlays::default(),
        };
        let pixels = || {
            let conversion = Conversion::of(job.source, &plan.info, job.limits)?;
            let resized = decode(job, fitting(plan, true))?.join()?;
            render(job, resized, conversion.as_ref())
        };
        pixels().map_err(|error| match error {
            ImageError::Cancelled => error,
            error => ImageError::Overlay(Box::new(error)),
        })
    }
}

/// Draws everything over a picture.
pub(crate) fn draw(raster: Raster, job: &Job<'_>) -> Result<Raster, ImageError> {
    if job.plan.drawings.is_empty() {
        return Ok(raster);
    }
    let mut raster = raster.colored()?;
    for (drawing, made) in job.plan.drawings.iter().zip(job.overlays.made(job)?) {
        stop_if(job.cancel)?;
        if let Some(overlay) = made {
            put(&mut raster, overlay, &drawing.draw);
        }
    }
    Ok(raster)
}

/// One overlay, once or as often as it is repeated.
fn put(raster: &mut Raster, overlay: &Raster, draw: &Draw) {
    let (x, y) = match draw.gravity {
        Gravity::Point { x, y } => (x.to_f64(), y.to_f64()),
        Gravity::Auto | Gravity::Entropy => (0.5, 0.5),
    };
    let at = (
        start(raster.width, overlay.width, x),
        start(raster.height, overlay.height, y),
    );
    let repeated = (
        matches!(draw.repeat, Some(Repeat::Both | Repeat::X)),
        matches!(draw.repeat, Some(Repeat::Both | Repeat::Y)),
    );
    cover(raster, overlay, at, repeated, draw.opacity.scale(255) as u8);
}

/// Where an overlay begins along one axis: that part of it lies on that part of the picture. One that is longer than the
/// picture begins before it.
fn start(length: u32, overlay: u32, part: f64) -> i64 {
    ((f64::from(length) - f64::from(overlay)) * part + 1e-9).floor() as i64
}

#[cfg(test)]
mod tests;
