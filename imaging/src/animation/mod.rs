//! Animations: every frame is composited, transformed and encoded before the next is decoded.
//!
//! At any time there are one canvas, its copy under the resampler, the last two finished pictures, and the answer so far.

use crate::budget::{self, Fitted};
use crate::color::Conversion;
use crate::decode::{Job, Moment, decode_whole, each_moment};
use crate::encode::{GifAnimation, WebpAnimation};
use crate::pixels::{Channels, Raster, resample};
use crate::settle::settle;
use crate::source::{Kept, Source};
use crate::transform::{region, render, scaled, stop_if};
use crate::{Codecs, Encoding, Format, ImageError, LimitKind, Plan, Stage};

/// A rectangle of the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Patch {
    pub(crate) left: u32,
    pub(crate) top: u32,
    pub(crate) width: u32,
    pub(crate) height: u32,
}

/// What is written so far.
enum Writer<'a> {
    Gif(GifAnimation),
    WebP(WebpAnimation<'a>),
}

impl Writer<'_> {
    fn add(&mut self, raster: &Raster, patch: Patch, milliseconds: u32) -> Result<(), ImageError> {
        match self {
            Self::Gif(animation) => animation.add(cut(raster, patch)?, patch, milliseconds),
            Self::WebP(animation) => animation.add(cut(raster, patch)?, patch, milliseconds),
        }
    }

    fn bytes(&self) -> u64 {
        match self {
            Self::Gif(animation) => animation.bytes(),
            Self::WebP(animation) => animation.bytes(),
        }
    }

    fn finish(self) -> Result<Vec<u8>, ImageError> {
        match self {
            Self::Gif(animation) => animation.finish(),
            Self::WebP(animation) => Ok(animation.finish()),
        }
    }
}

/// Transforms every frame. `max-bytes` takes further passes, each from the source; so does what the first frame decides.
///
/// # Errors
/// As a still picture's, and [`LimitKind::Memory`] where the answer outgrows what the plan foresaw.
pub(crate) fn transform(job: &Job<'_>, codecs: &dyn Codecs) -> Result<Fitted, ImageError> {
    let again = job.plan.encoding.max_bytes.is_some() || job.plan.looks_at_pixels();
    let kept = Kept(job.source);
    let source: &dyn Source = if again { &kept } else { job.source };
    let job = &Job { source, ..*job };
    let (conversion, plan) = (
        Conversion::of(job.source, &job.plan.info, job.limits)?,
        first_settled(job)?,
    );
    let job = &Job {
        plan: plan.as_ref().unwrap_or(job.plan),
        ..*job
    };
    let (size, encoding) = ((job.plan.width, job.plan.height), &job.plan.encoding);
    let mut encode = |size: (u32, u32), quality: u8| pass(job, conversion.as_ref(), codecs, size, quality);
    let Some(most) = encoding.max_bytes else {
        return Ok(Fitted {
            bytes: encode(size, encoding.quality)?,
            width: size.0,
            height: size.1,
        });
    };
    budget::fit(
        size,
        most,
        encoding.quality,
        job.plan.has_quality(),
        &mut encode,
        job.cancel,
    )
}

/// What the first frame's pixels decide for all of them.
fn first_settled(job: &Job<'_>) -> Result<Option<Plan>, ImageError> {
    if !job.plan.looks_at_pixels() {
        return Ok(None);
    }
    settle(&decode_whole(job)?, job.plan, job.limits)
}

/// Every frame once.
fn pass(
    job: &Job<'_>,
    conversion: Option<&Conversion>,
    codecs: &dyn Codecs,
    size: (u32, u32),
    quality: u8,
) -> Result<Vec<u8>, ImageError> {
    let plan = job.plan;
    let encoding = Encoding {
        quality,
        ..plan.encoding
    };
    let mut writer: Option<Writer<'_>> = None;
    let mut last: Option<Raster> = None;
    let mut frames = 0;
    each_moment(job, &mut |moment: Moment<'_>| {
        stop_if(job.cancel)?;
        frames += 1;
        if frames > job.limits.frames {
            return Err(over(LimitKind::Frames, job.limits.frames.into(), frames.into()));
        }
        (job.observe)(Stage::Resample);
        let resized = resample(moment.canvas, region(plan), plan.resized)?;
        let mut raster = render(job, resized, conversion)?;
        if size != (raster.width, raster.height) {
            raster = scaled(&raster, size)?;
        }
        let raster = raster.colored()?;
        (job.observe)(Stage::Encode);
        let writer = writer.get_or_insert_with(|| match plan.encoding.format {
            Format::Gif => Writer::Gif(GifAnimation::new(size, moment.plays)),
            _ => Writer::WebP(WebpAnimation::new(size, encoding, plan.alpha, moment.plays, codecs)),
        });
        let patch = patch(plan.encoding.format, last.as_ref(), &raster);
        writer.add(&raster, patch, moment.milliseconds)?;
        last = Some(raster);
        if writer.bytes() > plan.memory.answer {
            return Err(over(LimitKind::Memory, plan.memory.answer, writer.bytes()));
        }
        (job.observe)(Stage::Decode);
        Ok(())
    })?;
    match writer {
        Some(writer) => writer.finish(),
        None => Err(ImageError::corrupt(plan.info.format, 0, "there is no frame")),
    }
}

fn over(what: LimitKind, limit: u64, value: u64) -> ImageError {
    ImageError::TooLarge { what, limit, value }
}

/// What has to be written of a picture so that the last one becomes it.
fn patch(format: Format, last: Option<&Raster>, next: &Raster) -> Patch {
    let whole = Patch {
        left: 0,
        top: 0,
        width: next.width,
        height: next.height,
    };
    // A GIF cannot make a pixel transparent again, so there every frame is whole and takes itself away.
    let redrawn = format == Format::Gif && next.channels == Channels::Rgba;
    match last {
        Some(last) if !redrawn && last.channels == next.channels => changed(last, next),
        _ => whole,
    }
}

/// The rectangle around all that differs, from even coordinates on, which WebP asks for; a pixel or two where nothing does.
fn changed(last: &Raster, next: &Raster) -> Patch {
    let stride = next.stride().max(1);
    let count = next.channels.count();
    let rows = || last.data.chunks_exact(stride).zip(next.data.chunks_exact(stride));
    let (mut left, mut right, mut top, mut bottom) = (usize::MAX, 0, usize::MAX, 0);
    for (y, (a, b)) in rows().enumerate() {
        if a == b {
            continue;
        }
        top = top.min(y);
        bottom = y + 1;
        let differs = |(a, b): (&u8, &u8)| a != b;
        left = left.min(a.iter().zip(b).position(differs).unwrap_or(0) / count);
        right = right.max(a.iter().zip(b).rposition(differs).unwrap_or(0) / count + 1);
    }
    if right == 0 {
        (left, right, top, bottom) = (0, 1, 0, 1);
    }
    let (left, top) = (left & !1, top & !1);
    Patch {
        left: left as u32,
        top: top as u32,
        width: (right - left) as u32,
        height: (bottom - top) as u32,
    }
}

fn cut(raster: &Raster, patch: Patch) -> Result<Raster, ImageError> {
    let mut part = Raster::zeroed(patch.width, patch.height, raster.channels)?;
    let (stride, size) = (raster.stride().max(1), part.stride().max(1));
    let inset = patch.left as usize * raster.channels.count();
    let rows = raster.data.chunks_exact(stride).skip(patch.top as usize);
    for (to, from) in part.data.chunks_exact_mut(size).zip(rows) {
        if let Some(from) = from.get(inset..inset + size) {
            to.copy_from_slice(from);
        }
    }
    Ok(part)
}

#[cfg(test)]
mod tests;
