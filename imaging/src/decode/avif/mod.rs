//! AVIF through the caller's AV1 decoder: the parts of the picture are decoded one after another, and turned into pixels
//! here, so that every lane computes the same.

mod convert;

use self::convert::{Matrix, Place, paint, paint_alpha};
use super::Job;
use crate::pixels::{Channels, Raster, reserved, unpremultiply};
use crate::probe::{AvifPicture, Extent, Part, avif_picture};
use crate::transform::stop_if;
use crate::{Av1Layout, Av1Picture, CodecError, Format, ImageError};

pub(super) fn decode(job: &Job<'_>) -> Result<Raster, ImageError> {
    let picture = avif_picture(job.source, job.limits)?;
    let (_, _, width, height) = picture.shown;
    let channels = match (&picture.alpha, picture.color.coding.quarters) {
        (Some(_), _) => Channels::Rgba,
        (None, 4) => Channels::Grey,
        (None, _) => Channels::Rgb,
    };
    // What is allocated below follows from this size, and the limits were asked about the other.
    if (width, height) != (job.plan.info.width, job.plan.info.height) {
        return Err(corrupt("the header says two different sizes"));
    }
    let mut raster = Raster::zeroed(width, height, channels)?;
    let shown = (picture.shown.0, picture.shown.1);
    each_tile(job, &picture.color, |tile, at| {
        let matrix = matrix(&picture, tile)?;
        paint(tile, &matrix, Place { at, shown }, &mut raster);
        Ok(())
    })?;
    if let Some(alpha) = &picture.alpha {
        each_tile(job, alpha, |tile, at| {
            let full_range = alpha.colors.map_or(tile.full_range, |colors| colors.full_range);
            paint_alpha(tile, full_range, Place { at, shown }, &mut raster);
            Ok(())
        })?;
        if picture.premultiplied {
            unpremultiply(&mut raster.data);
        }
    }
    Ok(raster)
}

fn corrupt(detail: &str) -> ImageError {
    ImageError::corrupt(Format::Avif, 0, detail)
}

/// How a picture's samples become colours: as the container says, else as the sequence header does.
fn matrix(picture: &AvifPicture, tile: &Av1Picture) -> Result<Matrix, ImageError> {
    let (code, full_range, primaries) = picture
        .color
        .colors
        .map_or((u16::from(tile.matrix), tile.full_range, 1), |colors| {
            (colors.matrix, colors.full_range, colors.primaries)
        });
    Matrix::new(code, primaries, full_range, tile.depth)
        .filter(|matrix| !matrix.is_identity() || matches!(tile.layout, Av1Layout::Full | Av1Layout::Grey))
        .ok_or_else(|| ImageError::unsupported(Format::Avif, "its matrix coefficients are not done"))
}

/// Decodes the parts of a grid one by one, or the one picture that there is, and visits each with its upper left corner.
fn each_tile(
    job: &Job<'_>,
    part: &Part,
    mut visit: impl FnMut(&Av1Picture, (u32, u32)) -> Result<(), ImageError>,
) -> Result<(), ImageError> {
    for (index, extents) in (0u32..).zip(&part.tiles) {
        stop_if(job.cancel)?;
        let (column, row) = (index % part.columns.max(1), index / part.columns.max(1));
        let tile = decode_tile(job, extents, part)?;
        visit(&tile, (column * part.tile.0, row * part.tile.1))?;
    }
    Ok(())
}

fn decode_tile(job: &Job<'_>, extents: &[Extent], part: &Part) -> Result<Av1Picture, ImageError> {
    let data = read(job, extents)?;
    // What the plan reckoned with.
    let most_bytes = usize::try_from(part.coding.bytes(part.tile)).unwrap_or(usize::MAX);
    let picture = job.codecs.av1(&data, most_bytes).map_err(|error| match error {
        CodecError::Refused(detail) => corrupt(&detail),
        other => other.into(),
    })?;
    if (picture.width, picture.height) != part.tile {
        return Err(corrupt("the coded picture has another size than the header says"));
    }
    Ok(picture)
}

/// An item's bytes, which may lie in pieces.
fn read(job: &Job<'_>, extents: &[Extent]) -> Result<Vec<u8>, ImageError> {
    let whole = job.source.len();
    let length = |(offset, length): Extent| {
        if length == 0 {
            whole.saturating_sub(offset)
        } else {
            length
        }
    };
    let total = extents
        .iter()
        .fold(0u64, |total, extent| total.saturating_add(length(*extent)));
    // Pieces do not lie on top of each other in a file that means well.
    if total == 0 || total > whole {
        return Err(corrupt("a picture's data is not in the file"));
    }
    let mut data = reserved(usize::try_from(total).unwrap_or(usize::MAX))?;
    for extent in extents {
        let (start, count) = (data.len(), usize::try_from(length(*extent)).unwrap_or(usize::MAX));
        data.resize(start + count, 0);
        let mut offset = extent.0;
        let mut rest = data.get_mut(start..).unwrap_or_default();
        while !rest.is_empty() {
            stop_if(job.cancel)?;
            let most = rest.len().min(CHUNK);
            let read = job.source.read_at(offset, rest.get_mut(..most).unwrap_or_default())?;
            if read == 0 {
                return Err(ImageError::corrupt(Format::Avif, offset, "the file ends too early"));
            }
            offset += read as u64;
            rest = rest.get_mut(read..).unwrap_or_default();
        }
    }
    Ok(data)
}

/// Bytes that are read before the cancellation hook is asked again.
const CHUNK: usize = 64 * 1024;

#[cfg(test)]
mod tests;
