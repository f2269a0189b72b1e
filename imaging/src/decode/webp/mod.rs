//! WebP. Still lossy pictures we decode ourselves, faster and in less memory than image-webp, which reads the rest:
//! lossless ones, and animations.
//!
//! ```text
//! riff: chunks -> vp8: rows of planes -> planes, or with alpha: rgba
//!              -> library: pixels
//! ```

mod alpha;
mod library;
mod rgba;
mod riff;
mod vp8;

use self::riff::Content;
use super::Job;
use crate::pixels::{Channels, Model, Shape, Sink, zeroed};
use crate::{Format, ImageError, Plan, Source};
use core::ops::Range;

pub(super) use self::library::each_moment;
pub(crate) use self::vp8::memory as frame_memory;

pub(super) fn decode(job: &Job<'_>, sink: &mut Sink<'_>) -> Result<(), ImageError> {
    let (frame, alpha) = match riff::content(job.source)? {
        Content::Lossy { frame, alpha } => (frame, alpha),
        Content::Other => return sink.take(library::decode(job)?),
    };
    let info = &job.plan.info;
    let size = (info.width, info.height);
    if !info.alpha {
        return planes(job, frame, size, sink);
    }
    // Read first, as it stands first: the bytes behind the decoder are released.
    let alpha = match alpha {
        Some(range) => Some(alpha::decode(job, range, size)?),
        None => None,
    };
    let yuv = Yuv::decode(job, frame, size)?;
    sink.take(rgba::rgba(&yuv, alpha.as_deref())?)
}

/// Hands rows over as they are finished.
fn planes(job: &Job<'_>, frame: Range<u64>, size: (u32, u32), sink: &mut Sink<'_>) -> Result<(), ImageError> {
    let shape = |size, per_pixel| Shape {
        size,
        channels: Channels::Grey,
        per_pixel: (per_pixel, per_pixel),
        interpolated: true,
    };
    let chroma = shape((size.0.div_ceil(2), size.1.div_ceil(2)), 0.5);
    sink.begin(size, Model::LimitedYCbCr, &[shape(size, 1.0), chroma, chroma])?;
    vp8::decode(
        job.source,
        frame,
        size,
        is_filtered(job.plan),
        job.cancel,
        &mut |plane, row| sink.push(plane, row),
    )
}

/// Luminance and the two colour differences, which are half as large, of limited range.
struct Yuv {
    width: u32,
    height: u32,
    planes: [Vec<u8>; 3],
}

impl Yuv {
    fn decode(job: &Job<'_>, frame: Range<u64>, (width, height): (u32, u32)) -> Result<Self, ImageError> {
        let chroma = width.div_ceil(2) as usize * height.div_ceil(2) as usize;
        let mut planes = [
            zeroed(width as usize * height as usize)?,
            zeroed(chroma)?,
            zeroed(chroma)?,
        ];
        let mut offsets = [0; 3];
        vp8::decode(
            job.source,
            frame,
            (width, height),
            is_filtered(job.plan),
            job.cancel,
            &mut |plane, row| {
                if let (Some(offset), Some(samples)) = (offsets.get_mut(plane), planes.get_mut(plane))
                    && let Some(to) = samples.get_mut(*offset..*offset + row.len())
                {
                    to.copy_from_slice(row);
                    *offset += row.len();
                }
                Ok(())
            },
        )?;
        Ok(Self { width, height, planes })
    }
}

/// Whether the edges of blocks are to be smoothed. What makes the picture half as large or smaller does that too.
fn is_filtered(plan: &Plan) -> bool {
    let (width, height) = (f64::from(plan.resized.0), f64::from(plan.resized.1));
    2.0 * width > plan.region.width || 2.0 * height > plan.region.height
}

/// So many bytes of the source.
fn bytes_at<const N: usize>(source: &dyn Source, offset: u64) -> Result<[u8; N], ImageError> {
    let mut bytes = [0; N];
    read_exact(source, offset, &mut bytes)?;
    Ok(bytes)
}

fn read_exact(source: &dyn Source, mut offset: u64, mut rest: &mut [u8]) -> Result<(), ImageError> {
    while !rest.is_empty() {
        let count = source.read_at(offset, rest)?;
        if count == 0 {
            return Err(ImageError::corrupt(Format::WebP, offset, "the file ends too early"));
        }
        offset += count as u64;
        rest = rest.get_mut(count..).unwrap_or_default();
    }
    Ok(())
}

#[cfg(test)]
#[cfg(feature = "native-codecs")]
mod tests;
