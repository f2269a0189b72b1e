//! Lossless pictures, and animations with lossless and lossy frames, through image-webp.

use crate::decode::{Failure, Job, Moment, reading};
use crate::pixels::{Channels, Raster};
use crate::source::SourceReader;
use crate::{Format, ImageError};
use image_webp::{DecodingError, LoopCount, WebPDecoder};

pub(super) fn decode(job: &Job<'_>) -> Result<Raster, ImageError> {
    // It reads chunks in its own order, so nothing can be released.
    let reader = SourceReader::new(job.source, job.cancel);
    reading(Format::WebP, reader, |reader| run(job, reader))
}

pub(in crate::decode) fn each_moment(
    job: &Job<'_>,
    visit: &mut dyn FnMut(Moment<'_>) -> Result<(), ImageError>,
) -> Result<(), ImageError> {
    let reader = SourceReader::new(job.source, job.cancel);
    reading(Format::WebP, reader, |reader| visit_all(job, reader, visit))
}

impl From<DecodingError> for Failure {
    fn from(error: DecodingError) -> Self {
        match error {
            DecodingError::IoError(error) => Self::Io(error),
            error => Self::Damage(error.to_string()),
        }
    }
}

type Decoder<'r, 's> = WebPDecoder<&'r mut SourceReader<'s>>;

/// The decoder, and a canvas for what comes out of it.
fn open<'r, 's>(job: &Job<'_>, source: &'r mut SourceReader<'s>) -> Result<(Decoder<'r, 's>, Raster), Failure> {
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
    let raster = Raster::zeroed(width, height, channels)?;
    Ok((decoder, raster))
}

fn run(job: &Job<'_>, source: &mut SourceReader<'_>) -> Result<Raster, Failure> {
    let (mut decoder, mut raster) = open(job, source)?;
    decoder.read_image(&mut raster.data)?;
    Ok(raster)
}

fn visit_all(
    job: &Job<'_>,
    source: &mut SourceReader<'_>,
    visit: &mut dyn FnMut(Moment<'_>) -> Result<(), ImageError>,
) -> Result<(), Failure> {
    let (mut decoder, mut canvas) = open(job, source)?;
    if !decoder.is_animated() {
        return Err(ImageError::corrupt(Format::WebP, 20, "there is no animation").into());
    }
    // Without one, the decoder clears nothing between frames.
    decoder.set_background_color([0; 4])?;
    let plays = match decoder.loop_count() {
        LoopCount::Forever => 0,
        LoopCount::Times(plays) => plays.get(),
    };
    for _ in 0..decoder.num_frames() {
        let milliseconds = decoder.read_frame(&mut canvas.data)?;
        visit(Moment {
            canvas: &canvas,
            milliseconds,
            plays,
        })?;
    }
    Ok(())
}
