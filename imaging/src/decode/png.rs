//! PNG row by row through the png crate; interlaced rows are put in their place here.

use super::{Failure, Job, reading};
use crate::pixels::{Channels, Model, Raster, Shape, Sink, zeroed};
use crate::source::SourceReader;
use crate::{Format, ImageError};
use png::{BitDepth, ColorType, DecodeOptions, Decoder, DecodingError, Limits, Transformations};

pub(super) fn decode(job: &Job<'_>, sink: &mut Sink<'_>) -> Result<(), ImageError> {
    let reader = SourceReader::new(job.source, job.cancel).releasing();
    reading(Format::Png, reader, |reader| run(reader, sink))
}

impl From<DecodingError> for Failure {
    fn from(error: DecodingError) -> Self {
        match error {
            DecodingError::IoError(error) => Self::Io(error),
            DecodingError::LimitsExceeded => Self::Damage("a chunk wants more memory than a chunk may".to_owned()),
            error => Self::Damage(error.to_string()),
        }
    }
}

/// Memory of the decoder beside the rows: chunks, window, filter rows.
const DECODER_BYTES: usize = 4 * 1024 * 1024;

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

fn run(source: &mut SourceReader<'_>, sink: &mut Sink<'_>) -> Result<(), Failure> {
    let mut options = DecodeOptions::default();
    options.set_ignore_text_chunk(true);
    options.set_ignore_iccp_chunk(true);
    let mut decoder = Decoder::new_with_options(source, options);
    decoder.set_limits(Limits { bytes: DECODER_BYTES });
    // Palettes, transparency and fewer than 8 bits become channels of 8 bits; 16 bits are rounded below.
    decoder.set_transformations(Transformations::EXPAND);
    let mut reader = decoder.read_info()?;
    let (width, height, interlaced) = (reader.info().width, reader.info().height, reader.info().interlaced);
    let (color, depth) = reader.output_color_type();
    let row = Row {
        color,
        wide: depth == BitDepth::Sixteen,
    };
    let channels = row.channels();
    let size = channels.count();
    // Before anything is allocated: what the limits were asked about was the header's size.
    let shape = Shape {
        size: (width, height),
        channels,
        per_pixel: (1.0, 1.0),
        interpolated: false,
    };
    sink.begin(shape.size, Model::Pixels, &[shape])?;
    if !interlaced {
        let missing = || ImageError::corrupt(Format::Png, 0, "rows are missing");
        let mut samples = zeroed(width as usize * size)?;
        for _ in 0..height {
            if row.is_ready() {
                reader.read_row(&mut samples)?.ok_or_else(missing)?;
            } else {
                let from = reader.next_row()?.ok_or_else(missing)?;
                row.convert(from.data(), samples.chunks_exact_mut(size));
            }
            sink.push(0, &samples)?;
        }
        // The last check sum of the rows' data comes after them.
        reader.read_row(&mut samples)?;
        ended(reader.finish())?;
        return Ok(());
    }
    let mut raster = Raster::zeroed(width, height, channels)?;
    let stride = raster.stride();
    for (first_column, column_step, first_row, row_step) in ADAM7 {
        if first_column >= width || first_row >= height {
            continue;
        }
        let rows = raster
            .data
            .chunks_exact_mut(stride)
            .skip(first_row as usize)
            .step_by(row_step as usize);
        for to in rows {
            let from = reader
                .next_interlaced_row()?
                .ok_or_else(|| ImageError::corrupt(Format::Png, 0, "rows are missing"))?;
            row.convert(
                from.data(),
                to.chunks_exact_mut(size)
                    .skip(first_column as usize)
                    .step_by(column_step as usize),
            );
        }
    }
    reader.next_interlaced_row()?;
    ended(reader.finish())?;
    sink.take(raster)?;
    Ok(())
}

/// All rows are there; what follows may be odd, but it may not be missing.
fn ended(finished: Result<(), DecodingError>) -> Result<(), DecodingError> {
    match finished {
        Err(error @ DecodingError::IoError(_)) => Err(error),
        _ => Ok(()),
    }
}

/// How a row comes out of the decoder.
struct Row {
    color: ColorType,
    wide: bool,
}

impl Row {
    fn channels(&self) -> Channels {
        match self.color {
            ColorType::Grayscale => Channels::Grey,
            ColorType::Rgb | ColorType::Indexed => Channels::Rgb,
            ColorType::GrayscaleAlpha | ColorType::Rgba => Channels::Rgba,
        }
    }

    /// Whether it is as a [`Raster`] has it.
    fn is_ready(&self) -> bool {
        !self.wide && self.color != ColorType::GrayscaleAlpha
    }

    fn convert<'a>(&self, from: &[u8], to: impl Iterator<Item = &'a mut [u8]>) {
        let samples = match self.color {
            ColorType::Grayscale | ColorType::Indexed => 1,
            ColorType::GrayscaleAlpha => 2,
            ColorType::Rgb => 3,
            ColorType::Rgba => 4,
        };
        let narrow = |pair: &[u8]| match pair {
            // v / 257, rounded: the nearest of 8 bits.
            [high, low] => ((u32::from(u16::from_be_bytes([*high, *low])) * 255 + 32_767) / 65_535) as u8,
            _ => 0,
        };
        let mut buffer = [0u8; 4];
        let bytes = samples * if self.wide { 2 } else { 1 };
        for (pixel, from) in to.zip(from.chunks_exact(bytes)) {
            let from = if self.wide {
                for (slot, pair) in buffer.iter_mut().zip(from.chunks_exact(2)) {
                    *slot = narrow(pair);
                }
                buffer.get(..samples).unwrap_or_default()
            } else {
                from
            };
            match (pixel, from) {
                ([r, g, b, a], [grey, alpha]) => (*r, *g, *b, *a) = (*grey, *grey, *grey, *alpha),
                (pixel, from) if pixel.len() == from.len() => pixel.copy_from_slice(from),
                _ => {}
            }
        }
    }
}
