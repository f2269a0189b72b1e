//! JPEG at 1/1, 1/2, 1/4 or 1/8. Entropy decoding is most of a thumbnail's time, so it reads only what the scale needs:
//! the rest of a block is passed several symbols at a time, and whole scans of a progressive file are not read at all.
//!
//! ```text
//! header: segments up to a scan -> bits: its data, unstuffed -> baseline: blocks -> planes
//!                                                            -> progressive: coefficients, at the end -> planes
//! ```
//! Planes are handed over as they are stored, an MCU's rows at a time, chroma at its own resolution: resampling brings them
//! to one size, once.

mod baseline;
mod bits;
mod header;
mod huffman;
mod idct;
mod layout;
mod progressive;

use self::bits::{Bits, End, Window};
use self::header::{Found, Frame, Header};
use self::layout::Plane;
use self::progressive::Stores;
use super::{Job, from_io};
use crate::color::Inks;
use crate::pixels::{Shape, Sink};
use crate::source::SourceReader;
use crate::{Format, ImageError, LimitKind};
use std::io;

pub(crate) use self::progressive::store_bytes;

/// What is wrong with the bytes.
#[derive(Clone, Copy, Debug)]
struct Damage(&'static str);

enum Failure {
    Damage(Damage),
    Io(io::Error),
    TooLarge(LimitKind, u32, u32),
    Engine(ImageError),
}

impl From<Damage> for Failure {
    fn from(damage: Damage) -> Self {
        Self::Damage(damage)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<ImageError> for Failure {
    fn from(error: ImageError) -> Self {
        Self::Engine(error)
    }
}

/// Decodes at the plan's scale.
pub(super) fn decode(job: &Job<'_>, sink: &mut Sink<'_>) -> Result<(), ImageError> {
    // Read first: the bytes behind the decoder are released.
    sink.inks = Inks::of(job.source, &job.plan.info, job.limits)?;
    let mut reader = SourceReader::new(job.source, job.cancel).releasing();
    read(job, &mut reader, sink).map_err(|failure| match failure {
        Failure::Damage(Damage(detail)) => ImageError::corrupt(Format::Jpeg, reader.stood_at(), detail),
        Failure::Io(error) => from_io(Format::Jpeg, reader.stood_at(), &error),
        Failure::TooLarge(what, limit, value) => ImageError::TooLarge {
            what,
            limit: u64::from(limit),
            value: u64::from(value),
        },
        Failure::Engine(error) => error,
    })
}

fn read(job: &Job<'_>, reader: &mut SourceReader<'_>, sink: &mut Sink<'_>) -> Result<(), Failure> {
    let mut header = Header::default();
    let mut window = Window::new();
    let mut marker = None;
    let mut planes = Vec::new();
    let mut stores = None;
    let mut seen = 0u8;
    let scale = u32::from(job.plan.decode_scale);
    while let Found::Scan(scan) = header.next_scan(reader, marker.take(), job.limits.scans)? {
        let Some(frame) = &header.frame else { break };
        if planes.is_empty() {
            planes = Plane::all(frame, scale, job.plan.full_chroma)?;
            let largest = frame.largest_sampling();
            let shapes: Vec<Shape> = planes
                .iter()
                .zip(&frame.components)
                .map(|(plane, component)| plane.shape(component.sampling, largest, scale))
                .collect();
            let size = (frame.width.div_ceil(scale), frame.height.div_ceil(scale));
            sink.begin(size, color_model(&header, frame), &shapes)?;
            if frame.progressive {
                stores = Some(Stores::new(&planes)?);
            }
        }
        let end = match &mut stores {
            Some(stores) if stores.needs(&scan) => progressive::decode(&header, &scan, stores, &mut window, reader)?,
            Some(_) => continue,
            None => baseline::decode(&header, &scan, &mut planes, sink, &mut window, reader)?,
        };
        if scan.band.0 == 0 {
            for entry in &scan.components {
                seen |= 1 << entry.index;
            }
        }
        let all = seen.count_ones() as usize == frame.components.len();
        match end {
            // A sequential file is whole with its last component's scan, whatever follows.
            _ if all && stores.is_none() => break,
            End::Marker(found) => marker = Some(found),
            End::File => return Err(Damage("the file ends too early").into()),
        }
    }
    let frame = header.frame.as_ref().ok_or(Damage("there is no frame header"))?;
    if seen.count_ones() as usize != frame.components.len() {
        return Err(Damage("a component has no scan").into());
    }
    if let Some(stores) = stores {
        stores.finish(&header, frame, &mut planes, sink)?;
    }
    Ok(())
}

/// What the components mean: as their markers say, or their names, in the order in which other decoders ask them.
fn color_model(header: &Header, frame: &Frame) -> crate::pixels::Model {
    use crate::pixels::Model;
    let ids: Vec<u8> = frame.components.iter().map(|component| component.id).collect();
    match (ids.as_slice(), header.adobe) {
        ([_], _) => Model::Pixels,
        ([_, _, _], _) if header.jfif => Model::YCbCr,
        ([_, _, _], Some(0)) | ([b'R', b'G', b'B'], None) => Model::Rgb,
        ([_, _, _, _], Some(2)) => Model::Ycck { inverted: true },
        ([_, _, _, _], adobe) => Model::Cmyk {
            inverted: adobe.is_some(),
        },
        _ => Model::YCbCr,
    }
}

/// Counts MCUs up to the next restart marker.
struct Restarts {
    interval: u32,
    left: u32,
    next: u8,
}

impl Restarts {
    const fn new(interval: u32) -> Self {
        Self {
            interval,
            left: interval,
            next: 0,
        }
    }

    /// Counts an MCU; says whether a restart marker stands before it.
    #[inline(always)]
    const fn is_due(&mut self) -> bool {
        if self.interval == 0 {
            return false;
        }
        if self.left == 0 {
            return true;
        }
        self.left -= 1;
        false
    }

    #[cold]
    fn pass(&mut self, window: &mut Window, reader: &mut SourceReader<'_>) -> Result<Bits, Failure> {
        if window.finish(reader)? != End::Marker(0xd0 + self.next) {
            return Err(Damage("a restart marker is missing").into());
        }
        self.next = (self.next + 1) % 8;
        self.left = self.interval - 1;
        Ok(window.start(reader)?)
    }
}

#[cfg(test)]
mod tests;
