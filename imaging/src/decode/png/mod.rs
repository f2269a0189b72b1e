//! PNG, row by row: interlaced rows are put in their place, the others go on as they come.

mod chunks;
mod filter;
mod header;
mod rows;

pub(crate) use self::rows::buffer_bytes;

use self::chunks::Chunks;
use self::header::Header;
use self::rows::Rows;
use super::{Failure, Job, reading};
use crate::pixels::{Model, Raster, Shape, Sink, zeroed};
use crate::source::SourceReader;
use crate::{Format, ImageError};

/// Passes of Adam7: first column, column step, first row, row step.
const ADAM7: [(u32, u32, u32, u32); 7] = [
    (0, 8, 0, 8),
    (4, 8, 0, 8),
    (0, 4, 4, 8),
    (2, 4, 0, 4),
    (0, 2, 2, 4),
    (1, 2, 0, 2),
    (0, 1, 1, 2),
];

pub(super) fn decode(job: &Job<'_>, sink: &mut Sink<'_>) -> Result<(), ImageError> {
    let reader = SourceReader::new(job.source, job.cancel).releasing();
    reading(Format::Png, reader, |reader| run(reader, sink))
}

fn run(source: &mut SourceReader<'_>, sink: &mut Sink<'_>) -> Result<(), Failure> {
    let mut chunks = Chunks::new(source)?;
    let header = Header::read(&mut chunks)?;
    let (width, height) = (header.width, header.height);
    let channels = header.channels();
    // Before anything is allocated: what the limits were asked about was the size that was probed.
    let shape = Shape {
        size: (width, height),
        channels,
        per_pixel: (1.0, 1.0),
        interpolated: false,
    };
    sink.begin(shape.size, Model::Pixels, &[shape])?;
    let (size, pixel) = (channels.count(), header.pixel_bytes());
    let mut rows = Rows::new(chunks, header.row_bytes(width))?;
    if !header.interlaced {
        let form = (header.row_bytes(width), height as usize);
        if header.is_ready() {
            rows.each(form, pixel, |_, row| sink.push(0, row))?;
        } else {
            let mut samples = zeroed(width as usize * size)?;
            rows.each(form, pixel, |_, row| {
                header.convert(row, samples.chunks_exact_mut(size));
                sink.push(0, &samples)
            })?;
        }
        return rows.finish();
    }
    let mut raster = Raster::zeroed(width, height, channels)?;
    let stride = raster.stride();
    for (first_column, column_step, first_row, row_step) in ADAM7 {
        let across = width.saturating_sub(first_column).div_ceil(column_step);
        let down = height.saturating_sub(first_row).div_ceil(row_step);
        rows.each((header.row_bytes(across), down as usize), pixel, |index, row| {
            let at = first_row as usize + index * row_step as usize;
            if let Some(to) = raster.data.chunks_exact_mut(stride).nth(at) {
                let pixels = to.chunks_exact_mut(size).skip(first_column as usize);
                header.convert(row, pixels.step_by(column_step as usize));
            }
            Ok(())
        })?;
    }
    rows.finish()?;
    sink.take(raster)?;
    Ok(())
}
