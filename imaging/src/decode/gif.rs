//! GIF on its logical screen: the first frame, or one after another.

use super::{Job, Moment, from_io};
use crate::pixels::{Channels, Raster};
use crate::source::SourceReader;
use crate::{Format, ImageError};
use core::num::NonZeroU64;
use gif::{ColorOutput, DecodeOptions, DecodingError, DisposalMethod, MemoryLimit, Repeat};

pub(super) fn decode(job: &Job<'_>) -> Result<Raster, ImageError> {
    let mut reader = SourceReader::new(job.source, job.cancel).releasing();
    let decoded = run(job, &mut reader);
    let offset = reader.stood_at();
    decoded.map_err(|failure| failure.translated(offset))
}

pub(super) fn each_moment(
    job: &Job<'_>,
    visit: &mut dyn FnMut(Moment<'_>) -> Result<(), ImageError>,
) -> Result<(), ImageError> {
    let mut reader = SourceReader::new(job.source, job.cancel).releasing();
    let visited = visit_all(job, &mut reader, visit);
    let offset = reader.stood_at();
    visited.map_err(|failure| failure.translated(offset))
}

enum Failure {
    Decoder(DecodingError),
    Engine(ImageError),
}

impl Failure {
    fn translated(self, offset: u64) -> ImageError {
        match self {
            Self::Decoder(DecodingError::Io(error)) => from_io(Format::Gif, offset, &error),
            Self::Decoder(error) => ImageError::corrupt(Format::Gif, offset, error.to_string()),
            Self::Engine(error) => error,
        }
    }
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

/// Where a frame lies on the screen, cut to it.
#[derive(Clone, Copy)]
struct Place {
    left: usize,
    top: usize,
    width: usize,
    height: usize,
}

impl Place {
    fn rows<'a>(&self, canvas: &'a mut Raster) -> impl Iterator<Item = &'a mut [u8]> + use<'a> {
        let (from, to) = (self.left * 4, (self.left + self.width) * 4);
        let stride = canvas.stride().max(1);
        let rows = canvas.data.chunks_exact_mut(stride);
        rows.skip(self.top).take(self.height).map(move |row| {
            let end = to.min(row.len());
            row.get_mut(from.min(end)..end).unwrap_or_default()
        })
    }
}

fn visit_all(
    job: &Job<'_>,
    source: &mut SourceReader<'_>,
    visit: &mut dyn FnMut(Moment<'_>) -> Result<(), ImageError>,
) -> Result<(), Failure> {
    let mut options = DecodeOptions::new();
    options.set_color_output(ColorOutput::Indexed);
    let mut decoder = options.read_info(source)?;
    let (width, height) = (decoder.width(), decoder.height());
    if (u32::from(width), u32::from(height)) != (job.plan.info.width, job.plan.info.height) {
        return Err(ImageError::corrupt(Format::Gif, 6, "the header says two different sizes").into());
    }
    let mut canvas = Raster::zeroed(u32::from(width), u32::from(height), Channels::Rgba)?;
    let mut indices = Vec::new();
    // What a frame covered, where it is to be there again.
    let mut before = Vec::new();
    while let Some(frame) = decoder.next_frame_info()? {
        if frame.width > width || frame.height > height {
            return Err(ImageError::corrupt(Format::Gif, 0, "a frame is larger than the screen").into());
        }
        let place = Place {
            left: usize::from(frame.left),
            top: usize::from(frame.top),
            width: usize::from(frame.width),
            height: usize::from(frame.height),
        };
        let (dispose, transparent) = (frame.dispose, frame.transparent);
        let milliseconds = u32::from(frame.delay) * 10;
        indices.resize(place.width * place.height, 0);
        decoder.read_into_buffer(&mut indices)?;
        before.clear();
        if dispose == DisposalMethod::Previous {
            for row in place.rows(&mut canvas) {
                before.extend_from_slice(row);
            }
        }
        paint(place, &indices, decoder.palette()?, transparent, &mut canvas);
        visit(Moment {
            canvas: &canvas,
            milliseconds,
            plays: match decoder.repeat() {
                Repeat::Infinite => 0,
                Repeat::Finite(repeats) => repeats.saturating_add(1),
            },
        })?;
        match dispose {
            DisposalMethod::Any | DisposalMethod::Keep => {}
            DisposalMethod::Background => place.rows(&mut canvas).for_each(|row| row.fill(0)),
            DisposalMethod::Previous => {
                let mut rest = before.as_slice();
                for row in place.rows(&mut canvas) {
                    let (first, others) = rest.split_at(row.len().min(rest.len()));
                    if first.len() == row.len() {
                        row.copy_from_slice(first);
                    }
                    rest = others;
                }
            }
        }
    }
    Ok(())
}

fn paint(place: Place, indices: &[u8], palette: &[u8], transparent: Option<u8>, canvas: &mut Raster) {
    let mut colors = [[0, 0, 0, 255]; 256];
    for (color, entry) in colors.iter_mut().zip(palette.chunks_exact(3)) {
        if let [r, g, b] = entry {
            *color = [*r, *g, *b, 255];
        }
    }
    for (row, from) in place.rows(canvas).zip(indices.chunks_exact(place.width.max(1))) {
        for (pixel, index) in row.chunks_exact_mut(4).zip(from) {
            if Some(*index) != transparent
                && let Some(color) = colors.get(usize::from(*index))
            {
                pixel.copy_from_slice(color);
            }
        }
    }
}
