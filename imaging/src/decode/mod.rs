//! From a source to pixels, by other people's decoders behind one wall: limits, cancellation, and errors in our terms.

mod bmp;
mod gif;
mod jpeg;
mod png;
mod tiff;
mod webp;

use crate::draw::Overlays;
use crate::pixels::{Planes, Raster, resample};
use crate::source::Stop;
use crate::svg::Vector;
use crate::{Format, ImageError, Limits, Plan, Region, Source, Stage};

pub(crate) use self::jpeg::store_bytes;
use std::io;

/// What every decoder is given.
pub(crate) struct Job<'a> {
    pub(crate) source: &'a dyn Source,
    pub(crate) plan: &'a Plan,
    pub(crate) limits: &'a Limits,
    pub(crate) cancel: &'a dyn Fn() -> bool,
    /// Is told of each stage as it begins.
    pub(crate) observe: &'a dyn Fn(Stage),
    /// What is drawn over the picture.
    pub(crate) overlays: &'a Overlays<'a>,
}

/// Decodes at the plan's scale. The result has the size of the source divided by it, rounded up.
pub(crate) fn decode(job: &Job<'_>) -> Result<Decoded, ImageError> {
    let decoded = match job.plan.info.format {
        Format::Jpeg => jpeg::decode(job).map(Decoded::Planes),
        Format::Png => png::decode(job).map(Decoded::Raster),
        Format::WebP => webp::decode(job).map(Decoded::Raster),
        Format::Gif => gif::decode(job).map(Decoded::Raster),
        Format::Bmp => bmp::decode(job).map(Decoded::Raster),
        Format::Tiff => tiff::decode(job).map(Decoded::Raster),
        Format::Svg => Vector::open(job).map(Decoded::Vector),
        format => Err(ImageError::unsupported(format, "it is not read by this engine")),
    }?;
    let scale = u32::from(job.plan.decode_scale);
    if decoded.size()
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
    Ok(decoded)
}

/// A decoded picture.
#[derive(Debug)]
pub(crate) enum Decoded {
    Raster(Raster),
    Planes(Planes),
    Vector(Vector),
}

impl Decoded {
    const fn size(&self) -> (u32, u32) {
        match self {
            Self::Raster(raster) => (raster.width, raster.height),
            Self::Planes(planes) => (planes.width, planes.height),
            Self::Vector(vector) => (vector.width, vector.height),
        }
    }

    /// All of it as pixels of its own size.
    pub(crate) fn pixels(self) -> Result<Raster, ImageError> {
        let (width, height) = self.size();
        let whole = Region {
            left: 0.0,
            top: 0.0,
            width: f64::from(width),
            height: f64::from(height),
        };
        self.resample(whole, (width, height))
    }

    /// Brings a region to a size.
    pub(crate) fn resample(self, region: Region, size: (u32, u32)) -> Result<Raster, ImageError> {
        match self {
            Self::Raster(raster) => resample(raster, region, size),
            Self::Planes(planes) => planes.resample(region, size),
            Self::Vector(vector) => vector.draw(region, size),
        }
    }
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
pub(crate) fn from_io(format: Format, offset: u64, error: &io::Error) -> ImageError {
    match Stop::of(error) {
        Some(Stop::Source(inner)) => ImageError::Source(inner.clone()),
        Some(Stop::Cancelled) => ImageError::Cancelled,
        None if error.kind() == io::ErrorKind::UnexpectedEof => {
            ImageError::corrupt(format, offset, "the file ends too early")
        }
        None => ImageError::corrupt(format, offset, error.to_string()),
    }
}

#[cfg(test)]
mod tests;
