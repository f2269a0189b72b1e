//! GIF on its logical screen: the first frame, or one after another.

use super::{Failure, Job, Moment, reading};
use crate::pixels::{Channels, Raster, zeroed};
use crate::source::SourceReader;
use crate::transform::stop_if;
use crate::{Format, ImageError, LimitKind};
use core::ops::Range;
use gif::{ColorOutput, DecodeOptions, Decoder, DecodingError, DisposalMethod, Repeat};
use std::io;

pub(super) fn decode(job: &Job<'_>) -> Result<Raster, ImageError> {
    let reader = SourceReader::new(job.source, job.cancel).releasing();
    reading(Format::Gif, reader, |reader| run(job, reader))
}

pub(super) fn each_moment(
    job: &Job<'_>,
    visit: &mut dyn FnMut(Moment<'_>) -> Result<(), ImageError>,
) -> Result<(), ImageError> {
    let reader = SourceReader::new(job.source, job.cancel).releasing();
    reading(Format::Gif, reader, |reader| visit_all(job, reader, visit))
}

impl From<DecodingError> for Failure {
    fn from(error: DecodingError) -> Self {
        match error {
            DecodingError::Io(error) => Self::Io(error),
            error => Self::Damage(error.to_string()),
        }
    }
}

fn run(job: &Job<'_>, source: &mut SourceReader<'_>) -> Result<Raster, Failure> {
    let mut frames = Frames::open(job, source)?;
    match frames.next()? {
        Some(_) => Ok(frames.canvas),
        None => Err(ImageError::corrupt(Format::Gif, 0, "there is no frame").into()),
    }
}

fn visit_all(
    job: &Job<'_>,
    source: &mut SourceReader<'_>,
    visit: &mut dyn FnMut(Moment<'_>) -> Result<(), ImageError>,
) -> Result<(), Failure> {
    let mut frames = Frames::open(job, source)?;
    while let Some(shown) = frames.next()? {
        visit(Moment {
            canvas: &frames.canvas,
            milliseconds: shown.milliseconds,
            plays: match frames.decoder.repeat() {
                Repeat::Infinite => 0,
                Repeat::Finite(repeats) => repeats.saturating_add(1),
            },
        })?;
        frames.dispose(&shown);
    }
    Ok(())
}

/// Frames, painted on one canvas. They may be larger than it and hang over its edges; that part is not shown.
struct Frames<'a, 's> {
    job: &'a Job<'a>,
    decoder: Decoder<&'a mut SourceReader<'s>>,
    canvas: Raster,
    /// Indices of a frame, in the order of the file.
    indices: Vec<u8>,
    /// What a frame covered, where it is to be there again.
    before: Vec<u8>,
    /// Pixels of all frames so far, shown or not.
    pixels: u64,
}

/// A frame that is on the canvas.
struct Shown {
    place: Place,
    dispose: DisposalMethod,
    milliseconds: u32,
}

impl<'a, 's> Frames<'a, 's> {
    fn open(job: &'a Job<'a>, source: &'a mut SourceReader<'s>) -> Result<Self, Failure> {
        let mut options = DecodeOptions::new();
        options.set_color_output(ColorOutput::Indexed);
        let decoder = options.read_info(source)?;
        let size = (u32::from(decoder.width()), u32::from(decoder.height()));
        if size != (job.plan.info.width, job.plan.info.height) {
            return Err(ImageError::corrupt(Format::Gif, 6, "the header says two different sizes").into());
        }
        Ok(Self {
            job,
            decoder,
            canvas: Raster::zeroed(size.0, size.1, Channels::Rgba)?,
            indices: Vec::new(),
            before: Vec::new(),
            pixels: 0,
        })
    }

    fn next(&mut self) -> Result<Option<Shown>, Failure> {
        let Some(frame) = self.decoder.next_frame_info()? else {
            return Ok(None);
        };
        let place = Place {
            left: usize::from(frame.left),
            top: usize::from(frame.top),
            width: usize::from(frame.width),
            height: usize::from(frame.height),
        };
        let shown = Shown {
            place,
            dispose: frame.dispose,
            milliseconds: u32::from(frame.delay) * 10,
        };
        let (transparent, interlaced) = (frame.transparent, frame.interlaced);
        // Those on the screen are within the limit by their number; what hangs over it costs time all the same.
        self.pixels += (place.width * place.height) as u64;
        if self.pixels > self.job.limits.pixels {
            return Err(Failure::Engine(ImageError::TooLarge {
                what: LimitKind::Pixels,
                limit: self.job.limits.pixels,
                value: self.pixels,
            }));
        }
        self.before.clear();
        if shown.dispose == DisposalMethod::Previous {
            for y in place.lines() {
                self.before.extend_from_slice(place.part(&mut self.canvas, y));
            }
        }
        let colors = colors(self.decoder.palette()?, transparent);
        let area = place.width * place.height;
        if area > self.indices.len() {
            self.indices = Vec::new();
            self.indices = zeroed(area)?;
        }
        let indices = self.indices.get_mut(..area).unwrap_or_default();
        // All at once: of a string of pixels that reaches over the end of a buffer the library may lose the rest.
        if area > 0 && !self.decoder.fill_buffer(indices)? {
            return Err(DecodingError::Io(io::Error::other("a frame's pixels end too early")).into());
        }
        stop_if(self.job.cancel)?;
        for (y, indices) in rows(place.height, interlaced).zip(indices.chunks_exact(place.width.max(1))) {
            let pixels = place.part(&mut self.canvas, place.top + y).chunks_exact_mut(4);
            for (pixel, index) in pixels.zip(indices) {
                if let Some(Some(color)) = colors.get(usize::from(*index)) {
                    pixel.copy_from_slice(color);
                }
            }
        }
        Ok(Some(shown))
    }

    /// Makes the canvas what the next frame is painted on.
    fn dispose(&mut self, shown: &Shown) {
        match shown.dispose {
            DisposalMethod::Any | DisposalMethod::Keep => {}
            DisposalMethod::Background => shown
                .place
                .lines()
                .for_each(|y| shown.place.part(&mut self.canvas, y).fill(0)),
            DisposalMethod::Previous => {
                let mut rest = self.before.as_slice();
                for y in shown.place.lines() {
                    let row = shown.place.part(&mut self.canvas, y);
                    let (first, others) = rest.split_at(row.len().min(rest.len()));
                    if first.len() == row.len() {
                        row.copy_from_slice(first);
                    }
                    rest = others;
                }
            }
        }
    }
}

/// Where a frame lies on the screen.
#[derive(Clone, Copy)]
struct Place {
    left: usize,
    top: usize,
    width: usize,
    height: usize,
}

impl Place {
    /// Its lines, counted from the top of the screen.
    fn lines(self) -> Range<usize> {
        self.top..self.top + self.height
    }

    /// What it covers of a line of the canvas; nothing outside of it.
    fn part(self, canvas: &mut Raster, line: usize) -> &mut [u8] {
        let stride = canvas.stride();
        let row = canvas.data.get_mut(line * stride..(line + 1) * stride);
        let row = row.unwrap_or_default();
        let end = ((self.left + self.width) * 4).min(row.len());
        row.get_mut((self.left * 4).min(end)..end).unwrap_or_default()
    }
}

/// The rows of a frame in the order of the file: an interlaced one has every eighth first, then those between.
fn rows(height: usize, interlaced: bool) -> impl Iterator<Item = usize> {
    let passes: &[(usize, usize)] = if interlaced {
        &[(0, 8), (4, 8), (2, 4), (1, 2)]
    } else {
        &[(0, 1)]
    };
    passes
        .iter()
        .flat_map(move |(first, step)| (*first..height).step_by(*step))
}

/// What each index shows. Those that the palette lacks are black.
fn colors(palette: &[u8], transparent: Option<u8>) -> [Option<[u8; 4]>; 256] {
    let mut colors = [Some([0, 0, 0, 255]); 256];
    for (color, entry) in colors.iter_mut().zip(palette.chunks_exact(3)) {
        if let [r, g, b] = entry {
            *color = Some([*r, *g, *b, 255]);
        }
    }
    if let Some(color) = transparent.and_then(|index| colors.get_mut(usize::from(index))) {
        *color = None;
    }
    colors
}
