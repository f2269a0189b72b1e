//! Resampling with Lanczos3 in sRGB values, alpha premultiplied, as rows arrive.
//!
//! Rows go into a ring that holds no more of them than one resized row is made of. They are added up first, where
//! neighbours lie side by side; what comes out, one row at a time, is brought to its width. All sums are of integers, so
//! that every lane has the same.

mod alpha;
mod horizontal;
mod taps;
mod vertical;

pub(crate) use alpha::{premultiply, unpremultiply};

use self::horizontal::Horizontal;
use self::taps::Taps;
use self::vertical::{Ring, Step, Vertical};
use super::{Channels, Raster, zeroed_of};
use crate::{ImageError, Region};

/// Samples that are added up at once.
const BLOCK: usize = 16;

/// Numbers that are read behind the end of a row of sums.
const BEYOND: usize = 8;

/// Bits of fraction that a sum keeps until its row has its width: a sum of 8-bit samples whose weights are below 2 without
/// their signs has room in 16 bits.
const FRACTION: u32 = 6;

/// Resamples a region of `source` to a size. Pixels beside the region are seen by the filter at its edges.
pub(crate) fn resample(source: &Raster, region: Region, size: (u32, u32)) -> Result<Raster, ImageError> {
    let full = (source.width, source.height);
    let mut scaler = Scaler::new(full, source.channels, region, size, (false, false))?;
    for row in source.data.chunks_exact(source.stride().max(1)) {
        scaler.push(row)?;
    }
    scaler.finish()
}

/// Brings rows of pixels to another size, one by one.
#[derive(Debug)]
pub(crate) struct Scaler {
    vertical: Vertical,
    horizontal: Horizontal,
    ring: Ring,
    sums: Vec<i32>,
    steps: Vec<Step>,
    /// Samples of a row that was given.
    samples: usize,
    /// Rows that are to come, and those that came.
    height: usize,
    given: usize,
    /// The next row of the result.
    next: usize,
    premultiplied: bool,
    /// Where the copied part begins, in samples, where nothing but a cut is asked for.
    cut: Option<usize>,
    result: Raster,
}

impl Scaler {
    /// For rows of a picture of `full` size, which is first doubled by linear interpolation, across and down, where
    /// `doubled` says so.
    pub(crate) fn new(
        full: (u32, u32),
        channels: Channels,
        region: Region,
        size: (u32, u32),
        doubled: (bool, bool),
    ) -> Result<Self, ImageError> {
        let region = within(region, f64::from(full.0), f64::from(full.1));
        let taps = |doubled: bool| if doubled { Taps::interpolated } else { Taps::new };
        let across = taps(doubled.0)(full.0, region.left, region.width, size.0)?;
        let down = taps(doubled.1)(full.1, region.top, region.height, size.1)?;
        let only_moves = across.only_moves() && down.only_moves();
        let samples = full.0 as usize * channels.count();
        let vertical = Vertical::new(&down)?;
        Ok(Self {
            horizontal: Horizontal::new(&across, full.0, channels.count())?,
            ring: Ring::new(vertical.most_rows(), samples)?,
            sums: zeroed_of(samples.next_multiple_of(BLOCK) + BEYOND)?,
            steps: Vec::new(),
            samples,
            height: full.1 as usize,
            given: 0,
            next: 0,
            // A cut at whole pixels moves them and changes none; through premultiplication it would.
            premultiplied: channels == Channels::Rgba && !only_moves,
            cut: only_moves.then(|| {
                across
                    .windows
                    .first()
                    .map_or(0, |window| window.start * channels.count())
            }),
            result: Raster::zeroed(size.0, size.1, channels)?,
            vertical,
        })
    }

    /// Whether every row has been given.
    pub(crate) const fn has_all(&self) -> bool {
        self.given == self.height
    }

    /// Whether the next row completes one of the result.
    pub(crate) fn completes(&self) -> bool {
        self.vertical
            .rows(self.next)
            .is_some_and(|(_, end)| end <= self.given + 1)
    }

    /// Takes the next row, from the top down.
    pub(crate) fn push(&mut self, row: &[u8]) -> Result<(), ImageError> {
        if row.len() != self.samples || self.has_all() {
            return Err(ImageError::Internal(
                "the resampler was given another row than it was made for",
            ));
        }
        let at = self.given;
        self.given += 1;
        let Some((first, _)) = self.vertical.rows(self.next) else {
            return Ok(());
        };
        if at < first {
            return Ok(());
        }
        let stride = self.result.stride().max(1);
        if let Some(start) = self.cut {
            if let (Some(to), Some(from)) = (
                self.result.data.chunks_exact_mut(stride).nth(self.next),
                row.get(start..start + stride),
            ) {
                to.copy_from_slice(from);
            }
            self.next += 1;
            return Ok(());
        }
        if let Some(to) = self.ring.row_mut(at).get_mut(..row.len()) {
            to.copy_from_slice(row);
            if self.premultiplied {
                premultiply(to);
            }
        }
        while let Some((_, end)) = self.vertical.rows(self.next)
            && end <= self.given
        {
            self.vertical
                .add_up(self.next, &self.ring, &mut self.steps, &mut self.sums);
            self.next += 1;
            let waiting = self.horizontal.add(&self.sums);
            if waiting == self.horizontal.rows() || self.vertical.rows(self.next).is_none() {
                let range = (self.next - waiting) * stride..self.next * stride;
                let to = self.result.data.get_mut(range).unwrap_or_default();
                self.horizontal.resize(to);
                if self.premultiplied {
                    unpremultiply(to);
                }
            }
        }
        Ok(())
    }

    /// The result, once all rows are there.
    pub(crate) fn finish(self) -> Result<Raster, ImageError> {
        if !self.has_all() {
            return Err(ImageError::Internal("the resampler was given too few rows"));
        }
        Ok(self.result)
    }
}

/// The part of a region that lies in the picture.
fn within(region: Region, full_width: f64, full_height: f64) -> Region {
    let side = |start: f64, length: f64, full: f64| {
        let start = start.clamp(0.0, full);
        (start, length.min(full - start))
    };
    let (left, width) = side(region.left, region.width, full_width);
    let (top, height) = side(region.top, region.height, full_height);
    Region {
        left,
        top,
        width,
        height,
    }
}

#[cfg(test)]
mod tests;
