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
use super::{Decoded, Job};
use crate::pixels::{Model, Planes, Samples, zeroed};
use crate::{Format, ImageError, Source};
use core::ops::Range;

pub(super) use self::library::each_moment;
pub(crate) use self::vp8::memory as frame_memory;

pub(super) fn decode(job: &Job<'_>) -> Result<Decoded, ImageError> {
    let (frame, alpha) = match riff::content(job.source)? {
        Content::Lossy { frame, alpha } => (frame, alpha),
        Content::Other => return library::decode(job).map(Decoded::Raster),
    };
    let info = &job.plan.info;
    let size = (info.width, info.height);
    if !info.alpha {
        return Ok(Decoded::Planes(Yuv::decode(job, frame, size)?.into_planes()));
    }
    // Read first, as it stands first: the bytes behind the decoder are released.
    let alpha = match alpha {
        Some(range) => Some(alpha::decode(job, range, size)?),
        None => None,
    };
    let yuv = Yuv::decode(job, frame, size)?;
    rgba::rgba(&yuv, alpha.as_deref()).map(Decoded::Raster)
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
        vp8::decode(job.source, frame, (width, height), job.cancel, &mut |plane, row| {
            if let (Some(offset), Some(samples)) = (offsets.get_mut(plane), planes.get_mut(plane))
                && let Some(to) = samples.get_mut(*offset..*offset + row.len())
            {
                to.copy_from_slice(row);
                *offset += row.len();
            }
            Ok(())
        })?;
        Ok(Self { width, height, planes })
    }

    fn into_planes(self) -> Planes {
        let (width, height) = (self.width, self.height);
        let half = (width.div_ceil(2), height.div_ceil(2));
        let [luma, blue, red] = self.planes;
        let chroma = |samples| Samples::cut(samples, half.0 as usize, half, (0.5, 0.5));
        Planes {
            width,
            height,
            model: Model::LimitedYCbCr,
            samples: vec![
                Samples::cut(luma, width as usize, (width, height), (1.0, 1.0)),
                chroma(blue),
                chroma(red),
            ],
            inks: None,
        }
    }
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
