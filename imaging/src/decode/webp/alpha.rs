//! The alpha of lossy pictures: plain, or the green of a lossless picture, less a prediction.

use super::{bytes_at, read_exact};
use crate::decode::{Job, from_io};
use crate::pixels::zeroed;
use crate::source::SourceReader;
use crate::{Format, ImageError};
use core::ops::Range;
use image_webp::{DecodingError, WebPDecoder};

/// What each value is predicted from.
#[derive(Clone, Copy)]
enum Prediction {
    Nothing,
    Left,
    Above,
    /// Left and above less the corner between them.
    Gradient,
}

/// Reads the alpha of a picture, row by row.
pub(super) fn decode(job: &Job<'_>, range: Range<u64>, (width, height): (u32, u32)) -> Result<Vec<u8>, ImageError> {
    let corrupt = |offset: u64, detail: &str| ImageError::corrupt(Format::WebP, offset, detail);
    let start = range.start;
    let [header] = bytes_at(job.source, start)?;
    // Above these there is whether the levels were reduced, which changes nothing here.
    if header >> 4 > 1 {
        return Err(corrupt(start, "the alpha was made in a way that is not known"));
    }
    let prediction = match header >> 2 & 3 {
        0 => Prediction::Nothing,
        1 => Prediction::Left,
        2 => Prediction::Above,
        _ => Prediction::Gradient,
    };
    let data = start + 1..range.end;
    let mut alpha = zeroed(width as usize * height as usize)?;
    match header & 3 {
        0 if data.end - data.start < alpha.len() as u64 => {
            return Err(corrupt(data.end, "the alpha ends too early"));
        }
        0 => read_exact(job.source, data.start, &mut alpha)?,
        1 => read_green(job, data, (width, height), &mut alpha)?,
        _ => return Err(corrupt(start, "the alpha is compressed in a way that is not known")),
    }
    restore(&mut alpha, width as usize, prediction);
    Ok(alpha)
}

/// Reads lossless data that have no header.
fn read_green(
    job: &Job<'_>,
    data: Range<u64>,
    (width, height): (u32, u32),
    green: &mut [u8],
) -> Result<(), ImageError> {
    let length = data.end.saturating_sub(data.start) as usize;
    // With an alpha of its own, which it does not have, the library makes the pixels in place.
    let header = (width - 1) | (height - 1) << 14 | 1 << 28;
    let mut file = zeroed(25 + length)?;
    for (range, bytes) in [
        (0..4, *b"RIFF"),
        (4..8, (17 + length as u32).to_le_bytes()),
        (8..12, *b"WEBP"),
        (12..16, *b"VP8L"),
        (16..20, (5 + length as u32).to_le_bytes()),
        (21..25, header.to_le_bytes()),
    ] {
        if let Some(to) = file.get_mut(range) {
            to.copy_from_slice(&bytes);
        }
    }
    if let Some([signature, ..]) = file.get_mut(20..) {
        *signature = 0x2f;
    }
    read_exact(job.source, data.start, file.get_mut(25..).unwrap_or_default())?;
    let mut pixels = zeroed(4 * green.len())?;
    let mut reader = SourceReader::new(&file, job.cancel);
    let decoded = WebPDecoder::new(&mut reader).and_then(|mut decoder| decoder.read_image(&mut pixels));
    let offset = data.start + reader.stood_at().saturating_sub(25);
    decoded.map_err(|error| match error {
        DecodingError::IoError(error) => from_io(Format::WebP, offset, &error),
        error => ImageError::corrupt(Format::WebP, offset, format!("alpha: {error}")),
    })?;
    for (green, [_, from, ..]) in green.iter_mut().zip(pixels.as_chunks::<4>().0) {
        *green = *from;
    }
    Ok(())
}

/// Adds the predictions. Where there is nothing above, they come from the left, and where there is nothing to the left,
/// from above.
fn restore(alpha: &mut [u8], width: usize, prediction: Prediction) {
    if matches!(prediction, Prediction::Nothing) {
        return;
    }
    let mut above: Option<&[u8]> = None;
    for row in alpha.chunks_exact_mut(width.max(1)) {
        match (above, prediction) {
            (Some(above), Prediction::Above) => {
                row.iter_mut()
                    .zip(above)
                    .for_each(|(value, above)| *value = value.wrapping_add(*above));
            }
            (Some(above), Prediction::Gradient) => add_gradient(row, above),
            (above, _) => {
                let mut left = above.and_then(|above| above.first()).copied().unwrap_or(0);
                for value in &mut *row {
                    *value = value.wrapping_add(left);
                    left = *value;
                }
            }
        }
        above = Some(row);
    }
}

fn add_gradient(row: &mut [u8], above: &[u8]) {
    let first = above.first().copied().unwrap_or(0);
    let (mut left, mut corner) = (i16::from(first), i16::from(first));
    for (value, above) in row.iter_mut().zip(above) {
        let above = i16::from(*above);
        *value = value.wrapping_add((left + above - corner).clamp(0, 255) as u8);
        (left, corner) = (i16::from(*value), above);
    }
}
