//! WebP through image-webp: lossy, lossless, with alpha, and the first frame of an animation.

use super::{Job, from_io};
use crate::pixels::{Channels, Raster};
use crate::source::SourceReader;
use crate::{Format, ImageError};
use image_webp::{DecodingError, WebPDecoder};

pub(super) fn decode(job: &Job<'_>) -> Result<Raster, ImageError> {
    // It reads chunks in its own order, so nothing can be released.
    let mut reader = SourceReader::new(job.source, job.cancel);
    let decoded = run(job, &mut reader);
    let offset = reader.stood_at();
    decoded.map_err(|failure| match failure {
        Failure::Decoder(DecodingError::IoError(error)) => from_io(Format::WebP, offset, &error),
        Failure::Decoder(error) => ImageError::corrupt(Format::WebP, offset, error.to_string()),
        Failure::Engine(error) => error,
    })
}

enum Failure {
    Decoder(DecodingError),
    Engine(ImageError),
}

impl From<DecodingError> for Failure {
    fn from(error: DecodingError) -> Self {
        Self::Decoder(error)
    }
}

impl From<ImageError> for Failure {
    fn from(error: ImageError) -> Self {
        Self::Engine(error)
    }
}

fn run(job: &Job<'_>, source: &mut SourceReader<'_>) -> Result<Raster, Failure> {
    let mut decoder = WebPDecoder::new(source)?;
    decoder.set_memory_limit(usize::try_from(job.limits.memory_bytes).unwrap_or(usize::MAX));
    let (width, height) = decoder.dimensions();
    // What is allocated below follows from this size, and the limits were asked about the other.
    if (width, height) != (job.plan.info.width, job.plan.info.height) {
        return Err(ImageError::corrupt(Format::WebP, 12, "the header says two different sizes").into());
    }
    let channels = if decoder.has_alpha() {
        Channels::Rgba
    } else {
        Channels::Rgb
    };
    let mut raster = Raster::zeroed(width, height, channels)?;
    decoder.read_image(&mut raster.data)?;
    Ok(raster)
}
