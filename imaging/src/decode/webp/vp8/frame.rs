//! A frame, macroblock by macroblock.

use super::super::bytes_at;
use super::header::{Filter, Header};
use super::lanes::{apart, side_by_side};
use super::loop_filter::{Edges, filter_normally, filter_simply};
use super::modes::{Luma, Modes, Neighbours};
use super::partition::{Partition, WINDOW};
use super::predict::{self, Surroundings};
use super::residual::{Edge, Residual};
use super::rows::Plane;
use super::transform::{Tile, add};
use crate::pixels::{reserved, zeroed_of};
use crate::{Format, ImageError, Source};
use core::ops::Range;

/// Takes the next row of a plane: 0 is luminance, 1 and 2 are the differences of blue and red, half as large and rounded up.
pub(crate) type TakeRow<'a> = dyn FnMut(usize, &[u8]) -> Result<(), ImageError> + 'a;

/// Bytes in front of the first partition: a tag with its length, the start code, width and height.
const TAG: u64 = 10;

/// The first partition has a length of 19 bits, and the others have a window each, of which there are at most eight.
pub(crate) fn memory(width: u64, bytes: u64) -> u64 {
    let macroblocks = width.div_ceil(16);
    let planes = Plane::bytes(macroblocks, 16) + 2 * Plane::bytes(macroblocks, 8);
    planes + 128 * macroblocks + bytes.min(1 << 19) + 9 * WINDOW as u64
}

/// Decodes the frame that lies in a part of the source, and hands out its rows from top to bottom as soon as they are
/// finished. What has been read is released. Without a filter the edges of blocks show, unless they are made smaller.
pub(crate) fn decode(
    source: &dyn Source,
    range: Range<u64>,
    size: (u32, u32),
    filtered: bool,
    cancel: &dyn Fn() -> bool,
    take: &mut TakeRow<'_>,
) -> Result<(), ImageError> {
    let mut first = open(source, &range, size)?;
    let header = Header::read(first.parts());
    first.check()?;
    let mut others = Vec::new();
    for part in parts(source, first.end()..range.end, header.partitions)? {
        others.push(Partition::new(source, part, WINDOW)?);
    }
    let mut frame = Frame::new(&header, size)?;
    let rows = size.1.div_ceil(16) as usize;
    for row in 0..rows {
        if cancel() {
            return Err(ImageError::Cancelled);
        }
        let Some(coefficients) = others.get_mut(row % header.partitions) else {
            return Err(ImageError::Internal("a partition was not opened"));
        };
        frame.read_row(row, &mut first, coefficients)?;
        if filtered {
            frame.filter();
        }
        frame.hand_out(row, row + 1 == rows, take)?;
        // The first partition is in memory as a whole.
        let read_to = others.iter().map(Partition::read_to).min();
        source.release_before(read_to.unwrap_or(0));
    }
    Ok(())
}

fn corrupt(offset: u64, detail: &'static str) -> ImageError {
    ImageError::corrupt(Format::WebP, offset, detail)
}

/// Reads the tag and opens the first partition.
fn open<'s>(source: &'s dyn Source, range: &Range<u64>, size: (u32, u32)) -> Result<Partition<'s>, ImageError> {
    if range.end < range.start + TAG {
        return Err(corrupt(range.end, "the frame ends inside its header"));
    }
    let [a, b, c, start @ .., w0, w1, h0, h1] = bytes_at::<{ TAG as usize }>(source, range.start)?;
    let tag = u32::from_le_bytes([a, b, c, 0]);
    if tag & 1 != 0 || start != [0x9d, 0x01, 0x2a] {
        return Err(corrupt(range.start, "the VP8 key frame has no start code"));
    }
    if tag >> 1 & 7 > 3 {
        return Err(corrupt(range.start, "VP8 has no such profile"));
    }
    if tag >> 4 & 1 == 0 {
        return Err(corrupt(range.start, "the frame is not to be shown"));
    }
    // Two bits of each say how a player should enlarge it.
    let side = |bytes| u32::from(u16::from_le_bytes(bytes) & 0x3fff);
    if (side([w0, w1]), side([h0, h1])) != size {
        return Err(corrupt(
            range.start + 6,
            "the frame has another size than the header that was planned with",
        ));
    }
    let length = tag >> 5;
    let (from, to) = (range.start + TAG, range.start + TAG + u64::from(length));
    if to > range.end {
        return Err(corrupt(range.end, "the first partition ends too early"));
    }
    Partition::new(source, from..to, length as usize)
}

/// Where the partitions of coefficients lie, behind a table of the lengths of all but the last one.
fn parts(source: &dyn Source, range: Range<u64>, count: usize) -> Result<Vec<Range<u64>>, ImageError> {
    let mut parts = reserved(count)?;
    let mut from = range.start + 3 * (count as u64 - 1);
    for index in 0..count as u64 - 1 {
        let [a, b, c] = bytes_at(source, range.start + 3 * index)?;
        let to = (from + u64::from(u32::from_le_bytes([a, b, c, 0]))).min(range.end);
        parts.push(from..to);
        from = to;
    }
    if from >= range.end {
        return Err(corrupt(range.end, "the last partition ends before it begins"));
    }
    parts.push(from..range.end);
    Ok(parts)
}

/// What is kept from macroblock to macroblock, and from row to row.
struct Frame<'h> {
    header: &'h Header,
    width: usize,
    height: usize,
    modes: Neighbours,
    /// Which blocks of the macroblocks above had coefficients.
    above: Vec<Edge>,
    /// What is to be filtered in each macroblock of the row.
    edges: Vec<Option<Edges>>,
    residual: Residual,
    luma: Plane,
    chroma: [Plane; 2],
    beside_luma: Surroundings<16>,
    beside_chroma: [Surroundings<8>; 2],
}

impl<'h> Frame<'h> {
    fn new(header: &'h Header, (width, height): (u32, u32)) -> Result<Self, ImageError> {
        let macroblocks = width.div_ceil(16) as usize;
        Ok(Self {
            header,
            width: width as usize,
            height: height as usize,
            modes: Neighbours::new(macroblocks)?,
            above: zeroed_of(macroblocks)?,
            edges: zeroed_of(macroblocks)?,
            residual: Residual::new(),
            luma: Plane::new(macroblocks, 16)?,
            chroma: [Plane::new(macroblocks, 8)?, Plane::new(macroblocks, 8)?],
            beside_luma: Surroundings::new(macroblocks)?,
            beside_chroma: [Surroundings::new(macroblocks)?, Surroundings::new(macroblocks)?],
        })
    }

    /// Makes a row of macroblocks, not filtered.
    fn read_row(
        &mut self,
        row: usize,
        first: &mut Partition<'_>,
        coefficients: &mut Partition<'_>,
    ) -> Result<(), ImageError> {
        self.modes.begin_row();
        self.beside_luma.begin_row(row == 0);
        self.beside_chroma
            .iter_mut()
            .for_each(|beside| beside.begin_row(row == 0));
        let mut left = Edge::default();
        for column in 0..self.above.len() {
            first.top_up()?;
            coefficients.top_up()?;
            let modes = self.modes.read(first.parts(), self.header, column);
            self.read_residual(column, &modes, &mut left, coefficients);
            self.plan_edges(row, column, &modes);
            self.reconstruct(row, column, &modes);
        }
        first.check()?;
        coefficients.check()
    }

    fn read_residual(&mut self, column: usize, modes: &Modes, left: &mut Edge, partition: &mut Partition<'_>) {
        let mut none = Edge::default();
        let above = self.above.get_mut(column).unwrap_or(&mut none);
        let whole = matches!(modes.luma, Luma::Whole(_));
        if modes.skipped {
            self.residual.clear();
            for edge in [above, left] {
                // Who has no block of DC values says nothing about the next one's.
                let [.., dc] = *edge;
                *edge = if whole { [0; 9] } else { [0, 0, 0, 0, 0, 0, 0, 0, dc] };
            }
            return;
        }
        let quantisers = &self.header.quantisers;
        self.residual.read(
            partition.parts(),
            &self.header.probabilities,
            quantisers.get(modes.segment).unwrap_or(&quantisers[0]),
            whole,
            (above, left),
        );
    }

    fn plan_edges(&mut self, row: usize, column: usize, modes: &Modes) {
        let blocks = matches!(modes.luma, Luma::Blocks(_));
        let [whole, apart] = self.header.strengths.get(modes.segment).copied().unwrap_or_default();
        if let Some(edges) = self.edges.get_mut(column) {
            *edges = if blocks { apart } else { whole }.map(|strength| Edges {
                strength,
                left: column > 0,
                top: row > 0,
                inner: blocks || !self.residual.is_empty(),
            });
        }
    }

    fn reconstruct(&mut self, row: usize, column: usize, modes: &Modes) {
        let inside = (row > 0, column > 0);
        let beside = self.beside_luma.of(column, inside);
        let luma = match &modes.luma {
            Luma::Whole(mode) => {
                let mut samples = predict::square(*mode, &beside);
                add_tiles(&mut samples, self.residual.luma());
                samples
            }
            Luma::Blocks(modes) => {
                let right = self.beside_luma.above_right(column);
                predict::blocks(modes, &beside, right, self.residual.luma())
            }
        };
        self.beside_luma.follow(column, &luma);
        self.luma.store(16 * column, 0, &luma);
        let predicted = self
            .beside_chroma
            .each_ref()
            .map(|beside| predict::square(modes.chroma, &beside.of(column, inside)));
        let mut both = side_by_side(&predicted);
        add_tiles(&mut both, self.residual.chroma());
        let planes = self.chroma.iter_mut().zip(&mut self.beside_chroma);
        for ((plane, beside), samples) in planes.zip(apart(&both)) {
            beside.follow(column, &samples);
            plane.store(8 * column, 0, &samples);
        }
    }

    /// Filters a row of macroblocks, and the last rows of the one above.
    fn filter(&mut self) {
        for (column, edges) in self.edges.iter().enumerate() {
            let Some(edges) = *edges else { continue };
            match self.header.filter {
                Filter::None => return,
                Filter::Simple => filter_simply(&mut self.luma, column, edges),
                Filter::Normal => filter_normally(&mut self.luma, &mut self.chroma, column, edges),
            }
        }
    }

    /// Hands out what no filter changes any more.
    fn hand_out(&mut self, row: usize, is_last: bool, take: &mut TakeRow<'_>) -> Result<(), ImageError> {
        let size = (self.width, self.height);
        let half = (size.0.div_ceil(2), size.1.div_ceil(2));
        let [blue, red] = &mut self.chroma;
        let planes = [(&mut self.luma, size), (blue, half), (red, half)];
        for (index, (plane, (width, height))) in planes.into_iter().enumerate() {
            for (_, samples) in plane.finished(row, is_last).take_while(|(y, _)| *y < height) {
                take(index, samples.get(..width).unwrap_or_default())?;
            }
            plane.advance();
        }
        Ok(())
    }
}

/// Adds what was coded to rows of samples, four at a time.
#[inline(always)]
fn add_tiles<'a>(rows: &mut [[u8; 16]], tiles: impl Iterator<Item = Option<&'a Tile>>) {
    for (rows, tile) in rows.as_chunks_mut::<4>().0.iter_mut().zip(tiles) {
        for (row, residual) in rows.iter_mut().zip(tile.into_iter().flatten()) {
            add(row, residual);
        }
    }
}
