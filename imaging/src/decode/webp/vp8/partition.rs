//! A partition of a frame, read through a window.

use super::bits::Bits;
use crate::pixels::reserved;
use crate::{Format, ImageError, Source};
use core::ops::Range;

/// More than a macroblock or a frame header can take: 25 blocks of 16 values, each of at most 19 bits, and for each of
/// these at most 7 bits of data.
const SLACK: usize = 8 * 1024;

/// Bytes of the window of a partition that is not kept whole.
pub(super) const WINDOW: usize = 32 * 1024;

pub(super) struct Partition<'a> {
    source: &'a dyn Source,
    size: usize,
    /// What of the source has not been read yet.
    rest: Range<u64>,
    window: Vec<u8>,
    bits: Bits,
}

impl<'a> Partition<'a> {
    /// A partition that lies in a part of the source, with a window of `size` bytes.
    pub(super) fn new(source: &'a dyn Source, range: Range<u64>, size: usize) -> Result<Self, ImageError> {
        let size = size.max(WINDOW);
        let mut partition = Self {
            source,
            size,
            rest: range,
            window: reserved(size)?,
            bits: Bits::start(),
        };
        partition.top_up()?;
        Ok(partition)
    }

    /// Makes sure that a macroblock can be read.
    #[inline(always)]
    pub(super) fn top_up(&mut self) -> Result<(), ImageError> {
        if self.bits.position().saturating_add(SLACK) > self.window.len() && !self.rest.is_empty() {
            return self.fill();
        }
        Ok(())
    }

    /// Where reading stands, and what it reads from.
    pub(super) fn parts(&mut self) -> (&mut Bits, &[u8]) {
        (&mut self.bits, &self.window)
    }

    /// Where in the source the partition ends.
    pub(super) const fn end(&self) -> u64 {
        self.rest.end
    }

    /// Where in the source the window ends; nothing before it is read again.
    pub(super) const fn read_to(&self) -> u64 {
        self.rest.start
    }

    /// An error where more was read than there is.
    pub(super) fn check(&self) -> Result<(), ImageError> {
        if self.bits.is_overrun() {
            return Err(ImageError::corrupt(
                Format::WebP,
                self.rest.start,
                "a partition of the frame ends too early",
            ));
        }
        Ok(())
    }

    #[cold]
    fn fill(&mut self) -> Result<(), ImageError> {
        let used = self.bits.position().min(self.window.len());
        self.window.drain(..used);
        self.bits = self.bits.without(used);
        let kept = self.window.len();
        let room = usize::try_from(self.rest.end - self.rest.start)
            .map_or(self.size, |rest| rest)
            .min(self.size - kept);
        self.window.resize(kept + room, 0);
        let mut filled = kept;
        while let Some(target) = self.window.get_mut(filled..).filter(|target| !target.is_empty()) {
            let count = self.source.read_at(self.rest.start, target)?;
            if count == 0 {
                // The chunk's header says more than the file has.
                self.rest.end = self.rest.start;
                break;
            }
            filled += count;
            self.rest.start += count as u64;
        }
        self.window.truncate(filled);
        Ok(())
    }
}
