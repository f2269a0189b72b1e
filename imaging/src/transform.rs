//! From bytes to bytes: decode, resample, turn, effects, pad, draw, border, encode.

use crate::budget::{self, Fitted};
use crate::color::Conversion;
use crate::decode::{Job, decode, decode_whole};
use crate::draw::{Overlays, draw};
use crate::metadata::Metadata;
use crate::options::Color;
use crate::pixels::{
    Fitting, Raster, add_border, apply_effects, blur, filter, flatten, pad, remove_background, resample, turn,
};
use crate::settle::settle;
use crate::source::Kept;
use crate::svg::Document;
use crate::{
    Codecs, Encoding, Format, ImageError, ImageInfo, Limits, Orientation, Plan, Region, Resolved, Source, Sources,
    Stage, animation, encode, facts, placeholder, plan, probe,
};

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// The file.
    pub bytes: Vec<u8>,
    /// Its format; [`Format::Json`] for facts.
    pub format: Format,
    /// Its width, in pixels; for facts the width that the picture would have, for placeholders the one that they were
    /// made at.
    pub width: u32,
    /// Its height, in pixels; likewise.
    pub height: u32,
    /// Bytes of memory that the plan foresaw at most, the source included.
    pub peak_estimate: u64,
}

impl Output {
    /// The header `Kado-Image`: what went in, how many bytes that were, what came out, in which lane it was made, and the
    /// bytes of memory that it took.
    #[must_use]
    pub fn facts(&self, info: &ImageInfo, source_bytes: u64, lane: &str, memory: u64) -> String {
        format!(
            "in={}x{} {} {source_bytes}; out={}x{} {} {}; lane={lane}; mem={}MiB",
            info.width,
            info.height,
            info.format.as_str(),
            self.width,
            self.height,
            self.format.as_str(),
            self.bytes.len(),
            memory.div_ceil(1024 * 1024),
        )
    }
}

/// Carries out a plan.
///
/// `cancel` is asked between stages and, while decoding, once for every 64 KiB of the source or every 16 rows, and as often while a
/// JPEG is made small; when it says yes, the transform ends with [`ImageError::Cancelled`]. The bytes behind the decoder are released as it goes on.
///
/// # Errors
/// [`ImageError::Corrupt`] for what the header did not show, [`ImageError::TooLarge`] for JPEGs of too many scans and for
/// answers that cannot be made as small as they have to be, [`ImageError::Codec`] where an injected encoder fails.
pub fn transform<'a>(
    sources: impl Into<Sources<'a>>,
    plan: &Plan,
    limits: &Limits,
    codecs: &dyn Codecs,
    cancel: &dyn Fn() -> bool,
) -> Result<Output, ImageError> {
    carry_out(sources.into(), plan, limits, codecs, cancel, &|_| ())
}

/// As [`transform()`], and tells `observe` of each stage as it begins; a stage ends where the next one begins, or with
/// the call. Those of an animation come again for every frame.
///
/// # Errors
/// As [`transform()`].
pub fn transform_observed<'a>(
    sources: impl Into<Sources<'a>>,
    plan: &Plan,
    limits: &Limits,
    codecs: &dyn Codecs,
    cancel: &dyn Fn() -> bool,
    observe: &dyn Fn(Stage),
) -> Result<Output, ImageError> {
    carry_out(sources.into(), plan, limits, codecs, cancel, observe)
}

fn carry_out(
    Sources {
        picture: source,
        overlay,
    }: Sources<'_>,
    plan: &Plan,
    limits: &Limits,
    codecs: &dyn Codecs,
    cancel: &dyn Fn() -> bool,
    observe: &dyn Fn(Stage),
) -> Result<Output, ImageError> {
    let without_pixels = match plan.encoding.format {
        Format::Json => Some(facts::json(plan)?),
        Format::Svg => Some(Document::read(source, cancel)?.sanitized(cancel)?.into_bytes()),
        _ => None,
    };
    if let Some(bytes) = without_pixels {
        return Ok(Output {
            bytes: budget::within(bytes, plan.encoding.max_bytes)?,
            format: plan.encoding.format,
            width: plan.width,
            height: plan.height,
            peak_estimate: plan.memory.peak,
        });
    }
    observe(Stage::Decode);
    let job = Job {
        source,
        plan,
        limits,
        codecs,
        cancel,
        observe,
        overlays: &Overlays::new(overlay),
    };
    let Fitted { bytes, width, height } = if plan.animated {
        animation::transform(&job, codecs)?
    } else {
        still(&job)?
    };
    Ok(Output {
        bytes,
        format: plan.encoding.format,
        width,
        height,
        peak_estimate: plan.memory.peak,
    })
}

fn still(job: &Job<'_>) -> Result<Fitted, ImageError> {
    // Read first: the decoder releases the bytes behind it.
    let conversion = Conversion::of(job.source, &job.plan.info, job.limits)?;
    let metadata = Metadata::of(job.source, job.plan, job.limits)?;
    let (resized, settled) = if job.plan.looks_at_pixels() {
        // A document is read again.
        let kept = Kept(job.source);
        let job = &Job {
            source: if job.plan.info.format == Format::Svg {
                &kept
            } else {
                job.source
            },
            ..*job
        };
        let decoded = decode_whole(job)?;
        stop_if(job.cancel)?;
        let settled = settle(&decoded, job.plan, job.limits)?;
        let plan = settled.as_ref().unwrap_or(job.plan);
        stop_if(job.cancel)?;
        (job.observe)(Stage::Resample);
        let resized = if plan.info.format == Format::Svg {
            // Drawn once more: what was looked at has not the size of the answer.
            decode(&Job { plan, ..*job }, fitting(plan, true))?.join()?
        } else {
            resample(&decoded, region(plan), plan.resized)?
        };
        (resized, settled)
    } else {
        let planes = decode(job, fitting(job.plan, conversion.is_some()))?;
        stop_if(job.cancel)?;
        (job.observe)(Stage::Resample);
        match planes.apart() {
            Ok(planes) => return write_planes(job, &planes, &metadata),
            Err(planes) => (planes.join()?, None),
        }
    };
    let job = &Job {
        plan: settled.as_ref().unwrap_or(job.plan),
        ..*job
    };
    let raster = render(job, resized, conversion.as_ref())?;
    stop_if(job.cancel)?;
    (job.observe)(Stage::Encode);
    write(raster, job, &metadata)
}

fn is_only_resized(plan: &Plan) -> bool {
    plan.encoding.format == Format::Jpeg
        && plan.encoding.max_bytes.is_none()
        && plan.orientation == Orientation::UPRIGHT
        && plan.segment.is_none()
        && plan.effects.is_none()
        && plan.border.is_none()
        && plan.drawings.is_empty()
        && plan.canvas == plan.resized
}

/// The file of luminance and chroma that have their sizes already.
fn write_planes(job: &Job<'_>, planes: &[Raster; 3], metadata: &Metadata) -> Result<Fitted, ImageError> {
    stop_if(job.cancel)?;
    for stage in [Stage::Turn, Stage::Effects, Stage::Compose, Stage::Encode] {
        (job.observe)(stage);
    }
    let (width, height) = job.plan.resized;
    let bytes = encode::encode_jpeg(
        encode::Picture::Planes(planes),
        &job.plan.encoding,
        metadata,
        job.cancel,
    )?;
    Ok(Fitted { bytes, width, height })
}

/// What the decoder's rows become. Where nothing lies between the resampler and a JPEG, planes stay planes.
pub(crate) fn fitting(plan: &Plan, converts: bool) -> Fitting {
    Fitting {
        region: region(plan),
        size: plan.resized,
        apart: (!converts && is_only_resized(plan)).then(|| encode::chroma_sampling(&plan.encoding)),
    }
}

/// What is resampled, in pixels of the decoded picture.
pub(crate) fn region(plan: &Plan) -> Region {
    let scale = f64::from(plan.decode_scale);
    Region {
        left: plan.region.left / scale,
        top: plan.region.top / scale,
        width: plan.region.width / scale,
        height: plan.region.height / scale,
    }
}

/// The file, or the text, of finished pixels.
fn write(raster: Raster, job: &Job<'_>, metadata: &Metadata) -> Result<Fitted, ImageError> {
    let &Job {
        plan, codecs, cancel, ..
    } = job;
    let (width, height) = (raster.width, raster.height);
    let max_bytes = plan.encoding.max_bytes;
    let text = match plan.encoding.format {
        Format::Blurhash => Some(placeholder::blurhash(&raster)?),
        Format::Thumbhash => Some(placeholder::thumbhash(&raster)?),
        _ => None,
    };
    let bytes = match (text, max_bytes) {
        (Some(text), _) => budget::within(text.into_bytes(), max_bytes)?,
        (None, None) => encode::encode(raster, &plan.encoding, metadata, codecs, cancel)?,
        (None, Some(most)) => {
            let quality = plan.encoding.quality;
            let mut encode = |size: (u32, u32), quality: u8| {
                let encoding = Encoding {
                    quality,
                    ..plan.encoding
                };
                encode::encode(scaled(&raster, size)?, &encoding, metadata, codecs, cancel)
            };
            return budget::fit((width, height), most, quality, plan.has_quality(), &mut encode, cancel);
        }
    };
    Ok(Fitted { bytes, width, height })
}

/// Probes, plans and transforms in one go, for callers that have nothing to load in between: neither a codec nor a
/// picture to draw.
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
    let sources = Sources {
        picture: source,
        overlay: None,
    };
    transform(sources, &plan(&info, resolved, limits)?, limits, codecs, cancel)
}

pub(crate) fn stop_if(cancel: &dyn Fn() -> bool) -> Result<(), ImageError> {
    if cancel() { Err(ImageError::Cancelled) } else { Ok(()) }
}

/// A copy, of another size where one is asked for.
pub(crate) fn scaled(raster: &Raster, size: (u32, u32)) -> Result<Raster, ImageError> {
    resample(raster, Fitting::whole((raster.width, raster.height)).region, size)
}

/// The finished pixels: everything between the resampler and the encoder.
pub(crate) fn render(
    job: &Job<'_>,
    mut resized: Raster,
    conversion: Option<&Conversion>,
) -> Result<Raster, ImageError> {
    let &Job {
        plan, cancel, observe, ..
    } = job;
    if let Some(conversion) = conversion {
        conversion.apply(&mut resized)?;
    }
    stop_if(cancel)?;
    observe(Stage::Turn);
    let mut raster = turn(resized, plan.orientation)?;
    if let Some(tolerance) = plan.segment {
        raster = remove_background(raster, tolerance, cancel)?;
    }
    let background = plan.background.unwrap_or(Color::TRANSPARENT);
    if plan.background.is_some() {
        flatten(&mut raster, background);
    }
    if background.is_opaque() {
        raster = raster.opaque();
    }
    observe(Stage::Effects);
    if let Some(sigma) = plan.effects.blur {
        blur(&mut raster, sigma.to_f64(), cancel)?;
    }
    let mut raster = apply_effects(raster, &plan.effects)?;
    if let Some(name) = plan.effects.filter {
        raster = filter(raster, name, cancel)?;
    }
    stop_if(cancel)?;
    observe(Stage::Compose);
    let raster = draw(pad(raster, plan.canvas, plan.at, background)?, job)?;
    let raster = match plan.border {
        Some(border) => add_border(raster, border.sides, border.color)?,
        None => raster,
    };
    Ok(if plan.alpha { raster } else { raster.opaque() })
}

#[cfg(test)]
mod tests;
