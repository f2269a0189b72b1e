//! From a source to pixels, by other people's decoders behind one wall: limits, cancellation, and errors in our terms.

mod bmp;
mod gif;
mod jpeg;
mod png;
mod scans;
mod tiff;
mod webp;

use crate::pixels::Raster;
use crate::source::Stop;
use crate::{Format, ImageError, LimitKind, Limits, Plan, Source};
use std::io;

/// What every decoder is given.
pub(crate) struct Job<'a> {
    pub(crate) source: &'a dyn Source,
    pub(crate) plan: &'a Plan,
    pub(crate) limits: &'a Limits,
    pub(crate) cancel: &'a dyn Fn() -> bool,
}

/// Decodes at the plan's scale. The result has the size of the source divided by it, rounded up.
pub(crate) fn decode(job: &Job<'_>) -> Result<Raster, ImageError> {
    let raster = match job.plan.info.format {
        Format::Jpeg => jpeg::decode(job),
        Format::Png => png::decode(job),
        Format::WebP => webp::decode(job),
        Format::Gif => gif::decode(job),
        Format::Bmp => bmp::decode(job),
        Format::Tiff => tiff::decode(job),
        format => Err(ImageError::unsupported(format, "it is not read by this engine")),
    }?;
    let scale = u32::from(job.plan.decode_scale);
    if (raster.width, raster.height)
        != (
            job.plan.info.width.div_ceil(scale),
            job.plan.info.height.div_ceil(scale),
        )
    {
        return Err(ImageError::corrupt(
            job.plan.info.format,
            0,
            "the decoder found another size than the header says",
        ));
    }
    Ok(raster)
}

/// A moment of an animation.
pub(crate) struct Moment<'a> {
    /// The whole picture, all frames so far composited.
    pub(crate) canvas: &'a Raster,
    /// How long it is shown.
    pub(crate) milliseconds: u32,
    /// How often the animation is played; 0 for without end.
    pub(crate) plays: u16,
}

/// Decodes and composites frame after frame. There is one canvas, which the visitor sees each time.
pub(crate) fn each_moment(
    job: &Job<'_>,
    visit: &mut dyn FnMut(Moment<'_>) -> Result<(), ImageError>,
) -> Result<(), ImageError> {
    match job.plan.info.format {
        Format::Gif => gif::each_moment(job, visit),
        Format::WebP => webp::each_moment(job, visit),
        format => Err(ImageError::unsupported(
            format,
            "its animation is not read by this engine",
        )),
    }
}

/// An `io::Error` that came out of a decoder: ours come back as what they were, the rest is the source's end.
fn from_io(format: Format, offset: u64, error: &io::Error) -> ImageError {
    match Stop::of(error) {
        Some(Stop::Source(inner)) => ImageError::Source(inner.clone()),
        Some(Stop::Cancelled) => ImageError::Cancelled,
        Some(Stop::TooManyScans { limit }) => ImageError::TooLarge {
            what: LimitKind::Scans,
            limit: *limit,
            value: limit + 1,
        },
        None if error.kind() == io::ErrorKind::UnexpectedEof => {
            ImageError::corrupt(format, offset, "the file ends too early")
        }
        None => ImageError::corrupt(format, offset, error.to_string()),
    }
}

#[cfg(test)]
mod tests;
