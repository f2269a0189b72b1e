//! The bytes of a source, left on the JavaScript side: a 30 MB file never lies twice in memory.

use std::cell::RefCell;

use js_sys::Uint8Array;
use kado_imaging::{Source, SourceError};

/// Chunks as they came, each freed once the engine has passed it.
#[derive(Debug, Default)]
pub(crate) struct Chunks {
    chunks: RefCell<Vec<Chunk>>,
    total: u64,
}

#[derive(Debug)]
struct Chunk {
    start: u64,
    length: u32,
    /// `None` once it was passed.
    bytes: Option<Uint8Array>,
}

impl Chunks {
    /// Adds a chunk behind the others.
    pub(super) fn push(&mut self, bytes: Uint8Array) {
        let length = bytes.length();
        if length > 0 {
            self.chunks.get_mut().push(Chunk {
                start: self.total,
                length,
                bytes: Some(bytes),
            });
            self.total += u64::from(length);
        }
    }

    /// Bytes in total.
    pub(super) const fn total(&self) -> u64 {
        self.total
    }
}

impl Source for Chunks {
    fn len(&self) -> u64 {
        self.total
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, SourceError> {
        let chunks = self.chunks.borrow();
        let mut filled = 0;
        let first = chunks.partition_point(|chunk| chunk.start + u64::from(chunk.length) <= offset);
        for chunk in chunks.iter().skip(first) {
            let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) else {
                break;
            };
            let at = offset + filled as u64;
            let bytes = chunk.bytes.as_ref().ok_or(SourceError::Released(at))?;
            let skip = u32::try_from(at.saturating_sub(chunk.start)).unwrap_or(u32::MAX);
            let count = chunk
                .length
                .saturating_sub(skip)
                .min(u32::try_from(rest.len()).unwrap_or(u32::MAX));
            let Some(part) = rest.get_mut(..count as usize) else {
                break;
            };
            bytes.subarray(skip, skip + count).copy_to(part);
            filled += count as usize;
        }
        Ok(filled)
    }

    fn release_before(&self, offset: u64) {
        for chunk in self
            .chunks
            .borrow_mut()
            .iter_mut()
            .take_while(|chunk| chunk.start + u64::from(chunk.length) <= offset)
        {
            chunk.bytes = None;
        }
    }
}
