//! The first frame of a GIF on its logical screen.

use super::{Job, from_io};
use crate::pixels::{Channels, Raster};
use crate::source::SourceReader;
use crate::{Format, ImageError};
use core::num::NonZeroU64;
use gif::{ColorOutput, DecodeOptions, DecodingError, MemoryLimit};

pub(super) fn decode(job: &Job<'_>) -> Result<Raster, ImageError> {
    let mut reader = SourceReader::new(job.source, job.cancel).releasing();
    let decoded = run(job, &mut reader);
    let offset = reader.stood_at();
    decoded.map_err(|failure| match failure {
        Failure::Decoder(DecodingError::Io(error)) => from_io(Format::Gif, offset, &error),
        Failure::Decoder(error) => ImageError::corrupt(Format::Gif, offset, error.to_string()),
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
    let mut options = DecodeOptions::new();
    options.set_color_output(ColorOutput::RGBA);
    // A frame may be larger than the screen; it is bounded all the same.
    let pixels = NonZeroU64::new(job.limits.memory_bytes).map_or(MemoryLimit::Unlimited, MemoryLimit::Bytes);
    options.set_memory_limit(pixels);
    let mut decoder = options.read_info(source)?;
    let mut raster = Raster::zeroed(u32::from(decoder.width()), u32::from(decoder.height()), Channels::Rgba)?;
    let Some(frame) = decoder.read_next_frame()? else {
        return Err(ImageError::corrupt(Format::Gif, 0, "there is no frame").into());
    };
    let (left, top, width) = (
        usize::from(frame.left),
        usize::from(frame.top),
        usize::from(frame.width),
    );
    let stride = raster.stride();
    let rows = raster.data.chunks_exact_mut(stride.max(1)).skip(top);
    for (row, from) in rows.zip(frame.buffer.chunks_exact((width * 4).max(1))) {
        let to = row.get_mut(left * 4..).unwrap_or_default();
        let count = to.len().min(from.len());
        if let (Some(to), Some(from)) = (to.get_mut(..count), from.get(..count)) {
            to.copy_from_slice(from);
        }
    }
    Ok(raster)
}
