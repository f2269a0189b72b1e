//! From a PNG's data to its rows: inflated into a window, their filters undone four at a time.

use super::super::Failure;
use super::chunks::Chunks;
use super::filter::{Filter, ROWS, undo, undo_four};
use crate::ImageError;
use crate::pixels::zeroed;
use fdeflate::Decompressor;

/// Bytes that what is inflated may refer back to.
const LOOK_BACK: usize = 32 * 1024;
/// Bytes beside those: the more, the seldomer they are moved.
const ROOM: usize = 128 * 1024;

/// Memory of the inflater's tables.
const INFLATER_BYTES: usize = 64 * 1024;

/// Bytes that it takes to read rows of this many.
pub(crate) const fn buffer_bytes(row: u64) -> u64 {
    let rows = ROWS as u64;
    (LOOK_BACK + ROOM + INFLATER_BYTES) as u64 + rows * (row + 1) + (rows + 1) * row
}

/// Rows of one size after those of another, as interlaced pictures have them.
pub(super) struct Rows<'r, 's> {
    chunks: Chunks<'r, 's>,
    inflater: Box<Decompressor>,
    /// What has been inflated: up to `next` it has been used, up to `filled` it is there.
    window: Vec<u8>,
    next: usize,
    filled: usize,
    /// The row above, and four rows.
    above: Vec<u8>,
    four: Vec<u8>,
}

impl<'r, 's> Rows<'r, 's> {
    /// For rows of at most `longest` bytes.
    pub(super) fn new(chunks: Chunks<'r, 's>, longest: usize) -> Result<Self, ImageError> {
        let mut inflater = Box::new(Decompressor::new());
        // Each chunk has a sum already.
        inflater.ignore_adler32();
        Ok(Self {
            chunks,
            inflater,
            window: zeroed(LOOK_BACK + ROOM + ROWS * (longest + 1))?,
            next: 0,
            filled: 0,
            above: zeroed(longest)?,
            four: zeroed(ROWS * longest)?,
        })
    }

    /// Gives `count` rows of `length` bytes each to `visit`, with which one it is. Nothing is above the first.
    pub(super) fn each(
        &mut self,
        (length, count): (usize, usize),
        pixel: usize,
        mut visit: impl FnMut(usize, &[u8]) -> Result<(), ImageError>,
    ) -> Result<(), Failure> {
        if length == 0 {
            return Ok(());
        }
        self.above.fill(0);
        for first in (0..count).step_by(ROWS) {
            let rows = ROWS.min(count - first);
            self.inflate(rows * (length + 1))?;
            let (above, four) = (self.above.get_mut(..length), self.four.get_mut(..rows * length));
            let filtered = self.window.get(self.next..self.next + rows * (length + 1));
            let (Some(above), Some(four), Some(filtered)) = (above, four, filtered) else {
                return Err(ImageError::Internal("rows are longer than was said of them").into());
            };
            self.next += filtered.len();
            undo_filters(pixel, above, filtered, four)?;
            for (index, row) in four.chunks_exact(length).enumerate() {
                visit(first + index, row)?;
            }
            if let Some(last) = four.chunks_exact(length).last() {
                above.copy_from_slice(last);
            }
        }
        Ok(())
    }

    /// Inflates until this many bytes are there that have not been used.
    fn inflate(&mut self, wanted: usize) -> Result<(), Failure> {
        if self.next + wanted > self.window.len() {
            let from = self.next.min(self.filled.saturating_sub(LOOK_BACK));
            self.window.copy_within(from..self.filled, 0);
            self.next -= from;
            self.filled -= from;
        }
        while self.filled - self.next < wanted {
            let damage = |error| Failure::Damage(format!("the compressed rows are damaged: {error:?}"));
            let data = self.chunks.data()?;
            let at_end = data.is_empty();
            let (read, written) = self
                .inflater
                .read(data, &mut self.window, self.filled, false)
                .map_err(damage)?;
            self.chunks.take(read)?;
            self.filled += written;
            if self.filled - self.next < wanted && (self.inflater.is_done() || (at_end && written == 0)) {
                return Err(Failure::Damage("rows are missing".to_owned()));
            }
        }
        Ok(())
    }

    /// The rest of the file, once all rows are there.
    pub(super) fn finish(self) -> Result<(), Failure> {
        self.chunks.finish()
    }
}

fn undo_filters(pixel: usize, above: &[u8], filtered: &[u8], rows: &mut [u8]) -> Result<(), Failure> {
    let length = above.len();
    let filter_of =
        |byte: u8| Filter::from_byte(byte).ok_or_else(|| Failure::Damage(format!("there is no filter of rows {byte}")));
    let mut lines = filtered.chunks_exact(length + 1).filter_map(<[u8]>::split_first);
    let mut rest = rows.chunks_exact_mut(length);
    if let (Some((e, a)), Some((f, b)), Some((g, c)), Some((h, d))) =
        (lines.next(), lines.next(), lines.next(), lines.next())
        && let (Some(to_a), Some(to_b), Some(to_c), Some(to_d)) = (rest.next(), rest.next(), rest.next(), rest.next())
    {
        let filters = [filter_of(*e)?, filter_of(*f)?, filter_of(*g)?, filter_of(*h)?];
        undo_four(pixel, filters, above, [a, b, c, d], [to_a, to_b, to_c, to_d]);
        return Ok(());
    }
    let mut above = above;
    let lines = filtered.chunks_exact(length + 1).filter_map(<[u8]>::split_first);
    for ((filter, line), row) in lines.zip(rows.chunks_exact_mut(length)) {
        undo(pixel, filter_of(*filter)?, above, line, row);
        above = row;
    }
    Ok(())
}
