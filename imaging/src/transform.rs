//! From bytes to bytes: decode, resample, turn, effects, pad, border, encode.

use crate::decode::{Job, decode};
use crate::options::Color;
use crate::pixels::{Raster, add_border, apply_effects, flatten, pad, resample, turn};
use crate::{Codecs, Format, ImageError, Limits, Plan, Region, Resolved, Source, Stage, encode, facts, plan, probe};

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// The file.
    pub bytes: Vec<u8>,
    /// Its format; [`Format::Json`] for facts.
    pub format: Format,
    /// Its width, in pixels; for facts the width that the picture would have.
    pub width: u32,
    /// Its height, in pixels; for facts the height that the picture would have.
    pub height: u32,
    /// Bytes of memory that the plan foresaw at most, the source included.
    pub peak_estimate: u64,
}

/// Carries out a plan.
///
/// `cancel` is asked between stages and, while decoding, once for every 64 KiB of the source; when it says yes, the
/// transform ends with [`ImageError::Cancelled`]. The bytes behind the decoder are released as it goes on.
///
/// # Errors
/// [`ImageError::Corrupt`] for what the header did not show, [`ImageError::TooLarge`] for JPEGs of too many scans,
/// [`ImageError::Codec`] where an injected encoder fails.
pub fn transform(
    source: &dyn Source,
    plan: &Plan,
    limits: &Limits,
    codecs: &dyn Codecs,
    cancel: &dyn Fn() -> bool,
) -> Result<Output, ImageError> {
    transform_observed(source, plan, limits, codecs, cancel, &|_| ())
}

/// As [`transform()`], and tells `observe` of each stage as it begins; a stage ends where the next one begins, or with
/// the call.
///
/// # Errors
/// As [`transform()`].
pub fn transform_observed(
    source: &dyn Source,
    plan: &Plan,
    limits: &Limits,
    codecs: &dyn Codecs,
    cancel: &dyn Fn() -> bool,
    observe: &dyn Fn(Stage),
) -> Result<Output, ImageError> {
    let bytes = if plan.encoding.format == Format::Json {
        facts::json(plan)?
    } else {
        let job = Job {
            source,
            plan,
            limits,
            cancel,
        };
        let raster = render(&job, observe)?;
        stop_if(cancel)?;
        observe(Stage::Encode);
        encode::encode(raster, &plan.encoding, &plan.info, codecs)?
    };
    Ok(Output {
        bytes,
        format: plan.encoding.format,
        width: plan.width,
        height: plan.height,
        peak_estimate: plan.memory.peak,
    })
}

/// Probes, plans and transforms in one go, for callers that have nothing to load in between.
///
/// # Errors
/// As [`probe()`], [`plan()`] and [`transform()`].
pub fn process(
    source: &dyn Source,
    resolved: &Resolved,
    limits: &Limits,
    codecs: &dyn Codecs,
    cancel: &dyn Fn() -> bool,
) -> Result<Output, ImageError> {
    let info = probe(source, limits)?;
    transform(source, &plan(&info, resolved, limits)?, limits, codecs, cancel)
}

fn stop_if(cancel: &dyn Fn() -> bool) -> Result<(), ImageError> {
    if cancel() { Err(ImageError::Cancelled) } else { Ok(()) }
}

/// The finished pixels.
fn render(job: &Job<'_>, observe: &dyn Fn(Stage)) -> Result<Raster, ImageError> {
    let plan = job.plan;
    observe(Stage::Decode);
    let decoded = decode(job)?;
    stop_if(job.cancel)?;
    let scale = f64::from(plan.decode_scale);
    let region = Region {
        left: plan.region.left / scale,
        top: plan.region.top / scale,
        width: plan.region.width / scale,
        height: plan.region.height / scale,
    };
    observe(Stage::Resample);
    let resized = resample(decoded, region, plan.resized)?;
    stop_if(job.cancel)?;
    observe(Stage::Turn);
    let mut raster = turn(resized, plan.orientation)?;
    let background = plan.background.unwrap_or(Color::TRANSPARENT);
    if plan.background.is_some() {
        flatten(&mut raster, background);
    }
    if background.is_opaque() {
        raster = raster.opaque();
    }
    observe(Stage::Effects);
    let raster = apply_effects(raster, &plan.effects)?;
    stop_if(job.cancel)?;
    observe(Stage::Compose);
    let raster = pad(raster, plan.canvas, plan.at, background)?;
    let raster = match plan.border {
        Some(border) => add_border(raster, border.sides, border.color)?,
        None => raster,
    };
    Ok(if plan.alpha { raster } else { raster.opaque() })
}

#[cfg(test)]
mod tests;
