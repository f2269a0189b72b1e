//! From a source to pixels, by other people's decoders behind one wall: limits, cancellation, and errors in our terms.

mod avif;
mod bmp;
mod gif;
mod jpeg;
mod png;
mod tiff;
mod webp;

use crate::draw::Overlays;
use crate::pixels::{Fitting, Planes, Raster, Sink};
use crate::source::{SourceReader, Stop};
use crate::svg::Vector;
use crate::{Codecs, Format, ImageError, Limits, Plan, Source, Stage};

pub(crate) use self::jpeg::store_bytes;
pub(crate) use self::png::buffer_bytes as png_buffer_bytes;
pub(crate) use self::tiff::buffer_bytes as tiff_buffer_bytes;
pub(crate) use self::webp::frame_memory;
use std::io;

/// What every decoder is given.
pub(crate) struct Job<'a> {
    pub(crate) source: &'a dyn Source,
    pub(crate) plan: &'a Plan,
    pub(crate) limits: &'a Limits,
    pub(crate) codecs: &'a dyn Codecs,
    pub(crate) cancel: &'a dyn Fn() -> bool,
    /// Is told of each stage as it begins.
    pub(crate) observe: &'a dyn Fn(Stage),
    /// What is drawn over the picture.
    pub(crate) overlays: &'a Overlays<'a>,
}

/// Decodes at the plan's scale, and fits the rows on their way: nothing that is not needed whole is ever there whole.
pub(crate) fn decode(job: &Job<'_>, fitting: Fitting) -> Result<Planes, ImageError> {
    let format = job.plan.info.format;
    let mut sink = Sink::new(format, size(job.plan), fitting, job.observe);
    match format {
        Format::Jpeg => jpeg::decode(job, &mut sink),
        Format::Png => png::decode(job, &mut sink),
        Format::WebP => webp::decode(job, &mut sink),
        Format::Gif => sink.take(gif::decode(job)?),
        Format::Bmp => sink.take(bmp::decode(job)?),
        Format::Tiff => sink.take(tiff::decode(job)?),
        Format::Avif => sink.take(avif::decode(job)?),
        // Drawn at its new size at once.
        Format::Svg => Vector::open(job)
            .and_then(|vector| vector.draw(fitting.region, fitting.size))
            .map(|raster| sink.give(raster)),
        format => Err(ImageError::unsupported(format, "it is not read by this engine")),
    }?;
    sink.finish()
}

/// Decodes all of the picture, as pixels of its own size.
pub(crate) fn decode_whole(job: &Job<'_>) -> Result<Raster, ImageError> {
    decode(job, Fitting::whole(size(job.plan)))?.join()
}

/// The size of the decoded picture: the source's divided by the scale, rounded up.
fn size(plan: &Plan) -> (u32, u32) {
    let scale = u32::from(plan.decode_scale);
    (plan.info.width.div_ceil(scale), plan.info.height.div_ceil(scale))
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

/// Why a library stopped reading.
enum Failure {
    Io(io::Error),
    /// What is wrong with the bytes, in the library's words.
    Damage(String),
    Engine(ImageError),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<ImageError> for Failure {
    fn from(error: ImageError) -> Self {
        Self::Engine(error)
    }
}

/// Lets a library read; what it fails with is said in our terms, with where it stood.
fn reading<T>(
    format: Format,
    mut reader: SourceReader<'_>,
    read: impl FnOnce(&mut SourceReader<'_>) -> Result<T, Failure>,
) -> Result<T, ImageError> {
    let result = read(&mut reader);
    let offset = reader.stood_at();
    result.map_err(|failure| match failure {
        Failure::Io(error) => from_io(format, offset, &error),
        Failure::Damage(detail) => ImageError::corrupt(format, offset, detail),
        Failure::Engine(error) => error,
    })
}

#[cfg(test)]
mod tests;
